// perturbed_top_k: how often position n was the j-th chosen, as a share of the samples. A workgroup counts, for one image
// and j, COUNTS neighbouring positions. Grid (B * k * chunks).
const THREADS: u32 = 256u;
const COUNTS: u32 = 2048u;

struct IndicatorsParams {
    positions_first: u32,
    y_first: u32,
    images: u32,
    samples: u32, // S
    keep: u32,    // k
    count: u32,   // N
    chunks: u32,  // workgroups of a row
}

@group(0) @binding(0) var<uniform> params: IndicatorsParams;
@group(0) @binding(1) var<storage, read> positions: array<i32>; // (B, S, k)
@group(0) @binding(2) var<storage, read_write> y: array<f32>;   // (B, k, N)

var<workgroup> counts: array<atomic<u32>, COUNTS>;

@compute @workgroup_size(THREADS)
fn perturbed_indicators_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups);
    let row = at / params.chunks;
    let image = row / params.keep;
    if image >= params.images {
        return;
    }
    for (var n = thread; n < COUNTS; n += THREADS) {
        atomicStore(&counts[n], 0u);
    }
    workgroupBarrier(); // the counts are zero
    let first = at % params.chunks * COUNTS;
    for (var sample = thread; sample < params.samples; sample += THREADS) {
        let place = (image * params.samples + sample) * params.keep + row % params.keep;
        // A position before the first of these wraps around to a large number.
        let n = u32(positions[params.positions_first + place]) - first;
        if n < COUNTS {
            atomicAdd(&counts[n], 1u);
        }
    }
    workgroupBarrier(); // everything is counted
    for (var n = thread; n < COUNTS && first + n < params.count; n += THREADS) {
        let share = f32(atomicLoad(&counts[n])) / f32(params.samples);
        y[params.y_first + row * params.count + first + n] = share;
    }
}
