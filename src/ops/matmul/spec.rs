//! The product as plain loops.

use super::MatMul;
use crate::{
    ops::elementwise::source,
    spec::{In, Out, Real},
};

/// a: (.., M, K) or (.., K, M); b: (.., K, N) or (.., N, K) -> c: (.., M, N)
pub(super) fn matmul<T: Real>(op: &MatMul, a: &In<T>, b: &In<T>, c: &mut Out<T>) {
    let Ok(sizes) = op.sizes(a.dims, b.dims) else { return };
    let (m, k, n) = (sizes.m, sizes.k, sizes.n);
    let [a_batch, b_batch, batch] = sizes.batch;
    for at in 0..batch.elements() {
        let (a_start, b_start) = (source(at, batch, a_batch) * m * k, source(at, batch, b_batch) * k * n);
        for i in 0..m {
            for j in 0..n {
                let mut sum = T::of(0.0);
                for l in 0..k {
                    let from_a = if op.transpose_a { l * m + i } else { i * k + l };
                    let from_b = if op.transpose_b { j * k + l } else { l * n + j };
                    sum += a[a_start + from_a] * b[b_start + from_b];
                }
                c[(at * m + i) * n + j] = sum;
            }
        }
    }
}
