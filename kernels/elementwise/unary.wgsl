// y = f(x) element by element, and dx = f'(v) dy, where v is x or y as the function has it. FUNCTION says which f,
// computed in f32.
// A thread takes every THREADS-th element of its workgroup's run of THREADS * STEPS.
const THREADS: u32 = 128u;
const STEPS: u32 = 4u;
const FUNCTION: u32 = 0u;
alias Element = f32; // or f16

const RELU: u32 = 0u;
const TANH: u32 = 1u;
const SIGMOID: u32 = 2u;
const EXP: u32 = 3u;
const LOG: u32 = 4u;
const SWISH: u32 = 5u;
const SQRT: u32 = 6u;
const SQUARE: u32 = 7u;
const SCALE: u32 = 8u; // factor * x + shift

struct UnaryParams {
    x_first: u32,
    dy_first: u32,
    y_first: u32,
    count: u32,
    factor: f32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> params: UnaryParams;
@group(0) @binding(1) var<storage, read> x: array<Element>;  // or y, for gradients that are computed from it
@group(0) @binding(2) var<storage, read> dy: array<Element>; // gradients alone
@group(0) @binding(3) var<storage, read_write> y: array<Element>;

fn f(x: f32) -> f32 {
    switch FUNCTION {
        case RELU: { return select(x, 0.0, x < 0.0); }
        case TANH: { return tanh_f32(x); }
        case SIGMOID: { return sigmoid_f32(x); }
        case EXP: { return exp_any(x); }
        case LOG: { return log_f32(x); }
        case SWISH: { return x * sigmoid_f32(x); }
        case SQRT: { return sqrt(x); }
        case SQUARE: { return x * x; }
        default: { return fma(x, params.factor, params.shift); }
    }
}

fn df(v: f32, dy: f32) -> f32 {
    switch FUNCTION {
        case RELU: { return select(dy, 0.0, v <= 0.0); }
        case TANH: { return dy * (1.0 - v * v); }
        case SIGMOID: { return dy * v * (1.0 - v); }
        case EXP: { return dy * v; }
        case LOG: { return dy / v; }
        case SWISH: {
            let s = sigmoid_f32(v);
            return dy * s * (1.0 + v * (1.0 - s));
        }
        case SQRT: { return dy * 0.5 / v; }
        default: { return 2.0 * v * dy; }
    }
}

@compute @workgroup_size(THREADS)
fn unary_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_index(group, groups) * THREADS * STEPS + thread;
    for (var step = 0u; step < STEPS; step++) {
        let at = first + step * THREADS;
        if at < params.count {
            y[params.y_first + at] = Element(f(f32(x[params.x_first + at])));
        }
    }
}

@compute @workgroup_size(THREADS)
fn unary_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_index(group, groups) * THREADS * STEPS + thread;
    for (var step = 0u; step < STEPS; step++) {
        let at = first + step * THREADS;
        if at < params.count {
            y[params.y_first + at] = Element(df(f32(x[params.x_first + at]), f32(dy[params.dy_first + at])));
        }
    }
}
