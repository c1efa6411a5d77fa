// unfold_f32 of unfold.wgsl, two elements to a load and four to a store: as 64-bit words, which not every adapter has. Lines
// of x and of patches have even lengths, patches lie at even places, and what a launch writes begins and ends with four.
@group(0) @binding(5) var<storage, read> x_pairs: array<u64>;             // (B, C, H, W)
@group(0) @binding(6) var<storage, read_write> y_pairs: array<vec2<u64>>; // (B, N, C, ph, pw)

@compute @workgroup_size(THREADS)
fn unfold_f32_pairs(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let patch_size = params.channels * params.patch_height * params.patch_width;
    var element = 4u * (group_index(group, groups) * THREADS * STEPS + thread);
    var at = place_of(params.first_patch * patch_size + element);
    let step = step_place();
    for (var k = 0u; k < STEPS; k++) {
        let next = sum(at, Place(0u, 0u, 0u, 0u, 0u, 2u));
        if element < params.count {
            let pairs = vec2<u64>(x_pairs[source(at) / 2u], x_pairs[source(next) / 2u]);
            y_pairs[(params.y_first + element) / 4u] = pairs;
        }
        element += 4u * THREADS;
        at = sum(next, step);
    }
}
