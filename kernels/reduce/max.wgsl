// The largest element over some axes and where it stands: axes as in sum.wgsl. Of equals the first wins; NaN is smaller
// than any number, and the result only where there is nothing else. LANES threads share a result, thread t taking terms
// t, t + LANES, ...; they agree in a tree.
const THREADS: u32 = 128u;
const LANES: u32 = 128u;

struct MaxParams {
    x_first: u32,
    y_first: u32,
    at_first: u32,
    results: u32,
    terms: u32,         // of one result
    kept_size_1: u32,   // the outermost size follows from `results`
    kept_size_2: u32,
    kept_stride_0: u32, // in elements of x
    kept_stride_1: u32,
    kept_stride_2: u32,
    term_size_1: u32,
    term_size_2: u32,
    term_stride_0: u32,
    term_stride_1: u32,
    term_stride_2: u32,
}

@group(0) @binding(0) var<uniform> params: MaxParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // (results)
@group(0) @binding(3) var<storage, read_write> at: array<u32>; // (results)

// Of each thread: its largest element, as a key that orders as the numbers do, and the term it is.
var<workgroup> keys: array<u32, THREADS>;
var<workgroup> terms: array<u32, THREADS>;

// A word that is the larger the larger the number: 0 for NaN, more for everything else.
fn key_of(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    if is_nan(value) {
        return 0u;
    }
    // Both zeros are one number.
    let ordered = select(bits, 0u, bits == SIGN);
    return select(ordered | SIGN, ~ordered, ordered >= SIGN);
}

// Position of the first element of x, from its beginning, that a result looks at.
fn kept_offset(result: u32) -> u32 {
    let outer = result / params.kept_size_2;
    return outer / params.kept_size_1 * params.kept_stride_0
        + outer % params.kept_size_1 * params.kept_stride_1 + result % params.kept_size_2 * params.kept_stride_2;
}

// From there to a term.
fn term_offset(term: u32) -> u32 {
    let outer = term / params.term_size_2;
    return outer / params.term_size_1 * params.term_stride_0 + outer % params.term_size_1 * params.term_stride_1
        + term % params.term_size_2 * params.term_stride_2;
}

// The term of a result that is largest, in its first lane.
fn largest(thread: u32, result: u32) -> u32 {
    let end = select(0u, params.terms, result < params.results);
    let first = params.x_first + kept_offset(result);
    var key = 0u;
    var best = thread % LANES;
    for (var term = best; term < end; term += LANES) {
        let own = key_of(x[first + term_offset(term)]);
        if own > key {
            key = own;
            best = term;
        }
    }
    keys[thread] = key;
    terms[thread] = best;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier(); // those of 2 * half lanes are there
        if thread % LANES < half {
            let other = keys[thread + half];
            if other > keys[thread] || (other == keys[thread] && terms[thread + half] < terms[thread]) {
                keys[thread] = other;
                terms[thread] = terms[thread + half];
            }
        }
    }
    return terms[thread];
}

// Grid (results / (THREADS / LANES)).
@compute @workgroup_size(THREADS)
fn max_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let result = group_index(group, groups) * (THREADS / LANES) + thread / LANES;
    let term = largest(thread, result);
    if thread % LANES == 0u && result < params.results {
        let element = kept_offset(result) + term_offset(term);
        y[params.y_first + result] = x[params.x_first + element];
        at[params.at_first + result] = element;
    }
}

@compute @workgroup_size(THREADS)
fn argmax_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let result = group_index(group, groups) * (THREADS / LANES) + thread / LANES;
    let term = largest(thread, result);
    if thread % LANES == 0u && result < params.results {
        at[params.at_first + result] = term;
    }
}
