// Two neighbours in memory as one 64-bit word, for adapters that have those.

fn unpacked(pair: u64) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(u32(pair)), bitcast<f32>(u32(pair >> 32u)));
}

fn packed(pair: vec2<f32>) -> u64 {
    return u64(bitcast<u32>(pair.x)) | (u64(bitcast<u32>(pair.y)) << 32u);
}
