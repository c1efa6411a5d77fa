// gumbel_top_k of long rows: finds the candidates for the `wanted` best of N positions without storing any noise. Every
// launch computes the keys again.
//
// A position has a key of 64 bits: that of its perturbed logit, above the complement of its number. The first digits of
// the worst wanted key are found one after another (radix selection, 11 bits at a time): a launch counts, among the
// positions that agree with the digits found so far, those with each next digit; the following one finds from these
// counts the digit of the wanted one. As soon as what is not worse than the digits found fits into the list, the rest of
// the launches have nothing to do. The last one writes the candidates to the list in whatever order; sorting makes it
// definite. Keys are made of 3 digits, positions of 1 to 3, as many as N needs.
//
// Scratch of a row: the list (slots, 2), the histograms (digits, BINS), then a state for each digit and the number of
// candidates. A state is what is known before a digit is counted: how many more are wanted among the positions that
// agree, the digits found of key and complement, and whether the search is over.
const THREADS: u32 = 256u;
// Blocks of four positions that a thread goes through.
const STEPS: u32 = 4u;
const BINS: u32 = 2048u;
const BINS_OF_THREAD: u32 = BINS / THREADS;

struct TopKSelectParams {
    logits_first: u32,
    scratch_first: u32,
    key_0: u32,
    key_1: u32,
    first_low: u32, // counter of the first block of the first row
    first_high: u32,
    rows: u32,
    count: u32,     // positions of a row, N
    wanted: u32,
    slots: u32,     // places of the list
    row_words: u32, // scratch of a row
    digits: u32,    // of key and position; 0 where the list has room for every position
    digit: u32,     // counted by this launch
    parts: u32,     // workgroups of a row
}

@group(0) @binding(0) var<uniform> params: TopKSelectParams;
@group(0) @binding(1) var<storage, read> logits: array<u32>; // (B, N), bits of f32
@group(0) @binding(2) var<storage, read_write> scratch: array<atomic<u32>>; // (rows, row_words)

struct State {
    wanted: u32,
    key: u32,
    complement: u32,
    over: u32,
}

var<workgroup> counts: array<atomic<u32>, BINS>;
var<workgroup> sums: array<u32, THREADS>;
var<workgroup> found: State;
var<private> row_first: u32;

fn histogram_of(digit: u32) -> u32 {
    return row_first + 2u * params.slots + digit * BINS;
}

fn state_of(digit: u32) -> u32 {
    return row_first + 2u * params.slots + params.digits * BINS + 4u * digit;
}

fn candidates() -> u32 {
    return state_of(params.digits + 1u);
}

// Where a digit begins in the key (the first 3) or in the complement of the position.
fn shift_of(digit: u32) -> u32 {
    if digit < 3u {
        return select(select(0u, 10u, digit == 1u), 21u, digit == 0u);
    }
    return 11u * (params.digits - 1u - digit);
}

// Zeros, and the first state. Grid (rows * row_words / (4 * THREADS)).
@compute @workgroup_size(THREADS)
fn top_k_clear(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    for (var i = 0u; i < 4u; i++) {
        let at = (group_index(group, groups) * 4u + i) * THREADS + thread;
        if at < params.rows * params.row_words {
            row_first = 0u;
            let first = params.digits > 0u && at % params.row_words == state_of(0u);
            atomicStore(&scratch[params.scratch_first + at], select(0u, params.wanted, first));
        }
    }
}

// The state before `digit`: the one before the previous digit, and what its histogram tells.
fn find(thread: u32, digit: u32, is_first_part: bool) -> State {
    if digit == 0u {
        return State(params.wanted, 0u, 0u, 0u);
    }
    let previous = state_of(digit - 1u);
    let before = State(
        atomicLoad(&scratch[previous]),
        atomicLoad(&scratch[previous + 1u]),
        atomicLoad(&scratch[previous + 2u]),
        atomicLoad(&scratch[previous + 3u]),
    );
    // Thread t has the t-th largest digits; sums become those of all larger ones and its own.
    let largest = histogram_of(digit - 1u) + BINS - 1u - thread * BINS_OF_THREAD;
    var own = 0u;
    for (var i = 0u; i < BINS_OF_THREAD; i++) {
        own += atomicLoad(&scratch[largest - i]);
    }
    sums[thread] = own;
    for (var apart = 1u; apart < THREADS; apart *= 2u) {
        workgroupBarrier(); // the sums of up to `apart` threads are there
        var more = 0u;
        if thread >= apart {
            more = sums[thread - apart];
        }
        workgroupBarrier(); // everybody has read
        sums[thread] += more;
    }
    var above = sums[thread] - own;
    if before.over == 1u {
        if thread == 0u {
            found = before;
        }
    } else if above < before.wanted && before.wanted <= above + own {
        var i = 0u;
        var here = atomicLoad(&scratch[largest]);
        while above + here < before.wanted {
            above += here;
            i += 1u;
            here = atomicLoad(&scratch[largest - i]);
        }
        found = with_digit(before, digit - 1u, BINS - 1u - thread * BINS_OF_THREAD - i, above, here);
    }
    let state = workgroupUniformLoad(&found);
    if is_first_part && thread == 0u {
        let to = state_of(digit);
        atomicStore(&scratch[to], state.wanted);
        atomicStore(&scratch[to + 1u], state.key);
        atomicStore(&scratch[to + 2u], state.complement);
        atomicStore(&scratch[to + 3u], state.over);
    }
    return state;
}

