//! How the Winograd tiles of a batch are divided: a unit is a rectangle of tiles of one image, all of them if the image is
//! small; a task takes a few units at a time.

use super::{
    gather::Gather,
    layout::{Window, pack_blocked},
    winograd_tiles::{Grid, Surface},
};
use crate::cpu::vector::Simd;

/// Floats of transformed source tiles that a task holds at once.
const TRANSFORMED: usize = 160 << 10;
/// Tiles that a task takes at once, however many channels there are: they share one passage of the weights.
const FEW: usize = 14;

/// The units of a batch.
pub(crate) struct Units {
    /// Height and width of the source and of the target.
    pub source: [usize; 2],
    pub target: [usize; 2],
    /// Target pixels of a tile, along each axis.
    pub m: usize,
    /// The source pixel that target pixel (0, 0) reads with its first tap.
    low: [isize; 2],
    /// Units of an image, down and across.
    bands: [usize; 2],
    /// Tiles of a unit, down and across. Those beyond the image's edge are computed from zeros and never stored.
    pub tiles: [usize; 2],
    /// Units of all images.
    pub count: usize,
    /// Units that a task takes at once.
    pub at_once: usize,
}

/// A unit's image, its first target pixel, and how many target pixels it has, down and across.
pub(crate) struct Unit {
    pub image: usize,
    pub first: [usize; 2],
    pub size: [usize; 2],
}

impl Units {
    /// Cuts the images of a 3×3 gather with stride 1, into at least `wanted` units if they have so many tile rows.
    pub(crate) fn new(gather: &Gather, m: usize, lanes: usize, wanted: usize) -> Self {
        let channels = gather.channels.next_multiple_of(lanes);
        let most = (TRANSFORMED / ((m + 2) * (m + 2) * channels)).max(FEW);
        let all = gather.target.map(|pixels| pixels.div_ceil(m));
        let across = all[1].div_ceil(all[1].div_ceil(most));
        let down = (most / across).clamp(1, all[0].div_ceil(wanted.div_ceil(gather.batch.max(1))));
        let bands = [all[0].div_ceil(down), all[1].div_ceil(across)];
        let tiles = [all[0].div_ceil(bands[0]), across];
        Units {
            source: gather.source,
            target: gather.target,
            m,
            low: gather.reach().map_or([0, 0], |[low, _]| low),
            bands,
            tiles,
            count: gather.batch * bands[0] * bands[1],
            at_once: (most / (tiles[0] * tiles[1])).max(1),
        }
    }

    #[inline(always)]
    pub(crate) fn unit(&self, at: usize) -> Unit {
        let [down, across] = self.bands;
        let first = [at / across % down * self.tiles[0] * self.m, at % across * self.tiles[1] * self.m];
        let size = [0, 1].map(|a| self.target[a].saturating_sub(first[a]).min(self.tiles[a] * self.m));
        Unit { image: at / across / down, first, size }
    }

    pub(crate) fn grid(&self, units: usize) -> Grid {
        Grid { units, tiles: self.tiles }
    }

    /// Target pixels of a unit, down and across.
    pub(crate) fn pixels(&self) -> [usize; 2] {
        self.tiles.map(|tiles| tiles * self.m)
    }

    /// Source pixels of a unit, down and across.
    pub(crate) fn window(&self) -> [usize; 2] {
        self.pixels().map(|pixels| pixels + 2)
    }

    /// Packs the source windows of `count` units from `first` on, `[unit][block][row][column][L]`; `x` (B, channels, h, w).
    ///
    /// # Safety
    /// The processor has the features of `S`.
    #[inline(always)]
    pub(crate) unsafe fn pack_source<S: Simd>(
        &self,
        x: &[f32],
        channels: usize,
        first: usize,
        count: usize,
        to: &mut [f32],
    ) -> Surface {
        let size = self.window();
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe { self.pack::<S>(x, self.source, channels, self.low, size, [first, count], to) }
    }

    /// Packs the target pixels of units instead, zero beyond the image's edge; `y` (B, channels, H, W).
    ///
    /// # Safety
    /// The processor has the features of `S`.
    #[inline(always)]
    pub(crate) unsafe fn pack_target<S: Simd>(
        &self,
        y: &[f32],
        channels: usize,
        first: usize,
        count: usize,
        to: &mut [f32],
    ) -> Surface {
        let size = self.pixels();
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe { self.pack::<S>(y, self.target, channels, [0, 0], size, [first, count], to) }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn pack<S: Simd>(
        &self,
        x: &[f32],
        image: [usize; 2],
        channels: usize,
        offset: [isize; 2],
        size: [usize; 2],
        [first, count]: [usize; 2],
        to: &mut [f32],
    ) -> Surface {
        let plane = image[0] * image[1];
        let block = size[0] * size[1] * S::LANES;
        let unit = block * channels.div_ceil(S::LANES);
        for (at, to) in to.chunks_exact_mut(unit).take(count).enumerate() {
            let Unit { image: b, first, .. } = self.unit(first + at);
            let x = &x[b * channels * plane..][..channels * plane];
            let first = [0, 1].map(|a| first[a] as isize + offset[a]);
            // SAFETY: the features of `S` are there.
            unsafe { pack_blocked::<S>(x, image, channels, Window { first, size }, to) };
        }
        Surface { row: size[1] * S::LANES, block, unit }
    }
}
