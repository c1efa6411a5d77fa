// dx = weight * inv_std * (g - mean of g - normal * mean of g normal), with g as in grad_sums.wgsl; in evaluation both
// means are zero. A thread takes every THREADS-th element of its workgroup's run.
const THREADS: u32 = 128u;
const STEPS: u32 = 8u;
const RELU: u32 = 0u;

struct GradXParams {
    x_first: u32,
    dy_first: u32,
    dx_first: u32,
    count: u32,
    channels: u32,
    plane: u32,
}

@group(0) @binding(0) var<uniform> params: GradXParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;        // (B, C, plane)
@group(0) @binding(2) var<storage, read> dy: array<f32>;       // (B, C, plane)
@group(0) @binding(3) var<storage, read> scratch: array<f32>;  // (C, 6): see grad_merge.wgsl
@group(0) @binding(4) var<storage, read_write> dx: array<f32>; // (B, C, plane)

@compute @workgroup_size(THREADS)
fn grad_x_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    var at = group_index(group, groups) * THREADS * STEPS + thread;
    var plane = at / params.plane;
    var pixel = at - plane * params.plane;
    var channel = plane % params.channels;
    let planes = THREADS / params.plane;
    let pixels = THREADS - planes * params.plane;
    let step = planes % params.channels;
    for (var k = 0u; k < STEPS && at < params.count; k++) {
        let c = 6u * channel;
        let inv_std = scratch[c + 1u];
        let weight = scratch[c + 2u];
        let normal = (x[params.x_first + at] - scratch[c]) * inv_std;
        var g = dy[params.dy_first + at];
        if RELU != 0u {
            g = select(g, 0.0, normal * weight + scratch[c + 3u] <= 0.0);
        }
        dx[params.dx_first + at] = weight * inv_std * (g - (scratch[c + 4u] + normal * scratch[c + 5u]));
        at += THREADS;
        pixel += pixels;
        let carry = u32(pixel >= params.plane);
        pixel -= carry * params.plane;
        channel += step + carry;
        channel -= params.channels * u32(channel >= params.channels);
    }
}
