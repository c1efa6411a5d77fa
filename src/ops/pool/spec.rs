//! Window maxima as plain loops.

use super::{MaxPool2d, MaxPool2dGrad};
use crate::spec::{In, Out, Real};

/// x: (B, C, H, W) -> y, codes: (B, C, h, w)
pub(super) fn forward<T: Real>(op: &MaxPool2d, x: &In<T>, outs: &mut [Out<T>]) {
    let [y, codes] = outs else { return };
    let dims = y.dims;
    for at in 0..dims.elements() {
        let (plane, r, q) = (at / (dims[2] * dims[3]), at / dims[3] % dims[2], at % dims[3]);
        y[at] = T::neg_infinity();
        let mut first = true;
        for i in 0..op.kernel[0] {
            for j in 0..op.kernel[1] {
                let Some(from) = pixel(op, [x.dims[2], x.dims[3]], plane, [r, q], [i, j]) else { continue };
                if first || x[from] > y[at] || (x[from].is_nan() && !y[at].is_nan()) {
                    y[at] = x[from];
                    codes.int[at] = (i * op.kernel[1] + j) as i64;
                }
                first = false;
            }
        }
    }
}

/// dy, codes: (B, C, h, w) -> dx: (B, C, H, W)
pub(super) fn grad<T: Real>(op: &MaxPool2dGrad, dy: &In<T>, codes: &In<T>, dx: &mut Out<T>) {
    for (at, &code) in codes.int.iter().enumerate() {
        let (h, w) = (dy.dims[2], dy.dims[3]);
        let (plane, r, q) = (at / (h * w), at / w % h, at % w);
        let position = [code as usize / op.pool.kernel[1], code as usize % op.pool.kernel[1]];
        if let Some(to) = pixel(&op.pool, op.image, plane, [r, q], position) {
            dx[to] += dy[at];
        }
    }
}

/// Where position `[i, j]` of window `[r, q]` stands in the image, unless it is padding.
fn pixel(
    op: &MaxPool2d,
    image: [usize; 2],
    plane: usize,
    window: [usize; 2],
    position: [usize; 2],
) -> Option<usize> {
    let at = |axis: usize| {
        let from = (window[axis] * op.stride[axis] + position[axis]).checked_sub(op.padding[axis])?;
        (from < image[axis]).then_some(from)
    };
    Some((plane * image[0] + at(0)?) * image[1] + at(1)?)
}
