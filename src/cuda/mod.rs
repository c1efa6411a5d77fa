//! NVIDIA GPUs, through the driver alone: the kernels are embedded as PTX, and no CUDA toolkit is needed to build or run.
//!
//! * [`Cuda`] is one device: its context, its stream, its kernels (resolved when it is made) and its memory.
//! * [`Cuda::from_stream`], [`crate::Tensor::from_cuda`] and [`crate::Tensor::to_cuda`] share an application's context, stream
//!   and memory; they take types of cudarc; [`api`] is that crate, in the version meant.
//! * [`In`], [`Out`] and [`Cx`] are what a launch file sees; a launch is one `cuLaunchKernel` and nothing else.
//!
//! * With the feature `cust`: `Cuda::from_cust_stream`, `Tensor::from_cust` and `Tensor::to_cust` do the same with types of the
//!   crate cust, which is `cuda::cust`.
//!
//! All kernels of a device go to one stream, in order; what is copied from and to the host to a second one, which events
//! join to the first. A selection is one graph, or has a further stream that is joined before it ends. Nothing waits for the host but reading results, and any thread may use the device.

mod areas;
mod context;
mod copies;
mod encoder;
mod graph;
mod interop;
#[cfg(feature = "cust")]
mod interop_cust;
mod kernels;
mod launch;
mod memory;
mod product;
mod rows;
mod run;
mod selector;
mod strips;
#[cfg(test)]
mod tests;
mod timeline;
mod turns;
mod walk;

pub use context::Cuda;
pub use cudarc::driver as api;
#[cfg(feature = "cust")]
pub use cust;
pub use interop::Lent;
#[cfg(feature = "cust")]
pub use interop_cust::LentToCust;
pub use launch::{Argument, Cx, In, Out};
pub use memory::Block;
pub use timeline::{StripTimes, Timeline};

pub(crate) use encoder::{FoldedBlock, FoldedConv, FoldedNetwork, PackedEncoder, ScoringHead, Source};
pub(crate) use kernels::*;
pub(crate) use launch::Grid;
pub(crate) use product::parts;
pub(crate) use rows::by_row;
pub(crate) use run::{run, run_in_place};
pub(crate) use selector::{Chosen, Layout, Selector};
pub(crate) use walk::{DivisorParams, WalkParams};
