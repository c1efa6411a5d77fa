//! The training loop of any system, one step at a time.
//!
//! A step lets the system learn from a batch and writes the parameters with AdamW, by default with the warm-up and cosine
//! schedule of Iterative Patch Selection. Everything random in step `s` comes from the stream `(seed, s)`, how its images are
//! varied from the streams `(seed, 2⁶³ + 2²⁰ s …)`, and the order of epoch `e` from the stream `(seed, 2³² + e)`, so a run that is
//! stopped and resumed from its checkpoint computes the same bits as one that was not.

use crate::{
    DType, Device, Rng, Tape,
    checkpoint::Checkpoint,
    data::PatchSource,
    error::{Error, Result},
    nn::{Pass, Task},
    optim::{AdamW, Optimizer, StepDecay, WarmupCosine, clip_norm},
    select::{Ips, Learned, Moment, System},
    train::{Dataset, Example, ahead::Order, batch_targets, dataset::draws},
};
use std::path::Path;

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Decay {
    /// Half a cosine down to a thousandth of the peak ([`WarmupCosine`]).
    #[default]
    Cosine,
    /// Multiplied by `factor` every `every` epochs ([`StepDecay`]); a factor of 1 keeps it.
    Steps {
        /// Epochs between changes.
        every: usize,
        /// The multiplier.
        factor: f64,
    },
}

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// Passes over the training set.
    pub epochs: usize,
    /// Epochs during which the learning rate rises.
    pub warmup_epochs: usize,
    /// Images per step; the last step of an epoch may have fewer.
    pub batch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How it falls.
    pub decay: Decay,
    /// Decoupled weight decay, on every parameter.
    pub weight_decay: f64,
    /// The gradients' global norm is at most this.
    pub clip_norm: Option<f64>,
    /// Seed of everything random.
    pub seed: u64,
}

impl TrainConfig {
    fn check(&self, examples: usize) -> Result<()> {
        if self.batch == 0 || self.epochs == 0 || examples == 0 {
            let (batch, epochs) = (self.batch, self.epochs);
            let what =
                format!("{epochs} epochs of {examples} examples, {batch} per step: each must be at least 1");
            return Err(Error::argument(OP, what));
        }
        if self.batch >= 1 << 20 {
            return Err(Error::argument(
                OP,
                format!("{} images per step: at most {}", self.batch, (1 << 20) - 1),
            ));
        }
        if self.epochs.checked_mul(examples.div_ceil(self.batch)).is_none() || examples > u32::MAX as usize {
            let what =
                format!("{} epochs of {examples} examples have more steps than can be counted", self.epochs);
            return Err(Error::argument(OP, what));
        }
        let rates = [
            ("learning rate", self.learning_rate),
            ("weight decay", self.weight_decay),
            ("limit of the gradients' norm", self.clip_norm.unwrap_or(0.0)),
        ];
        match rates.iter().find(|(_, rate)| !rate.is_finite() || *rate < 0.0) {
            Some((name, rate)) => {
                Err(Error::argument(OP, format!("a {name} of {rate}, must be finite and at least 0")))
            }
            None => Ok(()),
        }
    }

    /// The setting in which Iterative Patch Selection was published for Megapixel MNIST.
    pub fn megapixel_mnist() -> Self {
        TrainConfig {
            epochs: 150,
            warmup_epochs: 10,
            batch: 16,
            learning_rate: 1e-3,
            decay: Decay::Cosine,
            weight_decay: 0.1,
            clip_norm: None,
            seed: 0,
        }
    }

    /// The setting in which Attention Sampling was published for Megapixel MNIST: Adam at a constant rate, gradients of
    /// norm 1 at most.
    pub fn attention_sampling() -> Self {
        TrainConfig {
            epochs: 500,
            warmup_epochs: 0,
            batch: 128,
            decay: Decay::Steps { every: usize::MAX, factor: 1.0 },
            weight_decay: 0.0,
            clip_norm: Some(1.0),
            ..TrainConfig::megapixel_mnist()
        }
    }

