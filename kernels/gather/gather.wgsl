// y[b, k, i] = x[b, indices[b, k], i], zero where an index is outside the rows of x.
const THREADS: u32 = 128u;
// Elements of a word: four bytes or two halves, for gather_small.
const PER_WORD: u32 = 4u;
const BITS: u32 = 32u / PER_WORD;
const MASK: u32 = 0xffffffffu >> (32u - BITS);

struct GatherParams {
    x_first: u32,
    indices_first: u32,
    y_first: u32,
    start: u32, // the first element of y that this launch writes: y_first is its place
    count: u32,
    picks: u32, // K
    rows: u32,  // of a table of x
    inner: u32, // elements of a row
}

@group(0) @binding(0) var<uniform> params: GatherParams;
@group(0) @binding(1) var<storage, read> x: array<u32>;             // (B, N, inner)
@group(0) @binding(2) var<storage, read> indices: array<i32>;       // (B, K)
@group(0) @binding(3) var<storage, read_write> y: array<u32>;       // (B, K, inner)

// The element of x that element `at` of y is a copy of; `NOWHERE` if there is none.
const NOWHERE: u32 = 0xffffffffu;

fn source(at: u32) -> u32 {
    let pick = at / params.inner;
    // A negative index is a very large one as an unsigned number.
    let row = u32(indices[params.indices_first + pick]);
    if row >= params.rows {
        return NOWHERE;
    }
    return params.x_first + (pick / params.picks * params.rows + row) * params.inner + at % params.inner;
}

// A thread per element.
@compute @workgroup_size(THREADS)
fn gather_words(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let origin = source(params.start + at);
    var value = 0u;
    if origin != NOWHERE {
        value = x[origin];
    }
    y[params.y_first + at] = value;
}

// A thread per word; y begins with a whole word.
@compute @workgroup_size(THREADS)
fn gather_small(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let word = group_index(group, groups) * THREADS + thread;
    if PER_WORD * word >= params.count {
        return;
    }
    var value = 0u;
    for (var lane = 0u; lane < PER_WORD && PER_WORD * word + lane < params.count; lane++) {
        let origin = source(params.start + PER_WORD * word + lane);
        if origin != NOWHERE {
            value |= ((x[origin / PER_WORD] >> (BITS * (origin % PER_WORD))) & MASK) << (BITS * lane);
        }
    }
    y[params.y_first / PER_WORD + word] = value;
}
