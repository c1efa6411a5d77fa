// A line of candidates too long for workgroup memory, in scratch, put in order by a bitonic network.
//
// Each image has 3 * slots words of scratch: the line, the keys, and which place of the line a key belongs to.
@group(0) @binding(3) var<storage, read_write> scratch: array<u32>; // (B, 3, slots)

fn part(number: u32) -> u32 {
    return params.scratch_first + (3u * image + number) * params.slots;
}

fn line(place: u32) -> u32 {
    return scratch[part(0u) + place];
}

fn set_line(place: u32, candidate: u32) {
    scratch[part(0u) + place] = candidate;
}

fn key(place: u32) -> u32 {
    return scratch[part(1u) + place];
}

fn set_key(place: u32, value: u32) {
    scratch[part(1u) + place] = value;
}

// The candidate of rank `place`.
fn kept(place: u32) -> u32 {
    return scratch[part(2u) + place];
}

fn sync() {
    storageBarrier();
    workgroupBarrier();
}

// Sorts (key, place) by key, largest first, then by place, smallest first; then replaces places by their candidates.
fn rank(thread: u32, length: u32) {
    let keys = part(1u);
    let places = part(2u);
    for (var at = thread; at < params.slots; at += THREADS) {
        scratch[places + at] = at;
        if at >= length {
            scratch[keys + at] = 0u; // as bad as the worst, and behind them
        }
    }
    for (var run = 2u; run <= params.slots; run *= 2u) {
        for (var apart = run / 2u; apart > 0u; apart /= 2u) {
            sync(); // the previous exchanges are done
            for (var pair = thread; pair < params.slots / 2u; pair += THREADS) {
                let a = 2u * pair - (pair & (apart - 1u));
                exchange(keys, places, a, a + apart, (a & run) == 0u);
            }
        }
    }
    sync(); // everything is in order
    for (var at = thread; at < params.keep; at += THREADS) {
        scratch[places + at] = scratch[part(0u) + scratch[places + at]];
    }
}

// Puts the better of two first, or last if not `ahead`.
fn exchange(keys: u32, places: u32, a: u32, b: u32, ahead: bool) {
    let key_a = scratch[keys + a];
    let key_b = scratch[keys + b];
    let place_a = scratch[places + a];
    let place_b = scratch[places + b];
    let b_is_better = key_b > key_a || (key_b == key_a && place_b < place_a);
    if b_is_better == ahead {
        scratch[keys + a] = key_b;
        scratch[keys + b] = key_a;
        scratch[places + a] = place_b;
        scratch[places + b] = place_a;
    }
}
