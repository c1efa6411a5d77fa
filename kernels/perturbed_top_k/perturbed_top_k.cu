// perturbed_top_k: for each sample the positions of the k largest of N perturbed scores, in the order of positions; then
// how often position n was the j-th chosen, as a share of the samples. The gradient is
//
//   dscores[n] = sum over samples s of worth[s] Z[s, n],  worth[s] = by * sum over j of dy[j, its j-th position],
//
// by = 1 / (S sigma). Noise that is drawn is made where it is used, of four positions from one Philox block, and stored
// nowhere.
#include "../common/noise.cuh"
#include "../common/order.cuh"
#include "../common/philox.cuh"
#include "../common/reduce.cuh"

constexpr u32 THREADS = 256;
constexpr u32 BINS = 256;     // a bin for each thread
constexpr u32 COUNTS = 2048;  // positions that a block of the indicators counts
constexpr u32 RUN = 64;       // samples that a thread of the gradient adds up

struct PerturbedParams {
    u64 first;    // counter of the first block of the first sample
    u32 key_0;
    u32 key_1;
    u32 samples;  // S of an image
    u32 count;    // positions, N
    u32 keep;     // k
    u32 cached;   // positions whose keys are kept in shared memory, a multiple of four
    float sigma;
    float by;
};

struct Noise {
    float z[4];
};

// The noise of positions 4 block, .., 4 block + 3 of a sample: given, or drawn from pairs of words.
__device__ inline Noise noise_of(const PerturbedParams& p, const float* given, u64 sample, u32 block) {
    if (!given) {
        Four words = block_of({p.key_0, p.key_1, p.first}, sample * (((u64)p.count + 3) / 4) + block);
        Pair low = normals_of(words.word[0], words.word[1]), high = normals_of(words.word[2], words.word[3]);
        return {{low.first, low.second, high.first, high.second}};
    }
    Noise noise = {};
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        if (4 * block + i < p.count) noise.z[i] = given[sample * p.count + 4 * block + i];
    }
    return noise;
}

struct Keys {
    u32 key[4];
};

// A sample's perturbed scores as keys of their order.
struct Sample {
    const PerturbedParams& p;
    const float* scores;  // (N)
    const float* given;   // (B, S, N), or null
    u64 number;
    u32* cache;           // (cached)

    // Keys of four positions, computed.
    __device__ Keys make(u32 block) const {
        Noise noise = noise_of(p, given, number, block);
        Keys keys = {};
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            if (4 * block + i < p.count) keys.key[i] = order_of(scores[4 * block + i] + p.sigma * noise.z[i]);
        }
        return keys;
    }

    __device__ Keys of(u32 block) const {
        if (4 * block >= p.cached) return make(block);
        const u32* at = cache + 4 * block;
        return {{at[0], at[1], at[2], at[3]}};
    }
};

struct Search {
    u32 counts[BINS];
    u32 of_warp[THREADS / WARP];
    u32 digit, above;
};

// Of the keys that agree with `prefix` above `shift + 8`: the digit of the `wanted`-th largest, in search.digit, and how
// many of them have a larger one, in search.above. Every thread of the block calls it.
__device__ inline void find_digit(Search& search, const Sample& sample, u32 prefix, u32 shift, u32 wanted) {
    search.counts[threadIdx.x] = 0;
    __syncthreads();  // the counts are zero
    u32 count = sample.p.count;
    for (u32 block = threadIdx.x; 4 * block < count; block += THREADS) {
        Keys keys = sample.of(block);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            bool agrees = shift == 24 || keys.key[i] >> ((shift + 8) & 31) == prefix;
            if (agrees && 4 * block + i < count) atomicAdd(&search.counts[keys.key[i] >> shift & 0xff], 1);
        }
    }
    __syncthreads();  // everything is counted
    // Thread t has the t-th largest digit.
    u32 own = search.counts[BINS - 1 - threadIdx.x], total;
    u32 above = block_sum_before(own, search.of_warp, total);
    if (above < wanted && wanted <= above + own) {
        search.digit = BINS - 1 - threadIdx.x;
        search.above = above;
    }
    __syncthreads();  // the digit is found
}

// Writes, in order, the positions with keys above `worst`, and the first `wanted` ones with that key.
__device__ inline void write_chosen(Search& search, const Sample& sample, u32 worst, u32 wanted, i32* positions) {
    u32 better = 0, equal = 0, count = sample.p.count;  // of the positions so far
    for (u32 first = 0; 4 * first < count; first += THREADS) {
        u32 block = first + threadIdx.x;
        Keys keys = {};
        u32 own = 0, total;  // better ones in the lower half of the word, equal ones in the upper
        if (4 * block < count) {
            keys = sample.of(block);
            for (u32 i = 0; i < 4 && 4 * block + i < count; i++) {
                own += (keys.key[i] > worst) + ((keys.key[i] == worst) << 16);
            }
        }
        u32 before = block_sum_before(own, search.of_warp, total);
        u32 better_here = better + (before & 0xffff), equal_here = equal + (before >> 16);
        for (u32 i = 0; i < 4 && 4 * block + i < count; i++) {
            if (keys.key[i] < worst) continue;
            u32 place = better_here + min(equal_here, wanted);
            bool is_better = keys.key[i] > worst;
            if (is_better || equal_here < wanted) positions[place] = (i32)(4 * block + i);
            better_here += is_better;
            equal_here += !is_better;
        }
        better += total & 0xffff;
        equal += total >> 16;
    }
}