    /// The setting in which Attention Sampling was published for the speed limits: as for Megapixel MNIST, but batches of 32,
    /// and a tenth of the rate from epoch 250. Its classes are [balanced](Task::balanced).
    pub fn speed_limits() -> Self {
        TrainConfig {
            batch: 32,
            decay: Decay::Steps { every: 250, factor: 0.1 },
            ..TrainConfig::attention_sampling()
        }
    }

    /// The learning rate of step `step`, counted from 1, of an epoch of `steps_per_epoch`.
    pub(super) fn learning_rate(&self, step: usize, steps_per_epoch: usize) -> f64 {
        let cosine = WarmupCosine {
            peak: self.learning_rate,
            steps_per_epoch,
            warmup_epochs: self.warmup_epochs,
            epochs: self.epochs,
        };
        match self.decay {
            Decay::Steps { every, factor } if step >= self.warmup_epochs.saturating_mul(steps_per_epoch) => {
                let steps = StepDecay { start: self.learning_rate, every, factor };
                steps.at((step - 1) / steps_per_epoch.max(1))
            }
            _ => cosine.at(step),
        }
    }
}

/// What one step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Number of the step, from 0.
    pub step: usize,
    /// The loss: the mean over tasks, and what regularises.
    pub loss: f32,
    /// Each task's loss.
    pub task_losses: Vec<f32>,
    /// How many images of the batch each task got right, in training mode.
    pub correct: Vec<usize>,
    /// Images in the batch.
    pub images: usize,
    /// The learning rate used.
    pub learning_rate: f64,
}

/// A system in training: Iterative Patch Selection or any other.
///
/// ```
/// use foveate::{
///     Device, Result, Rng,
///     data::DenseImage,
///     nn::{Activation, GlobalPool, ResNetConfig, Task},
///     select::{Ips, IpsConfig},
///     train::{Dataset, Example, Target, TrainConfig, Trainer, evaluate},
/// };
///
/// /// Bright and dark images.
/// struct Shades;
/// impl Dataset for Shades {
///     fn len(&self) -> usize {
///         8
///     }
///     fn example(&self, index: usize) -> Result<Example> {
///         let class = (index % 2) as u8;
///         let image = Box::new(DenseImage::new([1, 32, 32], vec![40 + 170 * class; 32 * 32])?);
///         Ok(Example { image, targets: vec![Target::Class(class.into())] })
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let encoder = ResNetConfig { channels: 1, widths: vec![8], blocks: 1, pool: GlobalPool::Mean };
/// let tasks = vec![Task::new("shade", 2, Activation::Softmax)];
/// let net = Ips::new(IpsConfig::with_encoder(encoder, [8, 8], 2, 2, tasks, false), &Device::Cpu, &mut Rng::new(0))?;
/// let config = TrainConfig { epochs: 20, warmup_epochs: 1, batch: 4, ..TrainConfig::megapixel_mnist() };
/// let mut trainer = Trainer::new(net, config, &Shades)?;
/// while trainer.steps_done() < trainer.steps() {
///     trainer.step_on(&Shades)?; // trainer.save(path) at any time, trainer.resume(path) later
/// }
/// assert_eq!(evaluate(trainer.net(), &Shades, 4, 0, |_done| true)?.of(0), 1.0);
/// # Ok(()) }
/// ```
pub struct Trainer<S = Ips> {
    net: S,
    optimizer: AdamW,
    config: TrainConfig,
    /// Examples in the training set, and what it says of itself.
    examples: usize,
    data: String,
    recompute: bool,
    fuse_statistics: bool,
    activations: DType,
    step: usize,
    order: Order,
}

