// Backward through dropout, scores and softmax of cross-attention, row by row of the weights:
//
//   dp = mask * ds + dscores / R,   ds = p * (dp - sum of p * dp),   masked = mask * p
//
// with ds = <dz, x> before, in place. LANES threads share a row. Grid (B * R * LANES / THREADS).
alias Element = f32; // of dscores: or f16

struct SoftmaxGradParams {
    p_first: u32,
    ds_first: u32,
    dscores_first: u32,
    masked_first: u32,
    images: u32,
    rows: u32,      // R of an image
    inputs: u32,    // N
    dropout: u32,   // 0: the mask is 1
    key_0: u32,
    key_1: u32,
    first_low: u32, // counter of the first block of the first image
    first_high: u32,
    threshold: u32, // words below it drop their entry
    factor: f32,    // of the kept ones
}

@group(0) @binding(0) var<uniform> params: SoftmaxGradParams;
@group(0) @binding(1) var<storage, read> p: array<f32>;            // (B, R, N)
@group(0) @binding(2) var<storage, read> dscores: array<Element>;  // (B, N)
@group(0) @binding(3) var<storage, read_write> ds: array<f32>;     // (B, R, N)
@group(0) @binding(4) var<storage, read_write> masked: array<f32>; // (B, R, N)

// What entry `entry` of an image's weights is multiplied by.
fn mask(image: u32, entry: u32) -> f32 {
    if params.dropout == 0u {
        return 1.0;
    }
    let stretch = Words(vec2<u32>(params.key_0, params.key_1), params.first_low, params.first_high);
    let block = image * ((params.rows * params.inputs + 3u) / 4u) + entry / 4u;
    return select(params.factor, 0.0, block_of(stretch, block)[entry % 4u] < params.threshold);
}

@compute @workgroup_size(THREADS)
fn attention_softmax_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(group, groups) * ROWS + thread / LANES;
    let image = row / params.rows;
    let inputs = select(0u, params.inputs, image < params.images);
    let first = row * params.inputs;
    var total = 0.0;
    for (var n = thread % LANES; n < inputs; n += LANES) {
        let factor = mask(image, row % params.rows * params.inputs + n);
        let weight = p[params.p_first + first + n];
        let share = f32(dscores[params.dscores_first + image * params.inputs + n]) / f32(params.rows);
        let dp = fma(factor, ds[params.ds_first + first + n], share);
        ds[params.ds_first + first + n] = dp;
        masked[params.masked_first + first + n] = factor * weight;
        total = fma(weight, dp, total);
    }
    let mean = row_sum(thread, total);
    for (var n = thread % LANES; n < inputs; n += LANES) {
        let dp = ds[params.ds_first + first + n];
        ds[params.ds_first + first + n] = p[params.p_first + first + n] * (dp - mean);
    }
}
