// Maxima of windows, and where each was found: codes[at] = i * kernel width + j, bytes, four to a word. Padding counts as
// minus infinity, the first of equal pixels in scan order wins, and a NaN is the maximum of its window. A thread finds the
// four maxima of one word of codes.
const THREADS: u32 = 64u;

struct MaxPool2dParams {
    x_first: u32,
    y_first: u32,
    codes_first: u32,
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

@group(0) @binding(0) var<uniform> params: MaxPool2dParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // (planes, H, W)
@group(0) @binding(2) var<storage, read_write> y: array<f32>;     // (planes, h, w)
@group(0) @binding(3) var<storage, read_write> codes: array<u32>; // (planes, h, w)

@compute @workgroup_size(THREADS)
fn max_pool2d_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let word = params.codes_first / 4u + group_index(group, groups) * THREADS + thread;
    var bytes = 0u;
    var mask = 0u;
    for (var lane = 0u; lane < 4u; lane++) {
        // Before the first element this is a very large number.
        let at = 4u * word + lane - params.codes_first;
        if at >= params.count {
            continue;
        }
        let line = at / params.out_width;
        let plane = line / params.out_height;
        let top = i32((line - plane * params.out_height) * params.stride_height) - i32(params.top);
        let left = i32((at - line * params.out_width) * params.stride_width) - i32(params.left);
        let start = params.x_first + plane * params.height * params.width;
        var most = 0.0;
        var code = 0u;
        var first = true;
        for (var i = 0u; i < params.kernel_height; i++) {
            let row = top + i32(i);
            if row < 0 || row >= i32(params.height) {
                continue;
            }
            for (var j = 0u; j < params.kernel_width; j++) {
                let col = left + i32(j);
                if col < 0 || col >= i32(params.width) {
                    continue;
                }
                let value = x[start + u32(row) * params.width + u32(col)];
                if first || value > most || (is_nan(value) && !is_nan(most)) {
                    most = value;
                    code = i * params.kernel_width + j;
                }
                first = false;
            }
        }
        y[params.y_first + at] = most;
        bytes |= code << (8u * lane);
        mask |= 0xffu << (8u * lane);
    }
    if mask == 0xffffffffu {
        codes[word] = bytes;
    } else if mask != 0u {
        codes[word] = (codes[word] & ~mask) | bytes;
    }
}
