//! One-channel images that are mostly black: only the runs of non-zero pixels are stored.
//!
//! A run costs 8 bytes and each of its pixels one; each row of the image costs 4. A window is read with one binary
//! search per row and a copy per run.

use crate::{Error, Result};

use super::{
    source::{PatchSource, Window},
    view::Areas,
};

/// First column of a run, and where its pixels begin in `values`; they end where the next run's begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    column: u32,
    offset: u32,
}

/// A one-channel 8-bit image of H × W pixels that stores only what is not zero.
///
/// ```
/// use foveate::data::SparseImage;
/// let dense = [0, 5, 6, 0, 0, 0, 7, 0, 8];
/// let image = SparseImage::from_dense(3, 3, &dense)?;
/// assert_eq!(image.nonzero(), 4);
/// let mut back = [0; 9];
/// image.to_dense(&mut back)?;
/// assert_eq!(back, dense);
/// # Ok::<(), foveate::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseImage {
    height: usize,
    width: usize,
    /// (H + 1): the runs of row r are `runs[rows[r]..rows[r + 1]]`.
    rows: Vec<u32>,
    /// (runs + 1): the last one is a sentinel whose offset is `values.len()`.
    runs: Vec<Run>,
    /// (non-zero pixels).
    values: Vec<u8>,
}

impl SparseImage {
    /// The image whose pixels are `pixels`, (H, W).
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not `height` · `width` pixels; as [`SparseBuilder::new`].
    pub fn from_dense(height: usize, width: usize, pixels: &[u8]) -> Result<Self> {
        let mut builder = SparseBuilder::new(height, width)?;
        if height * width != pixels.len() {
            return Err(Error::Shape {
                op: "SparseImage::from_dense",
                what: format!("{} bytes given for {height} × {width} pixels", pixels.len()),
            });
        }
        for (row, line) in pixels.chunks_exact(width).enumerate() {
            builder.push(row, 0, line)?;
        }
        Ok(builder.finish())
    }

    /// Pixels that are not zero.
    pub fn nonzero(&self) -> usize {
        self.values.len()
    }

    /// Bytes of heap memory that the image holds.
    pub fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<u32>()
            + self.runs.capacity() * size_of::<Run>()
            + self.values.capacity()
    }

    /// Writes all pixels, (H, W), into `out`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `out` has another size.
    pub fn to_dense(&self, out: &mut [u8]) -> Result<()> {
        self.read(Window::new(0, 0, self.height, self.width), out)
    }

    /// The runs of non-zero pixels, top to bottom and left to right: (row, first column, pixels).
    pub fn runs(&self) -> impl Iterator<Item = (usize, usize, &[u8])> {
        (0..self.height).flat_map(move |row| {
            (self.rows[row] as usize..self.rows[row + 1] as usize)
                .map(move |run| (row, self.runs[run].column as usize, self.values_of(run)))
        })
    }

    fn values_of(&self, run: usize) -> &[u8] {
        &self.values[self.runs[run].offset as usize..self.runs[run + 1].offset as usize]
    }

    /// Copies the pixels of `row` from `column` on into `out`, which is zero before.
    fn read_row(&self, row: usize, column: usize, out: &mut [u8]) {
        let (first, last) = (self.rows[row] as usize, self.rows[row + 1] as usize);
        // The run before the first one that starts behind `column` may still reach into the window.
        let behind = self.runs[first..last].partition_point(|run| run.column as usize <= column);
        for run in first + behind.saturating_sub(1)..last {
            let start = self.runs[run].column as usize;
            if start >= column + out.len() {
                break;
            }
            let values = self.values_of(run);
            let skipped = column.saturating_sub(start);
            if skipped >= values.len() {
                continue;
            }
            let to = start.saturating_sub(column);
            let count = (values.len() - skipped).min(out.len() - to);
            out[to..to + count].copy_from_slice(&values[skipped..skipped + count]);
        }
    }
}

impl PatchSource for SparseImage {
    fn channels(&self) -> usize {
        1
    }

    fn height(&self) -> usize {
        self.height
    }

