// One step of stochastic gradient descent, in place: g' = g + decay * p;  b = momentum * b + g';  p = p - rate * b.
const THREADS: u32 = 128u;

struct SgdStepParams {
    gradient_first: u32,
    parameter_first: u32,
    buffer_first: u32,
    count: u32,
    decay: f32,
    momentum: f32,
    rate: f32,
}

@group(0) @binding(0) var<uniform> params: SgdStepParams;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(3) var<storage, read_write> buffer: array<f32>;

@compute @workgroup_size(THREADS)
fn sgd_step_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let p = parameter[params.parameter_first + at];
    let g = gradient[params.gradient_first + at] + params.decay * p;
    let b = params.momentum * buffer[params.buffer_first + at] + g;
    buffer[params.buffer_first + at] = b;
    parameter[params.parameter_first + at] = p - params.rate * b;
}
