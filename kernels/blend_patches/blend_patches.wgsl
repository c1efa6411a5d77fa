// Patches as weighted sums of windows of an image, y[b, k, c, i, j] = sum over n of w[b, k, n] x[b, c, r_n sh + i,
// q_n sw + j], and its gradients. Windows of weight zero are skipped, so that even a NaN in them adds nothing.
const THREADS: u32 = 64u;
const HIT: u32 = 0u; // whether the gradient of the weights is given only where they are not zero

struct BlendPatchesParams {
    x_first: u32,
    weights_first: u32,
    dy_first: u32,
    y_first: u32,
    count: u32,    // elements of the result
    patches: u32,  // K
    windows: u32,  // N
    columns: u32,  // of windows
    rows: u32,
    channels: u32,
    height: u32,
    width: u32,
    patch_height: u32,
    patch_width: u32,
    stride_height: u32,
    stride_width: u32,
}

@group(0) @binding(0) var<uniform> params: BlendPatchesParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (B, C, H, W)
@group(0) @binding(2) var<storage, read> weights: array<f32>; // (B, K, N)
@group(0) @binding(3) var<storage, read> dy: array<f32>;      // (B, K, C, ph, pw)
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// Elements of a patch.
fn patch_size() -> u32 {
    return params.channels * params.patch_height * params.patch_width;
}

// Where element `at` of a patch stands in an image, from the window's first pixel.
fn pixel_of(at: u32) -> u32 {
    let line = at / params.patch_width;
    let channel = line / params.patch_height;
    return (channel * params.height + line - channel * params.patch_height) * params.width + at - line * params.patch_width;
}

// The first pixel of a window, in its image.
fn window_first(window: u32) -> u32 {
    let r = window / params.columns;
    return r * params.stride_height * params.width + (window - r * params.columns) * params.stride_width;
}

// A thread per element of a blended patch.
@compute @workgroup_size(THREADS)
fn blend_patches_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let row = at / patch_size();
    let image = params.x_first + row / params.patches * params.channels * params.height * params.width;
    let pixel = pixel_of(at - row * patch_size());
    var total = 0.0;
    for (var window = 0u; window < params.windows; window++) {
        let weight = weights[params.weights_first + row * params.windows + window];
        if weight != 0.0 {
            total += weight * x[image + window_first(window) + pixel];
        }
    }
    y[params.y_first + at] = total;
}

var<workgroup> partial: array<f32, THREADS>;

// The gradient of a weight: a workgroup each.
@compute @workgroup_size(THREADS)
fn blend_patches_grad_weights_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups);
    var sum = 0.0;
    if at < params.count && (HIT == 0u || weights[params.weights_first + at] != 0.0) {
        let row = at / params.windows;
        let image = params.x_first + row / params.patches * params.channels * params.height * params.width;
        let first = image + window_first(at - row * params.windows);
        for (var element = thread; element < patch_size(); element += THREADS) {
            sum += dy[params.dy_first + row * patch_size() + element] * x[first + pixel_of(element)];
        }
    }
    partial[thread] = sum;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier(); // the sums of 2 * half threads are there
        if thread < half {
            partial[thread] += partial[thread + half];
        }
    }
    if thread == 0u && at < params.count {
        y[params.y_first + at] = partial[0];
    }
}

// The gradient of the image: a thread per pixel goes through the windows that hold it, for every patch in turn.
@compute @workgroup_size(THREADS)
fn blend_patches_grad_image_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let line = at / params.width;
    let col = at - line * params.width;
    let plane = line / params.height;
    let row = line - plane * params.height;
    let image = plane / params.channels;
    let channel = plane - image * params.channels;
    let first_r = select((row - params.patch_height) / params.stride_height + 1u, 0u, row < params.patch_height);
    let first_q = select((col - params.patch_width) / params.stride_width + 1u, 0u, col < params.patch_width);
    let end_r = min(row / params.stride_height + 1u, params.rows);
    let end_q = min(col / params.stride_width + 1u, params.columns);
    var total = 0.0;
    for (var k = image * params.patches; k < (image + 1u) * params.patches; k++) {
        for (var r = first_r; r < end_r; r++) {
            for (var q = first_q; q < end_q; q++) {
                let weight = weights[params.weights_first + k * params.windows + r * params.columns + q];
                if weight != 0.0 {
                    let i = row - r * params.stride_height;
                    let j = col - q * params.stride_width;
                    let element = ((k * params.channels + channel) * params.patch_height + i) * params.patch_width + j;
                    total += weight * dy[params.dy_first + element];
                }
            }
        }
    }
    y[params.y_first + at] = total;
}