impl<S: System> Trainer<S> {
    /// Starts training `net` on `data`, which every further call is to be given again.
    ///
    /// # Errors
    ///
    /// Sizes of zero, rates that are negative or not finite.
    pub fn new(net: S, config: TrainConfig, data: &dyn Dataset) -> Result<Self> {
        config.check(data.len())?;
        let optimizer = AdamW::new(config.learning_rate, config.weight_decay);
        let (examples, data) = (data.len(), data.description());
        let (recompute, fuse_statistics, activations) = (false, false, DType::F32);
        let order = Order::new(&config, examples);
        Ok(Trainer {
            net,
            optimizer,
            config,
            examples,
            data,
            recompute,
            fuse_statistics,
            activations,
            step: 0,
            order,
        })
    }

    /// The same training with a fraction of the memory for activations and more time: see [`Pass::recomputing`]. A step's
    /// result is the same bits; of its gradients those of the encoder's stem are rounded elsewhere. A checkpoint does not say
    /// which of the two it was: choose again on resuming.
    pub fn recomputing(mut self, recompute: bool) -> Self {
        self.recompute = recompute;
        self
    }

    /// The same training with batch norms' statistics computed by the convolutions before them: see
    /// [`Pass::fusing_statistics`]. A checkpoint does not say so.
    pub fn fusing_statistics(mut self, fuse: bool) -> Self {
        self.fuse_statistics = fuse;
        self
    }

    /// The same training with activations kept for the gradients as bf16 or f16, in half the memory: see
    /// [`Tape::keeping`].
    ///
    /// # Errors
    ///
    /// Another type than these and f32.
    pub fn keeping_activations(mut self, dtype: DType) -> Result<Self> {
        Tape::keeping(dtype)?;
        self.activations = dtype;
        Ok(self)
    }

    /// The network.
    pub fn net(&self) -> &S {
        &self.net
    }

    /// The network, to be changed between steps.
    pub fn net_mut(&mut self) -> &mut S {
        &mut self.net
    }

