// Merges the statistics of the parts of each channel, moves the running estimates, and gives 1 / sqrt(variance + eps). A
// workgroup per channel: thread t merges parts t, t + THREADS, ..., then pairs of threads merge theirs in a tree.
const THREADS: u32 = 64u;

struct MergeParams {
    parts_first: u32,
    running_first: u32,
    running_var_first: u32,
    new_mean_first: u32,
    new_var_first: u32,
    mean_first: u32,
    inv_std_first: u32,
    channels: u32,
    parts: u32,
    eps: f32,
    momentum: f32,
}

@group(0) @binding(0) var<uniform> params: MergeParams;
@group(0) @binding(1) var<storage, read> parts: array<f32>;       // (C, parts, 3): values, mean, squares about it
@group(0) @binding(2) var<storage, read> running: array<f32>;     // (C), mean
@group(0) @binding(3) var<storage, read> running_var: array<f32>; // (C)
@group(0) @binding(4) var<storage, read_write> new_mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> new_var: array<f32>;
@group(0) @binding(6) var<storage, read_write> mean: array<f32>;
@group(0) @binding(7) var<storage, read_write> inv_std: array<f32>;

// Of each thread: values, mean, sum of squares about it.
var<workgroup> merged: array<vec3<f32>, THREADS>;

fn merge(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
    if b.x == 0.0 {
        return a;
    }
    let count = a.x + b.x;
    let apart = b.y - a.y;
    let share = b.x / count;
    return vec3<f32>(count, a.y + apart * share, a.z + b.z + apart * apart * a.x * share);
}

@compute @workgroup_size(THREADS)
fn merge_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = group_index(group, groups);
    var own = vec3<f32>(0.0);
    if channel < params.channels {
        for (var part = thread; part < params.parts; part += THREADS) {
            let at = params.parts_first + 3u * (channel * params.parts + part);
            own = merge(own, vec3<f32>(parts[at], parts[at + 1u], parts[at + 2u]));
        }
    }
    merged[thread] = own;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier(); // those of 2 * half threads are there
        if thread < half {
            merged[thread] = merge(merged[thread], merged[thread + half]);
        }
    }
    if thread == 0u && channel < params.channels {
        let all = merged[0];
        mean[params.mean_first + channel] = all.y;
        inv_std[params.inv_std_first + channel] = 1.0 / sqrt(all.z / all.x + params.eps);
        let kept = 1.0 - params.momentum;
        new_mean[params.new_mean_first + channel] =
            kept * running[params.running_first + channel] + params.momentum * all.y;
        new_var[params.new_var_first + channel] =
            kept * running_var[params.running_var_first + channel] + params.momentum * (all.z / (all.x - 1.0));
    }
}
