// The gradients of weight and bias of a layer normalisation: dweight[i] = sum over rows of dy * (x - mean) * inv_std,
// dbias[i] = sum over rows of dy. A workgroup has COLUMNS neighbouring columns, so that rows are read in lines; LANES
// threads share a column and take every LANES-th row, and their sums are added in a tree.
const COLUMNS: u32 = 32u;
const LANES: u32 = 8u;
const THREADS: u32 = COLUMNS * LANES;

struct GradAffineParams {
    x_first: u32,
    dy_first: u32,
    statistics_first: u32,
    dweight_first: u32,
    dbias_first: u32,
    rows: u32,
    size: u32,
    add: u32, // to what is there
}

@group(0) @binding(0) var<uniform> params: GradAffineParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (rows, size)
@group(0) @binding(2) var<storage, read> dy: array<f32>;         // (rows, size)
@group(0) @binding(3) var<storage, read> statistics: array<f32>; // (rows, 2): mean and inv_std
@group(0) @binding(4) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(5) var<storage, read_write> dbias: array<f32>;

var<workgroup> sums: array<vec2<f32>, THREADS>;

@compute @workgroup_size(THREADS)
fn layer_norm_grad_affine_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let column = group_index(group, groups) * COLUMNS + thread % COLUMNS;
    var sum = vec2<f32>(0.0);
    if column < params.size {
        for (var row = thread / COLUMNS; row < params.rows; row += LANES) {
            let at = row * params.size + column;
            let mean = statistics[params.statistics_first + 2u * row];
            let inv_std = statistics[params.statistics_first + 2u * row + 1u];
            let g = dy[params.dy_first + at];
            sum += vec2<f32>(g * ((x[params.x_first + at] - mean) * inv_std), g);
        }
    }
    sums[thread] = sum;
    for (var half = THREADS / 2u; half >= COLUMNS; half /= 2u) {
        workgroupBarrier(); // the sums of 2 * half threads are there
        if thread < half {
            sums[thread] += sums[thread + half];
        }
    }
    if thread < COLUMNS && column < params.size {
        var total = sums[thread];
        if params.add != 0u {
            total += vec2<f32>(dweight[params.dweight_first + column], dbias[params.dbias_first + column]);
        }
        dweight[params.dweight_first + column] = total.x;
        dbias[params.dbias_first + column] = total.y;
    }
}
