//! Where patches come from: the trait through which selection reads an image, the grid of patches over it, and an
//! image in memory.

use std::sync::Arc;

use crate::{Error, Result, host};

/// A rectangle of an image, in pixels. It may lie partly or wholly outside: pixels there read as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First row; negative above the image.
    pub row: isize,
    /// First column; negative left of the image.
    pub column: isize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// The part of a [`Window`] that lies inside an image, for those who implement [`PatchSource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// First row and column in the image.
    pub image: [usize; 2],
    /// The same pixel's row and column in the window.
    pub window: [usize; 2],
    /// Rows of the overlap, zero when there is none.
    pub height: usize,
    /// Columns of the overlap, zero when there is none.
    pub width: usize,
}

impl Window {
    /// The window whose first pixel is (`row`, `column`).
    pub fn new(row: isize, column: isize, height: usize, width: usize) -> Self {
        Self { row, column, height, width }
    }

    /// What of this window lies inside an image of `height` × `width` pixels.
    ///
    /// ```
    /// use foveate::data::Window;
    /// let overlap = Window::new(-1, 3, 4, 4).overlap(10, 5);
    /// assert_eq!((overlap.image, overlap.window), ([0, 3], [1, 0]));
    /// assert_eq!((overlap.height, overlap.width), (3, 2));
    /// ```
    pub fn overlap(&self, height: usize, width: usize) -> Overlap {
        let (row, window_row, rows) = overlap_axis(self.row, self.height, height);
        let (column, window_column, columns) = overlap_axis(self.column, self.width, width);
        let empty = rows == 0 || columns == 0;
        Overlap {
            image: [row, column],
            window: [window_row, window_column],
            height: if empty { 0 } else { rows },
            width: if empty { 0 } else { columns },
        }
    }

    /// Checks that `out` holds exactly `channels` × height × width bytes.
    ///
    /// # Errors
    /// [`Error::Shape`] with both sizes.
    pub fn check(&self, channels: usize, out: &[u8]) -> Result<()> {
        let need = self.height.checked_mul(self.width).and_then(|n| n.checked_mul(channels));
        if need == Some(out.len()) {
            return Ok(());
        }
        Err(Error::Shape {
            op: "read",
            what: format!(
                "the buffer holds {} bytes, the window {channels} × {} × {} needs exactly as many as it has pixels",
                out.len(),
                self.height,
                self.width
            ),
        })
    }
}

/// (first index in the image, first index in the window, count) along one axis.
fn overlap_axis(start: isize, len: usize, size: usize) -> (usize, usize, usize) {
    let skipped = if start < 0 { start.unsigned_abs() } else { 0 };
    let first = if start < 0 { 0 } else { start.unsigned_abs() };
    let count = len.saturating_sub(skipped).min(size.saturating_sub(first));
    (first, skipped, count)
}

/// An image of 8-bit pixels that can be read a window at a time.
///
/// It may be in memory, generated, or read tile by tile from a file: hence fallible. Readers on several threads share it.
///
/// ```
/// use foveate::data::{DenseImage, PatchSource, Window};
/// let image = DenseImage::new([1, 2, 3], vec![1, 2, 3, 4, 5, 6])?;
/// let source: &dyn PatchSource = &image;
/// let mut out = [9; 4];
/// source.read(Window::new(1, 2, 2, 2), &mut out)?;
/// assert_eq!(out, [6, 0, 0, 0]); // outside the image is zero
/// # Ok::<(), foveate::Error>(())
/// ```
pub trait PatchSource: Send + Sync {
    /// Channels C.
    fn channels(&self) -> usize;

    /// Height H in pixels.
    fn height(&self) -> usize;

    /// Width W in pixels.
    fn width(&self) -> usize;

    /// Writes the window as (C, height, width) into `out`, every byte of it; pixels outside the image are zero.
    ///
    /// # Errors
    /// [`Error::Shape`] if `out` has another size; [`Error::File`] if a file behind the image fails.
    fn read(&self, window: Window, out: &mut [u8]) -> Result<()>;

    /// All pixels (C, H, W), for a source that has them in memory in this order: patches are then read where they stand.
    fn in_memory(&self) -> Option<&[u8]> {
        None
    }

    /// Where in the image that is which is to be found, if it is known: an image of one channel and the same size, zero
    /// elsewhere ([`Masked`](super::Masked)).
    fn mask(&self) -> Option<&dyn PatchSource> {
        None
    }

