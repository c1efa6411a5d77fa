// y[b, n, i] = the sum of x[b, k, i] over the k with indices[b, k] = n, in the order of k. A thread per element of y goes
// through the indices of its table, so no two threads add to one element.
const THREADS: u32 = 128u;

struct ScatterAddParams {
    x_first: u32,
    indices_first: u32,
    y_first: u32,
    start: u32, // the first element of y that this launch writes: y_first is its place
    count: u32,
    picks: u32, // K
    rows: u32,  // of a table of y
    inner: u32, // elements of a row
}

@group(0) @binding(0) var<uniform> params: ScatterAddParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (B, K, inner)
@group(0) @binding(2) var<storage, read> indices: array<u32>; // (B, K)
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (B, N, inner)

@compute @workgroup_size(THREADS)
fn scatter_add_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let i = (params.start + at) % params.inner;
    let row = (params.start + at) / params.inner;
    let first = row / params.rows * params.picks;
    var total = 0.0;
    for (var pick = first; pick < first + params.picks; pick++) {
        if indices[params.indices_first + pick] == row % params.rows {
            total += x[params.x_first + pick * params.inner + i];
        }
    }
    y[params.y_first + at] = total;
}
