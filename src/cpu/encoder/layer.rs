//! The convolutions between two planes: Winograd's algorithm or register tiles, with bias, residual sum and ReLU on the
//! way out.

use super::plane::{Plane, TILE};
use crate::{
    cpu::vector::{Kernel, Simd},
    ops::{
        GlobalPool,
        conv2d::cpu::{
            forms::{Data, F4},
            gather::Gather,
            tile::{Finish, Step, Tile, even_part},
            weights::Packed,
            winograd::Filters,
            winograd_tiles::{Grid, Target, multiply, output_tile, place, transform_tiles},
        },
    },
};

/// Places of a transformed tile.
pub(super) const PLACES: usize = (TILE + 2) * (TILE + 2);

/// A convolution with its packed weights.
pub(super) enum Weights {
    /// 3×3 with stride 1.
    Winograd(Filters),
    /// 3×3 or 1×1 with stride 1 or 2; the offsets of its taps from the pixel above and to the left of the first.
    Direct { packed: Packed, gather: Box<Gather>, offsets: Vec<usize> },
}

/// A convolution of `count` patches from one plane to another.
pub(super) struct LayerJob<'a> {
    pub(super) weights: &'a Weights,
    pub(super) from: Plane,
    pub(super) x: *const f32,
    pub(super) to: Plane,
    pub(super) y: *mut f32,
    pub(super) count: usize,
    /// Add what `y` holds.
    pub(super) residual: bool,
    pub(super) relu: bool,
    /// Transformed tiles, and products.
    pub(super) scratch: [&'a mut [f32]; 2],
    /// Tiles taken at once.
    pub(super) tiles: usize,
}

impl Kernel for LayerJob<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's planes hold `count` patches each, and the scratch the tiles of a chunk.
        unsafe {
            match self.weights {
                Weights::Direct { packed, gather, offsets } => {
                    for patch in 0..self.count {
                        self.direct::<S>(packed, gather, offsets, patch);
                    }
                }
                Weights::Winograd(filters) => self.winograd::<S>(filters),
            }
        }
    }
}

impl LayerJob<'_> {
    /// Tiles a chunk at a time: some whole patches, or some rows of tiles of one.
    #[inline(always)]
    unsafe fn winograd<S: Simd>(mut self, filters: &Filters) {
        let [down, across] = self.to.tiles();
        let rows = (self.tiles / across).clamp(1, down);
        let patches = if rows == down { (self.tiles / (down * across)).max(1) } else { 1 };
        let mut patch = 0;
        while patch < self.count {
            let units = patches.min(self.count - patch);
            let mut row = 0;
            while row < down {
                let grid = Grid { units, tiles: [rows.min(down - row), across] };
                // SAFETY: the chunk lies inside the planes.
                unsafe { self.chunk::<S>(filters, grid, patch, row) };
                row += grid.tiles[0];
            }
            patch += units;
        }
    }

    #[inline(always)]
    unsafe fn chunk<S: Simd>(&mut self, filters: &Filters, grid: Grid, patch: usize, row: usize) {
        let (from, to) = (self.from.surface(S::LANES), self.to.surface(S::LANES));
        let (channels, out) = (self.from.channels, self.to.channels);
        let (data, products) = (self.scratch[0].as_mut_ptr(), self.scratch[1].as_mut_ptr());
        let [down, across] = grid.tiles;
        // SAFETY: the planes' margins hold what the tiles reach beyond the patch; the scratch is that of a chunk.
        unsafe {
            let x = self.x.add(patch * from.unit + row * TILE * from.row);
            transform_tiles::<S, Data<F4>, 4, 6, 6>(grid, channels, x, from, data);
            let mut channel = 0;
            while channel < out {
                let vectors = (out - channel).div_ceil(S::LANES).min(2);
                let w = filters.part(channel).as_ptr();
                multiply::<S>(PLACES, grid.count(), channels, vectors, data, w, products);
                let step = place(grid.count() * vectors * S::LANES, S::LANES);
                for v in 0..vectors {
                    let bias = filters.bias(channel);
                    let bias = if bias.is_null() { S::splat(0.0) } else { S::load(bias.add(v * S::LANES)) };
                    for tile in 0..grid.count() {
                        let (unit, r, q) =
                            (tile / (down * across), row + tile / across % down, tile % across);
                        let first = [r * TILE, q * TILE];
                        let at =
                            self.to.at(channel / S::LANES + v, first, S::LANES) + (patch + unit) * to.unit;
                        let y = self.y.add(at);
                        let target = Target {
                            y,
                            row: to.row,
                            size: [0, 1].map(|a| self.to.size[a] - first[a]),
                            residual: if self.residual { y } else { std::ptr::null() },
                            relu: self.relu,
                        };
                        let m = products.add((tile * vectors + v) * S::LANES);
                        output_tile::<S, F4, 4, 6>(m, step, bias, target);
                    }
                }
                channel += vectors * S::LANES;
            }
        }
    }

    /// One patch in register tiles.
    #[inline(always)]
    unsafe fn direct<S: Simd>(&self, packed: &Packed, g: &Gather, offsets: &[usize], patch: usize) {
        let (from, to) = (self.from.surface(S::LANES), self.to.surface(S::LANES));
        let [height, width] = self.to.size;
        let kind = if g.source_step[1] == 1 { Step::Blocked1 } else { Step::Blocked2 };
        let tall = if width * 2 <= S::TILE { 2 } else { 1 };
        let parts = width.div_ceil(S::TILE / tall);
        let x_row = g.source_step[0] * from.row;
        let mut channel = 0;
        while channel < self.to.channels {
            let vectors = (self.to.channels - channel).div_ceil(S::LANES).min(2);
            for (row, part) in
                (0..height).step_by(tall).flat_map(|row| (0..parts).map(move |part| (row, part)))
            {
                let (q, size) = even_part(width, parts, part);
                // SAFETY: the tile lies inside both patches; taps reach into the margin at most.
                unsafe {
                    let at = self.to.at(channel / S::LANES, [row, q], S::LANES) + patch * to.unit;
                    let y = self.y.add(at);
                    let tile = Tile {
                        x: self.x.add(patch * from.unit + row * x_row + q * g.source_step[1] * S::LANES),
                        x_row,
                        x_pixel: 0,
                        taps: offsets.as_ptr(),
                        tap_count: offsets.len(),
                        channels: self.from.channels,
                        x_block: from.block,
                        w: packed.part(0, channel, 0).as_ptr(),
                        y,
                        y_vector: to.block,
                        y_row: to.row,
                        y_pixel: S::LANES,
                        finish: Finish {
                            bias: packed.bias(0, channel),
                            residual: if self.residual { y } else { std::ptr::null() },
                            relu: self.relu,
                        },
                    };
                    tile.run::<S>(vectors, tall.min(height - row), size, kind);
                }
            }
            channel += vectors * S::LANES;
        }
    }
}

