// Division of each row (size elements) by its Euclidean norm, no less than sqrt(FLOOR), and the gradient:
//
//   y = x / norm, dx = (dy - y (sum of dy y)) / norm; where the floor holds, dx = dy / norm.
//
// LANES threads share a row.
const FLOOR: f32 = 1e-12;

struct L2NormalizeParams {
    x_first: u32,
    dy_first: u32,
    y_first: u32,
    rows: u32,
    size: u32,
}

@group(0) @binding(0) var<uniform> params: L2NormalizeParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>; // gradient alone
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn row_of(group: vec3<u32>, groups: vec3<u32>, thread: u32) -> u32 {
    return group_index(group, groups) * ROWS + thread / LANES;
}

fn end_of(row: u32) -> u32 {
    return select(0u, params.size, row < params.rows);
}

fn squared_norm(thread: u32, row: u32) -> f32 {
    var sum = 0.0;
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let value = x[params.x_first + row * params.size + i];
        sum += value * value;
    }
    return row_sum(thread, sum);
}

@compute @workgroup_size(THREADS)
fn l2_normalize_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = row_of(group, groups, thread);
    let squared = squared_norm(thread, row);
    let norm = sqrt(select(squared, FLOOR, squared < FLOOR));
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = row * params.size + i;
        y[params.y_first + at] = x[params.x_first + at] / norm;
    }
}

@compute @workgroup_size(THREADS)
fn l2_normalize_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = row_of(group, groups, thread);
    let squared = squared_norm(thread, row);
    let norm = sqrt(select(squared, FLOOR, squared < FLOOR));
    var along = 0.0;
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = row * params.size + i;
        along += dy[params.dy_first + at] * (x[params.x_first + at] / norm);
    }
    along = select(0.0, row_sum(thread, along), squared > FLOOR);
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = row * params.size + i;
        let value = dy[params.dy_first + at] - x[params.x_first + at] / norm * along;
        y[params.y_first + at] = value / norm;
    }
}