    /// Writes a view of the whole image at `size` [h, w] as (C, h, w) into `out`, every pixel between 0 and 1: the mean of
    /// the area it covers, as [`resize`](crate::ops::resize()) by [`Area`](crate::ops::ResizeMode::Area) makes it. Takes
    /// about a megabyte for the block of pixels at hand, however large the image.
    ///
    /// # Errors
    /// [`Error::Shape`] if `out` has another size, [`Error::Argument`] for a size of zero, and as
    /// [`read`](PatchSource::read).
    fn view(&self, size: [usize; 2], out: &mut [f32]) -> Result<()> {
        super::view::read(self, size, out)
    }

    /// The grid of patches over this image.
    ///
    /// # Errors
    /// As [`PatchGrid::new`].
    fn grid(&self, patch: [usize; 2], stride: [usize; 2]) -> Result<PatchGrid> {
        PatchGrid::new([self.height(), self.width()], patch, stride)
    }

    /// Writes the patches `indices` of `grid` one after the other: (indices.len(), C, ph, pw).
    ///
    /// # Errors
    /// [`Error::Shape`] if `out` has another size, [`Error::Argument`] if an index is not in the grid, and as
    /// [`read`](PatchSource::read).
    fn read_patches(&self, grid: &PatchGrid, indices: &[u32], out: &mut [u8]) -> Result<()> {
        let [height, width] = grid.patch();
        let bytes = self.channels() * height * width;
        if bytes == 0 || bytes.checked_mul(indices.len()) != Some(out.len()) {
            return Err(Error::Shape {
                op: "read_patches",
                what: format!(
                    "the buffer holds {} bytes for {} patches of {} × {height} × {width}, {bytes} bytes each",
                    out.len(),
                    indices.len(),
                    self.channels(),
                ),
            });
        }
        for (&index, patch) in indices.iter().zip(out.chunks_exact_mut(bytes)) {
            self.read(grid.window(index as usize)?, patch)?;
        }
        Ok(())
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<S: PatchSource + ?Sized> PatchSource for $pointer {
            fn channels(&self) -> usize {
                (**self).channels()
            }
            fn height(&self) -> usize {
                (**self).height()
            }
            fn width(&self) -> usize {
                (**self).width()
            }
            fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
                (**self).read(window, out)
            }
            fn in_memory(&self) -> Option<&[u8]> {
                (**self).in_memory()
            }
            fn mask(&self) -> Option<&dyn PatchSource> {
                (**self).mask()
            }
            fn view(&self, size: [usize; 2], out: &mut [f32]) -> Result<()> {
                (**self).view(size, out)
            }
            fn read_patches(&self, grid: &PatchGrid, indices: &[u32], out: &mut [u8]) -> Result<()> {
                (**self).read_patches(grid, indices, out)
            }
        }
    )*};
}
forward!(&S, Box<S>, Arc<S>);

/// An image in memory, every pixel stored: (C, H, W) bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenseImage {
    dims: [usize; 3],
    pixels: Vec<u8>,
}

impl DenseImage {
    /// The image with `dims` = [C, H, W] and `pixels` in that order.
    ///
    /// # Errors
    /// [`Error::Shape`] if an axis is zero or the number of pixels is not C·H·W.
    pub fn new(dims: [usize; 3], pixels: Vec<u8>) -> Result<Self> {
        let [c, h, w] = dims;
        let need = c.checked_mul(h).and_then(|n| n.checked_mul(w));
        if need != Some(pixels.len()) || pixels.is_empty() {
            return Err(Error::Shape {
                op: "DenseImage::new",
                what: format!(
                    "{} bytes given for {c} × {h} × {w} pixels; every axis must be at least 1",
                    pixels.len()
                ),
            });
        }
        Ok(Self { dims, pixels })
    }

    /// The image whose pixels are interleaved, (H, W, C), as image files store them; `dims` = [C, H, W].
    ///
    /// # Errors
    /// As [`new`](DenseImage::new).
    ///
    /// ```
    /// use foveate::data::DenseImage;
    /// let image = DenseImage::from_interleaved([2, 1, 2], &[1, 10, 2, 20])?;
    /// assert_eq!(image.pixels(), [1, 2, 10, 20]);
    /// # Ok::<(), foveate::Error>(())
    /// ```
    pub fn from_interleaved(dims: [usize; 3], pixels: &[u8]) -> Result<Self> {
        let mut planes = host::reserved(pixels.len(), "the planes of an image")?;
        for channel in 0..dims[0].min(pixels.len()) {
            planes.extend(pixels.iter().skip(channel).step_by(dims[0]));
        }
        Self::new(dims, planes)
    }

