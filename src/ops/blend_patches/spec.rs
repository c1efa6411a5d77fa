//! Blended patches and their gradients as plain loops.

use super::{BlendPatchesGradIndicators, IndicatorGradient};
use crate::{
    Dims,
    ops::unfold::Grid,
    spec::{In, Out, Real},
};

/// x: (B, C, H, W), indicators: (B, K, N) -> y: (B, K, C, ph, pw)
pub(super) fn forward<T: Real>(grid: &Grid, x: &In<T>, indicators: &In<T>, y: &mut Out<T>) {
    let patches = y.dims;
    each(grid, patches, x.dims, |indicator, patch, image| {
        if indicators[indicator] != T::zero() {
            y[patch] += indicators[indicator] * x[image];
        }
    });
}

/// x: (B, C, H, W), indicators: (B, K, N), dy: (B, K, C, ph, pw) -> (B, K, N)
pub(super) fn grad_indicators<T: Real>(op: &BlendPatchesGradIndicators, ins: &[In<T>], dw: &mut Out<T>) {
    let [x, indicators, dy] = [&ins[0], &ins[1], &ins[2]];
    each(&op.grid, dy.dims, x.dims, |indicator, patch, image| {
        if op.gradient == IndicatorGradient::Full || indicators[indicator] != T::zero() {
            dw[indicator] += dy[patch] * x[image];
        }
    });
}

/// indicators: (B, K, N), dy: (B, K, C, ph, pw) -> (B, C, H, W)
pub(super) fn grad_image<T: Real>(grid: &Grid, indicators: &In<T>, dy: &In<T>, dx: &mut Out<T>) {
    let image = dx.dims;
    each(grid, dy.dims, image, |indicator, patch, image| {
        if indicators[indicator] != T::zero() {
            dx[image] += indicators[indicator] * dy[patch];
        }
    });
}

/// Calls `f` with the places of indicator, patch pixel and image pixel of every product.
fn each(grid: &Grid, patches: Dims, image: Dims, mut f: impl FnMut(usize, usize, usize)) {
    let [k, c, ph, pw] = [patches[1], patches[2], patches[3], patches[4]];
    let n = grid.patches();
    for row in 0..patches[0] * k {
        for window in 0..n {
            let top = window / grid.counts[1] * grid.stride[0];
            let left = window % grid.counts[1] * grid.stride[1];
            for at in 0..c * ph * pw {
                let (channel, i, j) = (at / pw / ph, at / pw % ph, at % pw);
                let pixel = ((row / k * c + channel) * image[2] + top + i) * image[3] + left + j;
                f(row * n + window, row * c * ph * pw + at, pixel);
            }
        }
    }
}