// `before` with one more digit, of which `above` agreeing positions have larger ones and `here` this one.
fn with_digit(before: State, digit: u32, value: u32, above: u32, here: u32) -> State {
    var state = before;
    state.wanted = before.wanted - above;
    if digit < 3u {
        state.key |= value << shift_of(digit);
    } else {
        state.complement |= value << shift_of(digit);
        // Above the digits that N needs, all complements are the same.
        let bits = 11u * (params.digits - 3u);
        if bits < 32u {
            state.complement |= 0xffffffffu << bits;
        }
    }
    // Of the wanted ones, all but state.wanted have larger digits.
    state.over = u32(params.wanted - state.wanted + here <= params.slots);
    return state;
}

// Whether a position has the digits found before `digit`.
fn agrees(state: State, digit: u32, key: u32, complement: u32) -> bool {
    if digit == 0u {
        return true;
    }
    let above = shift_of(digit - 1u);
    if digit <= 3u {
        return (key >> above) == (state.key >> above);
    }
    return key == state.key && (complement >> above) == (state.complement >> above);
}

// Keys of four positions, from a multiple of four on.
fn keys_of(row: u32, block: u32) -> vec4<u32> {
    let stretch = Words(vec2<u32>(params.key_0, params.key_1), params.first_low, params.first_high);
    let words = block_of(stretch, row * ((params.count + 3u) / 4u) + block);
    var keys = vec4<u32>(0u);
    for (var i = 0u; i < 4u; i++) {
        if 4u * block + i < params.count {
            let logit = logits[params.logits_first + row * params.count + 4u * block + i];
            keys[i] = order_key_of_sum(logit, bitcast<u32>(gumbel(words[i])));
        }
    }
    return keys;
}

// Counts the next digits. Grid (rows * parts).
@compute @workgroup_size(THREADS)
fn top_k_count(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups);
    let row = at / params.parts;
    if row >= params.rows {
        return;
    }
    row_first = params.scratch_first + row * params.row_words;
    let digit = params.digit;
    let state = find(thread, digit, at % params.parts == 0u);
    if state.over == 1u {
        return;
    }
    for (var bin = thread; bin < BINS; bin += THREADS) {
        atomicStore(&counts[bin], 0u);
    }
    workgroupBarrier(); // the counts are zero
    for (var step = 0u; step < STEPS; step++) {
        let block = (at % params.parts * STEPS + step) * THREADS + thread;
        if 4u * block < params.count {
            let keys = keys_of(row, block);
            for (var i = 0u; i < 4u; i++) {
                let complement = ~(4u * block + i);
                if 4u * block + i < params.count && agrees(state, digit, keys[i], complement) {
                    let shift = shift_of(digit);
                    let value = select(complement, keys[i], digit < 3u) >> shift;
                    atomicAdd(&counts[value & select(0x7ffu, 0x3ffu, digit == 2u)], 1u);
                }
            }
        }
    }
    workgroupBarrier(); // everything is counted
    for (var bin = thread; bin < BINS; bin += THREADS) {
        let count = atomicLoad(&counts[bin]);
        if count > 0u {
            atomicAdd(&scratch[histogram_of(digit) + bin], count);
        }
    }
}

// Lists all positions that are not worse than the digits found. Grid (rows * parts).
@compute @workgroup_size(THREADS)
fn top_k_collect(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups);
    let row = at / params.parts;
    if row >= params.rows {
        return;
    }
    row_first = params.scratch_first + row * params.row_words;
    let state = find(thread, params.digits, false);
    for (var step = 0u; step < STEPS; step++) {
        let block = (at % params.parts * STEPS + step) * THREADS + thread;
        if 4u * block < params.count {
            let keys = keys_of(row, block);
            for (var i = 0u; i < 4u; i++) {
                let position = 4u * block + i;
                let complement = ~position;
                let better = keys[i] > state.key || (keys[i] == state.key && complement >= state.complement);
                if position < params.count && better {
                    var slot = position;
                    if params.digits > 0u {
                        slot = atomicAdd(&scratch[candidates()], 1u);
                    }
                    if slot < params.slots {
                        atomicStore(&scratch[row_first + 2u * slot], keys[i]);
                        atomicStore(&scratch[row_first + 2u * slot + 1u], complement);
                    }
                }
            }
        }
    }
}
