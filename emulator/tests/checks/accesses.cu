// Kernels that the tests of the checking build launch: sound ones, of which it must say nothing, and broken ones with a
// fault each, which it must report. The line of a faulty access is marked `second`; that of an earlier one which it
// collides with, `first`.

#include "../../../kernels/common/base.cuh"

constexpr u32 BLOCK = 64;

// Sound.

// Neighbouring bytes are written by different threads, and read four at once behind a barrier.
extern "C" __global__ void bytes_side_by_side(u32* y) {
    __shared__ __align__(4) u8 bytes[BLOCK];
    bytes[threadIdx.x] = (u8)threadIdx.x;
    __syncthreads();
    if (threadIdx.x < BLOCK / 4) y[threadIdx.x] = reinterpret_cast<u32*>(bytes)[threadIdx.x];
}

// The lanes of a warp hand words to each other through shared memory, then those of each half by themselves.
extern "C" __global__ void in_order_within_a_warp(const u32* x, u32* y) {
    __shared__ u32 words[BLOCK];
    u32 t = threadIdx.x, half = t % WARP < WARP / 2 ? 0x0000ffffu : 0xffff0000u;
    words[t] = x[t];
    __syncwarp();
    u32 other = words[t ^ 31];
    __syncwarp();
    words[t] = other + 1;
    __syncwarp(half);
    y[t] = words[t ^ 8];
}

// Counts by atomic operations, of the block and then of all blocks. Two blocks have the same counts.
extern "C" __global__ void counted(const u32* x, u32* counts) {
    __shared__ u32 bins[4];
    if (threadIdx.x < 4) bins[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&bins[x[threadIdx.x] % 4], 1);
    __syncthreads();
    if (threadIdx.x < 4) atomicAdd(&counts[threadIdx.x], bins[threadIdx.x]);
}

// A structure of 16 bytes that needs to lie at multiples of 8 only.
struct Entry {
    u64 key;
    u32 first, second;
};

extern "C" __global__ void entries_at_multiples_of_8(u64* y) {
    __shared__ u64 words[2 * BLOCK + 1];
    Entry* entries = reinterpret_cast<Entry*>(words + 1);
    entries[threadIdx.x] = {threadIdx.x, 1, 2};
    __syncthreads();
    Entry entry = entries[BLOCK - 1 - threadIdx.x];
    y[threadIdx.x] = entry.key + entry.first + entry.second;
}

// What the lanes of a warp hand to each other through the emulator itself, as wrappers of warp-wide instructions do.
extern "C" __global__ void gathered(const u32* x, u32* y) {
    u32 own = x[threadIdx.x], sum = 0;
    const emulator::Gathered& all = emulator::gather(ALL_LANES, &own, sizeof own, {__FILE__, __LINE__});
    for (u32 lane = 0; lane < WARP; lane++) sum += *reinterpret_cast<const u32*>(all.lane[lane]);
    y[threadIdx.x] = sum;
}

// A block's scratch in global memory, handed on over a barrier; vectors; one address that all read.
extern "C" __global__ void through_global(float* scratch, float4* y) {
    float* mine = scratch + blockIdx.x * BLOCK;
    mine[threadIdx.x] = threadIdx.x;
    __syncthreads();
    const float4 four = reinterpret_cast<float4*>(mine)[(threadIdx.x + 1) % (BLOCK / 4)];
    y[blockIdx.x * BLOCK + threadIdx.x] = make_float4(four.x, four.w, mine[0], mine[BLOCK - 1]);
}

// Races on shared memory.

extern "C" __global__ void read_too_early(const float* x, float* y) {
    __shared__ float tile[BLOCK];
    tile[threadIdx.x] = 0.0f;
    __syncthreads();
    tile[threadIdx.x] = x[threadIdx.x];                // first, second
    y[threadIdx.x] = tile[BLOCK - 1 - threadIdx.x];    // first, second
}

extern "C" __global__ void overwritten_too_early(const float* x, float* y) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    float other = tile[BLOCK - 1 - threadIdx.x];       // first, second
    tile[threadIdx.x] = other + 1.0f;                  // first, second
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void two_writers(float* y) {
    __shared__ float tile[BLOCK];
    tile[threadIdx.x / 2] = 1.0f;                      // first, second
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x / 2];
}

