//! The order in which selection sees an image's patches.

use crate::Rng;

/// How patches are shuffled before selection, so that equal scores (blank patches) are kept at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Shuffle {
    /// Row-major order.
    None,
    /// One permutation shared by all images of a batch: the published setting, in training and evaluation alike.
    #[default]
    Batch,
    /// A permutation of its own for each image.
    Instance,
}

/// The order of `n` patches in each of `images` images; 4 bytes per patch, and nothing without shuffling.
pub(super) struct Orders {
    permutations: Vec<Vec<u32>>,
}

impl Orders {
    pub(super) fn new(shuffle: Shuffle, images: usize, n: usize, rng: &mut Rng) -> Self {
        let permutations = match shuffle {
            Shuffle::None => Vec::new(),
            Shuffle::Batch => vec![rng.permutation(n)],
            Shuffle::Instance => (0..images).map(|_| rng.permutation(n)).collect(),
        };
        Orders { permutations }
    }

    /// The patch that image `image` shows at position `at`.
    pub(super) fn patch(&self, image: usize, at: usize) -> u32 {
        match self.permutations.as_slice() {
            [] => at as u32,
            [shared] => shared[at],
            own => own[image][at],
        }
    }
}