// A block has one sample. It finds the key of the k-th largest digit by digit (radix selection, 8 bits at a time), then
// goes through the positions in order. Keys that are not kept are computed again each time. Grid (B * S). Dynamic shared
// memory: 4 * cached bytes.
extern "C" __global__ void __launch_bounds__(THREADS)
perturbed_select_f32(const float* __restrict__ scores,  // (B, N)
                     const float* __restrict__ given,   // (B, S, N), or null: the noise is drawn
                     i32* __restrict__ positions,       // (B, S, k)
                     PerturbedParams p) {
    DYNAMIC_SHARED(u32, cache);
    __shared__ Search search;
    Sample sample = {p, scores + (u64)(blockIdx.x / p.samples) * p.count, given, blockIdx.x, cache};
    for (u32 block = threadIdx.x; 4 * block < p.cached; block += THREADS) {
        Keys keys = sample.make(block);
#pragma unroll
        for (u32 i = 0; i < 4; i++) cache[4 * block + i] = keys.key[i];
    }
    // The key of the worst that is kept, and how many of those with that key are.
    u32 worst = 0, wanted = p.keep;
    for (u32 shift = 32; shift > 0;) {
        shift -= 8;
        find_digit(search, sample, worst, shift, wanted);
        worst = worst << 8 | search.digit;
        wanted -= search.above;
    }
    write_chosen(search, sample, worst, wanted, positions + (u64)blockIdx.x * p.keep);
}

// A block counts, for one image and j, COUNTS neighbouring positions. Grid (B * k, ceil(N / COUNTS)).
extern "C" __global__ void __launch_bounds__(THREADS)
perturbed_indicators_f32(const i32* __restrict__ positions,  // (B, S, k)
                         float* __restrict__ y,              // (B, k, N)
                         PerturbedParams p) {
    __shared__ u32 counts[COUNTS];
    for (u32 n = threadIdx.x; n < COUNTS; n += THREADS) counts[n] = 0;
    __syncthreads();  // the counts are zero
    u32 first = blockIdx.y * COUNTS;
    const i32* chosen = positions + (u64)(blockIdx.x / p.keep) * p.samples * p.keep + blockIdx.x % p.keep;
    for (u32 sample = threadIdx.x; sample < p.samples; sample += THREADS) {
        // A position before the first of these becomes a very large number.
        u32 n = (u32)chosen[(u64)sample * p.keep] - first;
        if (n < COUNTS) atomicAdd(&counts[n], 1);
    }
    __syncthreads();  // everything is counted
    for (u32 n = threadIdx.x; n < COUNTS && first + n < p.count; n += THREADS) {
        y[(u64)blockIdx.x * p.count + first + n] = (float)counts[n] / (float)p.samples;
    }
}

// A block has a run of samples of one image, whose worth it makes first; a thread has four neighbouring positions.
// Grid (ceil(N / (4 * THREADS)), ceil(S / RUN), B).
extern "C" __global__ void __launch_bounds__(THREADS)
perturbed_grad_f32(const float* __restrict__ dy,       // (B, k, N)
                   const i32* __restrict__ positions,  // (B, S, k)
                   const float* __restrict__ given,    // (B, S, N), or null: the noise is drawn
                   float* __restrict__ parts,          // (runs, B, N)
                   PerturbedParams p) {
    __shared__ float worth[RUN];
    u32 first = blockIdx.y * RUN, samples = min(RUN, p.samples - first);
    u64 image = blockIdx.z, number = image * p.samples + first;
    if (threadIdx.x < samples) {
        const i32* chosen = positions + (number + threadIdx.x) * p.keep;
        float sum = 0.0f;
        for (u32 j = 0; j < p.keep; j++) {
            u32 n = (u32)chosen[j];  // what is none of the positions was not chosen
            if (n < p.count) sum += dy[(image * p.keep + j) * p.count + n];
        }
        worth[threadIdx.x] = sum * p.by;
    }
    __syncthreads();  // the worth of every sample is there
    u32 block = (u32)global_thread();
    if (4 * (u64)block >= p.count) return;
    float sum[4] = {};
    for (u32 s = 0; s < samples; s++) {
        Noise noise = noise_of(p, given, number + s, block);
#pragma unroll
        for (u32 i = 0; i < 4; i++) sum[i] = fmaf(worth[s], noise.z[i], sum[i]);
    }
    float* to = parts + ((u64)blockIdx.y * gridDim.z + image) * p.count + 4 * block;
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        if (4 * block + i < p.count) to[i] = sum[i];
    }
}
