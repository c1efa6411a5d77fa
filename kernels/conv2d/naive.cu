// The first rung of the convolution's ladder: forward as it is written down in conv2d.cu, a thread for each result, which
// takes every operand from global memory. To be read and measured against; a result is the same chain of multiply-adds as in
// conv2d.cu, and so has the same bits.
#include "../common/base.cuh"
#include "params.cuh"

constexpr u32 THREADS = 256;

// Grid (ceil(B * Co * Ho * Wo / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_naive_f32(const float* __restrict__ x,         // (B, Ci, H, W)
                 const float* __restrict__ weight,    // (Co, Ci / groups, kh, kw)
                 const float* __restrict__ bias,      // (Co), or null
                 const float* __restrict__ residual,  // (B, Co, Ho, Wo), or null
                 float* __restrict__ y,               // (B, Co, Ho, Wo)
                 Conv2dFusedParams of) {
    const Conv2dParams& p = of.conv;
    u64 at = global_thread(), out_plane = (u64)p.out_height * p.out_width;
    if (at >= out_plane * p.out_channels * p.batch) return;
    u32 pixel = (u32)(at % out_plane), channel = (u32)(at / out_plane % p.out_channels);
    u32 ins = p.in_channels / p.groups, group = channel / (p.out_channels / p.groups);
    i32 top = (i32)(pixel / p.out_width * p.stride_height) - (i32)p.pad_top;
    i32 left = (i32)(pixel % p.out_width * p.stride_width) - (i32)p.pad_left;
    u64 in_plane = (u64)p.height * p.width;
    const float* planes = x + (at / out_plane / p.out_channels * p.in_channels + (u64)group * ins) * in_plane;
    const float* weights = weight + (u64)channel * ins * p.kernel_height * p.kernel_width;
    float sum = 0.0f;
    for (u32 in = 0; in < ins; in++, planes += in_plane) {
        for (u32 r = 0; r < p.kernel_height; r++) {
            for (u32 s = 0; s < p.kernel_width; s++, weights++) {
                u32 row = top + r, column = left + s;  // negative positions become large ones
                bool inside = row < p.height && column < p.width;
                sum = fmaf(*weights, inside ? planes[row * p.width + column] : 0.0f, sum);
            }
        }
    }
    if (bias) sum += bias[channel];
    if (residual) sum += residual[at];
    y[at] = of.relu && sum < 0.0f ? 0.0f : sum;
}
