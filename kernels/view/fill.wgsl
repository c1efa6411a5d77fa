// Sets `count` words to one value. A thread takes every THREADS-th of its workgroup's run.
const THREADS: u32 = 128u;
const STEPS: u32 = 4u;

struct FillParams {
    y_first: u32,
    count: u32,
    word: u32,
}

@group(0) @binding(0) var<uniform> params: FillParams;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(THREADS)
fn fill_words(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_index(group, groups) * THREADS * STEPS + thread;
    for (var step = 0u; step < STEPS; step++) {
        let at = first + step * THREADS;
        if at < params.count {
            y[params.y_first + at] = params.word;
        }
    }
}
