// y = x, no further from zero than `most`; NaN stays NaN.
const THREADS: u32 = 128u;

struct ClipValuesParams {
    x_first: u32,
    y_first: u32,
    count: u32,
    most: f32,
}

@group(0) @binding(0) var<uniform> params: ClipValuesParams;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn clip_values_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.count {
        return;
    }
    let value = x[params.x_first + at];
    let below = select(value, params.most, value > params.most);
    y[params.y_first + at] = select(below, -params.most, below < -params.most);
}
