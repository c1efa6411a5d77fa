// Float formats as bits: those of the f32 with the same value, and of the nearest number to an f32, ties to even. What is
// too large becomes infinite, NaN stays NaN.
#pragma once
#include "base.cuh"

constexpr u32 SIGN = 0x80000000u;
constexpr u32 INFINITE = 0x7f800000u;

struct F32 {
    typedef u32 Bits;
    static __device__ u32 wide(u32 bits) { return bits; }
    static __device__ u32 nearest(u32 bits) { return bits; }
};

struct Bf16 {
    typedef u16 Bits;
    static __device__ u32 wide(u16 bits) { return (u32)bits << 16; }
    static __device__ u16 nearest(u32 bits) {
        if ((bits & ~SIGN) > INFINITE) return (u16)(bits >> 16 | 0x40u);
        return (u16)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    }
};

struct F16 {
    typedef u16 Bits;
    static __device__ u32 wide(u16 bits) {
        u32 sign = (u32)(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
        if (magnitude >= 0x7c00u) return sign | INFINITE | (magnitude & 0x3ffu) << 13;  // infinity or NaN
        if (magnitude >= 0x400u) return sign | ((magnitude << 13) + 0x38000000u);
        // A multiple of 2^-24, which f32 holds exactly.
        return sign | __float_as_uint((float)magnitude * 5.9604644775390625e-8f);
    }
    static __device__ u16 nearest(u32 bits) {
        u32 sign = (bits & SIGN) >> 16, magnitude = bits & ~SIGN;
        if (magnitude > INFINITE) return (u16)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
        if (magnitude >= 0x477ff000u) return (u16)(sign | 0x7c00u);  // 65,520, half way beyond the largest number
        if (magnitude >= 0x38800000u) {
            return (u16)(sign | (magnitude + 0xfffu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13);
        }
        if (magnitude <= 0x33000000u) return (u16)sign;  // half of the smallest number, or less
        // To a multiple of 2^-24.
        u32 digits = (magnitude & 0x7fffffu) | 0x800000u, shift = 126u - (magnitude >> 23);
        u32 whole = digits >> shift, rest = digits & ((1u << shift) - 1u), tie = 1u << (shift - 1u);
        return (u16)(sign | (whole + (rest > tie || (rest == tie && (whole & 1u)))));
    }
};
