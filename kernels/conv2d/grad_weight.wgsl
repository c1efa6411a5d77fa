// The gradient of a convolution with respect to its weight:
//
//   dweight[o, c, i, j] = sum over b, r, q of dy[b, o, r, q] * x[b, c, r * sh + i - top, q * sw + j - left]
//
// The sum over pixels is long and the result small, so it is split: workgroup z is a group of channels and a split,
// which sums its own run of pixels into `parts`; add_parts.wgsl adds them in order.
alias Element = f32; // of x and dy: or f16

struct GradWeightParams {
    x_first: u32,
    dy_first: u32,
    parts_first: u32,
    splits: u32,
    pixels_per_split: u32, // the last split takes what is left
    batch: u32,
    // Channels of a group.
    in_channels: u32,
    out_channels: u32,
    // x: elements of an image, of a channel; rows and columns.
    x_image: u32,
    x_plane: u32,
    height: u32,
    width: u32,
    // dy: elements of an image; rows and columns.
    dy_image: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_height: u32,
    stride_width: u32,
    top: u32,
    left: u32,
    // Elements of one part.
    weights: u32,
}

@group(0) @binding(0) var<uniform> params: GradWeightParams;
@group(0) @binding(1) var<storage, read> x: array<Element>;       // (B, C, H, W)
@group(0) @binding(2) var<storage, read> dy: array<Element>;      // (B, O, h, w)
@group(0) @binding(3) var<storage, read_write> parts: array<f32>; // (splits, O, C / groups, kh, kw)

var<private> group_x: u32;
var<private> group_dy: u32;

fn a_at(at: u32) -> f32 {
    return f32(dy[group_dy + at]);
}

fn b_at(at: u32) -> f32 {
    return f32(x[group_x + at]);
}

// Columns of dweight: (c, i, j).
fn columns() -> u32 {
    return params.in_channels * params.kernel_height * params.kernel_width;
}

fn column_of(n: u32) -> Column {
    let line = n / params.kernel_width;
    let j = n - line * params.kernel_width;
    let channel = line / params.kernel_height;
    let i = line - channel * params.kernel_height;
    let at = channel * params.x_plane + i * params.width + j;
    return Column(at, select(NOWHERE, i32(i), n < columns()), i32(j));
}

// A step is a pixel of dy.
fn digits() -> vec2<u32> {
    return vec2<u32>(params.out_height, params.out_width);
}

fn step_of(digit: vec3<u32>) -> Step {
    let image = digit.x;
    let r = digit.y;
    let q = digit.z;
    let row = i32(r * params.stride_height) - i32(params.top);
    let col = i32(q * params.stride_width) - i32(params.left);
    let a = image * params.dy_image + r * params.out_width + q;
    return Step(a, image * params.x_image + u32(row * i32(params.width) + col), row, col);
}

// Grid (tiles of columns, tiles of output channels, groups * splits).
@compute @workgroup_size(THREADS)
fn grad_weight_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let split = group.z % params.splits;
    let channels = group.z / params.splits;
    let plane = params.out_height * params.out_width;
    group_x = params.x_first + channels * params.in_channels * params.x_plane;
    group_dy = params.dy_first + channels * params.out_channels * plane;

    let tile_m = group.y * TILE_M;
    let tile_n = group.x * TILE_N;
    let first = split * params.pixels_per_split;
    let all = params.batch * plane;
    let end = select(first + params.pixels_per_split, all, split + 1u == params.splits);
    product(thread, tile_m, tile_n, first, end, Extent(params.out_channels, plane, params.height, params.width));

    let to = params.parts_first + split * params.weights + channels * params.out_channels * columns();
    for (var i = 0u; i < ROWS; i++) { // unrolled
        let m = tile_m + own_row(thread) + i;
        for (var j = 0u; j < COLS; j++) { // unrolled
            let n = tile_n + own_col(thread) + j * ACROSS;
            if m < params.out_channels && n < columns() {
                parts[to + m * columns() + n] = c[j * QUADS + i / 4u][i % 4u];
            }
        }
    }
}
