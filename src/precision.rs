//! How operands are rounded before they are multiplied.

use crate::{
    Device,
    error::{Error, Result},
};
use std::{fmt, str::FromStr};

/// How the operands of a convolution, a layer, a matrix product or an attention are rounded before they are multiplied.
/// Tensors stay f32, and so do sums; only what meets in a product has fewer digits, for the sake of a GPU's tensor cores.
///
/// | | digits of the fraction | largest number | for |
/// |---|---|---|---|
/// | `F32` | 23 | 3.4·10³⁸ | everything; the default |
/// | `Tf32` | 10 | 3.4·10³⁸ | what PyTorch does to the inputs of convolutions |
/// | `F16` | 10 | 65,504 | scoring; a larger operand becomes infinite |
/// | `Bf16` | 7 | 3.4·10³⁸ | training |
///
/// An operation has the precision that its caller names, or else that of its device at the time of the call,
/// [`Device::set_precision`]; its gradients have the same. CUDA devices have all four, others `F32` alone.
///
/// ```
/// use foveate::{Device, Precision, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32; 16], [1, 1, 4, 4], &Device::Cpu)?;
/// let weight = Tensor::from_slice(&[1.0_f32; 9], [1, 1, 3, 3], &Device::Cpu)?;
/// let conv = ops::Conv2d::new(1, 1).precision(Precision::Tf32);
/// assert!(ops::conv2d(&x, &weight, None, conv).is_err(), "the CPU has no TF32");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// To NVIDIA's TensorFloat-32, ties away from zero.
    Tf32,
    /// To IEEE 754's binary16, ties to even.
    F16,
    /// To bfloat16, ties to even.
    Bf16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 4] = [Precision::F32, Precision::Tf32, Precision::F16, Precision::Bf16];

    /// Its place in [`Precision::ALL`].
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The largest relative error of a rounded operand: half of its last digit.
    pub fn rounding(self) -> f64 {
        match self {
            Precision::F32 => 0.0,
            Precision::Tf32 | Precision::F16 => 1.0 / 2048.0,
            Precision::Bf16 => 1.0 / 256.0,
        }
    }

    /// What an operation on a device uses that is asked for this one, or for the device's.
    pub(crate) fn resolve(op: &'static str, asked: Option<Precision>, device: &Device) -> Result<Precision> {
        match asked {
            Some(precision) if precision != Precision::F32 => precision.check(op, device).map(|()| precision),
            Some(precision) => Ok(precision),
            None => Ok(device.precision()),
        }
    }

    /// Refuses what a device does not have.
    pub(crate) fn check(self, op: &'static str, device: &Device) -> Result<()> {
        match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Ok(()),
            _ if self == Precision::F32 => Ok(()),
            _ => Err(Error::Unsupported {
                op,
                device: device.to_string(),
                what: format!("it has no {self} products: use f32, or a CUDA device"),
            }),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Precision::ALL.into_iter().find(|precision| precision.to_string() == name).ok_or_else(|| {
            Error::argument("precision", format!("{name:?}: it is one of f32, tf32, f16 and bf16"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for (at, precision) in Precision::ALL.into_iter().enumerate() {
            assert_eq!(precision.index(), at);
            assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        }
        assert!("fp8".parse::<Precision>().unwrap_err().to_string().contains("tf32"));
    }

    #[test]
    fn a_device_without_tensor_cores_says_so() {
        assert_eq!(Precision::resolve("conv2d", None, &Device::Cpu).unwrap(), Precision::F32);
        let refused = Precision::resolve("conv2d", Some(Precision::Bf16), &Device::Cpu).unwrap_err();
        assert!(matches!(refused, Error::Unsupported { op: "conv2d", .. }), "{refused}");
        assert!(Device::Cpu.set_precision(Precision::Bf16).is_err());
        Device::Cpu.set_precision(Precision::F32).unwrap();
    }
}
