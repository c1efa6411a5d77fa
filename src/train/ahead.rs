//! Batches made ahead of the steps that learn from them, on a thread of their own, so that a device does not wait for the
//! host to draw, read or decode images.

use super::{Dataset, Example, StepReport, TrainConfig, Trainer, dataset::draws};
use crate::{
    Rng,
    error::{Error, Result},
    select::System,
};
use std::{
    ops::ControlFlow,
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

/// Batches that lie ready at most, beside the one that is learned from and the one in the making.
const READY: usize = 2;

/// How long some steps took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Steps done.
    pub steps: usize,
    /// All their time.
    pub time: Duration,
    /// The part of it in which the next batch was not there yet.
    pub waiting: Duration,
}

impl Pace {
    /// Steps per second; 0 before the first.
    pub fn steps_per_second(&self) -> f64 {
        if self.steps == 0 { 0.0 } else { self.steps as f64 / self.time.as_secs_f64() }
    }

    /// The share of the time in which the device had nothing to learn from, 0 to 1.
    pub fn waiting_share(&self) -> f64 {
        if self.time.is_zero() { 0.0 } else { self.waiting.as_secs_f64() / self.time.as_secs_f64() }
    }
}

/// The order of the examples, epoch by epoch.
pub(super) struct Order {
    seed: u64,
    batch: usize,
    examples: usize,
    /// The order of the epoch it was made for.
    order: Option<(usize, Vec<u32>)>,
}

impl Order {
    pub(super) fn new(config: &TrainConfig, examples: usize) -> Self {
        Order { seed: config.seed, batch: config.batch, examples, order: None }
    }

    /// The examples of a step.
    pub(super) fn of_step(&mut self, step: usize) -> Vec<usize> {
        let per_epoch = self.examples.div_ceil(self.batch);
        let (epoch, at) = (step / per_epoch, step % per_epoch);
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let mut rng = Rng::stream(self.seed, (1 << 32) + epoch as u64);
            self.order = Some((epoch, rng.permutation(self.examples as u32)));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let batch = &order[at * self.batch..((at + 1) * self.batch).min(self.examples)];
        batch.iter().map(|i| *i as usize).collect()
    }
}

impl<S: System> Trainer<S> {
    /// Learns from `data` up to step `until`, while a thread of its own makes the batches of the next steps. After each step
    /// `each` gets the trainer, which it may save, and the step's report; it ends the run with [`ControlFlow::Break`]. What
    /// is learned has the same bits as by [`Trainer::step_on`].
    ///
    /// ```no_run
    /// # use foveate::{Result, train::{Dataset, Trainer}};
    /// # use std::ops::ControlFlow;
    /// # fn run(mut trainer: Trainer, data: &dyn Dataset) -> Result<()> {
    /// let pace = trainer.run(data, trainer.steps(), |trainer, report| {
    ///     println!("step {}: loss {}", report.step, report.loss);
    ///     if report.step % 1000 == 0 {
    ///         trainer.save("checkpoint.safetensors")?;
    ///     }
    ///     Ok(ControlFlow::Continue(()))
    /// })?;
    /// println!("{:.1} steps a second", pace.steps_per_second());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the data set, of [`Trainer::step`] and of `each`. The steps before are done.
    pub fn run(
        &mut self,
        data: &dyn Dataset,
        until: usize,
        mut each: impl FnMut(&mut Self, &StepReport) -> Result<ControlFlow<()>>,
    ) -> Result<Pace> {
        let steps = self.steps_done()..until.min(self.steps());
        let (mut order, seed) = (self.order(), self.seed());
        let (give, take) = sync_channel::<Result<Vec<Example>>>(READY);
        thread::scope(|scope| {
            let ahead = steps.clone();
            let make = move || {
                for step in ahead {
                    let indices = order.of_step(step);
                    let batch = crate::cpu::in_pool(|| draws(data, &indices, [seed, step as u64]));
                    // The other side is gone when the run was ended.
                    let failed = batch.is_err();
                    if give.send(batch).is_err() || failed {
                        return;
                    }
                }
            };
            let thread = thread::Builder::new().name("foveate-batches".into());
            thread
                .spawn_scoped(scope, make)
                .map_err(|e| Error::argument("train", format!("no thread to make batches: {e}")))?;
            let take = take; // dropped before the scope waits for the thread
            let mut pace = Pace::default();
            for _ in steps {
                let begun = Instant::now();
                let batch = take
                    .recv()
                    .map_err(|_| Error::argument("train", "the thread that makes batches ended early"))??;
                pace.waiting += begun.elapsed();
                let report = self.step(&batch)?;
                pace.steps += 1;
                pace.time += begun.elapsed();
                if each(self, &report)?.is_break() {
                    break;
                }
            }
            Ok(pace)
        })
    }
}
