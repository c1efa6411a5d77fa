// blend_patches: y[b, k, c] = sum over windows n of w[b, k, n] times the window of x[b, c] at n, windows of indicator 0
// left out. A workgroup has one b, k and c and THREADS * STEPS pixels of the patch. It looks through the indicators,
// THREADS at a time, lists those that are not zero in their order, and adds up their windows.
const THREADS: u32 = 128u;
const STEPS: u32 = 4u;
const WORDS: u32 = THREADS / 32u;

struct BlendParams {
    x_first: u32,
    w_first: u32,
    y_first: u32,
    first_channel: u32, // of the first plane of this launch
    planes: u32,        // of this launch: images times channels
    channels: u32,
    height: u32,
    width: u32,
    patches: u32,       // K
    rows: u32,          // of windows
    cols: u32,
    patch_height: u32,
    patch_width: u32,
    stride_height: u32,
    stride_width: u32,
    chunks: u32,        // workgroups of a patch
}

@group(0) @binding(0) var<uniform> params: BlendParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (planes, H, W)
@group(0) @binding(2) var<storage, read> w: array<f32>;       // (B, K, N)
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (B, K, C, ph, pw)

var<workgroup> found: array<atomic<u32>, WORDS>; // a bit for each thread whose indicator is not zero
var<workgroup> places: array<u32, THREADS>;      // where the windows of those begin in a plane
var<workgroup> weights: array<f32, THREADS>;

// Lists the windows from `first` on that take part, and says how many do.
fn list(thread: u32, first: u32, row: u32) -> u32 {
    let windows = params.rows * params.cols;
    let window = first + thread;
    var weight = 0.0;
    if window < windows {
        weight = w[params.w_first + row * windows + window];
    }
    workgroupBarrier(); // nobody reads the last list any more
    if thread < WORDS {
        atomicStore(&found[thread], 0u);
    }
    workgroupBarrier(); // no bit is set
    // NaN takes part.
    let takes_part = (bitcast<u32>(weight) & 0x7fffffffu) != 0u;
    if takes_part {
        atomicOr(&found[thread / 32u], 1u << (thread % 32u));
    }
    workgroupBarrier(); // all bits are set
    var earlier = 0u;
    var count = 0u;
    for (var word = 0u; word < WORDS; word++) {
        let bits = atomicLoad(&found[word]);
        count += countOneBits(bits);
        if word < thread / 32u {
            earlier += countOneBits(bits);
        } else if word == thread / 32u {
            earlier += countOneBits(bits & ((1u << (thread % 32u)) - 1u));
        }
    }
    if takes_part {
        let top = window / params.cols * params.stride_height;
        places[earlier] = top * params.width + window % params.cols * params.stride_width;
        weights[earlier] = weight;
    }
    workgroupBarrier(); // the list is complete
    return count;
}

// Grid (planes * K * chunks).
@compute @workgroup_size(THREADS)
fn blend_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups);
    let chunk = at % params.chunks;
    let k = at / params.chunks % params.patches;
    let plane = at / params.chunks / params.patches;
    if plane >= params.planes {
        return;
    }
    let image = (params.first_channel + plane) / params.channels;
    let channel = (params.first_channel + plane) % params.channels;
    let row = image * params.patches + k;
    let pixels = params.patch_height * params.patch_width;
    let start = params.x_first + plane * params.height * params.width;
    var pixel_at: array<u32, STEPS>;
    var total: array<f32, STEPS>;
    for (var step = 0u; step < STEPS; step++) {
        // Beyond the patch: its last pixel again, which is not written.
        let pixel = min((chunk * STEPS + step) * THREADS + thread, pixels - 1u);
        pixel_at[step] = start + pixel / params.patch_width * params.width + pixel % params.patch_width;
        total[step] = 0.0;
    }
    for (var first = 0u; first < params.rows * params.cols; first += THREADS) {
        let count = list(thread, first, row);
        for (var hit = 0u; hit < count; hit++) {
            for (var step = 0u; step < STEPS; step++) {
                total[step] = fma(weights[hit], x[pixel_at[step] + places[hit]], total[step]);
            }
        }
    }
    for (var step = 0u; step < STEPS; step++) {
        let pixel = (chunk * STEPS + step) * THREADS + thread;
        if pixel < pixels {
            y[params.y_first + (row * params.channels + channel) * pixels + pixel] = total[step];
        }
    }
}
