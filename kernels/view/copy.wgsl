// Copies a box of words from a (x) to b (y): the axes and distances of common/walk.wgsl. Serves expand, transpose, concat,
// narrow and pad. A thread takes every THREADS-th element of its workgroup's run.
const THREADS: u32 = 128u;
const STEPS: u32 = 4u;

struct CopyParams {
    x_first: u32,
    y_first: u32,
    count: u32,
    size_0: u32,
    size_1: u32,
    size_2: u32,
    size_3: u32,
    size_4: u32,
    a_0: u32,
    a_1: u32,
    a_2: u32,
    a_3: u32,
    a_4: u32,
    a_last: u32,
    b_0: u32,
    b_1: u32,
    b_2: u32,
    b_3: u32,
    b_4: u32,
    b_last: u32,
}

@group(0) @binding(0) var<uniform> params: CopyParams;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(THREADS)
fn copy_words(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_index(group, groups) * THREADS * STEPS + thread;
    for (var step = 0u; step < STEPS; step++) {
        let at = first + step * THREADS;
        if at < params.count {
            let place = walk(at);
            y[params.y_first + place.y] = x[params.x_first + place.x];
        }
    }
}
