// The gradient of the attention from p[b, m] = <dy[b], f[b, m]>, by the formulas of src/ops/expectation/mod.rs: a thread
// goes through the samples of a row from front to back, and back again for what depends on later ones.
// Grid (B / THREADS).
const THREADS: u32 = 64u;
// With replacement; the estimators without.
const REPLACE: u32 = 0u;
const OFFICIAL: u32 = 1u;
const UNBIASED: u32 = 2u;
const TINY: f32 = 1e-30;

struct ExpectationGradParams {
    attention_first: u32,
    p_first: u32,
    later_first: u32,
    da_first: u32,
    rows: u32,    // B
    samples: u32, // K
    kind: u32,
}

@group(0) @binding(0) var<uniform> params: ExpectationGradParams;
@group(0) @binding(1) var<storage, read> attention: array<f32>;   // (B, K)
@group(0) @binding(2) var<storage, read_write> p: array<f32>;     // (B, K)
@group(0) @binding(3) var<storage, read_write> later: array<f32>; // (B, K), for the way back
@group(0) @binding(4) var<storage, read_write> da: array<f32>;    // (B, K)

@compute @workgroup_size(THREADS)
fn expectation_grad_attention_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(group, groups) * THREADS + thread;
    if row >= params.rows {
        return;
    }
    let first = row * params.samples;
    let share = f32(params.samples);
    var left = 1.0;   // mass before this draw
    var seen = 0.0;   // sum of a p over the earlier ones
    var before = 0.0; // sum of their p
    for (var m = 0u; m < params.samples; m++) {
        let at = first + m;
        let a = attention[params.attention_first + at];
        let own = p[params.p_first + at];
        if params.kind == REPLACE {
            da[params.da_first + at] = own / max(a, TINY) / share;
            continue;
        }
        let r = max(left, a);
        let h = fma(r, own, seen);
        let by_a = h / max(a, TINY);
        if params.kind == OFFICIAL {
            da[params.da_first + at] = (fma(by_a, r, before) - f32(m) * own) / share;
        } else {
            da[params.da_first + at] = by_a;
            later[params.later_first + at] = h / max(r, TINY) - own;
        }
        left -= a;
        seen = fma(a, own, seen);
        before += own;
    }
    if params.kind == UNBIASED {
        var after = 0.0;
        for (var m = params.samples; m > 0u; m--) {
            let at = first + m - 1u;
            let own = p[params.p_first + at];
            let rest = fma(f32(params.samples - m), own, after);
            da[params.da_first + at] = (da[params.da_first + at] + rest) / share;
            after += later[params.later_first + at];
        }
    }
}
