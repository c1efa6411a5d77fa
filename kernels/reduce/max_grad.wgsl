// dx[at[i]] = dy[i], where dx is zero before; positions differ from each other, and those outside of dx lead nowhere.
const THREADS: u32 = 128u;

struct MaxGradParams {
    dy_first: u32,
    at_first: u32,
    dx_first: u32,
    count: u32,
    // The elements of dx that this launch writes.
    start: u32,
    elements: u32,
}

@group(0) @binding(0) var<uniform> params: MaxGradParams;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> at: array<u32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(THREADS)
fn max_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(group, groups) * THREADS + thread;
    if i >= params.count {
        return;
    }
    // Before `start` this is a very large number, and so is a negative position.
    let to = at[params.at_first + i] - params.start;
    if to < params.elements {
        dx[params.dx_first + to] = dy[params.dy_first + i];
    }
}
