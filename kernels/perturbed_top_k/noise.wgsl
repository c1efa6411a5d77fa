// The noise of perturbed_top_k, of four positions at a time: given, or drawn from pairs of words.
fn noise_of(drawn: bool, stretch: Words, sample: u32, block: u32, count: u32, given_first: u32) -> vec4<f32> {
    if drawn {
        let words = block_of(stretch, sample * ((count + 3u) / 4u) + block);
        return vec4<f32>(normals(words.x, words.y), normals(words.z, words.w));
    }
    var z = vec4<f32>(0.0);
    for (var i = 0u; i < 4u; i++) {
        if 4u * block + i < count {
            z[i] = given[given_first + sample * count + 4u * block + i];
        }
    }
    return z;
}
