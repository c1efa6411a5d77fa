// A convolution, and the gradient of one with respect to its image, which is a convolution too:
//
//   y[b, m, r * y_row_step + y_row, q * y_col_step + y_col] =
//       bias[m] + sum over c, t, u of weight[c, t, u of m] * x[b, c, r * row_step + t * tap_row_step + row, ...]
//
// over a part of y that is a regular grid of `rows` by `cols` pixels. Forward it is all of y. The gradient with a stride
// of s has s * s such parts, each of which meets only the taps that reach it; one launch computes one part.
// m and c run over one group of channels; the groups are workgroups along z. In evaluation mode what follows a
// convolution is done before y is written: RESIDUAL adds a tensor of the shape of y, RELU sets what is negative to zero,
// and BYTES reads x as bytes, four to a word.
const RESIDUAL: u32 = 0u;
const RELU: u32 = 0u;
const BYTES: u32 = 0u;

struct Conv2dParams {
    x_first: u32,
    weight_first: u32,
    bias_first: u32,
    residual_first: u32,
    y_first: u32,
    has_bias: u32,
    // The grid of pixels computed.
    batch: u32,
    rows: u32,
    cols: u32,
    // Channels of a group.
    in_channels: u32,
    out_channels: u32,
    // Taps that reach this part.
    taps_down: u32,
    taps_across: u32,
    // x: elements of an image, of a channel; rows and columns.
    x_image: u32,
    x_plane: u32,
    height: u32,
    width: u32,
    row: i32,
    row_step: i32,
    tap_row_step: i32,
    col: i32,
    col_step: i32,
    tap_col_step: i32,
    // Distances in weight of two groups, output channels, input channels, taps.
    weight_group: u32,
    weight_out: u32,
    weight_in: u32,
    weight_down: u32,
    weight_across: u32,
    // y: elements of an image, of a channel, of a row.
    y_image: u32,
    y_plane: u32,
    y_width: u32,
    y_row: u32,
    y_row_step: u32,
    y_col: u32,
    y_col_step: u32,
}

@group(0) @binding(0) var<uniform> params: Conv2dParams;
@group(0) @binding(1) var<storage, read> x: array<u32>;       // (B, C, H, W), bits of f32 or bytes
@group(0) @binding(2) var<storage, read> weight: array<f32>;  // (O, C / groups, kh, kw)
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // (O), not looked at without has_bias
@group(0) @binding(4) var<storage, read> residual: array<f32>; // (B, O, h, w), not looked at without RESIDUAL
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // (B, O, h, w)

var<private> group_x: u32;
var<private> group_weight: u32;

fn a_at(at: u32) -> f32 {
    return weight[group_weight + at];
}

fn b_at(at: u32) -> f32 {
    let element = group_x + at;
    if BYTES != 0u {
        return f32((x[element / 4u] >> (8u * (element % 4u))) & 0xffu);
    }
    return bitcast<f32>(x[element]);
}

// Pixel n of the grid, as (image, row, column).
fn pixel_of(n: u32) -> vec3<u32> {
    let line = n / params.cols;
    let image = line / params.rows;
    return vec3<u32>(image, line - image * params.rows, n - line * params.cols);
}

fn column_of(n: u32) -> Column {
    let pixel = pixel_of(n);
    let row = i32(pixel.y) * params.row_step + params.row;
    let col = i32(pixel.z) * params.col_step + params.col;
    let at = pixel.x * params.x_image + u32(row * i32(params.width) + col);
    return Column(at, select(NOWHERE, row, pixel.x < params.batch), col);
}

// Step k is a channel and a tap.
fn step_of(k: u32) -> Step {
    let line = k / max(params.taps_across, 1u);
    let u = k - line * params.taps_across;
    let channel = line / max(params.taps_down, 1u);
    let t = line - channel * params.taps_down;
    let row = i32(t) * params.tap_row_step;
    let col = i32(u) * params.tap_col_step;
    let a = channel * params.weight_in + t * params.weight_down + u * params.weight_across;
    return Step(a, channel * params.x_plane + u32(row * i32(params.width) + col), row, col);
}

// Grid (tiles of pixels, folded; tiles of output channels; groups).
@compute @workgroup_size(THREADS)
fn conv2d_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tiles = (params.out_channels + TILE_M - 1u) / TILE_M;
    let tile_m = group.y % tiles * TILE_M;
    let tile_n = (group.y / tiles * groups.x + group.x) * TILE_N;
    group_x = params.x_first + group.z * params.in_channels * params.x_plane;
    group_weight = params.weight_first + group.z * params.weight_group;

    let extent = Extent(params.out_channels, params.weight_out, params.height, params.width);
    let depth = params.in_channels * params.taps_down * params.taps_across;
    product(thread, tile_m, tile_n, 0u, depth, extent);

    let first = group.z * params.out_channels;
    for (var j = 0u; j < COLS; j++) {
        let pixel = pixel_of(tile_n + own_col(thread) + j * ACROSS);
        if pixel.x >= params.batch {
            break;
        }
        let row = pixel.y * params.y_row_step + params.y_row;
        let col = pixel.z * params.y_col_step + params.y_col;
        let at = pixel.x * params.y_image + row * params.y_width + col;
        for (var i = 0u; i < ROWS; i++) {
            let m = tile_m + own_row(thread) + i;
            if m >= params.out_channels {
                break;
            }
            var value = c[j * QUADS + i / 4u][i % 4u];
            if params.has_bias != 0u {
                value += bias[params.bias_first + first + m];
            }
            let element = at + (first + m) * params.y_plane;
            if RESIDUAL != 0u {
                value += residual[params.residual_first + element];
            }
            if RELU != 0u {
                value = select(value, 0.0, value < 0.0);
            }
            y[params.y_first + element] = value;
        }
    }
}
