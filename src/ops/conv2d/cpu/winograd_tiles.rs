//! The three steps of Winograd's algorithm over a grid of tiles in the blocked layout: transform the data, multiply
//! place by place, transform the products back.

// An index names the row, pixel or vector of a register; an iterator would hide that.
#![allow(clippy::needless_range_loop)]

use super::{
    forms::{Axis, Form},
    tile::{Finish, Step, Tile, even_part},
};
use crate::cpu::vector::Simd;

/// Tiles in units (images, or rectangles of them) of equal size. Tile number `(unit * down + row) * across + column`.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    pub units: usize,
    /// Tiles of a unit, down and across.
    pub tiles: [usize; 2],
}

impl Grid {
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.units * self.tiles[0] * self.tiles[1]
    }
}

/// Strides of a blocked image, in floats; neighbouring pixels are LANES apart.
#[derive(Clone, Copy)]
pub(crate) struct Surface {
    pub row: usize,
    /// Between blocks of channels.
    pub block: usize,
    pub unit: usize,
}

/// From one place of transformed tiles to the next: a vector more than they need, lest the places, whose size is often a
/// power of two, compete for the same sets of the cache.
#[inline(always)]
pub(crate) fn place(floats: usize, lanes: usize) -> usize {
    floats + lanes
}

/// Transforms all tiles of K × K pixels, which begin M pixels apart: `x` blocked, the first tile's first pixel at its
/// start, to `data` `[place][block of channels][tile][L]`.
///
/// # Safety
/// The processor has the features of `S`. `x` may be read wherever the grid's tiles reach; `data` holds N² places.
#[inline(always)]
pub(crate) unsafe fn transform_tiles<
    S: Simd,
    A: Axis<K, N>,
    const M: usize,
    const K: usize,
    const N: usize,
>(
    grid: Grid,
    channels: usize,
    x: *const f32,
    from: Surface,
    data: *mut f32,
) {
    let blocks = channels.div_ceil(S::LANES);
    let count = grid.count();
    let step = place(blocks * count * S::LANES, S::LANES);
    let [down, across] = grid.tiles;
    for unit in 0..grid.units {
        for block in 0..blocks {
            for r in 0..down {
                for q in 0..across {
                    let at = unit * from.unit + block * from.block + r * M * from.row + q * M * S::LANES;
                    let to = (block * count + (unit * down + r) * across + q) * S::LANES;
                    // SAFETY: the caller vouches for the whole tile, and for its places.
                    unsafe { transform_tile::<S, A, K, N>(x.add(at), from.row, data.add(to), step) };
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn transform_tile<S: Simd, A: Axis<K, N>, const K: usize, const N: usize>(
    x: *const f32,
    row: usize,
    to: *mut f32,
    step: usize,
) {
    // SAFETY: the caller of `transform_tiles` vouches for both pointers.
    unsafe {
        let mut middle = [[S::splat(0.0); K]; N];
        for j in 0..K {
            let mut column = [S::splat(0.0); K];
            for (i, v) in column.iter_mut().enumerate() {
                *v = S::load(x.add(i * row + j * S::LANES));
            }
            for (i, v) in A::apply::<S>(column).into_iter().enumerate() {
                middle[i][j] = v;
            }
        }
        for (i, middle) in middle.into_iter().enumerate() {
            for (j, v) in A::apply::<S>(middle).into_iter().enumerate() {
                S::store(to.add((i * N + j) * step), v);
            }
        }
    }
}

/// For each of `places` places, tiles × channels times channels × lanes of `vectors` vectors: `data` as [`transform_tiles`]
/// leaves it, `filters` `[place][channel][lane]`, to `products` `[place][tile][lane]`.
///
/// # Safety
/// The processor has the features of `S`; the three buffers have these shapes.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd>(
    places: usize,
    count: usize,
    channels: usize,
    vectors: usize,
    data: *const f32,
    filters: *const f32,
    products: *mut f32,
) {
    let width = vectors * S::LANES;
    let from = place(channels.div_ceil(S::LANES) * count * S::LANES, S::LANES);
    let to = place(count * width, S::LANES);
    let parts = count.div_ceil(S::TILE);
    for at in 0..places {
        for part in 0..parts {
            let (first, size) = even_part(count, parts, part);
            // SAFETY: as the caller says.
            unsafe {
                let tile = Tile {
                    x: data.add(at * from + first * S::LANES),
                    x_row: 0,
                    x_pixel: 0,
                    taps: &0,
                    tap_count: 1,
                    channels,
                    x_block: count * S::LANES,
                    w: filters.add(at * channels * width),
                    y: products.add(at * to + first * width),
                    y_vector: S::LANES,
                    y_row: 0,
                    y_pixel: width,
                    finish: Finish::NONE,
                };
                tile.run::<S>(vectors, 1, size, Step::Blocked1);
            }
        }
    }
}

/// Where a tile's targets go; strides count floats.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub y: *mut f32,
    pub row: usize,
    /// How many rows and columns of the tile are stored.
    pub size: [usize; 2],
    /// Laid out like `y`, or null.
    pub residual: *const f32,
    pub relu: bool,
}

/// Aᵀ m A of one vector of one tile, + bias, + residual, rectified if asked: `m` is its first place, the others follow
/// `step` floats apart.
///
/// # Safety
/// The processor has the features of `S`; all N² places may be read, and the target's pixels written.
#[inline(always)]
pub(crate) unsafe fn output_tile<S: Simd, F: Form<M, N>, const M: usize, const N: usize>(
    m: *const f32,
    step: usize,
    bias: S::V,
    to: Target,
) {
    // SAFETY: as the caller says.
    unsafe {
        let mut middle = [[S::splat(0.0); N]; M];
        for j in 0..N {
            let mut column = [S::splat(0.0); N];
            for (i, v) in column.iter_mut().enumerate() {
                *v = S::load(m.add((i * N + j) * step));
            }
            for (i, v) in F::output::<S>(column).into_iter().enumerate() {
                middle[i][j] = v;
            }
        }
        for (i, middle) in middle.into_iter().enumerate() {
            if i >= to.size[0] {
                break;
            }
            for (j, v) in F::output::<S>(middle).into_iter().enumerate() {
                if j < to.size[1] {
                    let at = i * to.row + j * S::LANES;
                    let mut v = S::add(v, bias);
                    if !to.residual.is_null() {
                        v = S::add(v, S::load(to.residual.add(at)));
                    }
                    if to.relu {
                        v = S::max(S::splat(0.0), v);
                    }
                    S::store(to.y.add(at), v);
                }
            }
        }
    }
}
