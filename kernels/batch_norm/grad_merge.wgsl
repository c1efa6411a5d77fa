// Adds the sums of the parts of each channel: dbias and dweight, and what the gradient of x needs of the channel, gathered
// in one place because a kernel may bind eight buffers at most. A workgroup per channel, as in merge.wgsl.
const THREADS: u32 = 64u;

struct GradMergeParams {
    weight_first: u32,
    bias_first: u32,
    mean_first: u32,
    inv_std_first: u32,
    dweight_first: u32,
    dbias_first: u32,
    channels: u32,
    parts: u32,
    through_statistics: f32, // 1 / values of a channel in training, 0 in evaluation
}

@group(0) @binding(0) var<uniform> params: GradMergeParams;
@group(0) @binding(1) var<storage, read> weight: array<f32>; // (C), as the next three
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> inv_std: array<f32>;
// (C, 6): mean, inv_std, weight, bias, mean of g, mean of g * normal; behind them the parts (C, parts, 2)
@group(0) @binding(5) var<storage, read_write> scratch: array<f32>;
@group(0) @binding(6) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(7) var<storage, read_write> dbias: array<f32>;

var<workgroup> sums: array<vec2<f32>, THREADS>;

@compute @workgroup_size(THREADS)
fn grad_merge_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = group_index(group, groups);
    var own = vec2<f32>(0.0);
    if channel < params.channels {
        for (var part = thread; part < params.parts; part += THREADS) {
            let at = 6u * params.channels + 2u * (channel * params.parts + part);
            own += vec2<f32>(scratch[at], scratch[at + 1u]);
        }
    }
    sums[thread] = own;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier(); // those of 2 * half threads are there
        if thread < half {
            sums[thread] += sums[thread + half];
        }
    }
    if thread == 0u && channel < params.channels {
        let total = sums[0];
        dbias[params.dbias_first + channel] = total.x;
        dweight[params.dweight_first + channel] = total.y;
        let to = 6u * channel;
        scratch[to] = mean[params.mean_first + channel];
        scratch[to + 1u] = inv_std[params.inv_std_first + channel];
        scratch[to + 2u] = weight[params.weight_first + channel];
        scratch[to + 3u] = bias[params.bias_first + channel];
        scratch[to + 4u] = total.x * params.through_statistics;
        scratch[to + 5u] = total.y * params.through_statistics;
    }
}
