// Gathers what the gradient of x needs of a channel, in the layout of grad_merge.wgsl, where the sums are given.
const THREADS: u32 = 64u;

struct GradGatherParams {
    weight_first: u32,
    bias_first: u32,
    mean_first: u32,
    inv_std_first: u32,
    dweight_first: u32,
    dbias_first: u32,
    channels: u32,
    through_statistics: f32, // 1 / values of a channel of the whole batch
}

@group(0) @binding(0) var<uniform> params: GradGatherParams;
@group(0) @binding(1) var<storage, read> weight: array<f32>; // (C), as the next five
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> inv_std: array<f32>;
@group(0) @binding(5) var<storage, read> dweight: array<f32>;
@group(0) @binding(6) var<storage, read> dbias: array<f32>;
@group(0) @binding(7) var<storage, read_write> scratch: array<f32>; // (C, 6)

@compute @workgroup_size(THREADS)
fn grad_gather_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = group_index(group, groups) * THREADS + thread;
    if channel >= params.channels {
        return;
    }
    let to = 6u * channel;
    scratch[to] = mean[params.mean_first + channel];
    scratch[to + 1u] = inv_std[params.inv_std_first + channel];
    scratch[to + 2u] = weight[params.weight_first + channel];
    scratch[to + 3u] = bias[params.bias_first + channel];
    scratch[to + 4u] = dbias[params.dbias_first + channel] * params.through_statistics;
    scratch[to + 5u] = dweight[params.dweight_first + channel] * params.through_statistics;
}
