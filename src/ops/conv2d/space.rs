//! What Winograd's F(4×4, 3×3) keeps of a run of images on a GPU, between its transforms and its products.

use crate::device::{Matrix, Product};
use std::ops::Range;

/// Values of a transformed tile.
const PLACES: usize = 36;
/// Words that the tiles of one run of images may take.
pub(super) const WORDS: usize = 1 << 24;

/// Where transformed filters u (36, O, C), tiles v (36, C, T) and products m (36, O, T) lie, one behind the other.
pub(super) struct Space {
    pub(super) channels: usize,
    pub(super) out: usize,
    pub(super) tiles: usize,
}

impl Space {
    /// For images of so many rows and columns of results.
    pub(super) fn new([channels, out]: [usize; 2], [rows, columns]: [usize; 2], images: usize) -> Self {
        Space { channels, out, tiles: images * rows.div_ceil(4) * columns.div_ceil(4) }
    }

    pub(super) fn filters(&self) -> Range<usize> {
        0..PLACES * self.out * self.channels
    }

    pub(super) fn data(&self) -> Range<usize> {
        let start = self.filters().end;
        start..start + PLACES * self.channels * self.tiles
    }

    pub(super) fn products(&self) -> Range<usize> {
        let start = self.data().end;
        start..start + PLACES * self.out * self.tiles
    }

    pub(super) fn words(&self) -> usize {
        self.products().end
    }

    pub(super) fn product(&self) -> Product {
        let Space { channels, out, tiles } = *self;
        let filters = Matrix::new(channels, 1).every(out * channels);
        let data = Matrix::new(tiles, 1).every(channels * tiles);
        let products = Matrix::new(tiles, 1).every(out * tiles);
        Product::new((out, channels, tiles), filters, data, products).batch(PLACES)
    }
}
