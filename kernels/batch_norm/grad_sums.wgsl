// Of each part of a channel, the sums of g and of g * normal, where normal = (x - mean) * inv_std and g is dy, or 0 where
// RELU and the normalised value was not positive.
const RELU: u32 = 0u;

@group(0) @binding(0) var<uniform> params: BatchNormParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;      // (B, C, plane)
@group(0) @binding(2) var<storage, read> dy: array<f32>;     // (B, C, plane)
@group(0) @binding(3) var<storage, read> weight: array<f32>; // (C), as the next three
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> mean: array<f32>;
@group(0) @binding(6) var<storage, read> inv_std: array<f32>;
@group(0) @binding(7) var<storage, read_write> parts: array<f32>; // (C, parts, 2)

// Grid (channels * parts of this launch).
@compute @workgroup_size(THREADS)
fn grad_sums_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let part = part_of(group_index(group, groups));
    let count = select(0u, part.images * part.pixels, part.channel < params.channels);
    let channel = min(part.channel, params.channels - 1u);
    let m = mean[params.mean_first + channel];
    let s = inv_std[params.inv_std_first + channel];
    let w = weight[params.weight_first + channel];
    let b = bias[params.bias_first + channel];
    var sums = vec2<f32>(0.0);
    for (var at = thread; at < count; at += THREADS) {
        let element = element_of(part, at);
        let normal = (x[params.x_first + element] - m) * s;
        var g = dy[params.dy_first + element];
        if RELU != 0u {
            g = select(g, 0.0, normal * w + b <= 0.0);
        }
        sums += vec2<f32>(g, g * normal);
    }
    sums = sum_of_all(thread, sums);
    if thread == 0u && count > 0u {
        let to = params.parts_first + 2u * (part.channel * params.parts + part.number);
        parts[to] = sums.x;
        parts[to + 1u] = sums.y;
    }
}
