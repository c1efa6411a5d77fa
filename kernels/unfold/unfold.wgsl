// Cuts images x (B, C, H, W) into patches y (B, N, C, ph, pw), N = rows * cols in row-major order.
//
// One launch writes `count` consecutive elements of y, which begin with patch `first_patch` of the first image. A thread
// takes every THREADS-th element of its workgroup's run, and walks from one to the next by adding to the indices digit
// by digit: divisions of integers cost more than everything else here. Bytes are written four to a word.
const THREADS: u32 = 64u;
const STEPS: u32 = 16u;

struct UnfoldParams {
    // Position of x[0, 0, 0, 0] and of the first element written, in elements; x may wrap around zero.
    x_first: u32,
    y_first: u32,
    count: u32,
    first_patch: u32,
    // Elements of other channels are left as they are.
    channel_first: u32,
    channel_end: u32,
    channels: u32,
    height: u32,
    width: u32,
    rows: u32,
    cols: u32,
    patch_height: u32,
    patch_width: u32,
    stride_height: u32,
    stride_width: u32,
    // From the last element that a thread writes in one turn to its first one in the next, digit by digit.
    step_image: u32,
    step_row: u32,
    step_col: u32,
    step_channel: u32,
    step_i: u32,
    step_j: u32,
}

@group(0) @binding(0) var<uniform> params: UnfoldParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // (B, C, H, W)
@group(0) @binding(2) var<storage, read_write> y: array<f32>;       // (B, N, C, ph, pw)
@group(0) @binding(3) var<storage, read> x_bytes: array<u32>;       // (B, C, H, W), four elements a word
@group(0) @binding(4) var<storage, read_write> y_bytes: array<u32>; // (B, N, C, ph, pw), four elements a word

// The indices of an element of y.
struct Place {
    image: u32,
    row: u32,
    col: u32,
    channel: u32,
    i: u32,
    j: u32,
}

// The place `element` elements behind the first patch of an image.
fn place_of(element: u32) -> Place {
    var at: Place;
    var rest = element / params.patch_width;
    at.j = element - rest * params.patch_width;
    var next = rest / params.patch_height;
    at.i = rest - next * params.patch_height;
    rest = next / params.channels;
    at.channel = next - rest * params.channels;
    next = rest / params.cols;
    at.col = rest - next * params.cols;
    at.image = next / params.rows;
    at.row = next - at.image * params.rows;
    return at;
}

fn step_place() -> Place {
    return Place(
        params.step_image, params.step_row, params.step_col, params.step_channel, params.step_i, params.step_j,
    );
}

// Adds two places, with carries.
fn sum(a: Place, b: Place) -> Place {
    var at = Place(a.image + b.image, a.row + b.row, a.col + b.col, a.channel + b.channel, a.i + b.i, a.j + b.j);
    var carry = u32(at.j >= params.patch_width);
    at.j -= carry * params.patch_width;
    at.i += carry;
    carry = u32(at.i >= params.patch_height);
    at.i -= carry * params.patch_height;
    at.channel += carry;
    carry = u32(at.channel >= params.channels);
    at.channel -= carry * params.channels;
    at.col += carry;
    carry = u32(at.col >= params.cols);
    at.col -= carry * params.cols;
    at.row += carry;
    carry = u32(at.row >= params.rows);
    at.row -= carry * params.rows;
    at.image += carry;
    return at;
}

fn source(at: Place) -> u32 {
    let row = at.row * params.stride_height + at.i;
    let col = at.col * params.stride_width + at.j;
    return params.x_first + ((at.image * params.channels + at.channel) * params.height + row) * params.width + col;
}

fn wanted(at: Place) -> bool {
    return at.channel >= params.channel_first && at.channel < params.channel_end;
}

@compute @workgroup_size(THREADS)
fn unfold_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let patch_size = params.channels * params.patch_height * params.patch_width;
    var element = group_index(group, groups) * THREADS * STEPS + thread;
    var at = place_of(params.first_patch * patch_size + element);
    let step = step_place();
    for (var k = 0u; k < STEPS; k++) {
        if element < params.count && wanted(at) {
            y[params.y_first + element] = x[source(at)];
        }
        element += THREADS;
        at = sum(at, step);
    }
}

// As unfold_f32, a word of four bytes at a time. A word at either end may hold bytes that are not of this launch; no
// other thread of it touches them.
@compute @workgroup_size(THREADS)
fn unfold_u8(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let patch_size = params.channels * params.patch_height * params.patch_width;
    let end = params.y_first + params.count;
    let step = step_place();
    // Byte of y, and its place; the word of the very first bytes may begin before them.
    var byte = 4u * (params.y_first / 4u + group_index(group, groups) * THREADS * STEPS + thread);
    let before = select(0u, params.y_first - byte, byte < params.y_first);
    var at = place_of(params.first_patch * patch_size + byte + before - params.y_first);
    var skip = before;
    for (var k = 0u; k < STEPS; k++) {
        if byte < end {
            var word = 0u;
            var written = 0u;
            for (var lane = 0u; lane < 4u; lane++) {
                if skip > 0u {
                    skip -= 1u;
                    continue;
                }
                if byte + lane < end && wanted(at) {
                    let start = source(at);
                    word |= ((x_bytes[start / 4u] >> (8u * (start % 4u))) & 0xffu) << (8u * lane);
                    written |= 0xffu << (8u * lane);
                }
                at = sum(at, Place(0u, 0u, 0u, 0u, 0u, 1u));
            }
            let to = byte / 4u;
            if written == 0xffffffffu {
                y_bytes[to] = word;
            } else if written != 0u {
                y_bytes[to] = (y_bytes[to] & ~written) | word;
            }
        }
        byte += 4u * THREADS;
        at = sum(at, step);
    }
}
