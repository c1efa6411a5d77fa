//! Softmax as plain loops. Every function takes the axis, its operands and its result, all of one shape.

use crate::{
    Dims,
    spec::{In, Out, Real},
};

pub(super) fn softmax<T: Real>(axis: usize, x: &In<T>, y: &mut Out<T>) {
    each_row(x.dims, axis, |at| {
        let m = largest(at.iter().map(|&i| x[i]));
        let sum = at.iter().fold(T::zero(), |sum, &i| sum + (x[i] - m).exp());
        at.iter().for_each(|&i| y[i] = (x[i] - m).exp() / sum);
    });
}

pub(super) fn softmax_grad<T: Real>(axis: usize, dy: &In<T>, y: &In<T>, dx: &mut Out<T>) {
    each_row(y.dims, axis, |at| {
        let sum = at.iter().fold(T::zero(), |sum, &i| sum + dy[i] * y[i]);
        at.iter().for_each(|&i| dx[i] = y[i] * (dy[i] - sum));
    });
}

pub(super) fn log_softmax<T: Real>(axis: usize, x: &In<T>, y: &mut Out<T>) {
    each_row(x.dims, axis, |at| {
        let m = largest(at.iter().map(|&i| x[i]));
        let sum = at.iter().fold(T::zero(), |sum, &i| sum + (x[i] - m).exp());
        at.iter().for_each(|&i| y[i] = x[i] - m - sum.ln());
    });
}

pub(super) fn log_softmax_grad<T: Real>(axis: usize, dy: &In<T>, y: &In<T>, dx: &mut Out<T>) {
    each_row(y.dims, axis, |at| {
        let sum = at.iter().fold(T::zero(), |sum, &i| sum + dy[i]);
        at.iter().for_each(|&i| dx[i] = dy[i] - y[i].exp() * sum);
    });
}

/// The largest number; NaN only if there is none.
fn largest<T: Real>(values: impl Iterator<Item = T>) -> T {
    values.fold(T::nan(), |a, b| if b > a || a.is_nan() { b } else { a })
}

/// Calls `f` with the positions of the elements of each row along the axis.
fn each_row(dims: Dims, axis: usize, mut f: impl FnMut(&[usize])) {
    let (outer, size, inner) = dims.around(axis);
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let at: Vec<usize> = (0..size).map(|n| (o * size + n) * inner + i).collect();
        f(&at);
    }
}
