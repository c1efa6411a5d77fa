// gumbel_max:   for each draw, the position of the largest of N perturbed logits.
// gumbel_top_k: the positions of the k largest, in order, and the next largest key.
//
// No noise is stored: a thread has four neighbouring positions, whose words are one Philox block, and every launch makes
// the keys again. A key has 64 bits, the perturbed logit's order above the complement of the position: a total order, so
// that neither the cuts of a row nor the order of threads show.
#include "../common/noise.cuh"
#include "../common/order.cuh"
#include "../common/philox.cuh"
#include "../common/reduce.cuh"

constexpr u32 THREADS = 256;

struct SamplingParams {
    u64 first;            // counter of the first block of the first row or draw
    u32 key_0;
    u32 key_1;
    u32 positions;        // N
    u32 drawn;            // of a row: draws of gumbel_max, or k
    u32 parts;            // blocks of a row or draw
    u32 blocks_per_part;  // Philox blocks of these
    u32 wanted;           // min(k + 1, N)
    u32 slots;            // places of a list: a power of two
    u32 row_words;        // scratch of a row, even
    u32 digits;           // of a key that may have to be looked at; 0: the list has room for every position
    u32 digit;            // counted by this launch
    u32 in_place;         // 1: lists are sorted in scratch, not in shared memory
};

// Calls body(position, key) for the positions of Philox block `block` of a row whose key may be `floor` or larger; others
// may come too.
template <typename Body>
__device__ inline void each_key(const SamplingParams& p, const float* logits, u64 row, u32 block, u64 floor,
                                const Body& body) {
    u64 blocks = ((u64)p.positions + 3) / 4;
    Four words = block_of({p.key_0, p.key_1, p.first}, row * blocks + block);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        u32 position = 4 * block + i;
        if (position >= p.positions) continue;
        float logit = logits[position];
        // NaN has no bound, and the smallest key.
        if (order_of(logit + gumbel_bound(words.word[i])) < floor >> 32) continue;
        body(position, ranked(logit + gumbel_of(words.word[i]), position));
    }
}

// The largest key of the block.
__device__ inline u64 block_best(u64 best, u64* of_warp) {
    return block_fold(best, of_warp, [](u64 a, u64 b) { return max(a, b); });
}

// Grid (draws of all rows * parts); a block has a warp or more, up to THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
gumbel_max_f32(const float* __restrict__ logits,  // (B, N)
               i32* __restrict__ positions,       // (B, draws), written if there is one part
               u64* __restrict__ winners,         // (B, draws, parts), or null
               SamplingParams p) {
    __shared__ u64 of_warp[THREADS / WARP];
    u32 draw = blockIdx.x / p.parts, part = blockIdx.x % p.parts;
    const float* row = logits + (u64)(draw / p.drawn) * p.positions;
    u32 first = part * p.blocks_per_part, end = min(first + p.blocks_per_part, ceil_div(p.positions, 4));
    u64 best = 0;
    for (u32 block = first + threadIdx.x; block < end; block += blockDim.x) {
        each_key(p, row, draw, block, best, [&](u32, u64 key) { best = max(best, key); });
    }
    best = block_best(best, of_warp);
    if (threadIdx.x > 0) return;
    if (winners) {
        winners[blockIdx.x] = best;
    } else {
        positions[draw] = (i32)position_of(best);
    }
}

// Grid (draws of all rows).
extern "C" __global__ void __launch_bounds__(THREADS)
gumbel_max_of_parts(const u64* __restrict__ winners,  // (B, draws, parts)
                    i32* __restrict__ positions,      // (B, draws)
                    SamplingParams p) {
    __shared__ u64 of_warp[THREADS / WARP];
    u64 best = 0;
    for (u32 part = threadIdx.x; part < p.parts; part += THREADS) {
        best = max(best, winners[(u64)blockIdx.x * p.parts + part]);
    }
    best = block_best(best, of_warp);
    if (threadIdx.x == 0) positions[blockIdx.x] = (i32)position_of(best);
}

// Sorts the complements of some keys, of which an empty place is one of all ones, and writes the first k positions and the
// next key.
__device__ inline void sort_and_write(u64* complements, u32 slots, i32* positions, float* threshold,
                                      const SamplingParams& p) {
    bitonic_sort(complements, slots);
    for (u32 at = threadIdx.x; at < p.drawn; at += blockDim.x) positions[at] = (i32)position_of(~complements[at]);
    if (threadIdx.x == 0) {
        u32 next = p.drawn < p.positions ? (u32)(~complements[p.drawn] >> 32) : 0;
        *threshold = next == 0 ? -infinity() : value_of(next);
    }
}

