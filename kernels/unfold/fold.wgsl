// Adds patches y (B, N, C, ph, pw) back into images x (B, C, H, W): the adjoint of unfold.
//
// One launch writes `count` consecutive pixels of x, from pixel `first_pixel` of the first image on. A thread gathers
// one pixel from the patches that cover it, in patch order, so the sum has the same bits however the work is cut.
const THREADS: u32 = 64u;

struct FoldParams {
    // Position of the first element of the first image's first patch, in elements; may wrap around zero.
    y_first: u32,
    // Position of the first pixel written.
    x_first: u32,
    count: u32,
    first_pixel: u32,
    channels: u32,
    height: u32,
    width: u32,
    rows: u32,
    cols: u32,
    patch_height: u32,
    patch_width: u32,
    stride_height: u32,
    stride_width: u32,
}

@group(0) @binding(0) var<uniform> params: FoldParams;
@group(0) @binding(1) var<storage, read> y: array<f32>;       // (B, N, C, ph, pw)
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // (B, C, H, W)

// The first patch along an axis that reaches position `at`, and the end of those that begin at or before it.
fn covering(at: u32, size: u32, stride: u32, count: u32) -> vec2<u32> {
    let first = select(0u, (at + stride - size) / stride, at >= size);
    return vec2<u32>(first, min(at / stride + 1u, count));
}

@compute @workgroup_size(THREADS)
fn fold_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let element = group_index(group, groups) * THREADS + thread;
    if element >= params.count {
        return;
    }
    let pixel = params.first_pixel + element;
    let line = pixel / params.width;
    let col = pixel % params.width;
    let plane = line / params.height;
    let row = line % params.height;
    let image = plane / params.channels;
    let channel = plane % params.channels;

    let down = covering(row, params.patch_height, params.stride_height, params.rows);
    let across = covering(col, params.patch_width, params.stride_width, params.cols);
    let patch_size = params.channels * params.patch_height * params.patch_width;
    var total = 0.0;
    for (var r = down.x; r < down.y; r++) {
        let i = row - r * params.stride_height;
        let line_of = (channel * params.patch_height + i) * params.patch_width;
        for (var q = across.x; q < across.y; q++) {
            let n = (image * params.rows + r) * params.cols + q;
            total += y[params.y_first + n * patch_size + line_of + (col - q * params.stride_width)];
        }
    }
    x[params.x_first + element] = total;
}
