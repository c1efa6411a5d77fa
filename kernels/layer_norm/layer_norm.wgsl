// Layer normalisation of rows (size elements each), and the gradient with respect to x. LANES threads share a row.
//
//   y = (x - mean) * inv_std * weight + bias
//   dx = inv_std * (g - mean of g - normal * mean of g normal), g = dy * weight, normal = (x - mean) * inv_std
struct LayerNormParams {
    x_first: u32,
    dy_first: u32,
    weight_first: u32,
    bias_first: u32,
    y_first: u32,
    statistics_first: u32,
    rows: u32,
    size: u32,
    affine: u32, // whether there are weight and bias
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: LayerNormParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;      // (rows, size)
@group(0) @binding(2) var<storage, read> weight: array<f32>; // (size), not looked at without `affine`
@group(0) @binding(3) var<storage, read> bias: array<f32>;   // (size), forward alone
@group(0) @binding(4) var<storage, read> dy: array<f32>;     // (rows, size), gradient alone
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // (rows, size)
@group(0) @binding(6) var<storage, read_write> statistics: array<f32>; // (rows, 2): mean and inv_std, gradient alone

fn row_of(group: vec3<u32>, groups: vec3<u32>, thread: u32) -> u32 {
    return group_index(group, groups) * ROWS + thread / LANES;
}

fn end_of(row: u32) -> u32 {
    return select(0u, params.size, row < params.rows);
}

// Mean and 1 / sqrt(biased variance + eps) of a row, in all of its lanes.
fn mean_and_inv_std(thread: u32, row: u32) -> vec2<f32> {
    let start = params.x_first + row * params.size;
    var sum = 0.0;
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        sum += x[start + i];
    }
    let mean = row_sum(thread, sum) / f32(params.size);
    var squares = 0.0;
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let apart = x[start + i] - mean;
        squares += apart * apart;
    }
    return vec2<f32>(mean, 1.0 / sqrt(row_sum(thread, squares) / f32(params.size) + params.eps));
}

fn weight_of(i: u32) -> f32 {
    if params.affine == 0u {
        return 1.0;
    }
    return weight[params.weight_first + i];
}

@compute @workgroup_size(THREADS)
fn layer_norm_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = row_of(group, groups, thread);
    let normal = mean_and_inv_std(thread, row);
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = row * params.size + i;
        var value = (x[params.x_first + at] - normal.x) * normal.y * weight_of(i);
        if params.affine != 0u {
            value += bias[params.bias_first + i];
        }
        y[params.y_first + at] = value;
    }
}

@compute @workgroup_size(THREADS)
fn layer_norm_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = row_of(group, groups, thread);
    let normal = mean_and_inv_std(thread, row);
    var sum = 0.0;
    var product = 0.0;
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = row * params.size + i;
        let g = dy[params.dy_first + at] * weight_of(i);
        sum += g;
        product += g * ((x[params.x_first + at] - normal.x) * normal.y);
    }
    sum = row_sum(thread, sum) / f32(params.size);
    product = row_sum(thread, product) / f32(params.size);
    for (var i = thread % LANES; i < end_of(row); i += LANES) {
        let at = row * params.size + i;
        let g = dy[params.dy_first + at] * weight_of(i);
        let value = (x[params.x_first + at] - normal.x) * normal.y;
        y[params.y_first + at] = normal.y * (g - sum - value * product);
    }
    if thread % LANES == 0u && row < params.rows {
        statistics[params.statistics_first + 2u * row] = normal.x;
        statistics[params.statistics_first + 2u * row + 1u] = normal.y;
    }
}
