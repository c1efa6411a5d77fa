// The forward pass of conv2d.cu with the products of compute capability 9.0: the same tiles, gathered and finished by the same
// code, multiplied by warpgroups.
#include "../common/wgmma_tile.cuh"
#include "forward.cuh"

CONV2D(conv2d_wgmma_tf32, WgmmaTile<Tf32Words>)
CONV2D(conv2d_wgmma_f16, WgmmaTile<HalfWords>)
CONV2D(conv2d_wgmma_bf16, WgmmaTile<Bf16Words>)

CONV2D_FUSED(conv2d_fused_wgmma_tf32, WgmmaTile<Tf32Words>, float)
CONV2D_FUSED(conv2d_fused_wgmma_f16, WgmmaTile<HalfWords>, float)
CONV2D_FUSED(conv2d_fused_wgmma_bf16, WgmmaTile<Bf16Words>, float)
CONV2D_FUSED(conv2d_fused_u8_wgmma_tf32, WgmmaTile<Tf32Words>, u8)
CONV2D_FUSED(conv2d_fused_u8_wgmma_f16, WgmmaTile<HalfWords>, u8)
CONV2D_FUSED(conv2d_fused_u8_wgmma_bf16, WgmmaTile<Bf16Words>, u8)
