// Kernels that the emulator's own tests launch: sound ones, whose results are known, and broken ones, each of which it
// must report or show.

#include "../../../kernels/common/async_copy.cuh"
#include "../../../kernels/common/math.cuh"

constexpr unsigned BLOCK = 64;

// Sum of a block's inputs: shuffles within warps, shared memory between them.
extern "C" __global__ void block_sum(const float* x, float* y) {
    __shared__ float of_warp[BLOCK / 32];
    float sum = x[blockIdx.x * blockDim.x + threadIdx.x];
    for (int by = 16; by > 0; by /= 2) sum += __shfl_down_sync(0xffffffffu, sum, by);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (unsigned warp = 1; warp < blockDim.x / 32; warp++) sum += of_warp[warp];
        y[blockIdx.x] = sum;
    }
}

// Every kind of shuffle and vote, one word each per thread.
extern "C" __global__ void warp_words(unsigned* y) {
    unsigned lane = threadIdx.x % 32, all = 0xffffffffu;
    unsigned* mine = y + threadIdx.x * 8;
    mine[0] = __shfl_sync(all, lane * 10, 5);
    mine[1] = __shfl_up_sync(all, lane, 3);
    mine[2] = __shfl_down_sync(all, lane, 3, 8);
    mine[3] = __shfl_xor_sync(all, lane, 1);
    mine[4] = __ballot_sync(all, lane % 2);
    mine[5] = __any_sync(all, lane == 7) + 2 * __all_sync(all, lane < 31);
    // Half warps may meet on their own.
    mine[6] = lane < 16 ? __shfl_xor_sync(0x0000ffffu, lane, 15, 16) : __ballot_sync(0xffff0000u, 1);
    mine[7] = (unsigned)__syncthreads_count(lane == 0);
}

// The kernels' own exponential.
extern "C" __global__ void exponential(const float* x, float* y) {
    u64 at = global_thread();
    y[at] = exp_of(x[at]);
}

// Dynamic shared memory, reversed through a barrier.
extern "C" __global__ void reversed(const float* x, float* y) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

// Two groups of copies to shared memory, of which the second has zeros in its upper half; `late`: groups that the last read
// does not wait for.
template <unsigned late>
__device__ inline void add_copies(float (*tile)[4 * BLOCK], const float* x, float* y) {
    for (unsigned group = 0; group < 2; group++) {
        copy_async(&tile[group][4 * threadIdx.x], x + 4 * (group * BLOCK + threadIdx.x), group == 0 || threadIdx.x < BLOCK / 2);
        commit_copies();
    }
    unsigned other = 4 * (BLOCK - 1 - threadIdx.x);
    wait_copies<1>();
    __syncthreads();
    float sum = tile[0][other];
    wait_copies<late>();
    __syncthreads();
    y[threadIdx.x] = sum + tile[1][other];
    wait_copies<0>();
}

extern "C" __global__ void copied(const float* x, float* y) {
    __shared__ __align__(16) float tile[2][4 * BLOCK];
    add_copies<0>(tile, x, y);
}

// Broken: reads the second group before it is there.
extern "C" __global__ void copied_too_late(const float* x, float* y) {
    __shared__ __align__(16) float tile[2][4 * BLOCK];
    add_copies<1>(tile, x, y);
}

// Broken: ends without waiting for its copies.
extern "C" __global__ void never_waited_for(const float* x, float* y) {
    __shared__ __align__(16) float tile[4 * BLOCK];
    copy_async(&tile[4 * threadIdx.x], x, true);
    commit_copies();
    y[threadIdx.x] = 1.0f;
}

// Broken: the barrier above is missing, so the result depends on the order of the threads.
extern "C" __global__ void reversed_without_barrier(const float* x, float* y) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

// Broken: reads shared memory that nothing wrote.
extern "C" __global__ void unwritten(float* y) {
    __shared__ float tile[BLOCK];
    if (threadIdx.x == 0) tile[1] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x];
}

// Broken: half of the block waits at a barrier that the other half never reaches.
extern "C" __global__ void ended_early(float* y) {
    if (threadIdx.x >= BLOCK / 2) return;
    __syncthreads();
    y[threadIdx.x] = 1.0f;
}

// Broken: the two halves wait at different barriers.
extern "C" __global__ void two_barriers(float* y) {
    if (threadIdx.x < BLOCK / 2) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    y[threadIdx.x] = 1.0f;
}

// Broken: a shuffle over the whole warp that half of it does not take part in.
extern "C" __global__ void lost_lanes(float* y) {
    float value = threadIdx.x;
    if (threadIdx.x % 32 < 16) value = __shfl_xor_sync(0xffffffffu, value, 1);
    y[threadIdx.x] = value;
}

// Broken: the calling lane is not in its own mask.
extern "C" __global__ void not_in_mask(float* y) {
    y[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 0);
}

// Broken: writes one element beyond the end of global memory (a matter for the AddressSanitizer build).
extern "C" __global__ void beyond_global(float* y) { y[threadIdx.x + 1] = 1.0f; }

// Broken: writes one element beyond the end of shared memory (likewise).
extern "C" __global__ void beyond_shared(float* y, unsigned at) {
    __shared__ float tile[BLOCK];
    tile[threadIdx.x + at] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x];
}
