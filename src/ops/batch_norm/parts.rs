//! How GPUs cut the elements of a channel into parts, each reduced by one block or workgroup: by shape alone, and so is the
//! order of every sum.

use super::Sizes;

/// Elements of a part, about.
const PART: usize = 4096;

/// A part is a few whole images, or, of large ones, a piece of one image.
pub(super) struct Parts {
    pub(super) sizes: Sizes,
    pub(super) images_per_part: usize,
    /// Of an image.
    pub(super) pieces: usize,
}

impl Parts {
    pub(super) fn of(sizes: Sizes) -> Self {
        let plane = sizes.plane.max(1);
        Parts { sizes, images_per_part: (PART / plane).max(1), pieces: plane.div_ceil(PART) }
    }

    /// Groups of images that are cut alike; none where there are no pixels.
    pub(super) fn groups(&self) -> usize {
        if self.sizes.plane == 0 { 0 } else { self.sizes.batch.div_ceil(self.images_per_part) }
    }

    /// Of one channel.
    pub(super) fn count(&self) -> usize {
        self.groups() * self.pieces
    }

    /// Pixels of a piece; the last may be shorter.
    pub(super) fn piece(&self) -> usize {
        self.sizes.plane.div_ceil(self.pieces).max(1)
    }
}
