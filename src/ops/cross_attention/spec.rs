//! The attention and its gradient as plain loops.

use super::{CrossAttention, CrossAttentionGrad, words_per_image};
use crate::spec::{In, Out, Real};

/// What entry (r, n) of image b is multiplied by: 0, or 1 / (1 − probability).
fn mask<T: Real>(op: &CrossAttention, [rows, inputs]: [usize; 2], [b, r, n]: [usize; 3]) -> T {
    op.dropout.map_or(T::one(), |dropout| {
        let at = b * words_per_image(rows, inputs) + r * inputs + n;
        if dropout.words.word(at as u64) < dropout.threshold() { T::zero() } else { T::of(dropout.scale()) }
    })
}

/// p[n] = softmax of ⟨u, x[n]⟩, for u: (D), x: (N, D)
fn softmax<T: Real>(u: &[T], x: &[T]) -> Vec<T> {
    let logits: Vec<T> = x.chunks(u.len()).map(|x| dot(u, x)).collect();
    let largest = logits.iter().fold(T::neg_infinity(), |a, &b| a.max(b));
    let powers: Vec<T> = logits.iter().map(|&l| (l - largest).exp()).collect();
    let sum = powers.iter().fold(T::zero(), |a, &b| a + b);
    powers.iter().map(|&e| e / sum).collect()
}

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::zero(), |sum, (&a, &b)| sum + a * b)
}

/// x: (B, N, D), u: (H·T, D), wv: (H·dv, D), wo: (O, H·dv)
/// -> y: (B, T, O), scores: (B, N), and, if kept, p: (B, H·T, N), z: (B, H·T, D)
pub(super) fn attention<T: Real>(op: &CrossAttention, ins: &[In<T>], outs: &mut [Out<T>]) {
    let [x, u, wv, wo] = ins else { return };
    let ([batch, inputs, d], rows) = ([x.dims[0], x.dims[1], x.dims[2]], u.dims[0]);
    let (queries, value, values) = (rows / op.heads, wv.dims[0] / op.heads, wv.dims[0]);
    for b in 0..batch {
        for r in 0..rows {
            let (h, t) = (r / queries, r % queries);
            let x = &x[b * inputs * d..(b + 1) * inputs * d];
            let p = softmax(&u[r * d..(r + 1) * d], x);
            let mut z = vec![T::zero(); d];
            for n in 0..inputs {
                outs[1][b * inputs + n] += p[n] / T::of(rows as f64);
                let weight = p[n] * mask(op, [rows, inputs], [b, r, n]);
                (0..d).for_each(|i| z[i] += weight * x[n * d + i]);
            }
            for j in h * value..(h + 1) * value {
                let o = dot(&wv[j * d..(j + 1) * d], &z);
                for (k, row) in wo.chunks(values).enumerate() {
                    outs[0][(b * queries + t) * wo.dims[0] + k] += row[j] * o;
                }
            }
            if op.keep {
                outs[2][(b * rows + r) * inputs..][..inputs].copy_from_slice(&p);
                outs[3][(b * rows + r) * d..][..d].copy_from_slice(&z);
            }
        }
    }
}

/// x, u, wv, wo, p, z, dy: (B, T, O), dscores: (B, N) -> the wanted of dx, du, dwv, dwo
pub(super) fn gradient<T: Real>(op: &CrossAttentionGrad, ins: &[In<T>], outs: &mut [Out<T>]) {
    let [x, u, wv, wo, p, z, dy, dscores] = ins else { return };
    let ([batch, inputs, d], rows) = ([x.dims[0], x.dims[1], x.dims[2]], u.dims[0]);
    let heads = op.attention.heads;
    let (queries, value, values) = (rows / heads, wv.dims[0] / heads, wv.dims[0]);
    let mut grads = [x, u, wv, wo].map(|t| vec![T::zero(); t.x.len()]);
    let [dx, du, dwv, dwo] = &mut grads;
    for (b, r) in (0..batch).flat_map(|b| (0..rows).map(move |r| (b, r))) {
        let (h, t) = (r / queries, r % queries);
        let x = &x[b * inputs * d..(b + 1) * inputs * d];
        let (p, z) = (&p[(b * rows + r) * inputs..][..inputs], &z[(b * rows + r) * d..][..d]);
        let dy = &dy[(b * queries + t) * wo.dims[0]..][..wo.dims[0]];
        let mut dz = vec![T::zero(); d];
        for j in h * value..(h + 1) * value {
            let wv = &wv[j * d..(j + 1) * d];
            let o = dot(wv, z);
            let mut d_o = T::zero();
            for (k, &dy) in dy.iter().enumerate() {
                d_o += wo[k * values + j] * dy;
                dwo[k * values + j] += dy * o;
            }
            for i in 0..d {
                dz[i] += d_o * wv[i];
                dwv[j * d + i] += d_o * z[i];
            }
        }
        let masks: Vec<T> = (0..inputs).map(|n| mask(&op.attention, [rows, inputs], [b, r, n])).collect();
        let dp: Vec<T> = (0..inputs)
            .map(|n| {
                masks[n] * dot(&dz, &x[n * d..(n + 1) * d]) + dscores[b * inputs + n] / T::of(rows as f64)
            })
            .collect();
        let mean = dot(p, &dp);
        for n in 0..inputs {
            let (weight, ds) = (p[n] * masks[n], p[n] * (dp[n] - mean));
            for i in 0..d {
                dx[(b * inputs + n) * d + i] += weight * dz[i] + ds * u[r * d + i];
                du[r * d + i] += ds * x[n * d + i];
            }
        }
    }
    let wanted = grads.iter().zip(op.wants).filter(|(_, want)| *want);
    for (to, (from, _)) in outs.iter_mut().zip(wanted) {
        to.x.copy_from_slice(from);
    }
}
