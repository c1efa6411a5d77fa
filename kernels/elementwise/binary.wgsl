// y = f(a, b) element by element, with broadcasting: an operand stands still (distance 0) along the axes that it is
// repeated along. FUNCTION says which f, computed in f32. A thread takes every THREADS-th element of its workgroup's
// run.
const THREADS: u32 = 128u;
const STEPS: u32 = 4u;
const FUNCTION: u32 = 0u;
alias Element = f32; // or f16

const ADD: u32 = 0u;
const SUB: u32 = 1u;
const MUL: u32 = 2u;
const DIV: u32 = 3u;
const ADD_RELU: u32 = 4u; // max(a + b, 0); NaN stays NaN

struct BinaryParams {
    a_first: u32,
    b_first: u32,
    y_first: u32,
    start: u32, // the first element of y that this launch writes: y_first is its place
    count: u32,
    size_0: u32,
    size_1: u32,
    size_2: u32,
    size_3: u32,
    size_4: u32,
    a_0: u32,
    a_1: u32,
    a_2: u32,
    a_3: u32,
    a_4: u32,
    a_last: u32,
    b_0: u32,
    b_1: u32,
    b_2: u32,
    b_3: u32,
    b_4: u32,
    b_last: u32,
}

@group(0) @binding(0) var<uniform> params: BinaryParams;
@group(0) @binding(1) var<storage, read> a: array<Element>;
@group(0) @binding(2) var<storage, read> b: array<Element>;
@group(0) @binding(3) var<storage, read_write> y: array<Element>;

fn f(a: f32, b: f32) -> f32 {
    switch FUNCTION {
        case ADD: { return a + b; }
        case SUB: { return a - b; }
        case MUL: { return a * b; }
        case DIV: { return a / b; }
        default: { return select(a + b, 0.0, a + b < 0.0); }
    }
}

@compute @workgroup_size(THREADS)
fn binary_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_index(group, groups) * THREADS * STEPS + thread;
    for (var step = 0u; step < STEPS; step++) {
        let at = first + step * THREADS;
        if at < params.count {
            let place = walk(params.start + at);
            y[params.y_first + at] = Element(f(f32(a[params.a_first + place.x]), f32(b[params.b_first + place.y])));
        }
    }
}
