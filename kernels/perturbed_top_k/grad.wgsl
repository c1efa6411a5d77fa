// The gradient of perturbed_top_k: dscores[n] = sum over samples s of worth[s] Z[s, n], where a sample's choice is worth
// by * sum over j of dy[j, its j-th position], by = 1 / (S sigma). The noise is made again.
const THREADS: u32 = 64u;

struct PerturbedGradParams {
    dy_first: u32,
    positions_first: u32,
    worth_first: u32,
    given_first: u32,
    parts_first: u32,
    key_0: u32,
    key_1: u32,
    first_low: u32,  // counter of the first block of the first sample
    first_high: u32,
    drawn: u32,      // 0: the noise is given
    images: u32,
    samples: u32,    // S
    per_run: u32,    // samples added up by one thread
    runs: u32,
    keep: u32,       // k
    count: u32,      // N
    part: u32,       // elements between the sums of two runs
    by: f32,
}

@group(0) @binding(0) var<uniform> params: PerturbedGradParams;
@group(0) @binding(1) var<storage, read> dy: array<f32>;          // (B, k, N)
@group(0) @binding(2) var<storage, read> positions: array<i32>;   // (B, S, k)
@group(0) @binding(3) var<storage, read_write> worth: array<f32>; // (B, S)
@group(0) @binding(4) var<storage, read> given: array<f32>;       // (B, S, N), if the noise is given
@group(0) @binding(5) var<storage, read_write> parts: array<f32>; // (runs, B, N)

// A thread per sample. Grid (B * S / THREADS).
@compute @workgroup_size(THREADS)
fn perturbed_worth_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let sample = group_index(group, groups) * THREADS + thread;
    let image = sample / params.samples;
    if image >= params.images {
        return;
    }
    var total = 0.0;
    for (var j = 0u; j < params.keep; j++) {
        // What is none of the positions was not chosen.
        let n = u32(positions[params.positions_first + sample * params.keep + j]);
        if n < params.count {
            total += dy[params.dy_first + (image * params.keep + j) * params.count + n];
        }
    }
    worth[params.worth_first + sample] = total * params.by;
}

// A thread has four neighbouring positions and a run of samples. Grid (B * runs * blocks / THREADS).
@compute @workgroup_size(THREADS)
fn perturbed_grad_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    let blocks = (params.count + 3u) / 4u;
    let block = at % blocks;
    let run = at / blocks % params.runs;
    let image = at / blocks / params.runs;
    if image >= params.images {
        return;
    }
    let stretch = Words(vec2<u32>(params.key_0, params.key_1), params.first_low, params.first_high);
    var total = vec4<f32>(0.0);
    let end = min((run + 1u) * params.per_run, params.samples);
    for (var s = run * params.per_run; s < end; s++) {
        let sample = image * params.samples + s;
        let z = noise_of(params.drawn != 0u, stretch, sample, block, params.count, params.given_first);
        total = fma(vec4<f32>(worth[params.worth_first + sample]), z, total);
    }
    for (var i = 0u; i < 4u; i++) {
        if 4u * block + i < params.count {
            parts[params.parts_first + run * params.part + image * params.count + 4u * block + i] = total[i];
        }
    }
}
