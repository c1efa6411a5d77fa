// y = (x - mean) * inv_std * weight + bias, then + residual, then max(., 0), each if asked for. A thread takes every
// THREADS-th element of its workgroup's run, and walks from one to the next by adding, because dividing costs more.
const THREADS: u32 = 128u;
const STEPS: u32 = 8u;
const RESIDUAL: u32 = 0u;
const RELU: u32 = 0u;

struct NormaliseParams {
    x_first: u32,
    residual_first: u32,
    weight_first: u32,
    bias_first: u32,
    mean_first: u32,
    inv_std_first: u32,
    y_first: u32,
    count: u32,
    channels: u32,
    plane: u32,
}

@group(0) @binding(0) var<uniform> params: NormaliseParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;        // (B, C, plane)
@group(0) @binding(2) var<storage, read> residual: array<f32>; // (B, C, plane)
@group(0) @binding(3) var<storage, read> weight: array<f32>;   // (C), as the next three
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> mean: array<f32>;
@group(0) @binding(6) var<storage, read> inv_std: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;  // (B, C, plane)

@compute @workgroup_size(THREADS)
fn normalise_f32(
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
        let normal = (x[params.x_first + at] - mean[params.mean_first + channel])
            * inv_std[params.inv_std_first + channel];
        var value = normal * weight[params.weight_first + channel] + bias[params.bias_first + channel];
        if RESIDUAL != 0u {
            value += residual[params.residual_first + at];
        }
        if RELU != 0u {
            value = select(value, 0.0, value < 0.0);
        }
        y[params.y_first + at] = value;
        at += THREADS;
        pixel += pixels;
        let carry = u32(pixel >= params.plane);
        pixel -= carry * params.plane;
        channel += step + carry;
        channel -= params.channels * u32(channel >= params.channels);
    }
}
