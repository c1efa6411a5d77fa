// gumbel_top_k of short rows: a workgroup has the keys of SLOTS / line rows in its memory, sorts each row and writes its
// first k positions. Grid (rows * line / SLOTS).
struct TopKLineParams {
    logits_first: u32,
    positions_first: u32,
    threshold_first: u32,
    key_0: u32,
    key_1: u32,
    first_low: u32, // counter of the first block of the first row
    first_high: u32,
    rows: u32,
    count: u32,     // positions of a row, N
    keep: u32,      // k
    line: u32,      // a power of two, at least N and 4, at most SLOTS
}

@group(0) @binding(0) var<uniform> params: TopKLineParams;
@group(0) @binding(1) var<storage, read> logits: array<u32>;          // (B, N), bits of f32
@group(0) @binding(2) var<storage, read_write> positions: array<i32>; // (B, k)
@group(0) @binding(3) var<storage, read_write> threshold: array<u32>; // (B), bits of f32

// A thread makes the keys of four neighbouring places.
fn make_keys(thread: u32, first_row: u32) {
    let stretch = Words(vec2<u32>(params.key_0, params.key_1), params.first_low, params.first_high);
    for (var at = 4u * thread; at < SLOTS; at += 4u * THREADS) {
        let row = first_row + at / params.line;
        let first = at % params.line;
        var words = vec4<u32>(0u);
        if row < params.rows && first < params.count {
            words = block_of(stretch, row * ((params.count + 3u) / 4u) + first / 4u);
        }
        for (var i = 0u; i < 4u; i++) {
            var key = 0u;
            var complement = 0u;
            if row < params.rows && first + i < params.count {
                let logit = logits[params.logits_first + row * params.count + first + i];
                key = order_key_of_sum(logit, bitcast<u32>(gumbel(words[i])));
                complement = ~(first + i);
            }
            keys[at + i] = key;
            complements[at + i] = complement;
        }
    }
}

@compute @workgroup_size(THREADS)
fn top_k_line_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first_row = group_index(group, groups) * (SLOTS / params.line);
    make_keys(thread, first_row);
    sort_runs(thread, 0u, params.line);
    for (var at = thread; at < SLOTS; at += THREADS) {
        let row = first_row + at / params.line;
        let rank = at % params.line;
        if row < params.rows {
            if rank < params.keep {
                positions[params.positions_first + row * params.keep + rank] = i32(~complements[at]);
            }
            // A row without a further key has (0, 0) behind its last one, or ends there.
            if rank == min(params.keep, params.line - 1u) {
                let none = params.keep >= params.count || keys[at] == 0u;
                threshold[params.threshold_first + row] = select(order_bits(keys[at]), 0xff800000u, none);
            }
        }
    }
}
