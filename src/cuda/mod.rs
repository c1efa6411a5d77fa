//! NVIDIA GPUs, through the driver alone: the kernels are embedded as PTX, and no CUDA toolkit is needed to build or run.
//!
//! * [`Cuda`] is one device: its context, its stream, its kernels (resolved when it is made) and its memory.
//! * [`Cuda::from_stream`], [`crate::Tensor::from_cuda`] and [`crate::Tensor::to_cuda`] share an application's context, stream
//!   and memory; they take types of cudarc; [`api`] is that crate, in the version meant.
//! * [`In`], [`Out`] and [`Cx`] are what a launch file sees; a launch is one `cuLaunchKernel` and nothing else.
//!
//! All work of a device goes to one stream, in order; nothing waits for the host but reading results.

mod areas;
mod context;
mod interop;
mod kernels;
mod launch;
mod memory;
mod product;
mod rows;
mod run;
mod walk;

pub use context::Cuda;
pub use cudarc::driver as api;
pub use interop::Lent;
pub use launch::{Argument, Cx, In, Out};
pub use memory::Block;

pub(crate) use kernels::*;
pub(crate) use launch::Grid;
pub(crate) use product::parts;
pub(crate) use rows::by_row;
pub(crate) use run::{run, run_in_place};
pub(crate) use walk::{DivisorParams, WalkParams};
