// Backward of gated attention pooling up to the logits: dl = a * (da' - sum over the bag of a da'), da' = da + <h, dy>.
// The first launch makes da', the second turns it into dl in place. LANES threads share a row: an instance's D features,
// or a bag's N instances.
struct BagGradParams {
    h_first: u32,
    dy_first: u32,
    da_first: u32,
    a_first: u32,
    dl_first: u32,
    rows: u32,      // of this launch: instances or bags
    instances: u32, // N of a bag
    features: u32,  // D
    first_row: u32, // number of the first instance in its bag
}

@group(0) @binding(0) var<uniform> params: BagGradParams;
@group(0) @binding(1) var<storage, read> h: array<f32>;        // (rows, D)
@group(0) @binding(2) var<storage, read> dy: array<f32>;       // (B, D)
@group(0) @binding(3) var<storage, read> da: array<f32>;       // (rows)
@group(0) @binding(4) var<storage, read> a: array<f32>;        // (B, N)
@group(0) @binding(5) var<storage, read_write> dl: array<f32>; // (B, N)

// Grid (instances * LANES / THREADS).
@compute @workgroup_size(THREADS)
fn weight_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(group, groups) * ROWS + thread / LANES;
    let features = select(0u, params.features, row < params.rows);
    let bag = (params.first_row + row) / params.instances;
    var total = 0.0;
    for (var i = thread % LANES; i < features; i += LANES) {
        let feature = h[params.h_first + row * params.features + i];
        total = fma(feature, dy[params.dy_first + bag * params.features + i], total);
    }
    total = row_sum(thread, total);
    if thread % LANES == 0u && row < params.rows {
        dl[params.dl_first + row] = total + da[params.da_first + row];
    }
}

// Grid (bags * LANES / THREADS).
@compute @workgroup_size(THREADS)
fn logit_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let bag = group_index(group, groups) * ROWS + thread / LANES;
    let instances = select(0u, params.instances, bag < params.rows);
    let first = bag * params.instances;
    var total = 0.0;
    for (var n = thread % LANES; n < instances; n += LANES) {
        total = fma(a[params.a_first + first + n], dl[params.dl_first + first + n], total);
    }
    let mean = row_sum(thread, total);
    for (var n = thread % LANES; n < instances; n += LANES) {
        let at = first + n;
        dl[params.dl_first + at] = a[params.a_first + at] * (dl[params.dl_first + at] - mean);
    }
}
