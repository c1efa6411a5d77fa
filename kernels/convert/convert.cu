// y = x, from one float format to another: f32, f16 and bf16. All on bits, as on every device: to the nearest, ties to
// even; what is too large becomes infinite, NaN stays NaN. On the grid of common/elements.cuh.
#include "../common/elements.cuh"

struct ConvertParams {
    u64 count;
};

constexpr u32 SIGN = 0x80000000u;
constexpr u32 INFINITE = 0x7f800000u;

// A format: its bits, and those of the f32 with the same value and back.
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

#define CONVERT(name, From, To)                                                                      \
    extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)                                    \
    name(const From::Bits* __restrict__ x, To::Bits* __restrict__ y, ConvertParams p) {              \
        each_element(p.count, [&](u64 at) { return x[at]; },                                         \
                     [&](u64 at, From::Bits bits) { y[at] = To::nearest(From::wide(bits)); });       \
    }
CONVERT(convert_f32_f32, F32, F32)
CONVERT(convert_f32_f16, F32, F16)
CONVERT(convert_f32_bf16, F32, Bf16)
CONVERT(convert_f16_f32, F16, F32)
CONVERT(convert_f16_f16, F16, F16)
CONVERT(convert_f16_bf16, F16, Bf16)
CONVERT(convert_bf16_f32, Bf16, F32)
CONVERT(convert_bf16_f16, Bf16, F16)
CONVERT(convert_bf16_bf16, Bf16, Bf16)
