// Images of another size, and the adjoint: along each axis, an output of the smaller side (`small`) is a weighted sum of
// taps of the other (`large`), whichever of them has more pixels. MODE says which taps:
//
//   area: output i is the mean of inputs floor(i L / S) .. ceil((i + 1) L / S);
//   bilinear: it lies at (i + 1/2) L / S - 1/2, moved into the image, between two neighbours.
//
// Places are computed in integers: a float has too few digits for the larger images.
const THREADS: u32 = 64u;
const MODE: u32 = 0u;
const AREA: u32 = 0u;

struct ResizeParams {
    x_first: u32,
    y_first: u32,
    count: u32, // elements of y
    small_height: u32,
    small_width: u32,
    large_height: u32,
    large_width: u32,
}

@group(0) @binding(0) var<uniform> params: ResizeParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// The inputs of an output: `count` from `first` on. Bilinear: the second has this part of the weight.
struct Taps {
    first: u32,
    count: u32,
    part: f32,
}

fn taps(i: u32, small: u32, large: u32) -> Taps {
    if MODE == AREA {
        let first = i * large / small;
        return Taps(first, ((i + 1u) * large + small - 1u) / small - first, 0.0);
    }
    let ahead = (2u * i + 1u) * large;
    let place = select(0u, ahead - small, ahead > small); // in units of 1 / (2 small)
    let first = min(place / (2u * small), large - 1u);
    let part = f32(place - first * 2u * small) / f32(2u * small);
    return Taps(first, select(1u, 2u, first + 1u < large), part);
}

// The weight of tap `n`.
fn weight(t: Taps, n: u32) -> f32 {
    if MODE == AREA {
        return 1.0 / f32(t.count);
    }
    return select(select(1.0, 1.0 - t.part, t.count > 1u), t.part, n > 0u);
}

// A thread per output.
@compute @workgroup_size(THREADS)
fn resize_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let line = at / params.small_width;
    let plane = line / params.small_height;
    let rows = taps(line - plane * params.small_height, params.small_height, params.large_height);
    let cols = taps(at - line * params.small_width, params.small_width, params.large_width);
    var total = 0.0;
    for (var r = 0u; r < rows.count; r++) {
        let start = params.x_first + (plane * params.large_height + rows.first + r) * params.large_width + cols.first;
        var sum = 0.0;
        for (var q = 0u; q < cols.count; q++) {
            sum += weight(cols, q) * x[start + q];
        }
        total += weight(rows, r) * sum;
    }
    y[params.y_first + at] = total;
}

// Outputs that may have input `at` among their taps: from x to y, without y.
fn readers(at: u32, small: u32, large: u32) -> vec2<u32> {
    if MODE == AREA {
        return vec2<u32>(at * small / large, ((at + 1u) * small + large - 1u) / large);
    }
    // One more on either side than the exact bounds.
    let before = select(0u, (2u * at - 1u) * small / (2u * large), at > 0u);
    let end = (2u * at + 3u) * small / (2u * large) + 2u;
    return vec2<u32>(select(0u, before - 1u, before > 0u), min(end, small));
}

// The weight of input `at` in output i, zero if it is no tap of it.
fn weight_of(at: u32, i: u32, small: u32, large: u32) -> f32 {
    let t = taps(i, small, large);
    let n = at - t.first; // a very large number before the first
    return select(0.0, weight(t, n), n < t.count);
}

// The adjoint: x is small, y large. A thread per element of y.
@compute @workgroup_size(THREADS)
fn resize_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let line = at / params.large_width;
    let plane = line / params.large_height;
    let row = line - plane * params.large_height;
    let col = at - line * params.large_width;
    let rows = readers(row, params.small_height, params.large_height);
    let cols = readers(col, params.small_width, params.large_width);
    var total = 0.0;
    for (var i = rows.x; i < rows.y; i++) {
        let u = weight_of(row, i, params.small_height, params.large_height);
        if u == 0.0 {
            continue;
        }
        let start = params.x_first + (plane * params.small_height + i) * params.small_width;
        var sum = 0.0;
        for (var j = cols.x; j < cols.y; j++) {
            let v = weight_of(col, j, params.small_width, params.large_width);
            if v != 0.0 {
                sum += v * x[start + j];
            }
        }
        total += u * sum;
    }
    y[params.y_first + at] = total;
}
