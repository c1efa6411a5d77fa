// top_m_merge: the running selection of the M best of N candidates, replayed over their logits (B, N, R).
//
// The first M candidates are kept. Each next chunk joins them; the candidates (kept ones first, in their order) are
// scored by the mean over R rows of their softmax in that row; the best M stay, best first, ties to the one that stands
// earlier. Minus infinity has probability 0. A candidate with a NaN or plus infinity in any row is left out of every
// softmax and ranks last, by position.
//
// One block per image. Scores become 64-bit keys (score descending, position ascending), sorted by a bitonic network;
// equal scores have equal bits, because every candidate is computed the same way.
#include "../common/order.cuh"
#include "../common/reduce.cuh"

struct TopMMergeParams {
    u32 candidates;   // N
    u32 rows;         // R
    u32 keep;         // M < N
    u32 chunk;
    u32 slots;        // power of two >= keep + chunk
    u32 scratch_words;  // 4-byte words of working memory per image, even
};

// The logits of one image's candidates: of those that are kept from before, then of the others.
struct Candidates {
    const float* kept;   // (split, R)
    const float* fresh;  // (N - split, R)
    u32 split;
    u32 rows;

    __device__ const float* of(u32 candidate) const {
        return candidate < split ? kept + (u64)candidate * rows : fresh + (u64)(candidate - split) * rows;
    }
};

// Working memory of one image, in shared memory or, where that is too small, in scratch.
struct Merge {
    u64* keys;      // (slots)
    i32* now;       // (keep + chunk) candidates by position; a bad one is stored as its complement
    i32* next;      // (keep + chunk)
    float* maximum; // (R)
    float* inverse; // (R) 1 / sum of exp, or 0 where nothing has a probability

    __device__ Merge(u32* memory, const TopMMergeParams& p) {
        u32 most = p.keep + p.chunk;
        keys = reinterpret_cast<u64*>(memory);
        now = reinterpret_cast<i32*>(memory + 2 * p.slots);
        next = now + most;
        maximum = reinterpret_cast<float*>(next + most);
        inverse = maximum + p.rows;
    }
    // The candidate that ended up at a position.
    __device__ u32 chosen(u32 at) const { return (u32)(now[at] < 0 ? ~now[at] : now[at]); }
};

constexpr u64 PADDING = ~0ull;
constexpr u64 BAD = 0xfffffffeull << 32;

// The candidate as stored: itself, or its complement if a logit of its R is NaN or plus infinity.
__device__ inline i32 marked(const Candidates& logits, u32 candidate) {
    const float* own = logits.of(candidate);
    for (u32 r = 0; r < logits.rows; r++)
        if (!(own[r] < infinity())) return ~(i32)candidate;
    return (i32)candidate;
}

// Maximum and 1 / sum of every row over the good ones of `count` candidates: a warp per row, lanes over candidates.
__device__ inline void row_statistics(const Merge& merge, const Candidates& logits, u32 count) {
    u32 lane = threadIdx.x % WARP;
    for (u32 r = threadIdx.x / WARP; r < logits.rows; r += blockDim.x / WARP) {
        float largest = -infinity();
        for (u32 at = lane; at < count; at += WARP) {
            i32 candidate = merge.now[at];
            if (candidate >= 0) largest = fmaxf(largest, logits.of((u32)candidate)[r]);
        }
        largest = warp_max(largest);
        float sum = 0.0f;
        for (u32 at = lane; at < count; at += WARP) {
            i32 candidate = merge.now[at];
            float v = candidate >= 0 ? logits.of((u32)candidate)[r] : -infinity();
            // A row of minus infinities has no probability to give; the difference would be NaN.
            if (v > -infinity()) sum += exp_of(v - largest);
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            merge.maximum[r] = largest;
            merge.inverse[r] = sum > 0.0f ? 1.0f / sum : 0.0f;
        }
    }
}

// The key of the candidate at position `at`: smaller is better.
__device__ inline u64 key_of(const Merge& merge, const Candidates& logits, u32 at) {
    i32 candidate = merge.now[at];
    if (candidate < 0) return BAD | at;
    const float* own = logits.of((u32)candidate);
    float score = 0.0f;
    for (u32 r = 0; r < logits.rows; r++) {
        float v = own[r];
        if (v > -infinity()) {
            score += exp_of(v - merge.maximum[r]) * merge.inverse[r];
        }
    }
    score /= (float)logits.rows;
    // Scores lie in [0, 2): their bits, as integers, order them, and stay below 2^31.
    return (u64)(0x80000000u - (u32)__float_as_int(score)) << 32 | at;
}

