//! The permutation as a plain loop.

use super::Transpose;
use crate::spec::{In, Out, Real};

/// x: any shape -> y: its axes permuted
pub(super) fn transpose<T: Real>(op: &Transpose, x: &In<T>, y: &mut Out<T>) {
    let dims = y.dims;
    for at in 0..dims.elements() {
        let (mut rest, mut index) = (at, [0; 6]);
        for axis in (0..dims.rank()).rev() {
            index[op.permutation[axis]] = rest % dims[axis];
            rest /= dims[axis];
        }
        let from = (0..dims.rank()).fold(0, |from, axis| from * x.dims[axis] + index[axis]);
        if x.int.is_empty() {
            y[at] = x[from];
        } else {
            y.int[at] = x.int[from];
        }
    }
}
