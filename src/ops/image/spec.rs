//! Normalisation as a plain loop.

use super::NormalizeImage;
use crate::spec::{In, Out, Real};

/// x: u8 (…, C, H, W) -> y: the same shape
pub(super) fn normalize<T: Real>(op: &NormalizeImage, x: &In<T>, y: &mut Out<T>) {
    let [channels, plane] = op.planes(&x.dims);
    for (at, to) in y.iter_mut().enumerate() {
        let c = at / plane % channels;
        *to = T::of(x.int[at] as f64 * op.scale[c] + op.shift[c]);
    }
}
