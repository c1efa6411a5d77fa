// Losses of a class index, over rows of `classes` scores: loss = factor * (sum of w[t] l(row, t)) / divisor, and the
// gradient with respect to the scores. FUNCTION says which l:
//
//   cross-entropy: l = log(sum of exp(row)) - row[t];   negative log likelihood: l = -log(row[t] + eps).
//
// The divisor is the sum of the weights of the rows' classes, where the loss is a mean and there are weights; else it is
// one, and `factor` has the rest. A row whose class does not exist counts as nothing.
const THREADS: u32 = 128u;
const FUNCTION: u32 = 0u;
const CROSS_ENTROPY: u32 = 0u;
const WEIGHTS: u32 = 0u; // whether there are class weights
const DIVIDE: u32 = 0u;  // whether to divide by their sum

struct ClassLossParams {
    x_first: u32,
    t_first: u32,
    weights_first: u32,
    dy_first: u32,
    y_first: u32,
    rows: u32,
    classes: u32,
    first_row: u32, // of this launch
    rows_here: u32,
    factor: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: ClassLossParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (rows, classes)
@group(0) @binding(2) var<storage, read> t: array<u32>;       // (rows)
@group(0) @binding(3) var<storage, read> weights: array<f32>; // (classes)
@group(0) @binding(4) var<storage, read> dy: array<f32>;      // (), gradient alone
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // (), or (rows, classes)

var<workgroup> partial: array<vec2<f32>, THREADS>;

fn sum_of_all(thread: u32, value: vec2<f32>) -> vec2<f32> {
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

fn weight_of(class_index: u32) -> f32 {
    if class_index >= params.classes {
        return 0.0;
    }
    if WEIGHTS != 0u {
        return weights[params.weights_first + class_index];
    }
    return 1.0;
}

// The largest score of a row, and the sum of exp(score - largest).
fn normaliser(start: u32) -> vec2<f32> {
    var most = number(SIGN | INFINITY_BITS);
    for (var i = 0u; i < params.classes; i++) {
        most = max(most, x[start + i]);
    }
    var sum = 0.0;
    for (var i = 0u; i < params.classes; i++) {
        sum += exp_any(x[start + i] - most);
    }
    return vec2<f32>(most, sum);
}

fn loss_of(row: u32, class_index: u32) -> f32 {
    let start = params.x_first + row * params.classes;
    let score = x[start + class_index];
    if FUNCTION == CROSS_ENTROPY {
        let normal = normaliser(start);
        return log_f32(normal.y) + (normal.x - score);
    }
    return -log_f32(score + params.eps);
}

// One workgroup: thread i takes rows i, i + THREADS, ...
@compute @workgroup_size(THREADS)
fn class_loss_f32(@builtin(local_invocation_index) thread: u32) {
    var sums = vec2<f32>(0.0);
    for (var row = thread; row < params.rows; row += THREADS) {
        let class_index = t[params.t_first + row];
        let weight = weight_of(class_index);
        if class_index < params.classes {
            sums += vec2<f32>(weight * loss_of(row, class_index), weight);
        }
    }
    sums = sum_of_all(thread, sums);
    if thread == 0u {
        var loss = sums.x * params.factor;
        if DIVIDE != 0u {
            loss /= sums.y;
        }
        y[params.y_first] = loss;
    }
}

// A thread per row; every workgroup adds up all weights for itself.
@compute @workgroup_size(THREADS)
fn class_loss_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    var scale = dy[params.dy_first] * params.factor;
    if DIVIDE != 0u {
        var sum = 0.0;
        for (var row = thread; row < params.rows; row += THREADS) {
            sum += weight_of(t[params.t_first + row]);
        }
        scale /= sum_of_all(thread, vec2<f32>(sum, 0.0)).x;
    }
    let here = group_index(group, groups) * THREADS + thread;
    if here >= params.rows_here {
        return;
    }
    let class_index = t[params.t_first + params.first_row + here];
    let from_row = params.x_first + here * params.classes;
    let to = params.y_first + here * params.classes;
    scale *= weight_of(class_index);
    if FUNCTION != CROSS_ENTROPY || class_index >= params.classes {
        for (var i = 0u; i < params.classes; i++) {
            y[to + i] = 0.0;
        }
        if class_index < params.classes {
            y[to + class_index] = -scale / (x[from_row + class_index] + params.eps);
        }
        return;
    }
    let normal = normaliser(from_row);
    // p - 1 cancels when p is near 1; minus the sum of the others does not.
    var others = 0.0;
    for (var i = 0u; i < params.classes; i++) {
        let e = exp_any(x[from_row + i] - normal.x);
        y[to + i] = scale * (e / normal.y);
        others += select(e, 0.0, i == class_index);
    }
    y[to + class_index] = -scale * (others / normal.y);
}
