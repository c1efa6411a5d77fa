// One step of Adam or AdamW, in place:
//
//   g' = g + decay * p;  m = beta_1 m + (1 - beta_1) g';  v = beta_2 v + (1 - beta_2) g'^2
//   p = p * shrink - rate * m / (sqrt(v) * root + eps)
const THREADS: u32 = 128u;

struct AdamStepParams {
    gradient_first: u32,
    parameter_first: u32,
    moment_first: u32,
    square_first: u32,
    count: u32,
    beta_1: f32,
    beta_2: f32,
    rest_1: f32, // 1 - beta_1
    rest_2: f32,
    shrink: f32,
    decay: f32,
    rate: f32,
    root: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: AdamStepParams;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(3) var<storage, read_write> moment: array<f32>;
@group(0) @binding(4) var<storage, read_write> square: array<f32>;

@compute @workgroup_size(THREADS)
fn adam_step_f32(
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
    let m = params.beta_1 * moment[params.moment_first + at] + params.rest_1 * g;
    let v = params.beta_2 * square[params.square_first + at] + params.rest_2 * g * g;
    moment[params.moment_first + at] = m;
    square[params.square_first + at] = v;
    parameter[params.parameter_first + at] = p * params.shrink - params.rate * m / (sqrt(v) * params.root + params.eps);
}
