//! A rectangle of an image as an image of its own.

use super::{PatchSource, Window};
use crate::{Error, Result};

/// The part of an image that a window shows. What the window has outside of the image is zero, and so is everything outside of
/// the window.
///
/// ```
/// use foveate::data::{DenseImage, PatchSource, Region, Window};
/// let image = DenseImage::new([1, 2, 3], vec![1, 2, 3, 4, 5, 6])?;
/// let region = Region::new(&image, Window::new(1, 1, 2, 2))?;
/// assert_eq!((region.height(), region.width()), (2, 2));
/// let mut out = [9; 6];
/// region.read(Window::new(0, -1, 2, 3), &mut out)?;
/// assert_eq!(out, [0, 5, 6, 0, 0, 0]);
/// # Ok::<(), foveate::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Region<'a> {
    image: &'a dyn PatchSource,
    window: Window,
}

impl<'a> Region<'a> {
    /// What `window` shows of `image`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a window without pixels.
    pub fn new(image: &'a dyn PatchSource, window: Window) -> Result<Self> {
        if window.height == 0 || window.width == 0 {
            return Err(Error::argument("Region::new", format!("{window:?} shows no pixel")));
        }
        Ok(Region { image, window })
    }
}

impl PatchSource for Region<'_> {
    fn channels(&self) -> usize {
        self.image.channels()
    }

    fn height(&self) -> usize {
        self.window.height
    }

    fn width(&self) -> usize {
        self.window.width
    }

    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        window.check(self.channels(), out)?;
        let overlap = window.overlap(self.window.height, self.window.width);
        let inner = Window {
            row: self.window.row + overlap.image[0] as isize,
            column: self.window.column + overlap.image[1] as isize,
            height: overlap.height,
            width: overlap.width,
        };
        if (overlap.height, overlap.width) == (window.height, window.width) {
            return self.image.read(inner, out);
        }
        out.fill(0);
        if overlap.height == 0 {
            return Ok(());
        }
        let mut pixels = vec![0; self.channels() * inner.height * inner.width];
        self.image.read(inner, &mut pixels)?;
        for (at, line) in pixels.chunks_exact(inner.width).enumerate() {
            let (channel, row) = (at / inner.height, at % inner.height);
            let to = (channel * window.height + overlap.window[0] + row) * window.width + overlap.window[1];
            out[to..to + inner.width].copy_from_slice(line);
        }
        Ok(())
    }
}
