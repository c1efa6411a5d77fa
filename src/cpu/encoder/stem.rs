//! The stem of a patch: pixels straight from the image, scaled and shifted, through the first convolution, ReLU and 3×3
//! max pooling with stride 2, into the first plane.
//!
//! A pair of vectors of channels at a time, rows of the convolution pass through a ring of four: a pooled row is made as
//! soon as the rows under it are there, so the convolution's output, the largest tensor of the encoder, never exists.

use super::{Patches, Pixels, plane::Plane};
use crate::{
    cpu::vector::{Kernel, Simd},
    ops::conv2d::cpu::{
        gather::Gather,
        tile::{Finish, Step, Tile, even_part},
        weights::Packed,
    },
};

/// The first convolution, of one patch.
pub(super) struct Stem {
    pub(super) gather: Gather,
    pub(super) weights: Packed,
    /// Of the taps, in the padded pixels.
    pub(super) offsets: Vec<usize>,
}

impl Stem {
    /// Rows and columns of the padded pixels.
    pub(super) fn window(&self) -> [usize; 2] {
        self.gather.window(0, self.gather.target[0]).size
    }

    /// Floats of scratch: padded pixels, the ring, and one row of vertical maxima.
    pub(super) fn parts(&self, lanes: usize) -> [usize; 3] {
        let [rows, columns] = self.window();
        let row = self.gather.target[1] * lanes;
        [(self.gather.channels * rows * columns).next_multiple_of(16), 8 * row, row]
    }
}

/// One patch through the stem.
pub(super) struct StemJob<'a> {
    pub(super) stem: &'a Stem,
    pub(super) patches: &'a Patches<'a>,
    pub(super) patch: usize,
    /// Where the pooled pixels go: the patch's plane.
    pub(super) plane: Plane,
    pub(super) to: *mut f32,
    pub(super) scratch: &'a mut [f32],
}

impl Kernel for StemJob<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let g = &self.stem.gather;
        let [pixels, ring, _] = self.stem.parts(S::LANES);
        let (pixels, rest) = self.scratch.split_at_mut(pixels);
        let (ring, line) = rest.split_at_mut(ring);
        self.stem.load(self.patches, self.patch, pixels);
        let mut channel = 0;
        while channel < g.out {
            let vectors = (g.out - channel).div_ceil(S::LANES).min(2);
            let mut done = 0;
            for pooled in 0..self.plane.size[0] {
                let last = (2 * pooled + 2).min(g.target[0]);
                // SAFETY: the ring has four rows of two vectors, the plane `size` pixels of every block.
                unsafe {
                    while done < last {
                        self.stem.row::<S>(pixels, done, channel, vectors, ring);
                        done += 1;
                    }
                    let first = (2 * pooled).saturating_sub(1);
                    for v in 0..vectors {
                        let block = channel / S::LANES + v;
                        let to = self.to.add(self.plane.at(block, [pooled, 0], S::LANES));
                        let rows = (first..last).map(|row| ring_row(row, v, g.target[1] * S::LANES));
                        pool::<S>(ring, rows, g.target[1], self.plane.size[1], line, to);
                    }
                }
            }
            channel += vectors * S::LANES;
        }
    }
}

/// Where vector `v` of convolution row `row` stands in the ring.
#[inline(always)]
fn ring_row(row: usize, v: usize, length: usize) -> usize {
    (row % 4 * 2 + v) * length
}

impl Stem {
    /// Copies a patch's pixels, `pixel · scale + shift`, with zeros around them: `[channel][row][column]`.
    #[inline(always)]
    fn load(&self, patches: &Patches, patch: usize, to: &mut [f32]) {
        let g = &self.gather;
        let window = g.window(0, g.target[0]);
        let [top, left] = window.first.map(|first| first.unsigned_abs());
        let [rows, columns] = window.size;
        for (at, to) in to[..g.channels * rows * columns].chunks_exact_mut(columns).enumerate() {
            let (c, row) = (at / rows, at % rows);
            to.fill(0.0);
            if row < top || row - top >= g.source[0] {
                continue;
            }
            // A stride may leave the last columns unread.
            let width = g.source[1].min(columns - left);
            let start = patches.corners[patch] + c * patches.channel + (row - top) * patches.row;
            let to = &mut to[left..left + width];
            let (scale, shift) = (patches.scale[c], patches.shift[c]);
            match patches.pixels {
                Pixels::U8(x) => {
                    for (to, &x) in to.iter_mut().zip(&x[start..start + width]) {
                        *to = f32::from(x) * scale + shift;
                    }
                }
                Pixels::F32(x) => {
                    for (to, &x) in to.iter_mut().zip(&x[start..start + width]) {
                        *to = x * scale + shift;
                    }
                }
            }
        }
    }

    /// One row of the convolution, for `vectors` vectors of channels from `channel` on.
    #[inline(always)]
    unsafe fn row<S: Simd>(
        &self,
        pixels: &[f32],
        row: usize,
        channel: usize,
        vectors: usize,
        ring: &mut [f32],
    ) {
        let g = &self.gather;
        let ([rows, columns], width) = (self.window(), g.target[1]);
        let kind = match g.source_step[1] {
            1 => Step::Planar1,
            2 => Step::Planar2,
            _ => Step::Any,
        };
        let parts = width.div_ceil(S::TILE);
        for part in 0..parts {
            let (q, pixels_of_tile) = even_part(width, parts, part);
            // SAFETY: the window covers the taps of every pixel of the row, the ring's row all its pixels.
            unsafe {
                let tile = Tile {
                    x: pixels.as_ptr().add(row * g.source_step[0] * columns + q * g.source_step[1]),
                    x_row: 0,
                    x_pixel: g.source_step[1],
                    taps: self.offsets.as_ptr(),
                    tap_count: self.offsets.len(),
                    channels: g.channels,
                    x_block: rows * columns,
                    w: self.weights.part(0, channel, 0).as_ptr(),
                    y: ring.as_mut_ptr().add(ring_row(row, 0, width * S::LANES) + q * S::LANES),
                    y_vector: width * S::LANES,
                    y_row: 0,
                    y_pixel: S::LANES,
                    finish: Finish { bias: self.weights.bias(0, channel), ..Finish::NONE },
                };
                tile.run::<S>(vectors, 1, pixels_of_tile, kind);
            }
        }
    }
}

/// The maximum of 3×3 values and zero, which is ReLU and pooling in one, for a row of `pooled` pixels. `rows` are the
/// starts in `ring` of the two or three rows of `width` pixels below them.
#[inline(always)]
unsafe fn pool<S: Simd>(
    ring: &[f32],
    rows: impl Iterator<Item = usize> + Clone,
    width: usize,
    pooled: usize,
    line: &mut [f32],
    to: *mut f32,
) {
    // SAFETY: all rows are `width` pixels long, as is `line`; `to` has `pooled` pixels.
    unsafe {
        for q in 0..width {
            let mut most = S::splat(0.0);
            for row in rows.clone() {
                most = S::max(S::load(ring.as_ptr().add(row + q * S::LANES)), most);
            }
            S::store(line.as_mut_ptr().add(q * S::LANES), most);
        }
        for q in 0..pooled {
            let mut most = S::splat(0.0);
            for column in (2 * q).saturating_sub(1)..(2 * q + 2).min(width) {
                most = S::max(S::load(line.as_ptr().add(column * S::LANES)), most);
            }
            S::store(to.add(q * S::LANES), most);
        }
    }
}
