// y = x, from one float format to another: f32, f16 and bf16. All on bits, as on every device: to the nearest, ties to
// even; what is too large becomes infinite, NaN stays NaN. On the grid of common/elements.cuh.
#include "../common/elements.cuh"
#include "../common/floats.cuh"

struct ConvertParams {
    u64 count;
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
