// The entropy of each row p of `size` elements, h = -(sum of p log(p + eps)), in which a probability of zero adds nothing,
// and its gradient dp = -dh (log(p + eps) + p / (p + eps)). LANES threads share a row of the entropy.
struct EntropyParams {
    p_first: u32,
    dh_first: u32,
    y_first: u32,
    rows: u32,
    size: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: EntropyParams;
@group(0) @binding(1) var<storage, read> p: array<f32>;  // (rows, size)
@group(0) @binding(2) var<storage, read> dh: array<f32>; // (rows), gradient alone
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn entropy_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(group, groups) * ROWS + thread / LANES;
    let end = select(0u, params.size, row < params.rows);
    var sum = 0.0;
    for (var i = thread % LANES; i < end; i += LANES) {
        let value = p[params.p_first + row * params.size + i];
        sum += select(value * log_f32(value + params.eps), 0.0, value == 0.0);
    }
    sum = row_sum(thread, sum);
    if thread % LANES == 0u && row < params.rows {
        y[params.y_first + row] = -sum;
    }
}

// A thread per element.
@compute @workgroup_size(THREADS)
fn entropy_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.rows * params.size {
        return;
    }
    let value = p[params.p_first + at];
    let slope = log_f32(value + params.eps) + value / (value + params.eps);
    y[params.y_first + at] = -dh[params.dh_first + at / params.size] * slope;
}
