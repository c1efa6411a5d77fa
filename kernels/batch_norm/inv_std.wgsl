// inv_std = 1 / sqrt(variance + eps), per channel.
const THREADS: u32 = 64u;

struct InvStdParams {
    var_first: u32,
    inv_std_first: u32,
    channels: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: InvStdParams;
@group(0) @binding(1) var<storage, read> variance: array<f32>;
@group(0) @binding(2) var<storage, read_write> inv_std: array<f32>;

@compute @workgroup_size(THREADS)
fn inv_std_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = group_index(group, groups) * THREADS + thread;
    if channel < params.channels {
        inv_std[params.inv_std_first + channel] = 1.0 / sqrt(variance[params.var_first + channel] + params.eps);
    }
}
