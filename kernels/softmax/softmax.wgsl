// Softmax along an axis and its logarithm, and their gradients. A row is `size` elements, `inner` apart; row r begins at
// (r / inner) * size * inner + r % inner. LANES threads share a row.
//
// A row that holds a NaN or plus infinity, or minus infinity alone, becomes NaN.
struct SoftmaxParams {
    x_first: u32,
    dy_first: u32,
    y_first: u32,
    rows: u32,
    size: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: SoftmaxParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;  // for gradients: the result of the function
@group(0) @binding(2) var<storage, read> dy: array<f32>; // gradients alone
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn row_of(group: vec3<u32>, groups: vec3<u32>, thread: u32) -> u32 {
    return group_index(group, groups) * ROWS + thread / LANES;
}

fn start_of(row: u32) -> u32 {
    return row / params.inner * params.size * params.inner + row % params.inner;
}

// Elements that a lane works on: every LANES-th. None if the row does not exist.
fn end_of(row: u32) -> u32 {
    return select(0u, params.size, row < params.rows);
}

// The largest element of a row and the sum of exp(x - largest), in all of its lanes.
fn normaliser(thread: u32, row: u32) -> vec2<f32> {
    let start = params.x_first + start_of(row);
    var most = number(SIGN | INFINITY_BITS);
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let value = x[start + i * params.inner];
        most = select(most, value, value > most);
    }
    most = row_max(thread, most);
    var sum = 0.0;
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        sum += exp_any(x[start + i * params.inner] - most);
    }
    return vec2<f32>(most, row_sum(thread, sum));
}

@compute @workgroup_size(THREADS)
fn softmax_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = row_of(group, groups, thread);
    let normal = normaliser(thread, row);
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = start_of(row) + i * params.inner;
        y[params.y_first + at] = exp_any(x[params.x_first + at] - normal.x) / normal.y;
    }
}

@compute @workgroup_size(THREADS)
fn log_softmax_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = row_of(group, groups, thread);
    let normal = normaliser(thread, row);
    let log_sum = log_f32(normal.y);
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = start_of(row) + i * params.inner;
        y[params.y_first + at] = x[params.x_first + at] - normal.x - log_sum;
    }
}

// dx = y (dy - sum of dy y)
@compute @workgroup_size(THREADS)
fn softmax_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = row_of(group, groups, thread);
    var sum = 0.0;
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = start_of(row) + i * params.inner;
        sum += dy[params.dy_first + at] * x[params.x_first + at];
    }
    sum = row_sum(thread, sum);
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = start_of(row) + i * params.inner;
        y[params.y_first + at] = x[params.x_first + at] * (dy[params.dy_first + at] - sum);
    }
}

// dx = dy - exp(y) (sum of dy)
@compute @workgroup_size(THREADS)
fn log_softmax_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = row_of(group, groups, thread);
    var sum = 0.0;
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        sum += dy[params.dy_first + start_of(row) + i * params.inner];
    }
    sum = row_sum(thread, sum);
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = start_of(row) + i * params.inner;
        y[params.y_first + at] = dy[params.dy_first + at] - exp_any(x[params.x_first + at]) * sum;
    }
}
