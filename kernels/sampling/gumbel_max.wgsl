// gumbel_max: for each draw, the position of the largest of N perturbed logits.
//
// LANES threads share a part of a draw: lane l takes the blocks of four positions l, l + LANES, ..., since one Philox
// block has the words of four. Long rows are cut into parts, whose winners go to scratch and are compared the same way.
// The order of keys and positions is total, so the cuts do not show.
const THREADS: u32 = 128u;
const LANES: u32 = 128u; // a power of two

struct GumbelMaxParams {
    logits_first: u32,
    results_first: u32,
    key_0: u32,
    key_1: u32,
    first_low: u32,  // counter of the first block of the first draw
    first_high: u32,
    first_draw: u32, // number of the first draw among those of its row
    count: u32,      // draws of this launch
    draws: u32,      // draws of a row
    positions: u32,  // N
    parts: u32,
    blocks_per_part: u32,
}

@group(0) @binding(0) var<uniform> params: GumbelMaxParams;
@group(0) @binding(1) var<storage, read> logits: array<u32>;         // (B, N), bits of f32
@group(0) @binding(2) var<storage, read_write> results: array<u32>;  // (draws), or (draws, parts, 2): key and position
@group(0) @binding(3) var<storage, read> winners: array<u32>;        // (draws, parts, 2)

var<workgroup> keys: array<u32, THREADS>;
var<workgroup> places: array<u32, THREADS>;

// Puts the best of the lanes into the first.
fn best_of_lanes(thread: u32, key: u32, place: u32) {
    keys[thread] = key;
    places[thread] = place;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier(); // the best of 2 * half lanes are there
        if thread % LANES < half {
            let other = keys[thread + half];
            if other > keys[thread] || (other == keys[thread] && places[thread + half] < places[thread]) {
                keys[thread] = other;
                places[thread] = places[thread + half];
            }
        }
    }
}

// Grid (draws * parts * LANES / THREADS).
@compute @workgroup_size(THREADS)
fn gumbel_max_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = (group_index(group, groups) * THREADS + thread) / LANES;
    let draw = at / params.parts;
    let lane = thread % LANES;
    var best = 0u;
    var place = 0xffffffffu;
    if draw < params.count {
        let stretch = Words(vec2<u32>(params.key_0, params.key_1), params.first_low, params.first_high);
        let row = params.logits_first + (params.first_draw + draw) / params.draws * params.positions;
        let blocks = (params.positions + 3u) / 4u;
        let first = at % params.parts * params.blocks_per_part;
        let end = min(first + params.blocks_per_part, blocks);
        for (var block = first + lane; block < end; block += LANES) {
            let words = block_of(stretch, draw * blocks + block);
            for (var i = 0u; i < 4u; i++) {
                let position = 4u * block + i;
                if position < params.positions {
                    let key = order_key_of_sum(logits[row + position], bitcast<u32>(gumbel(words[i])));
                    if key > best || place == 0xffffffffu {
                        best = key;
                        place = position;
                    }
                }
            }
        }
    }
    best_of_lanes(thread, best, place);
    if lane == 0u && draw < params.count {
        if params.parts == 1u {
            results[params.results_first + draw] = places[thread];
        } else {
            results[params.results_first + 2u * at] = keys[thread];
            results[params.results_first + 2u * at + 1u] = places[thread];
        }
    }
}

// From the winners of the parts. Grid (draws); here logits_first is the first of the winners.
@compute @workgroup_size(THREADS)
fn gumbel_max_of_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let draw = group_index(group, groups);
    var best = 0u;
    var place = 0xffffffffu;
    if draw < params.count {
        for (var part = thread; part < params.parts; part += THREADS) {
            let at = params.logits_first + 2u * (draw * params.parts + part);
            if winners[at] > best || place == 0xffffffffu {
                best = winners[at];
                place = winners[at + 1u];
            }
        }
    }
    best_of_lanes(thread, best, place);
    if thread == 0u && draw < params.count {
        results[params.results_first + draw] = places[0];
    }
}
