//! Training IPS networks: a data set to draw batches from, the loop, its checkpoints, and evaluation.

mod dataset;
mod evaluate;
#[cfg(test)]
pub(crate) mod tests;
mod trainer;

pub use dataset::{Dataset, Example, Target, batch_targets};
pub use evaluate::{Accuracy, evaluate};
pub use trainer::{StepReport, TrainConfig, Trainer};
