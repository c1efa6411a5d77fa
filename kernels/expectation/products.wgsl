// p[b, m] = <dy[b], f[b, m]>: what the gradient of the attention is made of. LANES threads share a sample.
// Grid (B * K * LANES / THREADS).
struct ExpectationProductsParams {
    features_first: u32,
    dy_first: u32,
    p_first: u32,
    rows: u32,    // B
    samples: u32, // K
    width: u32,   // D
}

@group(0) @binding(0) var<uniform> params: ExpectationProductsParams;
@group(0) @binding(1) var<storage, read> features: array<f32>; // (B, K, D)
@group(0) @binding(2) var<storage, read> dy: array<f32>;       // (B, D)
@group(0) @binding(3) var<storage, read_write> p: array<f32>;  // (B, K)

@compute @workgroup_size(THREADS)
fn expectation_products_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let sample = group_index(group, groups) * ROWS + thread / LANES;
    let exists = sample < params.rows * params.samples;
    let width = select(0u, params.width, exists);
    let row = sample / params.samples;
    var total = 0.0;
    for (var at = thread % LANES; at < width; at += LANES) {
        let feature = features[params.features_first + sample * params.width + at];
        total = fma(dy[params.dy_first + row * params.width + at], feature, total);
    }
    total = row_sum(thread, total);
    if thread % LANES == 0u && exists {
        p[params.p_first + sample] = total;
    }
}