    /// Steps done.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    /// Steps per epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.examples.div_ceil(self.config.batch)
    }

    /// Steps of the whole training.
    pub fn steps(&self) -> usize {
        self.config.epochs * self.steps_per_epoch()
    }

    /// The examples that the next step is to learn from.
    pub fn next_batch(&mut self) -> Vec<usize> {
        self.order.of_step(self.step)
    }

    /// The seed of everything random.
    pub(super) fn seed(&self) -> u64 {
        self.config.seed
    }

    /// The order of all steps' examples.
    pub(super) fn order(&self) -> Order {
        Order::new(&self.config, self.examples)
    }

    /// Draws the next batch from `data` and learns from it; [`Trainer::run`] draws batches ahead.
    pub fn step_on(&mut self, data: &dyn Dataset) -> Result<StepReport> {
        let batch = self.next_batch();
        self.step(&draws(data, &batch, [self.seed(), self.step as u64])?)
    }

    /// Learns from a batch.
    ///
    /// # Errors
    ///
    /// A loss that is not finite, before anything is written; examples that do not fit the network's tasks; whatever the
    /// operations report.
    pub fn step(&mut self, examples: &[Example]) -> Result<StepReport> {
        crate::cpu::in_pool(|| self.step_here(examples))
    }

    fn step_here(&mut self, examples: &[Example]) -> Result<StepReport> {
        let mut rng = Rng::stream(self.config.seed, self.step as u64);
        let images: Vec<&dyn PatchSource> = examples.iter().map(|e| &*e.image).collect();
        let tasks: Vec<Task> = self.net.tasks().to_vec();
        let targets = batch_targets(&tasks, examples, &self.net.device())?;
        let tape = Tape::keeping(self.activations)?;
        let mut pass = Pass::training(&tape, &mut rng)
            .recomputing(self.recompute)
            .fusing_statistics(self.fuse_statistics);
        let Learned { probabilities, losses } =
            self.net.learn(&images, &targets, self.moment(), &mut pass)?;
        let statistics = pass.statistics();
        let mut grads = tape.backward(&losses.total)?;
        let loss = losses.total.item::<f32>()?;
        if !loss.is_finite() {
            let what = format!("the loss of step {} is {loss}: lower the learning rate", self.step);
            return Err(Error::argument(OP, what));
        }
        if let Some(most) = self.config.clip_norm {
            clip_norm(&mut grads, most)?;
        }
        let learning_rate = self.config.learning_rate(self.step + 1, self.steps_per_epoch());
        self.optimizer.set_learning_rate(learning_rate);
        self.optimizer.step(&mut self.net.parameters_mut(), &grads)?;
        self.net.set_statistics(statistics)?;
        let mut correct = Vec::with_capacity(tasks.len());
        for ((task, p), y) in tasks.iter().zip(&probabilities).zip(&targets.tensors) {
            correct.push(task.correct(p, y)?.iter().filter(|right| **right).count());
        }
        let report = StepReport {
            step: self.step,
            loss,
            task_losses: losses.tasks.iter().map(|l| l.item()).collect::<Result<_>>()?,
            correct,
            images: examples.len(),
            learning_rate,
        };
        self.step += 1;
        Ok(report)
    }

    /// Where in the training the next step is.
    fn moment(&self) -> Moment {
        Moment { step: self.step, steps: self.steps(), epoch: self.step / self.steps_per_epoch() }
    }

    /// Everything needed to go on: parameters, statistics, optimiser state, position.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint { tensors: self.net.state(), ..Checkpoint::default() };
        for (name, tensor) in self.optimizer.state() {
            checkpoint.tensors.insert(format!("{OPTIMIZER}{name}"), tensor);
        }
        checkpoint.metadata.insert("step".into(), self.step.to_string());
        let description = self.description().map(|(part, text)| (part.to_owned(), text));
        checkpoint.metadata.extend(description);
        Ok(checkpoint)
    }

    /// Writes [`Trainer::checkpoint`] to a file, whole or not at all.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.checkpoint()?.save(path)
    }

    /// Goes on from a file that [`Trainer::save`] wrote for the same network, training and data.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for a file that is absent, truncated or of something else; then nothing has changed.
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut checkpoint = Checkpoint::load(path, &self.net.device())?;
        for (part, now) in self.description() {
            let then = checkpoint.metadata.get(part).ok_or_else(|| {
                Error::file(path, format!("is no checkpoint of training: it does not tell its {part}"))
            })?;
            if let Some((then, now)) = difference(then, &now) {
                let what = format!("was written for another {part}: `{then}` then, `{now}` now");
                return Err(Error::file(path, what));
            }
        }
        let step = checkpoint.metadata.get("step").and_then(|s| s.parse().ok());
        let step = step.ok_or_else(|| Error::file(path, "does not say at which step it was written"))?;
        let optimizer = checkpoint.tensors.split_off(OPTIMIZER);
        let strip = |(name, tensor): (String, _)| (name[OPTIMIZER.len()..].to_owned(), tensor);
        // Both are tried on copies, so that an error leaves everything as it was.
        let (mut net, mut state) = (self.net.clone(), self.optimizer.clone());
        net.load(&checkpoint.tensors)?;
        state.load_state(&net.parameters(), optimizer.into_iter().map(strip).collect())?;
        (self.net, self.optimizer) = (net, state);
        self.step = step;
        Ok(())
    }

    /// What a checkpoint must have in common with the training that resumes from it.
    fn description(&self) -> [(&'static str, String); 3] {
        [
            ("training", format!("{:?}", self.config)),
            ("data", format!("{} examples, {}", self.examples, self.data)),
            ("network", self.net.description()),
        ]
    }

    /// Ends training and gives the network.
    pub fn into_net(self) -> S {
        self.net
    }

    /// The device that trains.
    pub fn device(&self) -> Device {
        self.net.device()
    }
}

const OP: &str = "train";

/// The first items in which two descriptions differ.
fn difference<'a>(then: &'a str, now: &'a str) -> Option<(&'a str, &'a str)> {
    let (mut a, mut b) = (then.split(", "), now.split(", "));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => return Some((a.unwrap_or(""), b.unwrap_or(""))),
        }
    }
}

/// Prefix of the optimiser's tensors in a checkpoint; sorts after every parameter's name.
const OPTIMIZER: &str = "~optimizer.";
