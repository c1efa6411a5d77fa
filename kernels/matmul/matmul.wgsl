// Products of batches of matrices: c[b, i, j] = bias[i or j] + the sum over k of a[b, i, k] b[b, k, j]. Every matrix has
// distances of its own along its axes, so any of them may be stored transposed, and the operands of a batch are broadcast
// (common/walk.wgsl). The work is done by conv2d/product.wgsl, for which b is an image that has no outside.
struct MatMulParams {
    a_first: u32,
    b_first: u32,
    bias_first: u32,
    c_first: u32,
    rows: u32,    // of c
    columns: u32, // of c
    depth: u32,   // terms of a sum
    // Distances of neighbouring elements.
    a_row: u32,
    a_step: u32,
    b_step: u32,
    b_column: u32,
    c_row: u32,
    c_column: u32,
    c_matrix: u32,
    // 0 where there is no bias along that axis.
    bias_row: u32,
    bias_column: u32,
    has_bias: u32,
    first_matrix: u32,
    size_0: u32,
    size_1: u32,
    size_2: u32,
    size_3: u32,
    size_4: u32,
    a_0: u32,
    a_1: u32,
    a_2: u32,
    a_3: u32,
    a_4: u32,
    a_last: u32,
    b_0: u32,
    b_1: u32,
    b_2: u32,
    b_3: u32,
    b_4: u32,
    b_last: u32,
}

@group(0) @binding(0) var<uniform> params: MatMulParams;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c_out: array<f32>;

// The first elements of the matrices of this workgroup.
var<private> matrix_a: u32;
var<private> matrix_b: u32;

fn a_at(at: u32) -> f32 {
    return a[matrix_a + at];
}

fn b_at(at: u32) -> f32 {
    return b[matrix_b + at];
}

fn column_of(n: u32) -> Column {
    return Column(n * params.b_column, select(NOWHERE, 0, n < params.columns), 0);
}

fn step_of(k: u32) -> Step {
    return Step(k * params.a_step, k * params.b_step, 0, 0);
}

// Grid (tiles of columns, tiles of rows, matrices).
@compute @workgroup_size(THREADS)
fn matmul_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let matrix = params.first_matrix + group.z;
    let place = walk(matrix);
    matrix_a = params.a_first + place.x;
    matrix_b = params.b_first + place.y;
    let tile_m = group.y * TILE_M;
    let tile_n = group.x * TILE_N;
    product(thread, tile_m, tile_n, 0u, params.depth, Extent(params.rows, params.a_row, 1u, 1u));
    for (var j = 0u; j < COLS; j++) {
        let n = tile_n + own_col(thread) + j * ACROSS;
        if n >= params.columns {
            break;
        }
        for (var i = 0u; i < ROWS; i++) {
            let m = tile_m + own_row(thread) + i;
            if m >= params.rows {
                break;
            }
            var value = c[j * QUADS + i / 4u][i % 4u];
            if params.has_bias != 0u {
                value += bias[params.bias_first + m * params.bias_row + n * params.bias_column];
            }
            c_out[params.c_first + group.z * params.c_matrix + m * params.c_row + n * params.c_column] = value;
        }
    }
}
