// Random numbers from random words, by the formulas of src/ops/sampling/noise.rs.
#pragma once
#include "math.cuh"

// (x + 1/2) / 2^32, rounded.
__device__ inline float fraction_of(u32 word) { return ((float)word + 0.5f) * 2.3283064365386963e-10f; }

// A unit exponential number: -log(1 - fraction), without the rounding of 1 - fraction.
__device__ inline float exponential_of(u32 word) {
    return word >> 31 ? -log_of(fraction_of(~word)) : -log1p_of(-fraction_of(word));
}

// A standard Gumbel number; always finite.
__device__ inline float gumbel_of(u32 word) { return -log_of(exponential_of(word)); }

// An upper bound of the Gumbel number, without a logarithm: the exponential is at least the fraction v, and for
// v = 2^e (1 + m), log2 v >= e + m, which is what the bits of a float say when read as an integer. The margin of 1e-4
// covers every rounding but that of adding it to something, which is monotonic.
__device__ inline float gumbel_bound(u32 word) {
    return fmaf((float)__float_as_int(fraction_of(word)), -0.69314718f / 8388608.0f, 127.0f * 0.69314718f + 1e-4f);
}

struct Pair {
    float first, second;
};

// Sine and cosine of turn / 2^32 turns.
__device__ inline Pair sin_cos_turn(u32 turn) {
    // The nearest quarter turn, and the angle that is left: at most an eighth of a turn, exact as an integer.
    u32 quarter = (turn + (1u << 29)) >> 30;
    float x = (float)(i32)(turn - (quarter << 30)) * 1.4629180792671596e-9f;
    float square = x * x;
    float s = 2.7557319e-6f;
    s = fmaf(s, square, -1.984127e-4f);
    s = fmaf(s, square, 8.333333e-3f);
    s = fmaf(s, square, -0.16666667f);
    float sine = fmaf(s * square, x, x);
    float c = -2.755732e-7f;
    c = fmaf(c, square, 2.4801587e-5f);
    c = fmaf(c, square, -1.3888889e-3f);
    c = fmaf(c, square, 4.1666668e-2f);
    c = fmaf(c, square, -0.5f);
    float cosine = fmaf(c, square, 1.0f);
    float first = quarter & 1 ? cosine : sine, second = quarter & 1 ? -sine : cosine;
    return quarter & 2 ? Pair{-first, -second} : Pair{first, second};
}

// Two independent standard normal numbers.
__device__ inline Pair normals_of(u32 first, u32 second) {
    float radius = sqrtf(2.0f * exponential_of(first));
    Pair turned = sin_cos_turn(second);
    return {radius * turned.second, radius * turned.first};
}
