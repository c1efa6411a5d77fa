// transpose: y is x with its axes in another order, for an x that runs along one axis (`near`) and a y that runs along
// another (`last`). A block moves a tile of TILE by TILE elements of that plane through shared memory, so that both
// tensors are accessed in lines; the other axes are a walk.
//
// Grid (tiles along last * tiles along near * elements of the other axes), in this order, innermost first.
#include "../common/walk.cuh"

constexpr u32 THREADS = 256;
constexpr u32 TILE = 32;

struct TransposeParams {
    WalkParams others;
    u64 x_last;  // distance in x of the axis that y runs along
    u64 y_near;  // distance in y of the axis that x runs along
    u32 last;    // their sizes
    u32 near;
    DivisorParams tiles_last;
    DivisorParams tiles_near;
};

template <typename T>
__device__ inline void transpose(const T* __restrict__ x, T* __restrict__ y, const TransposeParams& p,
                                 T (&tile)[TILE][TILE + 1]) {
    u32 across, down;
    u64 other = divide(divide(blockIdx.x, p.tiles_last, across), p.tiles_near, down);
    Place place = walk(other, p.others);
    u32 first_last = across * TILE, first_near = down * TILE;
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

    for (u32 row = warp; row < TILE; row += THREADS / WARP) {
        u32 last = first_last + row, near = first_near + lane;
        if (last < p.last && near < p.near) tile[row][lane] = x[place.a + last * p.x_last + near];
    }
    __syncthreads();  // the tile is complete
    for (u32 row = warp; row < TILE; row += THREADS / WARP) {
        u32 last = first_last + lane, near = first_near + row;
        if (last < p.last && near < p.near) y[place.b + near * p.y_near + last] = tile[lane][row];
    }
}

// Elements of 1, 2 and 4 bytes.
#define TRANSPOSE(bytes, T)                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                         \
    transpose_##bytes(const T* __restrict__ x, T* __restrict__ y, TransposeParams p) {                            \
        __shared__ T tile[TILE][TILE + 1];                                                                        \
        transpose<T>(x, y, p, tile);                                                                              \
    }
TRANSPOSE(1, u8)
TRANSPOSE(2, u16)
TRANSPOSE(4, u32)
