//! Extracting and placing patches as plain loops.

use crate::{
    Dims,
    spec::{In, Out, Real},
};

/// x: (B, C, H, W), offsets: (B, K, 2) -> y: (B, K, C, ph, pw)
pub(super) fn extract<T: Real>(x: &In<T>, offsets: &In<T>, y: &mut Out<T>) {
    let dims = y.dims;
    each_pixel(dims, x.dims, offsets.int, |patch, image| {
        if x.int.is_empty() {
            y[patch] = x[image];
        } else {
            y.int[patch] = x.int[image];
        }
    });
}

/// patches: (B, K, C, ph, pw), offsets: (B, K, 2) -> y: (B, C, H, W)
pub(super) fn place<T: Real>(patches: &In<T>, offsets: &In<T>, y: &mut Out<T>) {
    let dims = y.dims;
    each_pixel(patches.dims, dims, offsets.int, |patch, image| y[image] += patches[patch]);
}

/// Calls `f` with the places in patches and image of every pixel of a patch that lies inside the image.
fn each_pixel(patches: Dims, image: Dims, offsets: &[i64], mut f: impl FnMut(usize, usize)) {
    let [k, c, ph, pw] = [patches[1], patches[2], patches[3], patches[4]];
    let (h, w) = (image[2] as i64, image[3] as i64);
    for at in 0..patches.elements() {
        let (j, i, channel, n) = (at % pw, at / pw % ph, at / pw / ph % c, at / pw / ph / c);
        let (row, column) = (offsets[2 * n] + i as i64, offsets[2 * n + 1] + j as i64);
        if (0..h).contains(&row) && (0..w).contains(&column) {
            let plane = n / k * c + channel;
            f(at, plane * (h * w) as usize + (row * w + column) as usize);
        }
    }
}
