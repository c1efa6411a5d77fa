//! Resizing as plain loops.

use super::ResizeMode;
use crate::{Dims, spec::Real};

/// Calls `f` with the places in `large (B, C, H, W)` and `small (B, C, h, w)` of every product, and its weight.
pub(super) fn each_product<T: Real>(
    mode: ResizeMode,
    large: Dims,
    small: Dims,
    mut f: impl FnMut(usize, usize, T),
) {
    for at in 0..small.elements() {
        let (j, i, plane) = (at % small[3], at / small[3] % small[2], at / small[3] / small[2]);
        let (top, rows) = mode.taps(i, small[2], large[2]);
        let (left, columns) = mode.taps(j, small[3], large[3]);
        for (r, u) in rows.iter().enumerate() {
            for (q, v) in columns.iter().enumerate() {
                f((plane * large[2] + top + r) * large[3] + left + q, at, T::of(*u) * T::of(*v));
            }
        }
    }
}