// Short rows: all keys are sorted. Grid (rows); a block has a warp or more, up to 1024 threads. Dynamic shared memory:
// 8 * slots bytes.
extern "C" __global__ void __launch_bounds__(1024)
top_k_line_f32(const float* __restrict__ logits,  // (B, N)
               i32* __restrict__ positions,       // (B, k)
               float* __restrict__ threshold,     // (B)
               SamplingParams p) {
    DYNAMIC_SHARED(u64, complements);
    u64 row = blockIdx.x;
    for (u32 at = p.positions + threadIdx.x; at < p.slots; at += blockDim.x) complements[at] = ~0ull;
    for (u32 block = threadIdx.x; 4 * block < p.positions; block += blockDim.x) {
        each_key(p, logits + row * p.positions, row, block, 0, [&](u32 position, u64 key) { complements[position] = ~key; });
    }
    sort_and_write(complements, p.slots, positions + row * p.drawn, threshold + row, p);
}

// Long rows: the candidates for the `wanted` best are selected first. The first digits of the worst wanted key are found
// one after another (radix selection): a launch counts, among the positions that agree with the digits found so far,
// those with each next digit; the following one finds from these counts the digit of the wanted one. As soon as what is
// not worse than the digits found fits into the list, the rest of the counting launches have nothing to do. The last one
// writes the candidates to the list in whatever order; sorting makes it definite. The upper half of a key has three
// digits, of 11, 11 and 10 bits, the lower one as many of 11 bits as N needs.
constexpr u32 BINS = 2048;
constexpr u32 BINS_OF_THREAD = BINS / THREADS;

// What is known before a digit is counted.
struct State {
    u64 key;     // the digits found
    u32 wanted;  // how many more are wanted among the positions that agree with them
    u32 over;    // 1: the search is
};

// Scratch of a row: its list (slots), a state for each digit and one more, the histograms (digits, BINS), and the number of
// candidates.
struct Row {
    u64* list;
    State* states;
    u32* histograms;
    u32* candidates;

    __device__ Row(u32* scratch, u32 row, const SamplingParams& p) {
        u32* first = scratch + (u64)row * p.row_words;
        list = reinterpret_cast<u64*>(first);
        states = reinterpret_cast<State*>(list + p.slots);
        histograms = reinterpret_cast<u32*>(states + p.digits + 1);
        candidates = histograms + p.digits * BINS;
    }
};

// Where a digit begins in a key.
__device__ inline u32 shift_of(u32 digit, u32 digits) {
    return digit == 0 ? 53 : digit == 1 ? 42 : digit == 2 ? 32 : 11 * (digits - 1 - digit);
}

// Zeros for all but the list, and the first state. Grid (parts, rows).
extern "C" __global__ void __launch_bounds__(THREADS)
top_k_clear(u32* __restrict__ scratch,  // (rows, row_words)
            SamplingParams p) {
    Row row(scratch, blockIdx.y, p);
    u32* words = reinterpret_cast<u32*>(row.states);
    u32 count = p.row_words - 2 * p.slots, at = (u32)global_thread();
    if (at < count) words[at] = at == 2 ? p.wanted : 0;
}

// `before` with one more digit, of which `above` agreeing positions have larger ones and `here` this one.
__device__ inline State with_digit(State state, u32 digit, u32 value, u32 above, u32 here, const SamplingParams& p) {
    state.wanted -= above;
    state.key |= (u64)value << shift_of(digit, p.digits);
    // Above the digits that N needs, the complements of all positions are ones.
    if (digit == 2) state.key |= 0xffffffffull & ~((1ull << 11 * (p.digits - 3)) - 1);
    // Of the wanted ones, all but state.wanted have larger digits.
    state.over = p.wanted - state.wanted + here <= p.slots;
    return state;
}

struct Search {
    u32 counts[BINS];
    u32 of_warp[THREADS / WARP];
    State found;
};

