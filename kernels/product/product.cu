// A batch of matrix products of any layout:
//
//   c[z][m, n] = (c[z][m, n] if `add`) + scale * (sum over k of a[z][m, k] * b[z][k, n]) + (bias[m or n] if there is one)
//
// An index i of an axis lies i / inner * outer + i % inner * step elements from the first, with outer and step for each
// operand: so m may run over two axes of a tensor that are not neighbours. A long k is cut into pieces, each a chain of
// multiply-adds, whose sums are added in ascending order: so the bits of a result follow from k alone. A block goes through
// all pieces, or one block has each of them (`splits`), their sums go to `parts` and a second launch adds them. The tiles
// are those of common/product.cuh and common/tensor_tile.cuh.
#include "../common/tensor_tile.cuh"
#include "batched.cuh"

// Tiles of 16, 32 and 64 rows. The largest leave no registers for pieces.
PRODUCT(product_16_f32, FmaTile<2>, true)
PRODUCT(product_32_f32, FmaTile<4>, true)
PRODUCT(product_64_f32, FmaTile<8>, false)
PRODUCT(product_tf32, TensorTile<Tf32Words>, true)
PRODUCT(product_f16, TensorTile<HalfWords>, true)
PRODUCT(product_bf16, TensorTile<Bf16Words>, true)

// Adds the splits of every result, which may be none. Grid (ceil(batch * m * n / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
product_sum_f32(const float* __restrict__ parts,  // (splits, batch, m, n)
                const float* __restrict__ bias,   // (m) or (n), or null
                float* __restrict__ c,
                ProductParams p) {
    u64 at = global_thread(), results = (u64)p.batch * p.m * p.n;
    if (at >= results) return;
    float sum = 0.0f;
    for (u32 split = 0; split < p.splits; split++) sum += parts[split * results + at];
    u32 m = (u32)(at / p.n % p.m), n = (u32)(at % p.n);
    float* row = c + at / p.n / p.m * p.c.batch + offset(m, p.m_inner, p.c.row_outer, p.c.row);
    float* place = row + offset(n, p.n_inner, p.c.col_outer, p.c.col);
    *place = finished(bias, p, m, n, sum, place);
}
