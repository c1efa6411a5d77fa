//! Accuracy on a data set, in evaluation mode.

use crate::{
    Rng,
    data::PatchSource,
    error::Result,
    select::System,
    train::{Dataset, batch_targets, dataset::examples},
};

/// How often each task was right.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Accuracy {
    /// Images evaluated.
    pub images: usize,
    /// Right answers per task.
    pub correct: Vec<usize>,
}

impl Accuracy {
    /// The share of right answers of a task, between 0 and 1.
    pub fn of(&self, task: usize) -> f64 {
        self.correct.get(task).map_or(0.0, |c| *c as f64 / self.images.max(1) as f64)
    }
}

/// Evaluates `net` on all of `data` in batches of `batch` images. `progress` is told the images done after each batch and
/// may stop the evaluation by returning false; the accuracy is then that of the images done.
///
/// The published systems shuffle or draw patches in evaluation too, those that shuffle all images of a batch alike: the batch
/// that begins with image `i` uses the stream `(seed, 2³³ + i)`, so that the result depends a little on the size of the
/// batches.
///
/// # Errors
///
/// As [`System::predict`]; examples that do not fit the network's tasks.
pub fn evaluate<S: System>(
    net: &S,
    data: &dyn Dataset,
    batch: usize,
    seed: u64,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Accuracy> {
    let tasks = net.tasks().to_vec();
    let mut accuracy = Accuracy { images: 0, correct: vec![0; tasks.len()] };
    for start in (0..data.len()).step_by(batch.max(1)) {
        let range = start..(start + batch.max(1)).min(data.len());
        let examples = examples(data, &range.collect::<Vec<_>>())?;
        let images: Vec<&dyn PatchSource> = examples.iter().map(|e| &*e.image).collect();
        let mut rng = Rng::stream(seed, (1 << 33) + start as u64);
        let probabilities = crate::cpu::in_pool(|| net.predict(&images, &mut rng))?;
        let targets = batch_targets(&tasks, &examples, &net.device())?;
        for (at, task) in tasks.iter().enumerate() {
            let right = task.correct(&probabilities[at], &targets.tensors[at])?;
            accuracy.correct[at] += right.iter().filter(|r| **r).count();
        }
        accuracy.images += examples.len();
        if !progress(accuracy.images) {
            break;
        }
    }
    Ok(accuracy)
}
