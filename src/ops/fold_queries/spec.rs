//! The fold and its gradient as plain loops.

use crate::spec::{In, Out, Real};

/// p[t][h·dk + j] = Σ_d wq[h·dk + j, d] q[t, d] / √dk
fn projected<T: Real>(q: &In<T>, wq: &In<T>, scale: T) -> Vec<Vec<T>> {
    let (d, rows) = (q.dims[1], wq.dims[0]);
    let one =
        |t: usize, row: usize| (0..d).fold(T::zero(), |sum, i| sum + wq[row * d + i] * q[t * d + i]) * scale;
    (0..q.dims[0]).map(|t| (0..rows).map(|row| one(t, row)).collect()).collect()
}

fn scale<T: Real>(key: usize) -> T {
    T::one() / T::of(key as f64).sqrt()
}

/// q: (T, D), wq: (H·dk, D), wk: (H·dk, D) -> u: (H·T, D)
pub(super) fn fold<T: Real>(heads: usize, ins: &[In<T>], u: &mut Out<T>) {
    let [q, wq, wk] = ins else { return };
    let (queries, d, key) = (q.dims[0], q.dims[1], wq.dims[0] / heads);
    let p = projected(q, wq, scale(key));
    for h in 0..heads {
        for t in 0..queries {
            for j in h * key..(h + 1) * key {
                for i in 0..d {
                    u[(h * queries + t) * d + i] += p[t][j] * wk[j * d + i];
                }
            }
        }
    }
}

/// du: (H·T, D), q, wq, wk -> dq: (T, D), dwq: (H·dk, D), dwk: (H·dk, D)
pub(super) fn gradient<T: Real>(heads: usize, ins: &[In<T>], outs: &mut [Out<T>]) {
    let ([du, q, wq, wk], [dq, dwq, dwk]) = (ins, outs) else { return };
    let (queries, d, key) = (q.dims[0], q.dims[1], wq.dims[0] / heads);
    let scale = scale(key);
    let p = projected(q, wq, scale);
    for t in 0..queries {
        for j in 0..heads * key {
            let du = &du[(j / key * queries + t) * d..][..d];
            let dp = (0..d).fold(T::zero(), |sum, i| sum + wk[j * d + i] * du[i]) * scale;
            for i in 0..d {
                dwk[j * d + i] += p[t][j] * du[i];
                dwq[j * d + i] += dp * q[t * d + i];
                dq[t * d + i] += dp * wq[j * d + i];
            }
        }
    }
}
