// y = x * scale where the element's random word is at least `threshold`, else 0. A thread has the four elements of a block
// of words.
const THREADS: u32 = 64u;

struct DropoutParams {
    x_first: u32,
    y_first: u32,
    count: u32,
    key_low: u32,
    key_high: u32,
    first_low: u32, // the counter of the first block
    first_high: u32,
    threshold: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: DropoutParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn dropout_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let block = group_index(group, groups) * THREADS + thread;
    if 4u * block >= params.count {
        return;
    }
    let key = vec2<u32>(params.key_low, params.key_high);
    let words = block_of(Words(key, params.first_low, params.first_high), block);
    for (var lane = 0u; lane < min(4u, params.count - 4u * block); lane++) {
        let at = 4u * block + lane;
        let kept = words[lane] >= params.threshold;
        y[params.y_first + at] = select(0.0, x[params.x_first + at] * params.scale, kept);
    }
}
