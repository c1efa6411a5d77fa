//! Tiles of the matrix products behind convolution, linear layers and attention: the part of a result that a workgroup
//! computes, and how much of it one thread keeps in registers.
//!
//! The sums that a long product is cut into follow from the shape alone, so that they are the same everywhere. How its
//! elements are shared among threads follows from the adapter too: GPUs want tiles in workgroup memory and many threads of
//! 4 by 4 elements, which hide the time that memory takes; a processor, which runs a workgroup's threads one after
//! another and to which every load is dear, wants few threads with much in registers. No bit depends on it.

use super::{AdapterKind, Cx};
use smallvec::SmallVec;

/// Columns of a tile.
pub(crate) const TILE_N: usize = 64;
/// Steps along the inner axis that are in workgroup memory at once.
const TILE_K: u32 = 16;

/// Rows of the smallest tile that holds `rows`, or of the largest one.
pub(crate) fn tile_m(rows: usize) -> usize {
    match rows {
        0..=8 => 8,
        9..=16 => 16,
        17..=32 => 32,
        _ => 64,
    }
}

/// How the elements of a product are shared among threads: the tuning constants of one of two texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blocks {
    /// TILE_M, TILE_N, TILE_K, ROWS and COLS of tiles in workgroup memory.
    Tiles([u32; 5]),
    /// ROWS, COLS and THREADS of blocks in registers alone.
    Registers([u32; 3]),
}

impl Blocks {
    /// What suits a device, for products with so many rows and columns and so many multiply-adds in all.
    pub(crate) fn new(cx: &Cx, rows: usize, cols: usize, work: usize) -> Blocks {
        match cx.device().adapter().kind {
            AdapterKind::Software => Blocks::Registers(block_of_thread(rows, cols, work)),
            _ => Blocks::Tiles(tile(cx, rows)),
        }
    }

    /// The constants of its text, and those that follow them.
    pub(crate) fn tuning(&self, more: &[u32]) -> SmallVec<[u32; 12]> {
        let own: &[u32] = match self {
            Blocks::Tiles(own) => own,
            Blocks::Registers(own) => own,
        };
        own.iter().chain(more).copied().collect()
    }

    /// Rows and columns that one workgroup computes.
    pub(crate) fn tile(&self) -> [usize; 2] {
        match *self {
            Blocks::Tiles([rows, cols, ..]) => [rows, cols].map(|n| n as usize),
            Blocks::Registers([rows, cols, threads]) => [rows, cols * threads].map(|n| n as usize),
        }
    }
}

/// ROWS, COLS and THREADS for so many rows and columns and, in all, multiply-adds. 16 rows at most, because 32 take llvmpipe several times as long
/// to compile; and small blocks, which compile in a tenth of the time, where there is little to compute.
pub(crate) fn block_of_thread(rows: usize, cols: usize, work: usize) -> [u32; 3] {
    const THREADS: usize = 8;
    /// Multiply-adds of about a millisecond.
    const LITTLE: usize = 1 << 22;
    let rows = tile_m(rows).clamp(4, 16);
    // A step has a load for each row and each column of a block, those past the end too; one takes as long as some eight
    // multiply-adds, whose sums are in the cache. Widths are even: a load may bring two columns.
    let cost = |width: &usize| cols.div_ceil(width * THREADS) * (8 * (rows + width) + rows * width);
    let widths: &[usize] = if work < LITTLE { &[8] } else { &[26, 20, 16, 12, 10, 8] };
    let width = widths.iter().copied().min_by_key(cost).unwrap_or(8);
    [rows as u32, width as u32, THREADS as u32]
}

/// TILE_M, TILE_N, TILE_K, ROWS and COLS for so many rows on a device.
pub(crate) fn tile(cx: &Cx, rows: usize) -> [u32; 5] {
    let tile_m = tile_m(rows) as u32;
    let limits = cx.device().limits();
    let most = limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
    let [rows, cols] = block(cx.device().adapter().kind, most, tile_m);
    [tile_m, TILE_N as u32, TILE_K, rows, cols]
}

/// Rows and columns of a tile that one thread has, of at most `most` threads in a workgroup.
fn block(kind: AdapterKind, most: u32, tile_m: u32) -> [u32; 2] {
    // A workgroup has at least a thread for each column.
    let fine = [4, (tile_m / 4).min(4)];
    let threads = tile_m * TILE_N as u32 / (fine[0] * fine[1]);
    if kind == AdapterKind::Software || threads > most { [8, tile_m / 8] } else { fine }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workgroups_have_a_thread_for_each_column_and_keep_to_the_limit() {
        for tile_m in [8, 16, 32, 64] {
            for (kind, most) in
                [(AdapterKind::Software, 256), (AdapterKind::Discrete, 256), (AdapterKind::Discrete, 128)]
            {
                let [rows, cols] = block(kind, most, tile_m);
                let threads = tile_m * TILE_N as u32 / (rows * cols);
                assert!(threads.is_multiple_of(TILE_N as u32) && threads <= most, "{kind} {tile_m}");
                assert!(tile_m.is_multiple_of(rows) && rows.is_multiple_of(4) && cols >= 1);
            }
        }
        assert_eq!(block(AdapterKind::Integrated, 256, 64), [4, 4]);
        assert_eq!(block(AdapterKind::Integrated, 128, 64), [8, 8], "256 threads would be too many");
    }
}
