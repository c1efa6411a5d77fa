//! What an operation is: shapes from shapes, a specification, and an arm for each device.

#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "wgpu")]
use crate::wgpu;
use crate::{
    DeviceKind, Dims, cpu,
    dtype::DType,
    error::Result,
    spec::{self, Real},
    tensor::Tensor,
};
use smallvec::SmallVec;
use std::fmt;

/// Shape and dtype of an operand or result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Shape.
    pub dims: Dims,
    /// Element type.
    pub dtype: DType,
}

impl Meta {
    /// A shape with its dtype.
    pub fn new(dims: impl Into<Dims>, dtype: DType) -> Self {
        Meta { dims: dims.into(), dtype }
    }

    /// An `f32` shape.
    pub fn f32(dims: impl Into<Dims>) -> Self {
        Self::new(dims, DType::F32)
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.dims, self.dtype)
    }
}

/// Shapes of an operation's results.
pub type Metas = SmallVec<[Meta; 2]>;
/// An operation's results.
pub type Outputs = SmallVec<[Tensor; 2]>;

/// Which devices an operation has kernels for, beside the CPU, which has them all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arms {
    /// Has a WGSL kernel.
    pub wgpu: bool,
    /// Has a CUDA kernel.
    pub cuda: bool,
}

/// One computation, forward or backward: how shapes follow from shapes, what it means, and how each device does it.
///
/// The trait is open: a crate of its own can add an operation, and [`run`](crate::device::run) treats it like any other. The device arms
/// are written by [`arms!`](crate::arms), which forwards to inherent methods kept in one file per device.
pub trait Op: fmt::Debug + Send + Sync + 'static {
    /// Name in errors, tapes and tables; the same as its folder, kernel files and benchmark.
    const NAME: &'static str;
    /// The devices that [`arms!`](crate::arms) was told of.
    const ARMS: Arms;
    /// How many times the error of the straightforward `f32` computation a kernel may make. More than two only for
    /// named algorithms that state why.
    const TOLERANCE: f64 = 2.0;
    /// Whether it takes operands of f16 as well as of f32 and computes in f32: its arm on the CPU is then given them as
    /// f32 and its results are rounded afterwards, its kernels in WGSL convert where they read and write.
    const WIDENS: bool = false;

    /// Checks every argument and gives the results' shapes. [`run`](crate::device::run) calls it once; the arms rely on it.
    fn infer(&self, ins: &[Meta]) -> Result<Metas>;

    /// Checks what shapes do not tell, such as indices, where the operands are in the host's memory: before every run on
    /// the CPU, in `f32` or `f64`. The kernels of other devices cannot report; they leave out what is out of range.
    fn validate(&self, _ins: &[cpu::In]) -> Result<()> {
        Ok(())
    }

    /// Bytes of scratch that one run needs on a device, handed to the arm.
    fn scratch(&self, _device: DeviceKind, _ins: &[Meta]) -> usize {
        0
    }

    /// The specification: plain loops, readable as maths. See [`crate::spec`].
    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]);

    /// Runs on the CPU.
    fn cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()>;

    /// Runs through wgpu. Without a kernel: an error.
    #[cfg(feature = "wgpu")]
    fn wgpu(&self, cx: &wgpu::Cx, _ins: &[wgpu::In], _outs: &[wgpu::Out]) -> Result<()> {
        let what = "move the operands to a device that has one with to_device".into();
        Err(crate::Error::Unsupported { op: Self::NAME, device: cx.device().name().into(), what })
    }

    /// Runs on an NVIDIA GPU. Without a kernel: an error.
    #[cfg(feature = "cuda")]
    fn cuda(&self, cx: &cuda::Cx, _ins: &[cuda::In], _outs: &[cuda::Out]) -> Result<()> {
        let what = "move the operands to a device that has one with to_device".into();
        Err(crate::Error::Unsupported { op: Self::NAME, device: cx.device().to_string(), what })
    }
}

/// Writes the device arms of an [`Op`] inside its `impl`: `arms!(cpu)`, `arms!(cpu, wgpu)` or `arms!(cpu, wgpu, cuda)`
/// forward to the inherent methods `on_cpu`, `on_wgpu` and `on_cuda`.
#[macro_export]
macro_rules! arms {
    (cpu $(, $more:ident)*) => {
        const ARMS: $crate::device::Arms = {
            #[allow(unused_mut)]
            let mut arms = $crate::device::Arms { wgpu: false, cuda: false };
            $(arms.$more = true;)*
            arms
        };
        fn cpu(&self, ins: &[$crate::cpu::In], outs: &mut [$crate::cpu::Out]) -> $crate::Result<()> {
            self.on_cpu(ins, outs)
        }
        $($crate::__arm!($more);)*
    };
}

/// One further arm of [`arms!`]. The macro of each device exists twice, since a `cfg` in an expansion would ask for the
/// features of the crate that it is expanded in.
#[doc(hidden)]
#[macro_export]
macro_rules! __arm {
    (wgpu) => {
        $crate::__arm_wgpu!();
    };
    (cuda) => {
        $crate::__arm_cuda!();
    };
}

#[doc(hidden)]
#[macro_export]
#[cfg(feature = "cuda")]
macro_rules! __arm_cuda {
    () => {
        fn cuda(
            &self,
            cx: &$crate::cuda::Cx,
            ins: &[$crate::cuda::In],
            outs: &[$crate::cuda::Out],
        ) -> $crate::Result<()> {
            self.on_cuda(cx, ins, outs)
        }
    };
}

#[doc(hidden)]
#[macro_export]
#[cfg(not(feature = "cuda"))]
macro_rules! __arm_cuda {
    () => {};
}

#[doc(hidden)]
#[macro_export]
#[cfg(feature = "wgpu")]
macro_rules! __arm_wgpu {
    () => {
        fn wgpu(
            &self,
            cx: &$crate::wgpu::Cx,
            ins: &[$crate::wgpu::In],
            outs: &[$crate::wgpu::Out],
        ) -> $crate::Result<()> {
            self.on_wgpu(cx, ins, outs)
        }
    };
}

#[doc(hidden)]
#[macro_export]
#[cfg(not(feature = "wgpu"))]
macro_rules! __arm_wgpu {
    () => {};
}
