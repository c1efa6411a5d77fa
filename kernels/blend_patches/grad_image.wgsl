// The gradient of blend_patches for the image: a thread gathers one pixel from the patches whose windows cover it, in the
// order of patches and windows, leaving out indicators of 0. Grid (pixels / THREADS).
const THREADS: u32 = 64u;

struct BlendGradImageParams {
    w_first: u32,
    dy_first: u32,
    dx_first: u32,
    count: u32,       // pixels of this launch
    first_pixel: u32, // number of the first one, from its image on
    channels: u32,
    height: u32,
    width: u32,
    patches: u32,     // K
    rows: u32,        // of windows
    cols: u32,
    patch_height: u32,
    patch_width: u32,
    stride_height: u32,
    stride_width: u32,
}

@group(0) @binding(0) var<uniform> params: BlendGradImageParams;
@group(0) @binding(1) var<storage, read> w: array<f32>;        // (B, K, N)
@group(0) @binding(2) var<storage, read> dy: array<f32>;       // (B, K, C, ph, pw)
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // (B, C, H, W)

// The first window along an axis that reaches position `at`, and the end of those that begin at or before it.
fn covering(at: u32, size: u32, stride: u32, count: u32) -> vec2<u32> {
    let first = select(0u, (at + stride - size) / stride, at >= size);
    return vec2<u32>(first, min(at / stride + 1u, count));
}

@compute @workgroup_size(THREADS)
fn blend_grad_image_f32(
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
    let row = line % params.height;
    let channel = line / params.height % params.channels;
    let image = line / params.height / params.channels;
    let down = covering(row, params.patch_height, params.stride_height, params.rows);
    let across = covering(col, params.patch_width, params.stride_width, params.cols);
    var total = 0.0;
    for (var k = 0u; k < params.patches; k++) {
        let patch_at = image * params.patches + k;
        let plane = (patch_at * params.channels + channel) * params.patch_height;
        for (var r = down.x; r < down.y; r++) {
            let line_at = params.dy_first + (plane + row - r * params.stride_height) * params.patch_width;
            for (var q = across.x; q < across.y; q++) {
                let weight = w[params.w_first + (patch_at * params.rows + r) * params.cols + q];
                if (bitcast<u32>(weight) & 0x7fffffffu) != 0u {
                    total = fma(weight, dy[line_at + col - q * params.stride_width], total);
                }
            }
        }
    }
    dx[params.dx_first + element] = total;
}
