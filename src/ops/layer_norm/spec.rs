//! Layer normalisation as plain loops.

use crate::spec::{In, Out, Real};

/// x (…, D)[, weight, bias (D)] -> y (…, D)
pub(super) fn forward<T: Real>(eps: f64, ins: &[In<T>], y: &mut Out<T>) {
    let size = ins[0].dims[ins[0].dims.rank() - 1];
    for (x, y) in ins[0].chunks(size).zip(y.chunks_mut(size)) {
        let (mean, inv_std) = statistics(x, eps);
        for i in 0..size {
            let normal = (x[i] - mean) * inv_std;
            y[i] = if ins.len() == 3 { normal * ins[1][i] + ins[2][i] } else { normal };
        }
    }
}

/// dy, x (…, D)[, weight (D)] -> dx (…, D)[, dweight, dbias (D)]
pub(super) fn grad<T: Real>(eps: f64, ins: &[In<T>], outs: &mut [Out<T>]) {
    let size = ins[1].dims[ins[1].dims.rank() - 1];
    let n = T::of(size as f64);
    for (r, (dy, x)) in ins[0].chunks(size).zip(ins[1].chunks(size)).enumerate() {
        let (mean, inv_std) = statistics(x, eps);
        let normal = |i: usize| (x[i] - mean) * inv_std;
        let g = |i: usize| ins.get(2).map_or(dy[i], |weight| dy[i] * weight[i]);
        let (mut sum, mut product) = (T::zero(), T::zero());
        for i in 0..size {
            sum += g(i);
            product += g(i) * normal(i);
        }
        for i in 0..size {
            outs[0][r * size + i] = inv_std * (g(i) - sum / n - normal(i) * product / n);
            if let [_, dweight, dbias] = outs {
                dweight[i] += dy[i] * normal(i);
                dbias[i] += dy[i];
            }
        }
    }
}

/// Mean and 1 / √(biased variance + eps) of a row.
fn statistics<T: Real>(x: &[T], eps: f64) -> (T, T) {
    let n = T::of(x.len() as f64);
    let mean = x.iter().fold(T::zero(), |sum, &v| sum + v) / n;
    let squares = x.iter().fold(T::zero(), |sum, &v| sum + (v - mean) * (v - mean));
    (mean, T::one() / (squares / n + T::of(eps)).sqrt())
}
