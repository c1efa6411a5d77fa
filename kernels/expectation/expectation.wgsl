// The estimated expectation of features f (B, K, D) under attention a (B, K), and its gradients; the formulas are those of
// src/ops/expectation. What remains before draw i holds at least the drawn one: r_i = max(1 - sum over j < i of a_j, a_i).
const THREADS: u32 = 64u;
const REPLACE: u32 = 0u;
const UNBIASED: u32 = 0u;
const TINY: f32 = 1e-30;

struct ExpectationParams {
    attention_first: u32,
    features_first: u32,
    dy_first: u32,
    y_first: u32,
    batch: u32,
    samples: u32, // K
    size: u32,    // D
}

@group(0) @binding(0) var<uniform> params: ExpectationParams;
@group(0) @binding(1) var<storage, read> attention: array<f32>;     // (B, K)
@group(0) @binding(2) var<storage, read> features: array<f32>;      // (B, K, D)
@group(0) @binding(3) var<storage, read> dy: array<f32>;            // (B, D)
@group(0) @binding(4) var<storage, read_write> y: array<f32>;       // the result
@group(0) @binding(5) var<storage, read_write> scratch: array<f32>; // (B, K, 3): p, h, r

// y = 1/K (sum of F_i). A thread per (image, feature).
@compute @workgroup_size(THREADS)
fn expectation_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.batch * params.size {
        return;
    }
    let image = at / params.size;
    let a_first = params.attention_first + image * params.samples;
    let f_first = params.features_first + image * params.samples * params.size + at - image * params.size;
    var left = 1.0;
    var seen = 0.0;
    var total = 0.0;
    for (var i = 0u; i < params.samples; i++) {
        let f = features[f_first + i * params.size];
        if REPLACE != 0u {
            total += f;
        } else {
            let a = attention[a_first + i];
            total += seen + max(left, a) * f;
            seen += a * f;
            left -= a;
        }
    }
    y[params.y_first + at] = total / f32(params.samples);
}

// df_m = c_m G. A thread per element.
@compute @workgroup_size(THREADS)
fn expectation_grad_features_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.batch * params.samples * params.size {
        return;
    }
    let row = at / params.size;
    let image = row / params.samples;
    let m = row - image * params.samples;
    var weight = 1.0;
    if REPLACE == 0u {
        let a_first = params.attention_first + image * params.samples;
        var left = 1.0;
        for (var j = 0u; j < m; j++) {
            left -= attention[a_first + j];
        }
        let a = attention[a_first + m];
        weight = max(left, a) + a * f32(params.samples - 1u - m);
    }
    weight /= f32(params.samples);
    y[params.y_first + at] = weight * dy[params.dy_first + image * params.size + at - row * params.size];
}

var<workgroup> partial: array<f32, THREADS>;

// A workgroup per image: first p_m = <G, f_m>, then h and r in the order of the draws, then the gradients.
@compute @workgroup_size(THREADS)
fn expectation_grad_attention_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    // The last image is done more than once where the grid is folded, which changes nothing.
    let image = min(group_index(group, groups), params.batch - 1u);
    let first = image * params.samples;
    for (var m = 0u; m < params.samples; m++) {
        let f_first = params.features_first + (first + m) * params.size;
        var sum = 0.0;
        for (var at = thread; at < params.size; at += THREADS) {
            sum += dy[params.dy_first + image * params.size + at] * features[f_first + at];
        }
        partial[thread] = sum;
        for (var half = THREADS / 2u; half > 0u; half /= 2u) {
            workgroupBarrier(); // the sums of 2 * half threads are there
            if thread < half {
                partial[thread] += partial[thread + half];
            }
        }
        if thread == 0u {
            scratch[3u * (first + m)] = partial[0];
        }
        workgroupBarrier(); // nobody reads the sums any more
    }
    if thread == 0u {
        var left = 1.0;
        var seen = 0.0;
        for (var m = 0u; m < params.samples; m++) {
            let a = attention[params.attention_first + first + m];
            let p = scratch[3u * (first + m)];
            let r = max(left, a);
            scratch[3u * (first + m) + 1u] = select(seen + r * p, p, REPLACE != 0u);
            scratch[3u * (first + m) + 2u] = r;
            seen += a * p;
            left -= a;
        }
    }
    storageBarrier(); // p, h and r are there
    workgroupBarrier();
    for (var m = thread; m < params.samples; m += THREADS) {
        let own = 3u * (first + m);
        let p = scratch[own];
        var total = scratch[own + 1u] / max(attention[params.attention_first + first + m], TINY);
        if REPLACE == 0u && UNBIASED == 0u {
            total *= scratch[own + 2u];
            for (var j = 0u; j < m; j++) {
                total += scratch[3u * (first + j)] - p;
            }
        } else if REPLACE == 0u {
            for (var i = m + 1u; i < params.samples; i++) {
                let other = 3u * (first + i);
                total += scratch[other + 1u] / max(scratch[other + 2u], TINY) + p - scratch[other];
            }
        }
        y[params.y_first + first + m] = total / f32(params.samples);
    }
}
