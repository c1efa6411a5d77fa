// gather:      y[b, k, i] = x[b, indices[b, k], i], zero where an index is outside the rows of x.
// scatter_add: y[b, n, i] = the sum of x[b, k, i] over the k with indices[b, k] = n, in the order of k.
//
// gather moves rows of any type as chunks of 1, 4 or 16 bytes, a thread per chunk. scatter_add has a thread per element of
// y; the block goes through the indices of its table in shared memory, so no two threads add to one element.
#include "../common/base.cuh"

constexpr u32 THREADS = 256;

struct GatherParams {
    u64 count;  // chunks of y, or elements of one of its tables
    u32 picks;  // K
    u32 rows;   // of a table of x, or of y
    u32 inner;  // chunks or elements of a row
    u32 blocks; // of a table, for scatter_add
};

// Grid (ceil(count / THREADS)).
template <typename Chunk>
__device__ inline void gather(const Chunk* __restrict__ x, const i32* __restrict__ indices, Chunk* __restrict__ y,
                              const GatherParams& p) {
    u64 at = global_thread();
    if (at >= p.count) return;
    u64 pick = at / p.inner;
    u32 row = (u32)indices[pick];  // a negative index is a very large one
    Chunk value = {};
    if (row < p.rows) value = x[(pick / p.picks * p.rows + row) * p.inner + at % p.inner];
    y[at] = value;
}

extern "C" __global__ void __launch_bounds__(THREADS)
gather_1(const u8* __restrict__ x,          // (B, N, inner)
         const i32* __restrict__ indices,   // (B, K)
         u8* __restrict__ y,                // (B, K, inner)
         GatherParams p) {
    gather(x, indices, y, p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
gather_4(const u32* __restrict__ x,         // (B, N, inner)
         const i32* __restrict__ indices,   // (B, K)
         u32* __restrict__ y,               // (B, K, inner)
         GatherParams p) {
    gather(x, indices, y, p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
gather_16(const uint4* __restrict__ x,      // (B, N, inner)
          const i32* __restrict__ indices,  // (B, K)
          uint4* __restrict__ y,            // (B, K, inner)
          GatherParams p) {
    gather(x, indices, y, p);
}

// Grid (B * blocks).
extern "C" __global__ void __launch_bounds__(THREADS)
scatter_add_f32(const float* __restrict__ x,      // (B, K, inner)
                const i32* __restrict__ indices,  // (B, K)
                float* __restrict__ y,            // (B, N, inner)
                GatherParams p) {
    __shared__ i32 of_chunk[THREADS];
    u64 table = blockIdx.x / p.blocks, at = (u64)(blockIdx.x % p.blocks) * THREADS + threadIdx.x;
    bool exists = at < p.count;
    u32 row = (u32)(at / p.inner), i = (u32)(at % p.inner);
    const float* from = x + table * p.picks * p.inner + i;
    float sum = 0.0f;
    for (u32 first = 0; first < p.picks; first += THREADS) {
        u32 count = min(THREADS, p.picks - first);
        if (threadIdx.x < count) of_chunk[threadIdx.x] = indices[table * p.picks + first + threadIdx.x];
        __syncthreads();  // the indices are there
        for (u32 k = 0; exists && k < count; k++) {
            if ((u32)of_chunk[k] == row) sum += from[(u64)(first + k) * p.inner];
        }
        __syncthreads();  // nobody reads them any more
    }
    if (exists) y[table * p.count + at] = sum;
}
