//! Joining, cutting and padding as plain loops.

use super::{Narrow, Pad};
use crate::spec::{In, Out, Real};

/// ins: (.., n_i, ..) -> y: (.., Σ n_i, ..)
pub(super) fn concat<T: Real>(axis: usize, ins: &[In<T>], y: &mut Out<T>) {
    let (outer, size, inner) = y.dims.around(axis);
    let mut start = 0;
    for x in ins {
        let mine = x.dims[axis];
        for o in 0..outer {
            for i in 0..mine * inner {
                copy(x, o * mine * inner + i, y, (o * size + start) * inner + i);
            }
        }
        start += mine;
    }
}

/// x: (.., n, ..) -> y: (.., size, ..)
pub(super) fn narrow<T: Real>(op: &Narrow, x: &In<T>, y: &mut Out<T>) {
    let (outer, size, inner) = x.dims.around(op.axis);
    for o in 0..outer {
        for i in 0..op.size * inner {
            copy(x, (o * size + op.start) * inner + i, y, o * op.size * inner + i);
        }
    }
}

/// x: (.., n, ..) -> y: (.., size, ..)
pub(super) fn pad<T: Real>(op: &Pad, x: &In<T>, y: &mut Out<T>) {
    let (outer, size, inner) = x.dims.around(op.axis);
    for o in 0..outer {
        for i in 0..size * inner {
            copy(x, o * size * inner + i, y, (o * op.size + op.before) * inner + i);
        }
    }
}

fn copy<T: Real>(x: &In<T>, from: usize, y: &mut Out<T>, to: usize) {
    if x.int.is_empty() {
        y[to] = x[from];
    } else {
        y.int[to] = x.int[from];
    }
}
