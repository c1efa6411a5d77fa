//! How a convolution is computed.

use super::{Conv2d, Shape};
use crate::{
    DeviceKind,
    error::{Error, Result},
};

/// How a convolution is computed. All three operations, the convolution and its two gradients, follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// What the device is fastest with inside the crate's usual accuracy. [`Algorithm::Winograd4`] for 3×3 kernels with
    /// stride 1, one group, at least 16 channels on both sides and images of at least 4×4, on the CPU and through wgpu on
    /// adapters that are a processor; on CUDA, by shape and precision, what `src/ops/conv2d/cuda/choices.rs` says; else
    /// [`Algorithm::Direct`].
    #[default]
    Auto,
    /// One product for every weight and output pixel.
    Direct,
    /// Winograd's F(2×2, 3×3) (Lavin and Gray 2015): 2.25 times fewer products, errors no larger than the direct
    /// computation's. CPU only; 3×3, stride 1, one group.
    Winograd2,
    /// F(4×4, 3×3), interpolated at 0, ±5/8 and ±3/2: 4 times fewer products, errors (RMS) about twice the direct
    /// computation's; at most 10 times is the contract. 3×3, stride 1, one group; on wgpu and CUDA the gradient of the weight
    /// is direct, and CUDA has it for unrounded operands alone.
    Winograd4,
    /// Operands are rounded and packed to 16 bytes of channels once, and a ring of tiles of them is filled by asynchronous
    /// copies while earlier ones are multiplied on tensor cores, in tiles of 32, 64 or 128 channels of the result, or
    /// (`None`) as the table of shapes says. CUDA only, in a precision other than f32, one group; the gradient of the weight
    /// is direct, and so is that of the image where the stride is not 1.
    Pipelined(Option<usize>),
    /// A thread for each result, which takes every operand from memory: the first rung of the ladder that ends in
    /// [`Algorithm::Direct`], to be read and measured against. wgpu, without a gradient of the weight, and CUDA, without
    /// gradients and for unrounded operands alone.
    Naive,
    /// Tiles in workgroup memory, four results a thread. wgpu only: the second rung.
    Tiled,
    /// Tiles in workgroup memory, a block of results in each thread's registers. wgpu only: the third rung, and
    /// [`Algorithm::Direct`] on adapters that are GPUs.
    Blocked,
    /// A block of results in each thread's registers, and no workgroup memory. wgpu only: the fourth rung, and
    /// [`Algorithm::Direct`] on adapters that are a processor.
    Registers,
}

impl Conv2d {
    /// The same convolution, computed by `algorithm`.
    pub fn by(self, algorithm: Algorithm) -> Self {
        Conv2d { algorithm, ..self }
    }

    /// Refuses algorithms by name where they do not apply.
    pub(super) fn check_algorithm(&self, op: &'static str, s: &Shape) -> Result<()> {
        let named = matches!(self.algorithm, Algorithm::Winograd2 | Algorithm::Winograd4);
        if named && !winograd_applies(s) {
            let what = format!(
                "{:?} is for 3 by 3 kernels, stride 1 and one group, not {:?}, stride {:?} and {} groups: use Auto",
                self.algorithm, s.kernel, s.stride, s.groups
            );
            return Err(Error::argument(op, what));
        }
        if let Algorithm::Pipelined(Some(rows)) = self.algorithm
            && ![32, 64, 128].contains(&rows)
        {
            return Err(Error::argument(op, format!("tiles of {rows} channels: they have 32, 64 or 128")));
        }
        if matches!(self.algorithm, Algorithm::Pipelined(_)) && s.groups != 1 {
            let what = format!("{:?} is for one group, not {}: use Auto", self.algorithm, s.groups);
            return Err(Error::argument(op, what));
        }
        Ok(())
    }

    /// Refuses algorithms that a device does not have.
    pub(super) fn check_device(&self, op: &'static str, device: DeviceKind) -> Result<()> {
        let has = match self.algorithm {
            Algorithm::Auto | Algorithm::Direct => true,
            Algorithm::Winograd2 => device == DeviceKind::Cpu,
            Algorithm::Winograd4 => true,
            Algorithm::Pipelined(_) => device == DeviceKind::Cuda,
            Algorithm::Naive => matches!(device, DeviceKind::Wgpu | DeviceKind::Cuda),
            Algorithm::Tiled | Algorithm::Blocked | Algorithm::Registers => device == DeviceKind::Wgpu,
        };
        match has {
            true => Ok(()),
            false => Err(Error::Unsupported {
                op,
                device: device.to_string(),
                what: format!("{:?} is not among its algorithms: use Auto", self.algorithm),
            }),
        }
    }
}

pub(super) fn winograd_applies(s: &Shape) -> bool {
    s.kernel == [3, 3] && s.stride == [1, 1] && s.groups == 1
}
