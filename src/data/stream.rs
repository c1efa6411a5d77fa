//! Which random numbers belong to what: every pattern pool, built-in digit and sample has a stream of its own, found
//! from (seed, split, purpose, index) alone, so that one can be made without making those before it.

use crate::Rng;

/// The two halves of a data set. They share no random numbers and, with real MNIST, no digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// What is trained on.
    Train,
    /// What is only ever evaluated.
    Test,
}

/// What a stream is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    NoisePool = 1,
    Sample = 2,
    Strokes = 3,
}

/// The stream of item `index` of `purpose`.
pub(super) fn stream(seed: u64, split: Split, purpose: Purpose, index: u64) -> Rng {
    let half = match split {
        Split::Train => 0,
        Split::Test => 1,
    };
    Rng::stream(Rng::stream(seed, purpose as u64 * 2 + half).next_u64(), index)
}
