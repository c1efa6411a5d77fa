//! What a GPU needs to run operations through wgpu: a device, pooled buffers, and typed launches of WGSL kernels.
//!
//! An operation comes to this device with one kernel text, `kernels/<op>/<op>.wgsl`, and one launch file,
//! `src/ops/<op>/wgpu.rs`, which holds
//! * a parameter struct for each kernel, by [`params!`](crate::wgpu_params), field for field that of the WGSL text;
//! * the kernel, by [`kernel!`](crate::wgpu_kernel): texts, entry point, tuning constants, among
//!   them the types of stored elements, f32 or f16, of one and the same text. Everything else (bindings,
//!   workgroup size, workgroup memory) is read from the text, and a test made by the macro holds the two together;
//! * `on_wgpu`, which binds operands with [`View`], fills the parameters and calls [`Cx::launch`].
//!
//! Launches are recorded, not submitted: many operations share one command buffer, which leaves when something is read
//! back, when it holds [`LAUNCHES_PER_SUBMISSION`], or on request.
//!
//! The interface takes and gives types of the wgpu crate; [`api`] is that crate, in the version meant.

mod adapter;
mod areas;
mod context;
mod health;
mod interop;
mod kernel;
mod launch;
mod pipeline;
mod pool;
mod product;
mod recorder;
mod reflect;
mod rows;
mod run;
#[cfg(test)]
mod tests;
mod tiles;
mod trace;
mod transfer;
mod unroll;
mod walk;

pub(crate) use crate::device::walk::{BoxAxis, distances};
pub use ::wgpu as api;
pub use adapter::{Adapter, AdapterKind, Choice, adapters};
pub use context::{Options, Wgpu};
pub use interop::Region;
pub use kernel::{Kernel, Params, Tuning, element};
pub use launch::{Cx, Groups, In, Out, Runs, Slice, View, times};
pub use pool::Buffer;
pub(crate) use product::{Onto, sum_parts};
pub use recorder::{Counts, LAUNCHES_PER_SUBMISSION};
pub use reflect::{Access, Facts};
pub use rows::{ROW_THREADS, lanes, row_groups};
pub(crate) use run::{run, run_in_place};
pub(crate) use tiles::{Blocks, TILE_N, block_of_thread, tile, tile_m};
pub use trace::{Timing, Timings};
pub use transfer::Download;
pub(crate) use transfer::read_back;
pub use walk::Walk;
pub(crate) use walk::walk_params;
