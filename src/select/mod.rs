//! The systems: networks that look closely at a few patches of a huge image. Composition only.
//!
//! Every one is a [`System`], which the trainer and evaluation take.

pub mod ats;
mod images;
mod ips;
mod score;
mod shuffle;
mod system;
#[cfg(test)]
mod tests;

pub use ats::{Ats, AtsConfig, AtsPrediction};
pub use ips::{Ips, IpsConfig, Prediction, Selection};
pub use score::{PatchPixels, Scorer, ScorerConfig};
pub use shuffle::Shuffle;
pub use system::{Learned, Moment, System};
