// The gradient of the window maxima: dx[pixel] = the sum of dy over the windows whose maximum it was, in scan order. A
// thread per pixel looks at the windows that hold it, so no two threads add to one pixel.
const THREADS: u32 = 128u;

struct MaxPool2dGradParams {
    dy_first: u32,
    codes_first: u32,
    dx_first: u32,
    count: u32,
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_height: u32,
    stride_width: u32,
    top: u32,
    left: u32,
}

@group(0) @binding(0) var<uniform> params: MaxPool2dGradParams;
@group(0) @binding(1) var<storage, read> dy: array<f32>;       // (planes, h, w)
@group(0) @binding(2) var<storage, read> codes: array<u32>;    // (planes, h, w), bytes
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // (planes, H, W)

// The first window along an axis that holds the pixel `at` behind the padding.
fn first_window(at: u32, kernel: u32, stride: u32) -> u32 {
    return select((at - kernel) / stride + 1u, 0u, at < kernel);
}

@compute @workgroup_size(THREADS)
fn max_pool2d_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let line = at / params.width;
    let plane = line / params.height;
    let row = line - plane * params.height + params.top;
    let col = at - line * params.width + params.left;
    let last_r = min(row / params.stride_height, params.out_height - 1u);
    let last_q = min(col / params.stride_width, params.out_width - 1u);
    var total = 0.0;
    for (var r = first_window(row, params.kernel_height, params.stride_height); r <= last_r; r++) {
        for (var q = first_window(col, params.kernel_width, params.stride_width); q <= last_q; q++) {
            let window = (plane * params.out_height + r) * params.out_width + q;
            let byte = params.codes_first + window;
            let code = (codes[byte / 4u] >> (8u * (byte % 4u))) & 0xffu;
            let here = (row - r * params.stride_height) * params.kernel_width + col - q * params.stride_width;
            if code == here {
                total += dy[params.dy_first + window];
            }
        }
    }
    dx[params.dx_first + at] = total;
}
