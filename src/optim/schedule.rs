//! Learning rates by step.

use std::f64::consts::PI;

/// A linear rise over the warm-up epochs, then half a cosine down to a thousandth of the peak: the published schedule of
/// Iterative Patch Selection.
///
/// ```
/// use foveate::optim::WarmupCosine;
/// let schedule = WarmupCosine { peak: 1e-3, steps_per_epoch: 313, warmup_epochs: 10, epochs: 100 };
/// assert!((schedule.at(313) - 1e-4).abs() < 1e-12);
/// assert!((schedule.at(313 * 100) - 1e-6).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmupCosine {
    /// The highest learning rate.
    pub peak: f64,
    /// Steps per epoch.
    pub steps_per_epoch: usize,
    /// Epochs of the rise.
    pub warmup_epochs: usize,
    /// Epochs in all.
    pub epochs: usize,
}

impl WarmupCosine {
    /// The learning rate of step `step`, counted from 1.
    pub fn at(&self, step: usize) -> f64 {
        let warmup = self.warmup_epochs.saturating_mul(self.steps_per_epoch);
        if step < warmup {
            return self.peak * step as f64 / warmup as f64;
        }
        let rest = self.epochs.saturating_sub(self.warmup_epochs).saturating_mul(self.steps_per_epoch);
        let done = (step - warmup) as f64 / rest.max(1) as f64;
        let share = 0.5 * (1.0 + (PI * done.min(1.0)).cos());
        self.peak * share + 0.001 * self.peak * (1.0 - share)
    }
}

/// A learning rate multiplied by `factor` every `every` epochs.
///
/// ```
/// use foveate::optim::StepDecay;
/// let schedule = StepDecay { start: 0.1, every: 30, factor: 0.1 };
/// assert_eq!(schedule.at(29), 0.1);
/// assert!((schedule.at(60) - 0.001).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepDecay {
    /// The first learning rate.
    pub start: f64,
    /// Epochs between changes.
    pub every: usize,
    /// The multiplier.
    pub factor: f64,
}

impl StepDecay {
    /// The learning rate of epoch `epoch`, counted from 0.
    pub fn at(&self, epoch: usize) -> f64 {
        self.start * self.factor.powf((epoch / self.every.max(1)) as f64)
    }
}