/// The mean or maximum over a patch's pixels, and perhaps a product with a matrix.
pub(super) struct HeadJob<'a> {
    pub(super) from: Plane,
    pub(super) x: *const f32,
    pub(super) pool: GlobalPool,
    /// (rows, channels).
    pub(super) matrix: Option<&'a [f32]>,
    /// What the pool gives, whole vectors.
    pub(super) features: &'a mut [f32],
    pub(super) to: &'a mut [f32],
}

impl Kernel for HeadJob<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let [height, width] = self.from.size;
        let surface = self.from.surface(S::LANES);
        let channels = self.from.channels;
        let scale = match self.pool {
            GlobalPool::Mean => 1.0 / (height * width) as f32,
            GlobalPool::Max => 1.0,
        };
        for block in 0..channels.div_ceil(S::LANES) {
            // SAFETY: the patch has these pixels, `features` whole vectors of channels.
            unsafe {
                // The last ReLU left nothing below zero, so that zero begins a maximum as well as a sum.
                let mut pooled = S::splat(0.0);
                for row in 0..height {
                    let x = self.x.add(self.from.at(block, [row, 0], S::LANES));
                    for column in 0..width {
                        let x = S::load(x.add(column * S::LANES));
                        pooled = match self.pool {
                            GlobalPool::Mean => S::add(pooled, x),
                            GlobalPool::Max => S::max(pooled, x),
                        };
                    }
                }
                let to = self.features.as_mut_ptr().add(block * S::LANES);
                S::store(to, S::mul(pooled, S::splat(scale)));
            }
        }
        debug_assert!(surface.unit > 0);
        let features = &self.features[..channels];
        match self.matrix {
            None => self.to.copy_from_slice(features),
            Some(matrix) => {
                for (to, row) in self.to.iter_mut().zip(matrix.chunks_exact(channels)) {
                    // Sixteen sums side by side, added in one fixed order.
                    let mut sums = [0.0_f32; 16];
                    for (f, w) in features.chunks(16).zip(row.chunks(16)) {
                        for (sum, (f, w)) in sums.iter_mut().zip(f.iter().zip(w)) {
                            *sum += f * w;
                        }
                    }
                    *to = sums.iter().sum();
                }
            }
        }
    }
}