// The state before `digit`: the one before the previous digit, and what its histogram tells. Every thread calls it.
__device__ inline State state_before(Search& search, const Row& row, u32 digit, const SamplingParams& p) {
    if (digit == 0) return row.states[0];
    State before = row.states[digit - 1];
    if (before.over) return before;
    // Thread t has the t-th largest digits.
    const u32* largest = row.histograms + (digit - 1) * BINS + BINS - 1 - threadIdx.x * BINS_OF_THREAD;
    u32 own = 0, total;
    for (u32 i = 0; i < BINS_OF_THREAD; i++) own += *(largest - i);
    u32 above = block_sum_before(own, search.of_warp, total);
    if (above < before.wanted && before.wanted <= above + own) {
        u32 i = 0;
        for (; above + *(largest - i) < before.wanted; i++) above += *(largest - i);
        u32 value = BINS - 1 - threadIdx.x * BINS_OF_THREAD - i;
        search.found = with_digit(before, digit - 1, value, above, *(largest - i), p);
    }
    __syncthreads();  // the thread with the digit has written
    return search.found;
}

// The Philox blocks of this block's part of a row: calls body(block).
template <typename Body>
__device__ inline void each_block(const SamplingParams& p, const Body& body) {
    u32 first = blockIdx.x * p.blocks_per_part, end = min(first + p.blocks_per_part, ceil_div(p.positions, 4));
    for (u32 block = first + threadIdx.x; block < end; block += THREADS) body(block);
}

// Counts the next digits. Grid (parts, rows).
extern "C" __global__ void __launch_bounds__(THREADS)
top_k_count_f32(const float* __restrict__ all_logits,  // (rows, N)
                u32* __restrict__ scratch,             // (rows, row_words)
                SamplingParams p) {
    __shared__ Search search;
    Row row(scratch, blockIdx.y, p);
    State state = state_before(search, row, p.digit, p);
    if (blockIdx.x == 0 && threadIdx.x == 0 && p.digit > 0) row.states[p.digit] = state;
    if (state.over) return;  // the whole block
    for (u32 bin = threadIdx.x; bin < BINS; bin += THREADS) search.counts[bin] = 0;
    __syncthreads();  // the counts are zero
    u32 shift = shift_of(p.digit, p.digits), mask = p.digit == 2 ? 0x3ff : 0x7ff;
    u32 found = p.digit == 0 ? 0 : shift_of(p.digit - 1, p.digits);  // where the digits found end
    const float* logits = all_logits + (u64)blockIdx.y * p.positions;
    each_block(p, [&](u32 block) {
        each_key(p, logits, blockIdx.y, block, state.key, [&](u32, u64 key) {
            bool agrees = p.digit == 0 || key >> found == state.key >> found;
            if (agrees) atomicAdd(&search.counts[(u32)(key >> shift) & mask], 1);
        });
    });
    __syncthreads();  // everything is counted
    for (u32 bin = threadIdx.x; bin < BINS; bin += THREADS) {
        if (search.counts[bin] > 0) atomicAdd(&row.histograms[p.digit * BINS + bin], search.counts[bin]);
    }
}

// Lists all positions that are not worse than the digits found. Grid (parts, rows).
extern "C" __global__ void __launch_bounds__(THREADS)
top_k_collect_f32(const float* __restrict__ all_logits,  // (rows, N)
                  u32* __restrict__ scratch,             // (rows, row_words)
                  SamplingParams p) {
    __shared__ Search search;
    Row row(scratch, blockIdx.y, p);
    State state = state_before(search, row, p.digits, p);
    const float* logits = all_logits + (u64)blockIdx.y * p.positions;
    each_block(p, [&](u32 block) {
        each_key(p, logits, blockIdx.y, block, state.key, [&](u32, u64 key) {
            if (key < state.key) return;
            u32 slot = atomicAdd(row.candidates, 1);
            if (slot < p.slots) row.list[slot] = ~key;
        });
    });
}

// Sorts the lists and writes the results. Grid (rows). Dynamic shared memory: 8 * slots bytes, or none: the list is then
// sorted where it is.
extern "C" __global__ void __launch_bounds__(1024)
top_k_sort(u32* __restrict__ scratch,      // (rows, row_words)
           i32* __restrict__ positions,    // (rows, k)
           float* __restrict__ threshold,  // (rows)
           SamplingParams p) {
    DYNAMIC_SHARED(u64, shared);
    Row row(scratch, blockIdx.x, p);
    u64* complements = p.in_place ? row.list : shared;
    u32 count = min(*row.candidates, p.slots);
    for (u32 at = threadIdx.x; at < p.slots; at += blockDim.x) complements[at] = at < count ? row.list[at] : ~0ull;
    sort_and_write(complements, p.slots, positions + (u64)blockIdx.x * p.drawn, threshold + blockIdx.x, p);
}