    fn width(&self) -> usize {
        self.width
    }

    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        window.check(1, out)?;
        out.fill(0);
        let overlap = window.overlap(self.height, self.width);
        for line in 0..overlap.height {
            let to = (overlap.window[0] + line) * window.width + overlap.window[1];
            self.read_row(overlap.image[0] + line, overlap.image[1], &mut out[to..to + overlap.width]);
        }
        Ok(())
    }

    /// Costs as much as there is ink, whatever the size of the image.
    fn view(&self, size: [usize; 2], out: &mut [f32]) -> Result<()> {
        let mut areas = Areas::new(size, [1, self.height, self.width])?;
        for (row, column, pixels) in self.runs() {
            areas.add(row, column, pixels);
        }
        areas.finish(out)
    }
}

/// Builds a [`SparseImage`] from spans of pixels given from top to bottom and left to right.
#[derive(Clone, Debug)]
pub struct SparseBuilder {
    width: usize,
    height: usize,
    rows: Vec<u32>,
    runs: Vec<Run>,
    values: Vec<u8>,
    /// The next pixel that may be given: (row, column).
    next: [usize; 2],
}

impl SparseBuilder {
    /// A black image of `height` × `width` pixels.
    ///
    /// # Errors
    /// [`Error::Argument`] if a side is zero or if there are 2^32 pixels or more.
    pub fn new(height: usize, width: usize) -> Result<Self> {
        let pixels = height.checked_mul(width);
        if pixels.is_none_or(|n| n == 0 || n > u32::MAX as usize) {
            return Err(Error::Argument {
                op: "SparseBuilder::new",
                what: format!(
                    "an image of {height} × {width}: it must have at least 1 and under 2^32 pixels"
                ),
            });
        }
        Ok(Self { width, height, rows: vec![0], runs: Vec::new(), values: Vec::new(), next: [0, 0] })
    }

    /// Adds the pixels of `row` from `column` on; zeros among them are not stored.
    ///
    /// # Errors
    /// [`Error::Argument`] if the span leaves the image or does not come after the one before it.
    pub fn push(&mut self, row: usize, column: usize, pixels: &[u8]) -> Result<()> {
        if row >= self.height || column.saturating_add(pixels.len()) > self.width || [row, column] < self.next
        {
            return Err(Error::Argument {
                op: "SparseBuilder::push",
                what: format!(
                    "{} pixels at row {row}, column {column}: the image is {} × {} and filled up to row {}, column {}",
                    pixels.len(),
                    self.height,
                    self.width,
                    self.next[0],
                    self.next[1]
                ),
            });
        }
        self.rows.resize(row + 1, self.runs.len() as u32);
        let mut at = 0;
        while at < pixels.len() {
            let start = at + leading_zeros(&pixels[at..]);
            let inked = pixels[start..].iter().take_while(|&&value| value != 0).count();
            if inked > 0 {
                self.push_run(column + start, &pixels[start..start + inked]);
            }
            at = start + inked;
        }
        self.next = [row, column + pixels.len()];
        Ok(())
    }

    /// Adds a run without zeros to the last row begun, or lengthens the run that ends where it begins.
    fn push_run(&mut self, column: usize, values: &[u8]) {
        let row_start = self.rows.last().map_or(0, |&first| first as usize);
        let continues = self.runs.len() > row_start
            && self
                .runs
                .last()
                .is_some_and(|run| run.column as usize + self.values.len() - run.offset as usize == column);
        if !continues {
            self.runs.push(Run { column: column as u32, offset: self.values.len() as u32 });
        }
        self.values.extend_from_slice(values);
    }

    /// The finished image; rows not given are black.
    pub fn finish(mut self) -> SparseImage {
        self.rows.resize(self.height + 1, self.runs.len() as u32);
        self.runs.push(Run { column: 0, offset: self.values.len() as u32 });
        self.runs.shrink_to_fit();
        self.values.shrink_to_fit();
        SparseImage {
            height: self.height,
            width: self.width,
            rows: self.rows,
            runs: self.runs,
            values: self.values,
        }
    }
}

/// How many pixels are zero before the first that is not; eight at a time, since most are.
fn leading_zeros(pixels: &[u8]) -> usize {
    let (words, _) = pixels.as_chunks::<8>();
    let black = 8 * words.iter().take_while(|word| u64::from_ne_bytes(**word) == 0).count();
    black + pixels[black..].iter().take_while(|&&value| value == 0).count()
}
