//! Pasting many small squares onto a large black canvas without ever holding the canvas.

use super::{SparseBuilder, SparseImage};
use crate::Result;

/// A square of pixels and where its first one goes. It lies inside the canvas.
pub(super) struct Stamp<'a> {
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) side: usize,
    /// (side, side)
    pub(super) pixels: &'a [u8],
}

/// Pastes `stamps` in order, each overwriting what lies below it, its black pixels too.
///
/// Works a row at a time on one line of the canvas; costs grow with the stamps, not with the canvas.
pub(super) fn compose(height: usize, width: usize, stamps: &[Stamp]) -> Result<SparseImage> {
    let mut builder = SparseBuilder::new(height, width)?;
    let mut by_row: Vec<u32> = (0..stamps.len() as u32).collect();
    by_row.sort_by_key(|&at| stamps[at as usize].row);
    let mut waiting = by_row.into_iter().peekable();

    let mut line = vec![0; width];
    // Stamps that cover the row at hand: in pasting order, and by first column.
    let mut active: Vec<u32> = Vec::new();
    let mut spans: Vec<[usize; 2]> = Vec::new();
    let mut row = 0;
    while row < height {
        active.retain(|&at| row < stamps[at as usize].row + stamps[at as usize].side);
        while let Some(at) = waiting.next_if(|&at| stamps[at as usize].row <= row) {
            active.insert(active.partition_point(|&other| other < at), at);
        }
        if active.is_empty() {
            // Nothing here: go on where the next stamp begins.
            row = waiting.peek().map_or(height, |&at| stamps[at as usize].row);
            continue;
        }
        spans.clear();
        for stamp in active.iter().map(|&at| &stamps[at as usize]) {
            let from = (row - stamp.row) * stamp.side;
            let pixels = &stamp.pixels[from..from + stamp.side];
            line[stamp.column..stamp.column + stamp.side].copy_from_slice(pixels);
            spans.push([stamp.column, stamp.column + stamp.side]);
        }
        spans.sort_unstable();
        for [start, end] in spans.iter().copied().scan(0, unseen) {
            builder.push(row, start, &line[start..end])?;
        }
        spans.iter().for_each(|&[start, end]| line[start..end].fill(0));
        row += 1;
    }
    Ok(builder.finish())
}

/// The part of a span behind `done`, the end of all spans before it.
fn unseen(done: &mut usize, [start, end]: [usize; 2]) -> Option<[usize; 2]> {
    let first = start.max(*done);
    *done = end.max(*done);
    Some([first, end.max(first)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn the_sparse_canvas_equals_pasting_on_a_dense_one() {
        let (height, width) = (40, 33);
        let mut rng = Rng::new(5);
        for round in 0..200 {
            let squares: Vec<(usize, usize, usize, Vec<u8>)> = (0..rng.below(12))
                .map(|_| {
                    let side = 1 + rng.below(9) as usize;
                    let row = rng.below((height - side + 1) as u32) as usize;
                    let column = rng.below((width - side + 1) as u32) as usize;
                    let pixels =
                        (0..side * side).map(|_| if rng.below(3) == 0 { 0 } else { rng.below(256) as u8 });
                    (row, column, side, pixels.collect())
                })
                .collect();
            let mut dense = vec![0; height * width];
            let mut stamps = Vec::new();
            for (row, column, side, pixels) in &squares {
                stamps.push(Stamp { row: *row, column: *column, side: *side, pixels });
                for (line, pixels) in pixels.chunks(*side).enumerate() {
                    let to = (row + line) * width + column;
                    dense[to..to + side].copy_from_slice(pixels);
                }
            }
            let image = compose(height, width, &stamps).unwrap();
            assert_eq!(image, SparseImage::from_dense(height, width, &dense).unwrap(), "round {round}");
        }
    }
}
