// The hidden layer of gated attention pooling from its two products with the weights, in place, and the logits:
//
//   t = tanh(t + bias_v),   s = sigmoid(s + bias_u),   logit = sum over l of w t s
//
// LANES threads share an instance. Grid (instances * LANES / THREADS).
struct GateParams {
    t_first: u32,
    s_first: u32,
    bias_v_first: u32,
    bias_u_first: u32,
    w_first: u32,
    logits_first: u32,
    rows: u32,   // instances of all bags
    hidden: u32, // L
}

@group(0) @binding(0) var<uniform> params: GateParams;
@group(0) @binding(1) var<storage, read_write> t: array<f32>;      // (rows, L)
@group(0) @binding(2) var<storage, read_write> s: array<f32>;      // (rows, L)
@group(0) @binding(3) var<storage, read> bias_v: array<f32>;       // (L)
@group(0) @binding(4) var<storage, read> bias_u: array<f32>;       // (L)
@group(0) @binding(5) var<storage, read> w: array<f32>;            // (L)
@group(0) @binding(6) var<storage, read_write> logits: array<f32>; // (rows)

@compute @workgroup_size(THREADS)
fn gate_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(group, groups) * ROWS + thread / LANES;
    let hidden = select(0u, params.hidden, row < params.rows);
    var total = 0.0;
    for (var l = thread % LANES; l < hidden; l += LANES) {
        let at = row * params.hidden + l;
        let left = tanh_f32(t[params.t_first + at] + bias_v[params.bias_v_first + l]);
        let right = sigmoid_f32(s[params.s_first + at] + bias_u[params.bias_u_first + l]);
        t[params.t_first + at] = left;
        s[params.s_first + at] = right;
        total = fma(w[params.w_first + l] * left, right, total);
    }
    total = row_sum(thread, total);
    if thread % LANES == 0u && row < params.rows {
        logits[params.logits_first + row] = total;
    }
}
