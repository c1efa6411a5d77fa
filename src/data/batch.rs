//! Batches: which images an epoch visits in which order, and several images made at once.

use rayon::prelude::*;

use super::{Labels, MegapixelMnist, Sample, Task};
use crate::{Error, Result, Rng};

/// The batches of one epoch: every index of a split exactly once, in order; the last batch may be smaller.
///
/// ```
/// use foveate::{Rng, data::Batches};
/// let epoch = Batches::shuffled(10, 4, &mut Rng::new(0))?;
/// let sizes: Vec<usize> = epoch.iter().map(|batch| batch.len()).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// // To go on after the first two batches, as when resuming:
/// assert_eq!(epoch.iter().skip(2).next(), epoch.get(2));
/// # Ok::<(), foveate::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batches {
    order: Vec<u32>,
    size: usize,
}

impl Batches {
    /// Indices `0..len` in a random order, `size` at a time. Takes the same draws from `rng` for the same `len`.
    ///
    /// # Errors
    /// [`Error::Argument`] if `size` is zero or `len` is above 2^31 − 1.
    pub fn shuffled(len: usize, size: usize, rng: &mut Rng) -> Result<Self> {
        let mut batches = Self::sequential(len, size)?;
        batches.order = rng.permutation(len);
        Ok(batches)
    }

    /// Indices `0..len` in ascending order, `size` at a time.
    ///
    /// # Errors
    /// As [`shuffled`](Batches::shuffled).
    pub fn sequential(len: usize, size: usize) -> Result<Self> {
        if size == 0 || len > i32::MAX as usize {
            let what =
                format!("{len} images in batches of {size}: a batch has at least 1, a split below 2^31");
            return Err(Error::argument("batches", what));
        }
        Ok(Self { order: (0..len as u32).collect(), size })
    }

    /// Number of batches, the incomplete one included.
    pub fn len(&self) -> usize {
        self.order.len().div_ceil(self.size)
    }

    /// Whether there are no batches.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The indices of batch `at`; `None` behind the last.
    pub fn get(&self, at: usize) -> Option<&[u32]> {
        self.iter().nth(at)
    }

    /// All batches in order.
    pub fn iter(&self) -> std::slice::Chunks<'_, u32> {
        self.order.chunks(self.size)
    }
}

impl<'a> IntoIterator for &'a Batches {
    type Item = &'a [u32];
    type IntoIter = std::slice::Chunks<'a, u32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Several images with their answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The images, in the order asked for.
    pub samples: Vec<Sample>,
}

impl Batch {
    /// The answers, in order.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &Labels> {
        self.samples.iter().map(|sample| &sample.labels)
    }

    /// The classes that answer a task, (B); `None` for [`Task::Multi`].
    pub fn classes(&self, task: Task) -> Option<Vec<i32>> {
        self.labels().map(|labels| labels.class(task).map(i32::from)).collect()
    }

    /// The answers to [`Task::Multi`], (B, 10), each 0 or 1.
    pub fn multi_hot(&self) -> Vec<f32> {
        self.labels().flat_map(Labels::multi_hot).collect()
    }
}

impl MegapixelMnist {
    /// The images `indices`, made on all threads; the same whatever their number.
    ///
    /// # Errors
    /// As [`sample`](MegapixelMnist::sample).
    pub fn batch(&self, indices: &[u32]) -> Result<Batch> {
        let samples = indices.par_iter().map(|&index| self.sample(index as usize)).collect::<Result<_>>()?;
        Ok(Batch { samples })
    }
}
