//! The systems: networks that look closely at a few patches of a huge image. Composition only.
//!
//! Every one is a [`System`], which the trainer and evaluation take.

pub mod ats;
pub mod cnn;
pub mod dps;
mod images;
mod ips;
pub mod mil;
mod score;
mod shuffle;
mod standardize;
mod system;
#[cfg(test)]
mod tests;
pub mod zoom_in;

pub use ats::{Ats, AtsConfig, AtsPrediction};
pub use cnn::{Cnn, CnnConfig};
pub use dps::{Dps, DpsConfig};
pub use ips::{Ips, IpsConfig, Prediction, Scoring, Selection, Stkim};
pub use mil::{AggregatorConfig, Mil, MilConfig, MilPrediction};
pub use score::{PatchPixels, Scorer, ScorerConfig};
pub use shuffle::Shuffle;
pub use standardize::Standardize;
pub use system::{Learned, Moment, System};
pub use zoom_in::{DrawnTile, ZoomIn, ZoomInConfig, ZoomInPrediction, ZoomInPretraining};
