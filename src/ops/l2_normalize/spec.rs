//! Division by the norm as plain loops.

use super::FLOOR;
use crate::spec::{In, Out, Real};

/// x (…, D) -> y (…, D)
pub(super) fn forward<T: Real>(x: &In<T>, y: &mut Out<T>) {
    let size = x.dims[x.dims.rank() - 1].max(1);
    for (x, y) in x.chunks(size).zip(y.chunks_mut(size)) {
        let norm = squared_norm(x).max(T::of(FLOOR)).sqrt();
        x.iter().zip(y).for_each(|(&x, y)| *y = x / norm);
    }
}

/// dy, x (…, D) -> dx (…, D)
pub(super) fn grad<T: Real>(dy: &In<T>, x: &In<T>, dx: &mut Out<T>) {
    let size = x.dims[x.dims.rank() - 1].max(1);
    for ((dy, x), dx) in dy.chunks(size).zip(x.chunks(size)).zip(dx.chunks_mut(size)) {
        let squared = squared_norm(x);
        let norm = squared.max(T::of(FLOOR)).sqrt();
        let along = dy.iter().zip(x).fold(T::zero(), |sum, (&dy, &x)| sum + dy * x / norm);
        let along = if squared > T::of(FLOOR) { along } else { T::zero() };
        for ((dx, &dy), &x) in dx.iter_mut().zip(dy).zip(x) {
            *dx = (dy - x / norm * along) / norm;
        }
    }
}

fn squared_norm<T: Real>(x: &[T]) -> T {
    x.iter().fold(T::zero(), |sum, &x| sum + x * x)
}
