//! An image with a mask of what is to be found in it.

use super::{PatchGrid, PatchSource, Window};
use crate::{Error, Result};

/// An image, and another of one channel and the same size that is zero where nothing is to be found: what pixel-level
/// supervision learns from ([`ZoomInConfig::supervision`](crate::select::ZoomInConfig::supervision)).
///
/// ```
/// use foveate::data::{DenseImage, Masked, PatchSource};
/// let image = DenseImage::new([3, 2, 2], vec![9; 12])?;
/// let masked = Masked::new(Box::new(image.clone()), Box::new(DenseImage::new([1, 2, 2], vec![0, 0, 1, 0])?))?;
/// assert!(masked.mask().is_some() && image.mask().is_none());
/// assert!(Masked::new(Box::new(image), Box::new(DenseImage::new([1, 1, 2], vec![0, 1])?)).is_err());
/// # Ok::<(), foveate::Error>(())
/// ```
pub struct Masked {
    image: Box<dyn PatchSource>,
    mask: Box<dyn PatchSource>,
}

impl Masked {
    /// The image with its mask.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for a mask of another size or of more than one channel.
    pub fn new(image: Box<dyn PatchSource>, mask: Box<dyn PatchSource>) -> Result<Self> {
        let size = |image: &dyn PatchSource| [image.channels(), image.height(), image.width()];
        let (of, have) = (size(&*image), size(&*mask));
        if have != [1, of[1], of[2]] {
            let what = format!("a mask of (C, H, W) {have:?} for an image of {of:?}: it must be [1, H, W]");
            return Err(Error::shape("Masked::new", what));
        }
        Ok(Masked { image, mask })
    }
}

impl PatchSource for Masked {
    fn channels(&self) -> usize {
        self.image.channels()
    }

    fn height(&self) -> usize {
        self.image.height()
    }

    fn width(&self) -> usize {
        self.image.width()
    }

    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        self.image.read(window, out)
    }

    fn in_memory(&self) -> Option<&[u8]> {
        self.image.in_memory()
    }

    fn mask(&self) -> Option<&dyn PatchSource> {
        Some(&*self.mask)
    }

    fn view(&self, size: [usize; 2], out: &mut [f32]) -> Result<()> {
        self.image.view(size, out)
    }

    fn read_patches(&self, grid: &PatchGrid, indices: &[u32], out: &mut [u8]) -> Result<()> {
        self.image.read_patches(grid, indices, out)
    }
}
