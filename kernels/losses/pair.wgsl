// Losses of pairs of numbers, l(x, t): the sum over all, and the gradients with respect to x and t. FUNCTION says which l,
// OF_T which gradient. Sums are taken over parts of `part` elements, a workgroup each; a second launch adds the parts.
const THREADS: u32 = 128u;
const FUNCTION: u32 = 0u;
const OF_T: u32 = 0u;

const BCE_WITH_LOGITS: u32 = 0u;
const BCE: u32 = 1u;
// otherwise the squared error

struct PairLossParams {
    x_first: u32,
    t_first: u32,
    dy_first: u32,
    y_first: u32,
    count: u32,
    part: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: PairLossParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> t: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>; // (), gradients alone
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

fn log_clamped(x: f32) -> f32 {
    let value = log_f32(x);
    return select(value, -100.0, value < -100.0);
}

fn loss(x: f32, t: f32) -> f32 {
    switch FUNCTION {
        case BCE_WITH_LOGITS: { return select(x, 0.0, x < 0.0) - x * t + log1p_f32(exp_any(-abs(x))); }
        case BCE: { return -(t * log_clamped(x) + (1.0 - t) * log_clamped(1.0 - x)); }
        default: { return (x - t) * (x - t); }
    }
}

fn dx(x: f32, t: f32) -> f32 {
    switch FUNCTION {
        case BCE_WITH_LOGITS: { return sigmoid_f32(x) - t; }
        case BCE: {
            let product = x * (1.0 - x);
            return (x - t) / select(product, 1e-12, product < 1e-12);
        }
        default: { return 2.0 * (x - t); }
    }
}

fn dt(x: f32, t: f32) -> f32 {
    switch FUNCTION {
        case BCE_WITH_LOGITS: { return -x; }
        case BCE: { return log_clamped(1.0 - x) - log_clamped(x); }
        default: { return 2.0 * (t - x); }
    }
}

var<workgroup> partial: array<f32, THREADS>;

fn sum_of_all(thread: u32, value: f32) -> f32 {
    partial[thread] = value;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier(); // the sums of 2 * half threads are there
        if thread < half {
            partial[thread] += partial[thread + half];
        }
    }
    workgroupBarrier(); // the sum is there
    return partial[0];
}

// y[part] = the sum over a part. Grid (parts).
@compute @workgroup_size(THREADS)
fn pair_loss_parts_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_index(group, groups) * params.part;
    let end = min(first + params.part, params.count);
    var sum = 0.0;
    for (var at = first + thread; at < end; at += THREADS) {
        sum += loss(x[params.x_first + at], t[params.t_first + at]);
    }
    sum = sum_of_all(thread, sum);
    if thread == 0u && first < params.count {
        y[params.y_first + group_index(group, groups)] = sum;
    }
}

// y = factor * the sum of x (the parts). One workgroup.
@compute @workgroup_size(THREADS)
fn pair_loss_sum_f32(@builtin(local_invocation_index) thread: u32) {
    var sum = 0.0;
    for (var at = thread; at < params.count; at += THREADS) {
        sum += x[params.x_first + at];
    }
    sum = sum_of_all(thread, sum);
    if thread == 0u {
        y[params.y_first] = sum * params.factor;
    }
}

@compute @workgroup_size(THREADS)
fn pair_loss_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let own_x = x[params.x_first + at];
    let own_t = t[params.t_first + at];
    let scale = dy[params.dy_first] * params.factor;
    if OF_T != 0u {
        y[params.y_first + at] = scale * dt(own_x, own_t);
    } else {
        y[params.y_first + at] = scale * dx(own_x, own_t);
    }
}