// A shuffle does not order memory.
extern "C" __global__ void ordered_by_a_shuffle(const float* x, float* y) {
    __shared__ float tile[BLOCK];
    tile[threadIdx.x] = x[threadIdx.x];                // first
    float sum = __shfl_xor_sync(ALL_LANES, x[threadIdx.x], 1);
    y[threadIdx.x] = sum + tile[threadIdx.x ^ 1];      // second
}

// Each half of the warp is in order by itself, but they read each other's words.
extern "C" __global__ void ordered_by_halves(const float* x, float* y) {
    __shared__ float tile[BLOCK];
    tile[threadIdx.x] = x[threadIdx.x];                // first
    __syncwarp(threadIdx.x % WARP < WARP / 2 ? 0x0000ffffu : 0xffff0000u);
    y[threadIdx.x] = tile[threadIdx.x ^ 16];           // second
}

// A __syncwarp orders nothing between warps.
extern "C" __global__ void ordered_within_warps(const float* x, float* y) {
    __shared__ float tile[BLOCK];
    tile[threadIdx.x] = 0.0f;
    __syncthreads();
    tile[threadIdx.x] = x[threadIdx.x];                // first, second
    __syncwarp();
    y[threadIdx.x] = tile[threadIdx.x ^ 32];           // first, second
}

extern "C" __global__ void read_while_counted(u32* y) {
    __shared__ u32 count;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    atomicAdd(&count, 1);                              // first, second
    y[threadIdx.x] = count;                            // first, second
}

// Races on global memory.

extern "C" __global__ void global_read_too_early(float* scratch, float* y) {
    scratch[threadIdx.x] = threadIdx.x;                // first, second
    y[threadIdx.x] = scratch[BLOCK - 1 - threadIdx.x]; // first, second
}

extern "C" __global__ void blocks_write_one_place(float* y) {
    y[threadIdx.x] = blockIdx.x;                       // first, second
}

// A block reads what the one before it wrote.
extern "C" __global__ void blocks_in_a_chain(float* y) {
    float before = blockIdx.x > 0 ? y[(blockIdx.x - 1) * BLOCK + threadIdx.x] : 0.0f;  // second
    y[blockIdx.x * BLOCK + threadIdx.x] = before + 1.0f;                               // first
}

// Reads of what nothing wrote.

extern "C" __global__ void one_word_short(float* y) {
    __shared__ float tile[BLOCK];
    if (threadIdx.x > 0) tile[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x];                // second
}

extern "C" __global__ void dynamic_one_word_short(float* y) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x + 1];            // second
}

// Only the first block writes its shared memory; others would find what it left there, on this machine.
extern "C" __global__ void left_by_another_block(float* y) {
    __shared__ float tile[BLOCK];
    if (blockIdx.x == 0) tile[threadIdx.x] = 1.0f;
    __syncthreads();
    y[blockIdx.x * BLOCK + threadIdx.x] = tile[threadIdx.x];  // second
}

extern "C" __global__ void unwritten_global(const float* x, float* y) {
    y[threadIdx.x] = x[threadIdx.x];                   // second
}

// Sound by itself, but the last element stays unwritten, which a copy to the host finds.
extern "C" __global__ void one_result_short(float* y) {
    if (threadIdx.x + 1 < BLOCK) y[threadIdx.x] = 1.0f;
}

// Out of bounds, and misaligned.

extern "C" __global__ void past_the_end(float* y) {
    y[threadIdx.x + 1] = 1.0f;                         // second
}

extern "C" __global__ void before_the_beginning(const float* x, float* y) {
    y[threadIdx.x] = x[(i32)threadIdx.x - 1];          // second
}

extern "C" __global__ void past_dynamic_shared(float* y) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x + 1] = 1.0f;                      // second
    __syncthreads();
    y[threadIdx.x] = 1.0f;
}

// The last vector is half in the allocation.
extern "C" __global__ void across_the_end(const float4* x, float4* y) {
    y[threadIdx.x] = x[threadIdx.x];                   // second
}

// Half of the addresses are multiples of 8.
extern "C" __global__ void misaligned_global(const float* x, float4* y) {
    y[threadIdx.x] = *reinterpret_cast<const float4*>(x + 2 * threadIdx.x);  // second
}

extern "C" __global__ void misaligned_shared(float4* y) {
    __shared__ __align__(16) float tile[BLOCK + 4];
    tile[threadIdx.x] = 1.0f;
    if (threadIdx.x < 4) tile[BLOCK + threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = *reinterpret_cast<float4*>(tile + threadIdx.x);  // second
}
