//! The pooling and its gradient as plain loops.

use crate::spec::{In, Out, Real};

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::zero(), |sum, (&a, &b)| sum + a * b)
}

/// h: (B, N, D), v: (L, D), bv: (L), u: (L, D), bu: (L), w: (L)
/// -> y: (B, D), a: (B, N), and, if kept, tanh: (B, N, L), sigmoid: (B, N, L)
pub(super) fn pool<T: Real>(keep: bool, ins: &[In<T>], outs: &mut [Out<T>]) {
    let [h, v, bv, u, bu, w] = ins else { return };
    let ([batch, n, d], hidden) = ([h.dims[0], h.dims[1], h.dims[2]], w.dims[0]);
    for b in 0..batch {
        let mut logits = vec![T::zero(); n];
        for i in 0..n {
            let h = &h[(b * n + i) * d..][..d];
            for l in 0..hidden {
                let t = (dot(&v[l * d..(l + 1) * d], h) + bv[l]).tanh();
                let s = T::one() / (T::one() + (-(dot(&u[l * d..(l + 1) * d], h) + bu[l])).exp());
                logits[i] += w[l] * t * s;
                if keep {
                    outs[2][(b * n + i) * hidden + l] = t;
                    outs[3][(b * n + i) * hidden + l] = s;
                }
            }
        }
        let largest = logits.iter().fold(T::neg_infinity(), |a, &b| a.max(b));
        let sum = logits.iter().fold(T::zero(), |sum, &l| sum + (l - largest).exp());
        for i in 0..n {
            let a = (logits[i] - largest).exp() / sum;
            outs[1][b * n + i] = a;
            (0..d).for_each(|k| outs[0][b * d + k] += a * h[(b * n + i) * d + k]);
        }
    }
}

/// h, v, u, w, a, tanh, sigmoid, dy: (B, D), da: (B, N) -> the wanted of dh, dv, dbv, du, dbu, dw
pub(super) fn gradient<T: Real>(wants: [bool; 6], ins: &[In<T>], outs: &mut [Out<T>]) {
    let [h, v, u, w, a, tanh, sigmoid, dy, da] = ins else { return };
    let ([batch, n, d], hidden) = ([h.dims[0], h.dims[1], h.dims[2]], w.dims[0]);
    let mut grads = [h, v, w, u, w, w].map(|t| vec![T::zero(); t.x.len()]);
    let [dh, dv, dbv, du, dbu, dw] = &mut grads;
    for b in 0..batch {
        let (a, dy) = (&a[b * n..(b + 1) * n], &dy[b * d..(b + 1) * d]);
        let da: Vec<T> = (0..n).map(|i| da[b * n + i] + dot(dy, &h[(b * n + i) * d..][..d])).collect();
        let mean = dot(a, &da);
        for i in 0..n {
            let (row, dl) = (b * n + i, a[i] * (da[i] - mean));
            (0..d).for_each(|k| dh[row * d + k] += a[i] * dy[k]);
            for l in 0..hidden {
                let (t, s) = (tanh[row * hidden + l], sigmoid[row * hidden + l]);
                let to_tanh = dl * w[l] * s * (T::one() - t * t);
                let to_sigmoid = dl * w[l] * t * s * (T::one() - s);
                dw[l] += dl * t * s;
                dbv[l] += to_tanh;
                dbu[l] += to_sigmoid;
                for k in 0..d {
                    dh[row * d + k] += to_tanh * v[l * d + k] + to_sigmoid * u[l * d + k];
                    dv[l * d + k] += to_tanh * h[row * d + k];
                    du[l * d + k] += to_sigmoid * h[row * d + k];
                }
            }
        }
    }
    for (to, (from, _)) in outs.iter_mut().zip(grads.iter().zip(wants).filter(|(_, want)| *want)) {
        to.x.copy_from_slice(from);
    }
}
