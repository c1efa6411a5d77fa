//! Losses, each a scalar with a gradient operation of its own, and the entropy of attention.
//!
//! * of a class index: [`cross_entropy`] of logits and [`nll`] of probabilities, with optional class weights;
//! * of pairs of numbers: [`bce_with_logits`], [`bce`] and [`mse`];
//! * [`entropy`] of each row of probabilities, for regularisers.
//!
//! On the CPU sums are in `f64` and in the order of the elements, on GPUs in `f32` and in a fixed tree: a loss has the same
//! bits on every run.

mod class;
#[cfg(feature = "cuda")]
mod cuda;
mod entropy;
mod pair;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

pub use class::{ClassKind, ClassLoss, ClassLossGrad, CrossEntropy, Nll, cross_entropy, nll};
pub use entropy::{Entropy, EntropyGrad, entropy, entropy_term};
pub use pair::{
    Bce, BceWithLogits, Mse, Operand, PairKind, PairLoss, PairLossGrad, bce, bce_with_logits, mse,
};

/// How the losses of the elements become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their mean; with class weights, the weighted mean. NaN if there are none.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}