    /// All pixels, (C, H, W).
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

impl PatchSource for DenseImage {
    fn channels(&self) -> usize {
        self.dims[0]
    }

    fn height(&self) -> usize {
        self.dims[1]
    }

    fn width(&self) -> usize {
        self.dims[2]
    }

    fn in_memory(&self) -> Option<&[u8]> {
        Some(&self.pixels)
    }

    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        let [channels, height, width] = self.dims;
        window.check(channels, out)?;
        out.fill(0);
        let overlap = window.overlap(height, width);
        for channel in 0..channels {
            for line in 0..overlap.height {
                let from = (channel * height + overlap.image[0] + line) * width + overlap.image[1];
                let to =
                    (channel * window.height + overlap.window[0] + line) * window.width + overlap.window[1];
                out[to..to + overlap.width].copy_from_slice(&self.pixels[from..from + overlap.width]);
            }
        }
        Ok(())
    }
}

/// The patches of an image, numbered row by row; pixels that a last row or column would leave over are dropped.
///
/// The patches are those of `torch.Tensor.unfold` over rows, then columns, as IPS cuts them (Bergner et al., ICLR 2023):
/// rows = ⌊(H − ph)/sh⌋ + 1, columns = ⌊(W − pw)/sw⌋ + 1, N = rows · columns.
///
/// ```
/// use foveate::data::PatchGrid;
/// let grid = PatchGrid::new([300, 320], [50, 50], [50, 50])?;
/// assert_eq!((grid.rows(), grid.columns(), grid.count()), (6, 6, 36));
/// assert_eq!(grid.corner(7)?, [50, 50]);
/// # Ok::<(), foveate::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchGrid {
    patch: [usize; 2],
    stride: [usize; 2],
    cells: [usize; 2],
}

impl PatchGrid {
    /// Patches of [ph, pw] pixels, one every [sh, sw] pixels, over an image of [H, W].
    ///
    /// # Errors
    /// [`Error::Argument`] if a side or stride is zero, if the patch is larger than the image, or if there are more than
    /// 2^31 − 1 patches (indices are i32 on every device).
    pub fn new(image: [usize; 2], patch: [usize; 2], stride: [usize; 2]) -> Result<Self> {
        let refuse = |what: String| Err(Error::Argument { op: "PatchGrid::new", what });
        let [[h, w], [ph, pw], [sh, sw]] = [image, patch, stride];
        if ph == 0 || pw == 0 || sh == 0 || sw == 0 {
            return refuse(format!("patch {ph} × {pw} and stride {sh} × {sw} must be at least 1"));
        }
        if ph > h || pw > w {
            return refuse(format!("a patch of {ph} × {pw} does not fit into an image of {h} × {w}"));
        }
        let cells = [(h - ph) / sh + 1, (w - pw) / sw + 1];
        if cells[0].checked_mul(cells[1]).is_none_or(|n| n > i32::MAX as usize) {
            return refuse(format!("{} × {} patches are more than an i32 can number", cells[0], cells[1]));
        }
        Ok(Self { patch, stride, cells })
    }

    /// [ph, pw] in pixels.
    pub fn patch(&self) -> [usize; 2] {
        self.patch
    }

    /// [sh, sw] in pixels.
    pub fn stride(&self) -> [usize; 2] {
        self.stride
    }

    /// Rows of patches.
    pub fn rows(&self) -> usize {
        self.cells[0]
    }

    /// Columns of patches.
    pub fn columns(&self) -> usize {
        self.cells[1]
    }

    /// All patches, N; never zero.
    pub fn count(&self) -> usize {
        self.cells[0] * self.cells[1]
    }

    /// The image row and column of the first pixel of patch `index`.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no such patch.
    pub fn corner(&self, index: usize) -> Result<[usize; 2]> {
        if index >= self.count() {
            return Err(Error::Argument {
                op: "PatchGrid::corner",
                what: format!("there is no patch {index} in a grid of {}", self.count()),
            });
        }
        Ok([index / self.cells[1] * self.stride[0], index % self.cells[1] * self.stride[1]])
    }

    /// The window of patch `index`.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no such patch.
    pub fn window(&self, index: usize) -> Result<Window> {
        let [row, column] = self.corner(index)?;
        Ok(Window::new(row as isize, column as isize, self.patch[0], self.patch[1]))
    }
}
