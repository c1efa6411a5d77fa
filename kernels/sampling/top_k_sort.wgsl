// gumbel_top_k of long rows, after the candidates are listed: sorts the lists by a bitonic network, SLOTS places at a time
// in workgroup memory and exchanges further apart in launches of their own, and writes the first k.
struct TopKSortParams {
    scratch_first: u32,
    positions_first: u32,
    threshold_first: u32,
    rows: u32,
    count: u32,     // positions of a row, N
    keep: u32,      // k
    slots: u32,     // places of a list: a power of two, at least SLOTS
    row_words: u32, // scratch of a row, which begins with its list
    run: u32,       // length of the runs that this launch merges
    apart: u32,     // distance of the places that it exchanges, if in storage
}

@group(0) @binding(0) var<uniform> params: TopKSortParams;
@group(0) @binding(1) var<storage, read_write> scratch: array<u32>;   // (rows, row_words): key, complement, ...
@group(0) @binding(2) var<storage, read_write> positions: array<i32>; // (B, k)
@group(0) @binding(3) var<storage, read_write> threshold: array<u32>; // (B), bits of f32

// Position in scratch of place `at` of the lists of all rows.
fn place_of(at: u32) -> u32 {
    return params.scratch_first + at / params.slots * params.row_words + 2u * (at % params.slots);
}

fn load(thread: u32, base: u32) {
    for (var at = thread; at < SLOTS; at += THREADS) {
        let source = place_of(base + at);
        keys[at] = scratch[source];
        complements[at] = scratch[source + 1u];
    }
}

fn store(thread: u32, base: u32) {
    for (var at = thread; at < SLOTS; at += THREADS) {
        let to = place_of(base + at);
        scratch[to] = keys[at];
        scratch[to + 1u] = complements[at];
    }
}

// Sorts every SLOTS places, ready to be merged. Grid (rows * slots / SLOTS).
@compute @workgroup_size(THREADS)
fn top_k_sort_blocks(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let base = group_index(group, groups) * SLOTS;
    if base >= params.rows * params.slots {
        return;
    }
    load(thread, base);
    sort_runs(thread, base % params.slots, params.slots);
    store(thread, base);
}

// The exchanges of one distance, SLOTS or more. Grid (rows * slots / 2 / THREADS).
@compute @workgroup_size(THREADS)
fn top_k_merge_far(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let pair = group_index(group, groups) * THREADS + thread;
    if pair >= params.rows * params.slots / 2u {
        return;
    }
    let at = 2u * pair - (pair & (params.apart - 1u));
    let a = place_of(at);
    let b = place_of(at + params.apart);
    let first = vec2<u32>(scratch[a], scratch[a + 1u]);
    let second = vec2<u32>(scratch[b], scratch[b + 1u]);
    let ahead = (at % params.slots & params.run) == 0u;
    let second_is_better = second.x > first.x || (second.x == first.x && second.y > first.y);
    if second_is_better == ahead {
        scratch[a] = second.x;
        scratch[a + 1u] = second.y;
        scratch[b] = first.x;
        scratch[b + 1u] = first.y;
    }
}

// All exchanges of smaller distances. Grid (rows * slots / SLOTS).
@compute @workgroup_size(THREADS)
fn top_k_merge_near(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let base = group_index(group, groups) * SLOTS;
    if base >= params.rows * params.slots {
        return;
    }
    load(thread, base);
    merge_runs(thread, base % params.slots, params.slots, params.run, SLOTS / 2u);
    store(thread, base);
}

// Writes the first k positions and the next key, from sorted lists. Grid (rows * (k + 1) / THREADS).
@compute @workgroup_size(THREADS)
fn top_k_write(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    let row = at / (params.keep + 1u);
    let rank = at % (params.keep + 1u);
    if row >= params.rows {
        return;
    }
    let source = params.scratch_first + row * params.row_words + 2u * rank;
    if rank < params.keep {
        positions[params.positions_first + row * params.keep + rank] = i32(~scratch[source + 1u]);
        return;
    }
    var next = 0xff800000u;
    if params.keep < params.count && scratch[source] != 0u {
        next = order_bits(scratch[source]);
    }
    threshold[params.threshold_first + row] = next;
}
