// The estimated expectation y[b] = sum over samples m of c_m f_m, and its gradient for the features, c_m dy. The weights
// are 1 / K with replacement, else c_m = (r_m + a_m (K - m)) / K, m from 1, where r_m is the mass before draw m. A thread
// has one of the D features and goes through the samples. Grid (B * D / THREADS).
const THREADS: u32 = 64u;

struct ExpectationParams {
    attention_first: u32,
    given_first: u32,
    result_first: u32,
    rows: u32,    // B
    samples: u32, // K
    width: u32,   // D
    replace: u32, // 1: with replacement
}

@group(0) @binding(0) var<uniform> params: ExpectationParams;
@group(0) @binding(1) var<storage, read> attention: array<f32>;    // (B, K)
@group(0) @binding(2) var<storage, read> given: array<f32>;        // features (B, K, D) or dy (B, D)
@group(0) @binding(3) var<storage, read_write> result: array<f32>; // y (B, D) or the gradient (B, K, D)

// K times the weight of sample m, of which `left` is the mass before.
fn weight(m: u32, a: f32, left: f32) -> f32 {
    if params.replace != 0u {
        return 1.0;
    }
    return fma(a, f32(params.samples - 1u - m), max(left, a));
}

@compute @workgroup_size(THREADS)
fn expectation_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    let row = at / params.width;
    if row >= params.rows {
        return;
    }
    var left = 1.0;
    var total = 0.0;
    for (var m = 0u; m < params.samples; m++) {
        let sample = row * params.samples + m;
        let a = attention[params.attention_first + sample];
        let feature = given[params.given_first + sample * params.width + at % params.width];
        total = fma(weight(m, a, left), feature, total);
        left -= a;
    }
    result[params.result_first + at] = total / f32(params.samples);
}

@compute @workgroup_size(THREADS)
fn expectation_grad_features_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    let row = at / params.width;
    if row >= params.rows {
        return;
    }
    let dy = given[params.given_first + at];
    var left = 1.0;
    for (var m = 0u; m < params.samples; m++) {
        let sample = row * params.samples + m;
        let a = attention[params.attention_first + sample];
        let share = weight(m, a, left) / f32(params.samples);
        result[params.result_first + sample * params.width + at % params.width] = share * dy;
        left -= a;
    }
}
