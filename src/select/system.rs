//! What the trainer and evaluation need of a network, so that every system is trained, stopped, resumed and compared in the
//! same way.

use crate::{
    Device, Rng, Tensor,
    error::{Error, Result},
    nn::{Head, Losses, Module, Pass, Targets, Task},
    ops,
    select::{Ips, images::Images},
};
use std::collections::BTreeSet;

/// A point of a training: what schedules within a system go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The step at hand, from 0.
    pub step: usize,
    /// Steps of the whole training.
    pub steps: usize,
    /// The epoch at hand, from 0.
    pub epoch: usize,
}

impl Moment {
    /// The share of the training that is over, 0 to 1.
    pub fn share(&self) -> f64 {
        self.step as f64 / self.steps.max(1) as f64
    }
}

/// What a system made of a batch that it learns from.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Probabilities (B, classes), one tensor per task.
    pub probabilities: Vec<Tensor>,
    /// What is trained, regularisers included, and each task's own loss.
    pub losses: Losses,
}

/// A network that classifies images.
///
/// ```
/// use foveate::{
///     Device, Rng,
///     data::{DenseImage, PatchSource},
///     nn::Task,
///     select::{Ats, AtsConfig, System},
/// };
/// # fn main() -> foveate::Result<()> {
/// fn classes<S: System>(net: &S, images: &[&dyn PatchSource]) -> foveate::Result<Vec<i32>> {
///     let probabilities = net.predict(images, &mut Rng::new(0))?;
///     foveate::ops::argmax(&probabilities[0], -1)?.to_vec()
/// }
/// let net = Ats::new(AtsConfig::megapixel_mnist(), &Device::Cpu, &mut Rng::new(0))?;
/// let image = DenseImage::new([1, 200, 200], vec![0; 200 * 200])?;
/// assert!(classes(&net, &[&image])?[0] < 10);
/// # Ok(()) }
/// ```
pub trait System: Module + Clone + Send + Sync {
    /// Its tasks, in the order of its predictions and of an example's targets.
    fn tasks(&self) -> &[Task];

    /// The device that holds it.
    fn device(&self) -> Device;

    /// What tells it from systems of other names and configurations, in one line: a checkpoint holds it.
    fn description(&self) -> String;

    /// Multiply-adds that predicting an image of `size` [H, W] takes, of convolutions and linear layers; twice that many
    /// FLOPs.
    ///
    /// # Errors
    ///
    /// An image too small for the network.
    fn macs(&self, size: [usize; 2]) -> Result<u64>;

    /// Predicts a batch of images of one size: probabilities (B, classes), one tensor per task. `rng` decides where systems
    /// that sample look.
    ///
    /// # Errors
    ///
    /// Images that the network cannot take; pixels that cannot be read; out of memory.
    fn predict(&self, images: &Images, rng: &mut Rng) -> Result<Vec<Tensor>>;

    /// Predicts a batch in a training pass and compares it with its targets.
    ///
    /// # Errors
    ///
    /// As [`System::predict`]; targets that do not fit the tasks.
    fn learn(&self, images: &Images, targets: &Targets, at: Moment, pass: &mut Pass) -> Result<Learned>;
}

impl System for Ips {
    fn tasks(&self) -> &[Task] {
        &self.config().tasks
    }

    fn device(&self) -> Device {
        self.device()
    }

    fn description(&self) -> String {
        format!("{:?}", self.config())
    }

    /// Scoring of every patch and the encoder on the selected ones; the transformer's share is small and left out.
    fn macs(&self, size: [usize; 2]) -> Result<u64> {
        let config = self.config();
        let patches = crate::data::PatchGrid::new(size, config.patch, config.stride)?.count();
        let scored = if patches > config.memory { patches } else { 0 };
        let each = config.encoder.macs(config.patch[0], config.patch[1]);
        Ok((each * (scored + patches.min(config.memory))) as u64)
    }

    fn predict(&self, images: &Images, rng: &mut Rng) -> Result<Vec<Tensor>> {
        let chosen = self.select(images, rng)?;
        Ok(self.classify(images, &chosen, &mut Pass::evaluation())?.probabilities)
    }

    fn learn(&self, images: &Images, targets: &Targets, _at: Moment, pass: &mut Pass) -> Result<Learned> {
        let chosen = self.select_in_training(images, pass.rng()?)?;
        let (prediction, losses) = self.learn_from(images, &chosen, targets, pass)?;
        Ok(Learned { probabilities: prediction.probabilities, losses })
    }
}

/// Tasks that a network can have: at least one, of different names, each with a class.
pub(super) fn check_tasks(op: &'static str, tasks: &[Task]) -> Result<()> {
    let names: BTreeSet<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    if tasks.is_empty() || names.len() != tasks.len() || tasks.iter().any(|task| task.classes == 0) {
        let what =
            format!("tasks need names of their own and at least one class, and there must be one: {tasks:?}");
        return Err(Error::argument(op, what));
    }
    Ok(())
}

/// A head per task, all of which read the same vector of `features`.
pub(super) fn heads(tasks: &[Task], features: usize, device: &Device, rng: &mut Rng) -> Result<Vec<Head>> {
    tasks.iter().map(|task| Head::new(task.clone(), features, device, rng)).collect()
}

/// What each head makes of the vectors x (B, D): probabilities (B, classes), one tensor per task.
pub(super) fn classify(heads: &[Head], x: &Tensor, pass: &mut Pass) -> Result<Vec<Tensor>> {
    heads.iter().map(|head| head.forward(x, pass)).collect()
}

/// The losses of the probabilities of `heads`.
pub(super) fn losses(heads: &[Head], probabilities: &[Tensor], targets: &Targets) -> Result<Losses> {
    Losses::new(&heads.iter().map(Head::task).collect::<Vec<_>>(), probabilities, targets)
}

/// Adds `weight` times a regulariser to what is trained.
pub(super) fn regularise(losses: &mut Losses, term: &Tensor, weight: f64) -> Result<()> {
    losses.total = ops::add(&losses.total, &ops::scale(term, weight, 0.0)?)?;
    Ok(())
}
