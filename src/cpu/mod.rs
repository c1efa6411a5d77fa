//! What the CPU needs to hold tensors and hand them to kernels: pooled memory and typed views.

mod memory;
mod view;

pub(crate) use memory::reset_peak;
pub use memory::{Block, Scratch, memory, release};
pub use view::{In, Out};

/// The name the CPU goes by in errors and tables.
pub(crate) const NAME: &str = "cpu";
