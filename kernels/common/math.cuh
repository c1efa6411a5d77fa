// Elementary functions with the same bits everywhere: polynomials evaluated with explicit fused multiply-adds, no
// approximate hardware instruction.
#pragma once
#include "base.cuh"

// exp(x) for x <= 0, within 1 ulp where the result is normal (checked against double precision over [-87, 0]).
// x = n ln 2 + r with |r| <= ln 2 / 2; exp(r) by its Taylor polynomial of degree 7; scaled by 2^n in two exact halves so
// that subnormal results round once. Minus infinity gives 0, NaN gives NaN.
__device__ inline float exp_nonpositive(float x) {
    if (x < -104.0f) return 0.0f;
    float n = rintf(x * 1.44269504f);
    float r = fmaf(n, -0.693359375f, x);       // ln 2, its first nine bits: the product is exact
    r = fmaf(n, 2.12194440e-4f, r);            // and the rest
    float p = 1.98412698e-4f;
    p = fmaf(p, r, 1.38888889e-3f);
    p = fmaf(p, r, 8.33333333e-3f);
    p = fmaf(p, r, 4.16666667e-2f);
    p = fmaf(p, r, 1.66666667e-1f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    i32 whole = (i32)n;
    i32 half = whole / 2;
    return p * __int_as_float((half + 127) << 23) * __int_as_float((whole - half + 127) << 23);
}
