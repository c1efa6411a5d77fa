//! Reductions as plain loops.

use super::{ArgMax, Max, Sum};
use crate::{
    Dims,
    spec::{In, Out, Real},
};

/// x -> y, without the summed axes
pub(super) fn sum<T: Real>(op: &Sum, x: &In<T>, y: &mut Out<T>) {
    for (i, &v) in x.iter().enumerate() {
        y[place(i, x.dims, &op.summed)] += v;
    }
}

/// x -> y and positions in x, without the reduced axes
pub(super) fn max<T: Real>(op: &Max, x: &In<T>, outs: &mut [Out<T>]) {
    let [y, at] = outs else { return };
    let mut seen = vec![false; y.len()];
    for (i, &v) in x.iter().enumerate() {
        let to = place(i, x.dims, &op.over);
        if !seen[to] || v > y[to] || (y[to].is_nan() && !v.is_nan()) {
            (y[to], at.int[to], seen[to]) = (v, i as i64, true);
        }
    }
}

/// x -> positions along the axis, without it
pub(super) fn argmax<T: Real>(op: &ArgMax, x: &In<T>, at: &mut Out<T>) {
    let (outer, size, inner) = x.dims.around(op.axis);
    for o in 0..outer {
        for i in 0..inner {
            let value = |n: usize| x[(o * size + n) * inner + i];
            let mut best = 0;
            for n in 1..size {
                if value(n) > value(best) || (value(best).is_nan() && !value(n).is_nan()) {
                    best = n;
                }
            }
            at.int[o * inner + i] = best as i64;
        }
    }
}

/// Where element `i` of a tensor goes when the marked axes are dropped.
fn place(mut i: usize, dims: Dims, dropped: &[bool]) -> usize {
    let (mut to, mut stride) = (0, 1);
    for axis in (0..dims.rank()).rev() {
        if !dropped[axis] {
            to += i % dims[axis] * stride;
            stride *= dims[axis];
        }
        i /= dims[axis];
    }
    to
}
