//! Unfold and fold as plain loops.

use super::{Fold, Unfold};
use crate::spec::{In, Out, Real};

/// x: (B, C, H, W) -> y: (B, N, C, ph, pw)
pub(super) fn unfold<T: Real>(op: &Unfold, x: &In<T>, y: &mut Out<T>) {
    let columns = (x.dims[3] - op.patch[1]) / op.stride[1] + 1;
    let dims = y.dims;
    each_pixel(&dims, |at, [b, n, c, i, j]| {
        let (r, q) = (n / columns, n % columns);
        let (row, column) = (r * op.stride[0] + i, q * op.stride[1] + j);
        let from = ((b * x.dims[1] + c) * x.dims[2] + row) * x.dims[3] + column;
        if x.int.is_empty() {
            y[at] = x[from];
        } else {
            y.int[at] = x.int[from];
        }
    });
}

/// x: (B, N, C, ph, pw) -> y: (B, C, H, W)
pub(super) fn fold<T: Real>(op: &Fold, x: &In<T>, y: &mut Out<T>) {
    let [h, w] = op.image;
    let columns = (w - x.dims[4]) / op.stride[1] + 1;
    each_pixel(&x.dims, |at, [b, n, c, i, j]| {
        let (row, column) = (n / columns * op.stride[0] + i, n % columns * op.stride[1] + j);
        y[((b * x.dims[2] + c) * h + row) * w + column] += x[at];
    });
}

/// Calls `f` with the position and the five indices of every pixel of the patches.
fn each_pixel(dims: &[usize], mut f: impl FnMut(usize, [usize; 5])) {
    for at in 0..dims.iter().product() {
        let (mut index, mut rest) = ([0; 5], at);
        for axis in (0..5).rev() {
            index[axis] = rest % dims[axis];
            rest /= dims[axis];
        }
        f(at, index);
    }
}
