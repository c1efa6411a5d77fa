// After the softmax of cross-attention: the scores, which are means over the rows, and the weights after dropout.
const THREADS: u32 = 64u;
alias Element = f32; // of the result: or f16

struct ScoresParams {
    p_first: u32,
    result_first: u32, // of the scores or of the masked weights
    images: u32,
    rows: u32,         // R of an image
    inputs: u32,       // N
    key_0: u32,
    key_1: u32,
    first_low: u32,    // counter of the first block of the first image
    first_high: u32,
    threshold: u32,    // words below it drop their entry
    factor: f32,       // of the kept ones
}

@group(0) @binding(0) var<uniform> params: ScoresParams;
// Not read-only, because the results may be in the same buffer, which has one kind of access in a launch.
@group(0) @binding(1) var<storage, read_write> p: array<f32>;      // (B, R, N)
@group(0) @binding(2) var<storage, read_write> result: array<Element>; // (B, N) or (B, R, N)

// scores[b, n] = the mean of p[b, .., n]. A thread per score. Grid (B * N / THREADS).
@compute @workgroup_size(THREADS)
fn attention_scores_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.images * params.inputs {
        return;
    }
    let first = params.p_first + at / params.inputs * params.rows * params.inputs + at % params.inputs;
    var total = 0.0;
    for (var row = 0u; row < params.rows; row++) {
        total += p[first + row * params.inputs];
    }
    result[params.result_first + at] = Element(total / f32(params.rows));
}

// masked[b, r, n] = p[b, r, n] * factor, or 0 where its word says so. A thread per block of four words, which are of one
// image. Grid (B * blocks / THREADS).
@compute @workgroup_size(THREADS)
fn attention_mask_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    let entries = params.rows * params.inputs;
    let blocks = (entries + 3u) / 4u;
    let image = at / blocks;
    if image >= params.images {
        return;
    }
    let stretch = Words(vec2<u32>(params.key_0, params.key_1), params.first_low, params.first_high);
    let words = block_of(stretch, at);
    for (var i = 0u; i < 4u; i++) {
        let entry = at % blocks * 4u + i;
        if entry < entries {
            let value = p[params.p_first + image * entries + entry] * params.factor;
            let kept = select(value, 0.0, words[i] < params.threshold);
            result[params.result_first + image * entries + entry] = Element(kept);
        }
    }
}
