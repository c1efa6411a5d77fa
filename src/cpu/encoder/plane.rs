//! A patch between two layers: blocked, `[channel / L][row][column][L]`, inside a margin of zeros, so that 3×3 kernels and
//! whole Winograd tiles read past its edges without a test.

use crate::ops::conv2d::cpu::winograd_tiles::Surface;

/// Pixels of an F(4×4, 3×3) tile along an axis.
pub(super) const TILE: usize = 4;

/// The shape of a patch between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plane {
    pub(super) channels: usize,
    /// Rows and columns of the patch.
    pub(super) size: [usize; 2],
}

impl Plane {
    /// Tiles of 4×4 pixels, down and across.
    pub(super) fn tiles(&self) -> [usize; 2] {
        self.size.map(|pixels| pixels.div_ceil(TILE))
    }

    /// Rows and columns with the margin: one above and to the left, and what the last tiles reach.
    pub(super) fn padded(&self) -> [usize; 2] {
        self.tiles().map(|tiles| tiles * TILE + 2)
    }

    /// Strides in floats; a unit is a patch.
    pub(super) fn surface(&self, lanes: usize) -> Surface {
        let [rows, columns] = self.padded();
        let block = rows * columns * lanes;
        Surface { row: columns * lanes, block, unit: block * self.channels.div_ceil(lanes) }
    }

    /// Where pixel `at` of block `block` stands.
    #[inline(always)]
    pub(super) fn at(&self, block: usize, at: [usize; 2], lanes: usize) -> usize {
        let surface = self.surface(lanes);
        block * surface.block + (at[0] + 1) * surface.row + (at[1] + 1) * lanes
    }
}
