// y[b, k, c, i, j] = x[b, c, offsets[b, k, 0] + i, offsets[b, k, 1] + j], and 0 outside the image. An image larger than a
// binding is read line by line of pixels in several launches, each of which writes what its lines hold.
const THREADS: u32 = 128u;

struct ExtractPatchesParams {
    x_first: u32,
    offsets_first: u32,
    y_first: u32,
    count: u32,     // elements of y in this launch, whole images
    first_line: u32, // of x, counted over (B, C, H) from the first of these images
    lines: u32,
    patches: u32,   // K
    channels: u32,
    height: u32,
    width: u32,
    patch_height: u32,
    patch_width: u32,
}

@group(0) @binding(0) var<uniform> params: ExtractPatchesParams;
@group(0) @binding(1) var<storage, read> x: array<u32>;       // (B, C, H, W), words, or bytes four to a word
@group(0) @binding(2) var<storage, read> offsets: array<i32>; // (B, K, 2)
@group(0) @binding(3) var<storage, read_write> y: array<u32>; // (B, K, C, ph, pw)

const OUTSIDE: u32 = 0xffffffffu; // of the image
const ELSEWHERE: u32 = 0xfffffffeu; // in lines that are not those of this launch

// The element of x that element `at` of y is a copy of.
fn source(at: u32) -> u32 {
    var rest = at / params.patch_width;
    let j = at - rest * params.patch_width;
    var next = rest / params.patch_height;
    let i = rest - next * params.patch_height;
    rest = next / params.channels;
    let channel = next - rest * params.channels;
    let offset = params.offsets_first + 2u * rest;
    let row = offsets[offset] + i32(i);
    let col = offsets[offset + 1u] + i32(j);
    if row < 0 || row >= i32(params.height) || col < 0 || col >= i32(params.width) {
        return OUTSIDE;
    }
    let line = (rest / params.patches * params.channels + channel) * params.height + u32(row) - params.first_line;
    if line >= params.lines {
        return ELSEWHERE;
    }
    return params.x_first + line * params.width + u32(col);
}

// A thread per element.
@compute @workgroup_size(THREADS)
fn extract_patches_words(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let origin = source(at);
    if origin == OUTSIDE {
        y[params.y_first + at] = 0u;
    } else if origin != ELSEWHERE {
        y[params.y_first + at] = x[origin];
    }
}

// A thread per word of y.
@compute @workgroup_size(THREADS)
fn extract_patches_bytes(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let word = params.y_first / 4u + group_index(group, groups) * THREADS + thread;
    var bytes = 0u;
    var mask = 0u;
    for (var lane = 0u; lane < 4u; lane++) {
        // Before the first element this is a very large number.
        let at = 4u * word + lane - params.y_first;
        if at >= params.count {
            continue;
        }
        let origin = source(at);
        if origin == ELSEWHERE {
            continue;
        }
        mask |= 0xffu << (8u * lane);
        if origin != OUTSIDE {
            bytes |= ((x[origin / 4u] >> (8u * (origin % 4u))) & 0xffu) << (8u * lane);
        }
    }
    if mask == 0xffffffffu {
        y[word] = bytes;
    } else if mask != 0u {
        y[word] = (y[word] & ~mask) | bytes;
    }
}
