//! The systems: networks that look closely at a few patches of a huge image. Composition only.

mod ips;
mod score;
mod shuffle;
#[cfg(test)]
mod tests;

pub use ips::{Ips, IpsConfig, Prediction, Selection};
pub use score::{PatchPixels, Scorer, ScorerConfig};
pub use shuffle::Shuffle;
