// Elementary functions of any argument, in single precision: the formulas of `src/cpu/math.rs`, with every rounding written
// out (`fmaf` is the fused operation), so that they give the CPU's bits. No approximate hardware instruction.
#pragma once
#include "base.cuh"

__device__ inline float infinity() { return __int_as_float(0x7f800000); }
__device__ inline float not_a_number() { return __int_as_float(0x7fc00000); }

// exp(x) = 2^n (1 + e), where e is expm1 of what is left of x, for |x| < 2^21.
struct Reduced {
    float e;
    i32 n;
};

__device__ inline Reduced reduced(float x) {
    const float ROUND = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits
    float shifted = fmaf(x, 1.44269504f, ROUND);
    float n = shifted - ROUND;
    // ln 2 in two parts; small multiples of the first are exact.
    float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, x));
    float p = 0.0013946473f;  // (expm1(r) - r) / r^2 for |r| <= ln 2 / 2
    p = fmaf(p, r, 0.008366598f);
    p = fmaf(p, r, 0.04166628f);
    p = fmaf(p, r, 0.16666543f);
    p = fmaf(p, r, 0.5f);
    return {fmaf(r * r, p, r), (i32)((u32)__float_as_int(shifted) - (u32)__float_as_int(ROUND))};
}

// 2 to the n, for n in -126..=127.
__device__ inline float power_of_two(i32 n) { return __int_as_float((n + 127) << 23); }

// exp(x), within 1.1 units in the last place where the result is normal; underflows gradually, overflows to infinity.
__device__ inline float exp_of(float x) {
    // Selections that let NaN through. Beyond these bounds the result is 0 or infinity.
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    Reduced power = reduced(x);
    i32 half = power.n >> 1;  // in two steps: the power itself may be subnormal or infinite
    return (power.e + 1.0f) * power_of_two(half) * power_of_two(power.n - half);
}

// 1 / (1 + exp(-x)), within 2.8 units, from exp(-|x|), which cannot overflow.
__device__ inline float sigmoid_of(float x) {
    float z = exp_of(-fabsf(x));
    float y = 1.0f / (1.0f + z);
    return x < 0.0f ? z * y : y;
}

// Within 2.5 units.
__device__ inline float tanh_of(float x) {
    float twice = 2.0f * fabsf(x);
    Reduced power = reduced(twice > 30.0f ? 30.0f : twice);
    // t = expm1(2|x|); tanh |x| = t / (t + 2).
    float scale = power_of_two(power.n);
    float t = fmaf(scale, power.e, scale - 1.0f);
    return copysignf(t / (t + 2.0f), x);
}

// log(1 + f) for |f| up to 1/3.
__device__ inline float log1p_near(float f) {
    float p = -0.13311577f;
    p = fmaf(p, f, 0.1400609f);
    p = fmaf(p, f, -0.120781966f);
    p = fmaf(p, f, 0.14000855f);
    p = fmaf(p, f, -0.16689499f);
    p = fmaf(p, f, 0.2001077f);
    p = fmaf(p, f, -0.24999507f);
    p = fmaf(p, f, 0.3333321f);
    p = fmaf(p, f, -0.5f);
    return fmaf(f * f, p, f);
}

// The natural logarithm, within 1.0 unit; minus infinity at zero, NaN below.
__device__ inline float log_of(float x) {
    // x = 2^k m with m from 2/3 to 4/3; subnormal arguments are scaled up first.
    bool tiny = x < 1.17549435e-38f;
    i32 bits = __float_as_int(tiny ? x * 8388608.0f : x);
    i32 exponent = (i32)((u32)bits - 0x3f2aaaabu) & ~0x007fffff;
    float k = (float)(exponent >> 23) + (tiny ? -23.0f : 0.0f);
    float m = __int_as_float((i32)((u32)bits - (u32)exponent));
    float y = fmaf(k, 0.6931472f, log1p_near(m - 1.0f));
    y = x < infinity() ? y : x;
    y = x > 0.0f ? y : not_a_number();
    return x == 0.0f ? -infinity() : y;
}

// log(1 + x), within 2.5 units; minus infinity at -1, NaN below.
__device__ inline float log1p_of(float x) { return fabsf(x) < 0.333f ? log1p_near(x) : log_of(1.0f + x); }
