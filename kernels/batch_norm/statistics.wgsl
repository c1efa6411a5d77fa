// Mean and variance of each channel. A workgroup takes the mean of a part, and then the sum of squares about it; another
// launch merges the parts (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
// variances", 1979), from which no digits are lost whatever the mean.
@group(0) @binding(0) var<uniform> params: BatchNormParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // (B, C, plane)
@group(0) @binding(2) var<storage, read_write> parts: array<f32>; // (C, parts, 3): values, mean, squares about it

// Grid (channels * parts of this launch).
@compute @workgroup_size(THREADS)
fn part_statistics_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let part = part_of(group_index(group, groups));
    let count = select(0u, part.images * part.pixels, part.channel < params.channels);
    var sum = 0.0;
    for (var at = thread; at < count; at += THREADS) {
        sum += x[params.x_first + element_of(part, at)];
    }
    let mean = sum_of_all(thread, vec2<f32>(sum, 0.0)).x / f32(max(count, 1u));
    var squares = 0.0;
    for (var at = thread; at < count; at += THREADS) {
        let apart = x[params.x_first + element_of(part, at)] - mean;
        squares += apart * apart;
    }
    squares = sum_of_all(thread, vec2<f32>(squares, 0.0)).x;
    if thread == 0u && count > 0u {
        let to = params.parts_first + 3u * (part.channel * params.parts + part.number);
        parts[to] = f32(count);
        parts[to + 1u] = mean;
        parts[to + 2u] = squares;
    }
}
