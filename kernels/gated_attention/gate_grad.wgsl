// Backward of gated attention pooling through its hidden layer: the gradients before tanh and sigmoid,
//
//   to_tanh = dl w s (1 - t^2),   to_sigmoid = dl w t s (1 - s),
//
// and the sums over instances that are the gradients of biases and w. A thread has one l and the instances of a run, which
// it adds up in order; the sums of the runs go to scratch. Grid (runs * L / THREADS).
const THREADS: u32 = 64u;

struct GateGradParams {
    t_first: u32,
    s_first: u32,
    w_first: u32,
    dl_first: u32,
    to_tanh_first: u32,
    to_sigmoid_first: u32,
    sums_first: u32,
    rows: u32,         // instances of all bags
    rows_per_run: u32,
    runs: u32,
    hidden: u32,       // L
}

@group(0) @binding(0) var<uniform> params: GateGradParams;
@group(0) @binding(1) var<storage, read> t: array<f32>;                // (rows, L)
@group(0) @binding(2) var<storage, read> s: array<f32>;                // (rows, L)
@group(0) @binding(3) var<storage, read> w: array<f32>;                // (L)
@group(0) @binding(4) var<storage, read_write> dl: array<f32>;         // (rows); in scratch like the following
@group(0) @binding(5) var<storage, read_write> to_tanh: array<f32>;    // (rows, L)
@group(0) @binding(6) var<storage, read_write> to_sigmoid: array<f32>; // (rows, L)
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;       // (3, runs, L): of bias_v, bias_u, w

@compute @workgroup_size(THREADS)
fn gate_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let across = (params.hidden + THREADS - 1u) / THREADS;
    let at = group_index(group, groups);
    let run = at / across;
    let l = at % across * THREADS + thread;
    if run * params.rows_per_run >= params.rows || l >= params.hidden {
        return;
    }
    let weight = w[params.w_first + l];
    var total = vec3<f32>(0.0);
    let end = min((run + 1u) * params.rows_per_run, params.rows);
    for (var row = run * params.rows_per_run; row < end; row++) {
        let place = row * params.hidden + l;
        let left = t[params.t_first + place];
        let right = s[params.s_first + place];
        let logit = dl[params.dl_first + row];
        let before_tanh = logit * weight * right * (1.0 - left * left);
        let before_sigmoid = logit * weight * left * right * (1.0 - right);
        to_tanh[params.to_tanh_first + place] = before_tanh;
        to_sigmoid[params.to_sigmoid_first + place] = before_sigmoid;
        total += vec3<f32>(before_tanh, before_sigmoid, logit * left * right);
    }
    for (var which = 0u; which < 3u; which++) {
        sums[params.sums_first + (which * params.runs + run) * params.hidden + l] = total[which];
    }
}
