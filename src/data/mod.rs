//! Images and the test beds that networks here are trained on.
//!
//! Always present: [`PatchSource`], through which selection reads patches of an image that may be larger than memory,
//! with its two in-memory images [`DenseImage`] and [`SparseImage`], and [`PatchGrid`].
//!
//! With the feature `data`: the IDX files of MNIST ([`idx`]), a generator of handwritten-like digits for machines that
//! do not have them ([`strokes`]), the noise patterns ([`noise`]), the Megapixel MNIST generator ([`megapixel`]), and
//! resizing ([`bilinear`]) and random variation ([`augment`]) of images for training.
//! A generated image is a [`SparseImage`], a few hundred kilobytes for 1500 × 1500 pixels; no image is ever a float tensor.
//!
//! ```
//! # #[cfg(feature = "data")] {
//! use foveate::data::{strokes, MegapixelConfig, MegapixelMnist, PatchGrid, PatchSource, Split};
//!
//! // 1500 × 1500 with 50 lines of noise, digits drawn by the built-in generator: no file is needed.
//! let config = MegapixelConfig::ips();
//! let digits = strokes::digits(0, Split::Train, 100)?;
//! let train = MegapixelMnist::new(config, Split::Train, digits, 5000)?;
//! let sample = train.sample(17)?;
//! assert_eq!(sample.labels.majority, sample.digits[0].class);
//!
//! // The first of the 900 patches of 50 × 50.
//! let grid = PatchGrid::new([1500, 1500], [50, 50], [50, 50])?;
//! let mut patch = vec![0u8; 50 * 50];
//! sample.image.read(grid.window(0)?, &mut patch)?;
//! assert_eq!(grid.count(), 900);
//! # }
//! # Ok::<(), foveate::Error>(())
//! ```

mod masked;
mod region;
mod source;
mod sparse;
mod view;

pub use masked::Masked;
pub use region::Region;
pub use source::{DenseImage, Overlap, PatchGrid, PatchSource, Window};
pub use sparse::{SparseBuilder, SparseImage};

#[cfg(feature = "data")]
pub mod augment;
#[cfg(feature = "data")]
pub mod bilinear;
#[cfg(feature = "data")]
mod compose;
#[cfg(feature = "data")]
mod digits;
#[cfg(feature = "data")]
mod draw;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "data")]
pub mod idx;
#[cfg(feature = "data")]
mod labels;
#[cfg(feature = "data")]
pub mod megapixel;
#[cfg(feature = "data")]
mod mt19937;
#[cfg(feature = "data")]
pub mod needle;
#[cfg(feature = "data")]
pub mod noise;
#[cfg(feature = "data")]
pub mod picture;
#[cfg(feature = "data")]
mod placement;
#[cfg(feature = "data")]
mod raster;
#[cfg(feature = "data")]
pub mod resize;
#[cfg(feature = "data")]
mod stream;
#[cfg(feature = "data")]
pub mod strokes;

#[cfg(feature = "data")]
pub use {
    augment::Augmentation,
    digits::{DIGIT_SIDE, Digits},
    idx::Mnist,
    labels::Labels,
    megapixel::{MegapixelConfig, MegapixelMnist, PlacedDigit, Sample},
    needle::{NeedleConfig, NeedleMnist},
    noise::{NoiseKind, Thickness},
    placement::{Draws, Order},
    stream::Split,
};

#[cfg(test)]
mod tests;
