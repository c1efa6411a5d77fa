// sum: y[kept axes] = the sum of x over the other axes.
//
// Neighbouring axes of one fate are merged, so at most three kept and three summed axes are left; missing ones have size
// one. Few terms: a thread per result adds them in order. Many: a workgroup per result and part of its terms, thread t
// taking t, t + THREADS, ...; several parts go to scratch and are summed the same way.
const THREADS: u32 = 128u;
alias ElementX = f32; // or f16, as those of y
alias ElementY = f32;

struct SumParams {
    x_first: u32,
    y_first: u32,
    results: u32,
    terms: u32,         // of one result
    terms_per_part: u32,
    parts: u32,
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

@group(0) @binding(0) var<uniform> params: SumParams;
@group(0) @binding(1) var<storage, read> x: array<ElementX>;
@group(0) @binding(2) var<storage, read_write> y: array<ElementY>; // (results, parts)

var<workgroup> partial: array<f32, THREADS>;

// Position of the first element of x that result `at` sums.
fn kept_offset(at: u32) -> u32 {
    let outer = at / params.kept_size_2;
    return params.x_first + outer / params.kept_size_1 * params.kept_stride_0
        + outer % params.kept_size_1 * params.kept_stride_1 + at % params.kept_size_2 * params.kept_stride_2;
}

// From there to term `at`.
fn term_offset(at: u32) -> u32 {
    let outer = at / params.term_size_2;
    return outer / params.term_size_1 * params.term_stride_0 + outer % params.term_size_1 * params.term_stride_1
        + at % params.term_size_2 * params.term_stride_2;
}

// A thread per result. Grid (results / THREADS).
@compute @workgroup_size(THREADS)
fn sum_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.results {
        return;
    }
    let first = kept_offset(at);
    var total = 0.0;
    for (var term = 0u; term < params.terms; term++) {
        total += f32(x[first + term_offset(term)]);
    }
    y[params.y_first + at] = ElementY(total);
}

// A workgroup per result and part. Grid (results * parts).
@compute @workgroup_size(THREADS)
fn sum_parts_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups);
    if at >= params.results * params.parts {
        return;
    }
    let first = kept_offset(at / params.parts);
    let part = at % params.parts * params.terms_per_part;
    let end = min(part + params.terms_per_part, params.terms);
    var total = 0.0;
    for (var term = part + thread; term < end; term += THREADS) {
        total += f32(x[first + term_offset(term)]);
    }
    partial[thread] = total;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier(); // the sums of 2 * half threads are there
        if thread < half {
            partial[thread] += partial[thread + half];
        }
    }
    if thread == 0u {
        y[params.y_first + at] = ElementY(partial[0]);
    }
}
