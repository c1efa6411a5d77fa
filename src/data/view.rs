//! Small views of large images: each pixel of a view is the mean of the area it covers, by the rule of
//! [`ResizeMode::Area`]. Pixels are read a block at a time, so the memory that it takes does not grow with the image.
//!
//! Sums are of whole numbers, so every source of the same pixels gives the same bits, however it adds them up.

use super::{PatchSource, Window};
use crate::{Error, Result, host, ops::ResizeMode};

/// Pixels that are read at once, about.
const BLOCK: usize = 1 << 20;

/// Where the pixels of a view lie on one axis of an image.
pub(super) struct Spans {
    /// First pixel and pixel behind the last, for each pixel of the view.
    spans: Vec<[usize; 2]>,
}

impl Spans {
    fn new(view: usize, image: usize) -> Self {
        let span = |i| {
            let (first, weights) = ResizeMode::Area.taps(i, view, image);
            [first, first + weights.len()]
        };
        Spans { spans: (0..view).map(span).collect() }
    }

    /// The pixels of the view whose area holds pixel `at` of the image.
    fn holding(&self, at: usize) -> std::ops::Range<usize> {
        self.spans.partition_point(|span| span[1] <= at)..self.spans.partition_point(|span| span[0] <= at)
    }
}

/// Sums of the areas of a view, before they become means.
pub(super) struct Areas {
    rows: Spans,
    columns: Spans,
    /// (C, h, w)
    sums: Vec<u64>,
}

impl Areas {
    /// Those of a view of `size` [h, w] of an image of `dims` [C, H, W], all zero.
    pub(super) fn new(size: [usize; 2], dims: [usize; 3]) -> Result<Self> {
        let [channels, height, width] = dims;
        if size.contains(&0) {
            let what = format!("a view of {} × {} pixels: both must be at least 1", size[0], size[1]);
            return Err(Error::argument("view", what));
        }
        let sums = host::filled(channels.saturating_mul(size[0]).saturating_mul(size[1]), 0, "a view")?;
        Ok(Areas { rows: Spans::new(size[0], height), columns: Spans::new(size[1], width), sums })
    }

    /// Adds a run of pixels of one row of the first channel.
    pub(super) fn add(&mut self, row: usize, column: usize, pixels: &[u8]) {
        let width = self.columns.spans.len();
        for line in self.rows.holding(row) {
            for (at, &value) in pixels.iter().enumerate() {
                for to in self.columns.holding(column + at) {
                    self.sums[line * width + to] += u64::from(value);
                }
            }
        }
    }

    /// The means, between 0 and 1, into `out` (C, h, w).
    pub(super) fn finish(&self, out: &mut [f32]) -> Result<()> {
        if out.len() != self.sums.len() {
            let what = format!("the buffer holds {} numbers, the view has {}", out.len(), self.sums.len());
            return Err(Error::shape("view", what));
        }
        let (height, width) = (self.rows.spans.len(), self.columns.spans.len());
        for (at, (to, &sum)) in out.iter_mut().zip(&self.sums).enumerate() {
            let ([top, bottom], [left, right]) =
                (self.rows.spans[at / width % height], self.columns.spans[at % width]);
            *to = (sum as f64 / (255 * (bottom - top) * (right - left)) as f64) as f32;
        }
        Ok(())
    }
}

/// The view of any source, read block by block.
pub(super) fn read<S: PatchSource + ?Sized>(source: &S, size: [usize; 2], out: &mut [f32]) -> Result<()> {
    let channels = source.channels();
    let mut areas = Areas::new(size, [channels, source.height(), source.width()])?;
    let mut pixels = Vec::new();
    for line in 0..size[0] {
        let [top, bottom] = areas.rows.spans[line];
        let mut first = 0;
        while first < size[1] {
            // As many pixels of the view as a block holds, at least one.
            let left = areas.columns.spans[first][0];
            let fits = |span: &[usize; 2]| (span[1] - left) * (bottom - top) * channels <= BLOCK;
            let count = areas.columns.spans[first..].iter().take_while(|span| fits(span)).count().max(1);
            let right = areas.columns.spans[first + count - 1][1];
            let (rows, columns) = (bottom - top, right - left);
            pixels.resize(channels * rows * columns, 0);
            source.read(Window::new(top as isize, left as isize, rows, columns), &mut pixels)?;
            for (at, to) in (first..first + count).flat_map(|to| (0..channels).map(move |c| (c, to))) {
                let [from, end] = areas.columns.spans[to].map(|column| column - left);
                let plane = &pixels[at * rows * columns..(at + 1) * rows * columns];
                let sums = plane.chunks_exact(columns).map(|row| sum(&row[from..end]));
                areas.sums[(at * size[0] + line) * size[1] + to] = sums.sum();
            }
            first += count;
        }
    }
    areas.finish(out)
}

fn sum(pixels: &[u8]) -> u64 {
    pixels.iter().map(|&value| u64::from(value)).sum()
}
