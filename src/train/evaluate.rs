//! Accuracy, and the area under the ROC curve, on a data set, in evaluation mode.

use crate::{
    Rng, Tensor,
    data::PatchSource,
    error::{Error, Result},
    nn::{Activation, Task},
    select::System,
    train::{Dataset, batch_targets, dataset::examples},
};

/// How often each task was right, and how well it ranks.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Accuracy {
    /// Images evaluated.
    pub images: usize,
    /// Right answers per task.
    pub correct: Vec<usize>,
    /// Per task of one sigmoid class or of two softmax classes, each image's probability of the (second) class and whether
    /// it is of it; empty for other tasks.
    pub scores: Vec<Vec<(f32, bool)>>,
}

impl Accuracy {
    /// The share of right answers of a task, between 0 and 1.
    pub fn of(&self, task: usize) -> f64 {
        self.correct.get(task).map_or(0.0, |c| *c as f64 / self.images.max(1) as f64)
    }

    /// The area under the ROC curve of a task of one sigmoid class or of two softmax classes ([`auc`]).
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for another task, and if there are no images of both kinds.
    pub fn auc(&self, task: usize) -> Result<f64> {
        let (scores, present): (Vec<f32>, Vec<bool>) =
            self.scores.get(task).into_iter().flatten().copied().unzip();
        auc(&scores, &present)
    }
}

/// The area under the receiver operating characteristic: the share of pairs of an image that has what is looked for and one that has not
/// in which the first scores higher, pairs of equal scores counting half (Mann and Whitney's U over the number of
/// pairs; Hanley and McNeil, Radiology 1982). 0.5 is chance.
///
/// ```
/// use foveate::train::auc;
/// assert_eq!(auc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true])?, 0.75);
/// assert_eq!(auc(&[0.5, 0.5], &[true, false])?, 0.5);
/// # Ok::<(), foveate::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Argument`] for other numbers of scores than answers, a score that is NaN, or answers that are all alike.
pub fn auc(scores: &[f32], present: &[bool]) -> Result<f64> {
    let having = present.iter().filter(|p| **p).count();
    let pairs = having * (present.len() - having);
    if scores.len() != present.len() || pairs == 0 || scores.iter().any(|score| score.is_nan()) {
        let what = format!(
            "{} scores of {} images, {having} of which have it: a number for each image, and both kinds of images",
            scores.len(),
            present.len()
        );
        return Err(Error::argument("auc", what));
    }
    let mut ranked: Vec<(f32, bool)> = scores.iter().copied().zip(present.iter().copied()).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the pairs won: two for each image without it that scores lower, one for each that scores alike.
    let (mut twice, mut lower) = (0_usize, 0_usize);
    for alike in ranked.chunk_by(|a, b| a.0 == b.0) {
        let with = alike.iter().filter(|(_, present)| *present).count();
        let without = alike.len() - with;
        twice += with * (2 * lower + without);
        lower += without;
    }
    Ok(twice as f64 / (2 * pairs) as f64)
}

/// The probability of the second of two classes, and whether it is true, of each image of a task that has no more.
fn two_way(task: &Task, probabilities: &Tensor, labels: &Tensor) -> Result<Vec<(f32, bool)>> {
    let (p, second) = (probabilities.to_vec::<f32>()?, task.classes.saturating_sub(1));
    let of_class = p.into_iter().skip(second).step_by(task.classes.max(1));
    Ok(match (task.activation, task.classes) {
        (Activation::Softmax, 2) => of_class.zip(labels.to_vec::<i32>()?.iter().map(|y| *y == 1)).collect(),
        (Activation::Sigmoid, 1) => of_class.zip(labels.to_vec::<f32>()?.iter().map(|y| *y >= 0.5)).collect(),
        _ => Vec::new(),
    })
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
    let mut accuracy =
        Accuracy { images: 0, correct: vec![0; tasks.len()], scores: vec![vec![]; tasks.len()] };
    for start in (0..data.len()).step_by(batch.max(1)) {
        let range = start..(start + batch.max(1)).min(data.len());
        let examples = examples(data, &range.collect::<Vec<_>>())?;
        let images: Vec<&dyn PatchSource> = examples.iter().map(|e| &*e.image).collect();
        let mut rng = Rng::stream(seed, (1 << 33) + start as u64);
        let probabilities = crate::cpu::in_pool(|| net.predict(&images, &mut rng))?;
        let targets = batch_targets(&tasks, &examples, &net.device())?;
        for (at, task) in tasks.iter().enumerate() {
            let (p, y) = (&probabilities[at], &targets.tensors[at]);
            let right = task.correct(p, y)?;
            accuracy.scores[at].extend(two_way(task, p, y)?);
            accuracy.correct[at] += right.iter().filter(|r| **r).count();
        }
        accuracy.images += examples.len();
        if !progress(accuracy.images) {
            break;
        }
    }
    Ok(accuracy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By its definition over all pairs, ties and infinities included.
    #[test]
    fn the_area_is_the_share_of_pairs_in_order() {
        let mut rng = Rng::new(1);
        for count in [2, 3, 17, 60] {
            let mut scores: Vec<f32> = (0..count).map(|_| rng.below(12) as f32 / 4.0 - 1.0).collect();
            scores[0] = f32::INFINITY;
            let present: Vec<bool> = (0..count).map(|at| at == 1 || (at > 1 && rng.below(2) == 1)).collect();
            let (mut won, mut pairs) = (0.0, 0.0);
            for (a, _) in scores.iter().zip(&present).filter(|(_, present)| **present) {
                for (b, _) in scores.iter().zip(&present).filter(|(_, present)| !**present) {
                    pairs += 1.0;
                    won += if a > b {
                        1.0
                    } else if a == b {
                        0.5
                    } else {
                        0.0
                    };
                }
            }
            assert_eq!(auc(&scores, &present).unwrap(), won / pairs);
        }
        assert_eq!(auc(&[0.0, -0.0], &[true, false]).unwrap(), 0.5);
        for (scores, present) in [
            (&[0.1, f32::NAN][..], &[true, false][..]),
            (&[0.1], &[true, false]),
            (&[0.1, 0.2], &[true, true]),
            (&[], &[]),
        ] {
            assert!(auc(scores, present).is_err());
        }
    }

    #[test]
    fn two_way_tasks_are_ranked() {
        let tensor = |values: &[f32], classes: usize| {
            Tensor::from_slice(values, [values.len() / classes, classes], &crate::Device::Cpu).unwrap()
        };
        let labels = Tensor::from_slice(&[1, 0], [2], &crate::Device::Cpu).unwrap();
        let p = tensor(&[0.75, 0.25, 0.5, 0.5], 2);
        let ranked = two_way(&Task::new("a", 2, Activation::Softmax), &p, &labels).unwrap();
        assert_eq!(ranked, [(0.25, true), (0.5, false)]);
        let (p, labels) = (tensor(&[0.25, 0.5], 1), tensor(&[1.0, 0.0], 1));
        assert_eq!(two_way(&Task::new("a", 1, Activation::Sigmoid), &p, &labels).unwrap(), ranked);
        let accuracy = Accuracy { images: 2, correct: vec![0], scores: vec![ranked] };
        assert_eq!((accuracy.auc(0).unwrap(), accuracy.auc(1).is_err()), (0.0, true));
    }
}
