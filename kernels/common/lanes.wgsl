// Reductions among the LANES threads that share a row. A workgroup works on THREADS / LANES rows at once; LANES is a power
// of two that follows from the length of a row alone, so the order of a sum does too. Every thread of the workgroup calls
// these functions, also those whose row does not exist.
const THREADS: u32 = 128u;
const LANES: u32 = 128u;
const ROWS: u32 = THREADS / LANES;

var<workgroup> partial: array<f32, THREADS>;

// The sum of the values of all lanes of a row.
fn row_sum(thread: u32, value: f32) -> f32 {
    partial[thread] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier(); // the sums of 2 * half lanes are there
        if thread % LANES < half {
            partial[thread] += partial[thread + half];
        }
    }
    workgroupBarrier(); // the sum of the row is in its first lane
    let total = partial[thread - thread % LANES];
    workgroupBarrier(); // nobody reads it any more
    return total;
}

// The largest of the values of all lanes of a row.
fn row_max(thread: u32, value: f32) -> f32 {
    partial[thread] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier(); // the maxima of 2 * half lanes are there
        if thread % LANES < half {
            partial[thread] = max(partial[thread], partial[thread + half]);
        }
    }
    workgroupBarrier(); // the maximum of the row is in its first lane
    let most = partial[thread - thread % LANES];
    workgroupBarrier(); // nobody reads it any more
    return most;
}
