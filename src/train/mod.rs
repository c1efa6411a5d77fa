//! Training the systems: a data set to draw batches from, the loop, its checkpoints, and evaluation.

mod ahead;
mod dataset;
mod evaluate;
#[cfg(feature = "data")]
mod prepared;
#[cfg(test)]
mod systems;
#[cfg(test)]
pub(crate) mod tests;
mod trainer;

pub use ahead::Pace;
pub use dataset::{Dataset, Example, Target, batch_targets};
pub use evaluate::{Accuracy, auc, evaluate};
#[cfg(feature = "data")]
pub use prepared::Prepared;
pub use trainer::{Decay, StepReport, TrainConfig, Trainer};
