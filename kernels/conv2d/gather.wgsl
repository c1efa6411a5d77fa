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
alias Pixel = f32;   // how x is stored: f32, f16, or words of bytes
alias Element = f32; // the other tensors: f32 or f16. Sums are f32.

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
@group(0) @binding(1) var<storage, read> x: array<Pixel>;          // (B, C, H, W)
@group(0) @binding(2) var<storage, read> weight: array<Element>;  // (O, C / groups, kh, kw)
@group(0) @binding(3) var<storage, read> bias: array<Element>;    // (O), not looked at without has_bias
@group(0) @binding(4) var<storage, read> residual: array<Element>; // (B, O, h, w), not looked at without RESIDUAL
@group(0) @binding(5) var<storage, read_write> y: array<Element>; // (B, O, h, w)

var<private> group_x: u32;
var<private> group_weight: u32;

// Makes a group of channels the one that a_at and b_at read.
fn begin_group(z: u32) {
    group_x = params.x_first + z * params.in_channels * params.x_plane;
    group_weight = params.weight_first + z * params.weight_group;
}

fn a_at(at: u32) -> f32 {
    return f32(weight[group_weight + at]);
}

fn b_at(at: u32) -> f32 {
    let element = group_x + at;
    if BYTES != 0u {
        return f32((u32(x[element / 4u]) >> (8u * (element % 4u))) & 0xffu);
    }
    return f32(x[element]);
}

// Pixel n of the grid, as (image, row, column).
fn pixel_of(n: u32) -> vec3<u32> {
    let line = n / params.cols;
    let image = line / params.rows;
    return vec3<u32>(image, line - image * params.rows, n - line * params.cols);
}

// The bias of output channel m of group z; of the last one for those that there are not.
fn bias_of(group_z: u32, m: u32) -> f32 {
    if params.has_bias == 0u {
        return 0.0;
    }
    return f32(bias[params.bias_first + group_z * params.out_channels + min(m, params.out_channels - 1u)]);
}

// Writes an element of y, with what follows the sum and its bias: m is an output channel of group z.
fn finish(pixel: vec3<u32>, group_z: u32, m: u32, sum: f32) {
    let channel = group_z * params.out_channels + m;
    let row = pixel.y * params.y_row_step + params.y_row;
    let col = pixel.z * params.y_col_step + params.y_col;
    let element = pixel.x * params.y_image + channel * params.y_plane + row * params.y_width + col;
    var value = sum;
    if RESIDUAL != 0u {
        value += f32(residual[params.residual_first + element]);
    }
    if RELU != 0u {
        value = select(value, 0.0, value < 0.0);
    }
    y[params.y_first + element] = Element(value);
}
