// Softmax of rows in place: p[r] = exp(p[r] - largest) / sum. LANES threads share a row, a workgroup has THREADS / LANES
// rows. Grid (rows * LANES / THREADS).
struct SoftmaxRowsParams {
    p_first: u32,
    rows: u32,
    length: u32,
}

@group(0) @binding(0) var<uniform> params: SoftmaxRowsParams;
@group(0) @binding(1) var<storage, read_write> p: array<f32>; // (rows, length)

@compute @workgroup_size(THREADS)
fn softmax_rows_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(group, groups) * ROWS + thread / LANES;
    let length = select(0u, params.length, row < params.rows);
    let first = params.p_first + row * params.length;
    var most = number(SIGN | INFINITY_BITS);
    for (var at = thread % LANES; at < length; at += LANES) {
        most = max(most, p[first + at]);
    }
    most = row_max(thread, most);
    var total = 0.0;
    for (var at = thread % LANES; at < length; at += LANES) {
        let power = exp_any(p[first + at] - most);
        p[first + at] = power;
        total += power;
    }
    total = row_sum(thread, total);
    for (var at = thread % LANES; at < length; at += LANES) {
        p[first + at] /= total;
    }
}
