//! Which tiles were drawn, how often, and which draw was of which.

use std::ops::Range;

/// A tile that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawnTile {
    /// Which image of the batch it is of.
    pub image: usize,
    /// Its place in the image's grid, row-major.
    pub tile: usize,
    /// How often it was drawn, which is the number of sub-tiles looked at in it.
    pub count: usize,
}

/// The draws of a batch by the tiles they are of.
pub(super) struct Draws {
    /// The different tiles, those drawn least often first, equal ones in the order of image and first draw.
    pub(super) tiles: Vec<DrawnTile>,
    /// For each draw (B · N) the place of its tile in `tiles`.
    pub(super) rows: Vec<i32>,
}

impl Draws {
    /// Of positions (B, N) in grids.
    pub(super) fn new(positions: &[i32], samples: usize) -> Self {
        let mut tiles: Vec<DrawnTile> = Vec::new();
        let mut of_draw = Vec::with_capacity(positions.len());
        for (image, row) in positions.chunks(samples.max(1)).enumerate() {
            let first = tiles.len();
            for &position in row {
                let tile = position.max(0) as usize;
                let known = tiles[first..].iter().position(|known| known.tile == tile);
                let at = known.map_or(tiles.len(), |known| first + known);
                if at == tiles.len() {
                    tiles.push(DrawnTile { image, tile, count: 0 });
                }
                tiles[at].count += 1;
                of_draw.push(at);
            }
        }
        let mut order: Vec<usize> = (0..tiles.len()).collect();
        order.sort_by_key(|&at| tiles[at].count);
        let mut place = vec![0; tiles.len()];
        order.iter().enumerate().for_each(|(to, &at)| place[at] = to as i32);
        Draws {
            tiles: order.into_iter().map(|at| tiles[at]).collect(),
            rows: of_draw.into_iter().map(|at| place[at]).collect(),
        }
    }

    /// How often the tile drawn most often was drawn.
    pub(super) fn most(&self) -> usize {
        self.tiles.last().map_or(1, |tile| tile.count)
    }

    /// The position in its grid of each draw's tile, (B · N).
    pub(super) fn positions(&self) -> Vec<i32> {
        self.rows.iter().map(|&row| self.tiles[row as usize].tile as i32).collect()
    }

    /// Ranges of `tiles` that were drawn equally often, and how often.
    pub(super) fn groups(&self) -> Vec<(Range<usize>, usize)> {
        let mut groups: Vec<(Range<usize>, usize)> = Vec::new();
        for (at, tile) in self.tiles.iter().enumerate() {
            match groups.last_mut() {
                Some((range, count)) if *count == tile.count => range.end = at + 1,
                _ => groups.push((at..at + 1, tile.count)),
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_counted_by_image_and_tile() {
        let draws = Draws::new(&[4, 1, 4, 4, 1, 0, 2, 1], 4);
        let tile = |image, tile, count| DrawnTile { image, tile, count };
        assert_eq!(draws.tiles, [tile(0, 1, 1), tile(1, 0, 1), tile(1, 2, 1), tile(1, 1, 2), tile(0, 4, 3)]);
        assert_eq!(draws.positions(), [4, 1, 4, 4, 1, 0, 2, 1]);
        assert_eq!(draws.groups(), [(0..3, 1), (3..4, 2), (4..5, 3)]);
        assert_eq!(draws.most(), 3);
    }
}
