//! Images on their way into and out of the kernels.
//!
//! * planar: `[channel][row][column]`, as the public tensors are, but cut to a window and padded with zeros;
//! * blocked: `[channel / L][row][column][L]`, L the lanes of a vector: the channels of a pixel stand side by side, so
//!   that a vector holds L channels of one pixel, and neighbouring pixels are a constant apart.
//!
//! Both hold a window of the image that may reach beyond its edges, so padding costs the kernels nothing.

use crate::cpu::vector::Simd;

/// A rectangle of pixels, in the coordinates of an image it may reach out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Row and column of its first pixel.
    pub first: [isize; 2],
    /// Rows and columns.
    pub size: [usize; 2],
}

impl Window {
    pub(crate) fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Whether no pixel lies outside an image of this size.
    pub(crate) fn inside(&self, image: [usize; 2]) -> bool {
        (0..2).all(|a| self.first[a] >= 0 && self.first[a] as usize + self.size[a] <= image[a])
    }

    /// Of row `row` of the window: the row of the image, if it has one.
    fn row(&self, row: usize, height: usize) -> Option<usize> {
        usize::try_from(self.first[0] + row as isize).ok().filter(|&at| at < height)
    }

    /// The columns of the window that lie inside an image of this width, and the image column of the first of them.
    fn columns(&self, width: usize) -> (std::ops::Range<usize>, usize) {
        let size = self.size[1] as isize;
        let first = (-self.first[1]).clamp(0, size);
        let last = (width as isize - self.first[1]).clamp(first, size);
        (first as usize..last as usize, (self.first[1] + first).max(0) as usize)
    }
}

/// Copies the window of each channel; `x` is `[channels][height][width]`, `to` is `[channels][window]`.
pub(crate) fn copy_planar(x: &[f32], image: [usize; 2], channels: usize, window: Window, to: &mut [f32]) {
    let (inside, from) = window.columns(image[1]);
    let plane = image[0] * image[1];
    for (line, to) in to[..channels * window.pixels()].chunks_exact_mut(window.size[1]).enumerate() {
        let (c, row) = (line / window.size[0], line % window.size[0]);
        let Some(row) = window.row(row, image[0]) else {
            to.fill(0.0);
            continue;
        };
        let x = &x[c * plane + row * image[1] + from..][..inside.len()];
        to[..inside.start].fill(0.0);
        // Rows are short: a loop is faster than a call to memcpy.
        for (to, x) in to[inside.clone()].iter_mut().zip(x) {
            *to = *x;
        }
        to[inside.end..].fill(0.0);
    }
}

/// Copies the window of `channels` channels into blocks; `x` is `[channels][height][width]`, `to` is
/// `[channels / L, rounded up][window][L]`. Lanes beyond the last channel become zero.
///
/// # Safety
/// The processor has the features of `S`.
#[inline(always)]
pub(crate) unsafe fn pack_blocked<S: Simd>(
    x: &[f32],
    image: [usize; 2],
    channels: usize,
    window: Window,
    to: &mut [f32],
) {
    let (inside, from) = window.columns(image[1]);
    let plane = image[0] * image[1];
    let line = window.size[1] * S::LANES;
    let lines = channels.div_ceil(S::LANES) * window.size[0];
    for (at, to) in to[..lines * line].chunks_exact_mut(line).enumerate() {
        let (block, row) = (at / window.size[0], at % window.size[0]);
        let Some(row) = window.row(row, image[0]) else {
            to.fill(0.0);
            continue;
        };
        let rows = (channels - block * S::LANES).min(S::LANES);
        to[..inside.start * S::LANES].fill(0.0);
        to[inside.end * S::LANES..].fill(0.0);
        let mut column = 0;
        while column < inside.len() {
            let columns = (inside.len() - column).min(S::LANES);
            let start = block * S::LANES * plane + row * image[1] + from + column;
            assert!(start + (rows - 1) * plane + columns <= x.len());
            let to = &mut to[(inside.start + column) * S::LANES..][..columns * S::LANES];
            // SAFETY: the block read is inside `x` (asserted), the one written is all of `to`.
            unsafe {
                S::transpose(x.as_ptr().add(start), plane, rows, columns, to.as_mut_ptr(), S::LANES, true);
            }
            column += columns;
        }
    }
}

/// Copies blocks of pixels back into planes: `x` is `[vector][pixel][L]`, its vectors `vector` pixels apart, of
/// which the first `channels` lanes count; channel `c` goes to `to + c * plane`, `pixels` floats.
///
/// # Safety
/// The processor has the features of `S`, and those places may be written.
#[inline(always)]
pub(crate) unsafe fn unpack_blocked<S: Simd>(
    x: &[f32],
    pixels: usize,
    vector: usize,
    channels: usize,
    to: *mut f32,
    plane: usize,
) {
    assert!(x.len() >= ((channels.div_ceil(S::LANES) - 1) * vector + pixels) * S::LANES);
    for block in 0..channels.div_ceil(S::LANES) {
        let columns = (channels - block * S::LANES).min(S::LANES);
        let mut pixel = 0;
        while pixel < pixels {
            let rows = (pixels - pixel).min(S::LANES);
            // SAFETY: the block read is inside `x` (asserted); the caller vouches for the one written.
            unsafe {
                S::transpose(
                    x.as_ptr().add((block * vector + pixel) * S::LANES),
                    S::LANES,
                    rows,
                    columns,
                    to.add(block * S::LANES * plane + pixel),
                    plane,
                    false,
                );
            }
            pixel += rows;
        }
    }
}
