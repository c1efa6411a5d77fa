//! Hand-written CUDA, WGSL and CPU kernels, with an autograd tape of their own, for networks that classify huge images
//! by looking closely at only a few patches of them.
//!
//! * [`Tensor`] is an immutable array on a [`Device`]; [`ops`] holds every operation on tensors.
//! * [`Tape`] records operations on watched tensors and differentiates them.
//! * [`Rng`] is an explicit random stream, the same on every device.
//!
//! ```
//! use foveate::{Device, Tape, Tensor, ops};
//! # fn main() -> foveate::Result<()> {
//! let device = Device::Cpu;
//! let x = Tensor::from_slice(&[0.5_f32, -1.0, 2.0, 4.0], [2, 2], &device)?;
//! let tape = Tape::new();
//! let w = tape.watch(&Tensor::full(3.0_f32, [2, 2], &device)?)?;
//! let loss = ops::sum_all(&ops::mul(&x, &w)?)?;
//! let grads = tape.backward(&loss)?;
//! assert_eq!(grads.of(&w).unwrap().to_vec::<f32>()?, [0.5, -1.0, 2.0, 4.0]);
//! # Ok(()) }
//! ```

pub mod check;
pub mod checkpoint;
#[cfg(test)]
#[cfg(feature = "data")]
mod claims;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod data;
pub mod device;
mod dims;
mod dtype;
mod error;
mod host;
pub mod nn;
pub mod ops;
pub mod optim;
mod parameter;
#[cfg(feature = "plot")]
pub mod plot;
mod precision;
pub mod rng;
pub mod select;
pub mod spec;
#[cfg(test)]
mod systems;
pub mod tape;
mod tensor;
#[cfg(test)]
mod testing;
pub mod train;
#[cfg(feature = "wgpu")]
pub mod wgpu;

pub use device::{Device, DeviceKind};
pub use dims::{Dims, MAX_AXES};
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use parameter::Parameter;
pub use precision::Precision;
pub use rng::Rng;
pub use tape::{Grads, Tape};
pub use tensor::Tensor;

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
