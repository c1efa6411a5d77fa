// words[i] = philox(counter[i], key[i]), and the words of a stretch of the random sequence with one key. A thread per
// block of four words.
const THREADS: u32 = 64u;

struct PhiloxParams {
    counter_first: u32,
    key_first: u32,
    words_first: u32,
    first_low: u32, // the counter of the first block of the stretch
    first_high: u32,
    count: u32,     // of words
}

@group(0) @binding(0) var<uniform> params: PhiloxParams;
@group(0) @binding(1) var<storage, read> counter: array<u32>;     // (n, 4)
@group(0) @binding(2) var<storage, read> key: array<u32>;         // (n, 2), or (2) of a stretch
@group(0) @binding(3) var<storage, read_write> words: array<u32>; // (n, 4), or (count)

@compute @workgroup_size(THREADS)
fn philox_u32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let block = group_index(group, groups) * THREADS + thread;
    if 4u * block >= params.count {
        return;
    }
    let c = params.counter_first + 4u * block;
    let k = params.key_first + 2u * block;
    let four = philox(vec4<u32>(counter[c], counter[c + 1u], counter[c + 2u], counter[c + 3u]), vec2<u32>(key[k], key[k + 1u]));
    for (var lane = 0u; lane < 4u; lane++) {
        words[params.words_first + 4u * block + lane] = four[lane];
    }
}

@compute @workgroup_size(THREADS)
fn random_words_u32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let block = group_index(group, groups) * THREADS + thread;
    if 4u * block >= params.count {
        return;
    }
    let own = vec2<u32>(key[params.key_first], key[params.key_first + 1u]);
    let four = block_of(Words(own, params.first_low, params.first_high), block);
    for (var lane = 0u; lane < min(4u, params.count - 4u * block); lane++) {
        words[params.words_first + 4u * block + lane] = four[lane];
    }
}
