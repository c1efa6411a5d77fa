// The gradient of blend_patches for the indicators: dw[b, k, n] = <window n of x[b], dy[b, k]>. A workgroup has one of
// them; if only those of indicators that are not zero are wanted, the others are zero. Grid (B * K * N).
struct BlendGradIndicatorsParams {
    x_first: u32,
    w_first: u32,
    dy_first: u32,
    dw_first: u32,
    first_patch: u32, // number of the first b, k of this launch, from its image on
    count: u32,       // b, k of this launch
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
    hits: u32,        // 1: only indicators that are not zero
}

@group(0) @binding(0) var<uniform> params: BlendGradIndicatorsParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;        // (B, C, H, W)
@group(0) @binding(2) var<storage, read> w: array<f32>;        // (B, K, N)
@group(0) @binding(3) var<storage, read> dy: array<f32>;       // (B, K, C, ph, pw)
@group(0) @binding(4) var<storage, read_write> dw: array<f32>; // (B, K, N)

@compute @workgroup_size(THREADS)
fn blend_grad_indicators_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let windows = params.rows * params.cols;
    let at = group_index(group, groups);
    if at >= params.count * windows {
        return;
    }
    let window = at % windows;
    let patch_at = at / windows;
    let image = (params.first_patch + patch_at) / params.patches;
    let left_out = params.hits != 0u && (bitcast<u32>(w[params.w_first + at]) & 0x7fffffffu) == 0u;
    let area = params.patch_height * params.patch_width;
    let elements = select(params.channels * area, 0u, left_out);
    let corner = params.x_first + image * params.channels * params.height * params.width
        + window / params.cols * params.stride_height * params.width + window % params.cols * params.stride_width;
    let given = params.dy_first + patch_at * params.channels * area;
    var total = 0.0;
    for (var element = thread; element < elements; element += THREADS) {
        let line = element / params.patch_width;
        let row = line / params.patch_height * params.height + line % params.patch_height;
        let pixel = x[corner + row * params.width + element % params.patch_width];
        total = fma(dy[given + element], pixel, total);
    }
    total = row_sum(thread, total);
    if thread == 0u {
        dw[params.dw_first + at] = total;
    }
}
