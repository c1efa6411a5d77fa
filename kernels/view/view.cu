// Elements that move without being computed with: copies of boxes (expand, concat, narrow), padding with zeros, zeros alone.
// All on the grid of common/elements.cuh.
#include "../common/elements.cuh"
#include "../common/walk.cuh"

// Copies a box of units of `bytes` bytes from x to y. Where both tensors run along, the launch makes the units wide.
#define COPY(bytes, T)                                                                                            \
    extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)                                                 \
    copy_##bytes(const T* __restrict__ x, T* __restrict__ y, WalkParams p) {                                      \
        each_element(p.count, [&](u64 at) {                                                                       \
            Place place = walk(at, p);                                                                            \
            y[place.b] = x[place.a];                                                                              \
        });                                                                                                       \
    }
COPY(1, u8)
COPY(2, u16)
COPY(4, u32)
COPY(8, uint2)
COPY(16, uint4)

struct PadParams {
    u64 count;            // elements of y
    u64 run;              // elements of a row of x
    DivisorParams whole;  // elements of a row of y
    u64 before;           // of which these are zero, a row of x follows, and the rest is zero
};

extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)
pad_f32(const float* __restrict__ x,  // (rows, run)
        float* __restrict__ y,        // (rows, whole)
        PadParams p) {
    each_element(p.count, [&](u64 at) {
        u64 column, row = divide(at, p.whole, column);
        u64 from = column - p.before;  // before the run this is a very large number
        y[at] = from < p.run ? x[row * p.run + from] : 0.0f;
    });
}

struct ZeroParams {
    u64 count;
};

extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)
zero_words(u32* __restrict__ y, ZeroParams p) {
    each_element(p.count, [&](u64 at) { y[at] = 0; });
}
