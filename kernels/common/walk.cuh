// Divisions by a size that the host prepared, and where the elements of a box lie in two tensors.
#pragma once
#include "base.cuh"

// A size to divide by: the quotient is the upper half of a product. Exact for the numbers that the host was told of.
struct DivisorParams {
    u64 multiplier;
    u64 size;
};

// at / by.size, and what is left.
template <typename Rest>
__device__ inline u64 divide(u64 at, const DivisorParams& by, Rest& rest) {
    u64 quotient = by.size == 1 ? at : __umul64hi(at, by.multiplier);
    rest = (Rest)(at - quotient * by.size);
    return quotient;
}

// A box of `count` elements, whose axes, innermost first, have distances in two tensors, a and b. Sizes of one are left
// out and neighbours merged before the launch, so there is one axis wherever both tensors run along.
struct WalkParams {
    u64 a[6];  // the last is that of the outermost axis, whatever its number
    u64 b[6];
    u64 count;
    DivisorParams size[5];  // of all axes but the outermost
    u64 axes;
};

// Offsets in a and b.
struct Place {
    u64 a;
    u64 b;
};

__device__ inline Place walk(u64 at, const WalkParams& p) {
    Place place = {0, 0};
#pragma unroll
    for (u32 axis = 0; axis < 5; axis++) {
        if (axis + 1 >= p.axes) break;
        u64 index;
        at = divide(at, p.size[axis], index);
        place.a += index * p.a[axis];
        place.b += index * p.b[axis];
    }
    place.a += at * p.a[5];
    place.b += at * p.b[5];
    return place;
}