// All merges of one image: `merge.now` ends with the kept ones, best first.
__device__ inline void replay(Merge& merge, const Candidates& logits, const TopMMergeParams& p) {
    for (u32 at = threadIdx.x; at < p.keep; at += blockDim.x) merge.now[at] = marked(logits, at);
    for (u32 first = p.keep; first < p.candidates; first += p.chunk) {
        u32 fresh = min(p.chunk, p.candidates - first), count = p.keep + fresh;
        for (u32 at = threadIdx.x; at < fresh; at += blockDim.x) {
            merge.now[p.keep + at] = marked(logits, first + at);
        }
        __syncthreads();  // the candidates are listed
        row_statistics(merge, logits, count);
        __syncthreads();  // maximum and inverse of every row are written
        for (u32 at = threadIdx.x; at < p.slots; at += blockDim.x) {
            merge.keys[at] = at < count ? key_of(merge, logits, at) : PADDING;
        }
        bitonic_sort(merge.keys, p.slots);
        for (u32 at = threadIdx.x; at < p.keep; at += blockDim.x) merge.next[at] = merge.now[(u32)merge.keys[at]];
        i32* kept = merge.next;
        merge.next = merge.now;
        merge.now = kept;
        __syncthreads();  // the kept are written and the old list is read, before the next chunk overwrites it
    }
}

// Grid (B). Block: a multiple of 32. Dynamic shared memory: 4 * scratch_words bytes if `scratch` is null, else none.
extern "C" __global__ void __launch_bounds__(1024, 1)
top_m_merge_f32(const float* __restrict__ all_logits,  // (B, N, R)
                i32* __restrict__ indices,             // (B, M)
                u32* __restrict__ scratch,             // (B, scratch_words), or null; 8-byte aligned
                TopMMergeParams p) {
    DYNAMIC_SHARED(u32, shared);
    Merge merge(scratch ? scratch + (u64)blockIdx.x * p.scratch_words : shared, p);
    Candidates logits = {nullptr, all_logits + (u64)blockIdx.x * p.candidates * p.rows, 0, p.rows};
    replay(merge, logits, p);
    for (u32 at = threadIdx.x; at < p.keep; at += blockDim.x) {
        indices[(u64)blockIdx.x * p.keep + at] = (i32)merge.chosen(at);
    }
}

struct TopMAdvanceParams {
    TopMMergeParams merge;
    u32 split;           // candidates that are kept from before: M, or 0 for the first ones of a selection
    u32 numbers_stride;  // numbers between two images' first fresh candidates
};

// One step of a selection that sees its candidates a few at a time: those that were kept, then fresh ones. What is kept now
// is written with its logits, to where the next step finds it. Grid, block and shared memory as above.
extern "C" __global__ void __launch_bounds__(1024, 1)
top_m_advance_f32(const float* __restrict__ kept,       // (B, split, R)
                  const i32* __restrict__ kept_numbers, // (B, split), the caller's names of the candidates
                  const float* __restrict__ fresh,      // (B, N - split, R)
                  const i32* __restrict__ numbers,      // (B, numbers_stride), the first N - split of each
                  float* __restrict__ next,             // (B, M, R)
                  i32* __restrict__ next_numbers,       // (B, M)
                  u32* __restrict__ scratch,            // (B, scratch_words), or null; 8-byte aligned
                  TopMAdvanceParams p) {
    DYNAMIC_SHARED(u32, shared);
    const TopMMergeParams& m = p.merge;
    u64 image = blockIdx.x;
    Merge merge(scratch ? scratch + image * m.scratch_words : shared, m);
    Candidates logits = {kept + image * p.split * m.rows, fresh + image * (m.candidates - p.split) * m.rows, p.split,
                         m.rows};
    replay(merge, logits, m);
    for (u32 at = threadIdx.x; at < m.keep * m.rows; at += blockDim.x) {
        next[image * m.keep * m.rows + at] = logits.of(merge.chosen(at / m.rows))[at % m.rows];
    }
    for (u32 at = threadIdx.x; at < m.keep; at += blockDim.x) {
        u32 candidate = merge.chosen(at);
        next_numbers[image * m.keep + at] = candidate < p.split
                                                ? kept_numbers[image * p.split + candidate]
                                                : numbers[image * p.numbers_stride + candidate - p.split];
    }
}
