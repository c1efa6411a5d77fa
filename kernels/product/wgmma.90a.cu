// The matrix products of product.cu with the instructions of compute capability 9.0: the same tiles, fetched and written by the
// same code, multiplied by warpgroups.
#include "../common/wgmma_tile.cuh"
#include "batched.cuh"

PRODUCT(product_wgmma_tf32, WgmmaTile<Tf32Words>, true)
PRODUCT(product_wgmma_f16, WgmmaTile<HalfWords>, true)
PRODUCT(product_wgmma_bf16, WgmmaTile<Bf16Words>, true)
