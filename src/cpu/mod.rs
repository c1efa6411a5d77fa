//! What the CPU needs to hold tensors and hand them to kernels: pooled memory, typed views, and vectorised arithmetic.

pub(crate) mod best;
mod encoder;
mod gemm;
pub(crate) mod math;
mod memory;
pub(crate) mod parallel;
pub(crate) mod philox;
pub(crate) mod simd;
mod threads;
pub(crate) mod vector;
mod view;
mod widen;
pub(crate) mod workers;

pub use encoder::{FoldedBlock, FoldedConv, FoldedEncoder, PackedEncoder, Patches, Pixels};
pub(crate) use gemm::Product;
pub(crate) use memory::reset_peak;
pub use memory::{Block, Scratch, memory, release};
pub(crate) use threads::awake;
pub use threads::{in_pool, join_pool};
pub use view::{In, Out};
pub(crate) use widen::{narrow, widen, widened};

/// The name the CPU goes by in errors and tables.
pub(crate) const NAME: &str = "cpu";
