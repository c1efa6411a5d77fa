//! Element types, and the Rust types that stand for them.

use std::fmt;

/// The type of a tensor's elements.
///
/// Arithmetic is in [`F32`](DType::F32). Convolutions, linear layers, products of matrices, attention, sums and functions
/// of elements also take operands that are all [`F16`](DType::F16): they compute and add up in `f32` and round each result
/// once. [`convert`](crate::ops::convert()) leads from one to the other. Images may be [`U8`](DType::U8), indices are [`I32`](DType::I32) and random
/// words [`U32`](DType::U32). [`F64`](DType::F64) exists on the CPU alone: there every operation runs its plain-loop
/// specification, which is what gradient checks compare against (see [`crate::check`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit float.
    F32,
    /// IEEE 16-bit float.
    F16,
    /// 16-bit float with the exponent of `f32`.
    BF16,
    /// 64-bit float: the reference precision, on the CPU only.
    F64,
    /// Bytes, for images.
    U8,
    /// Signed 32-bit integers, for indices.
    I32,
    /// Unsigned 32-bit integers, for random words.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::U8 => 1,
            DType::F16 | DType::BF16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 => 8,
        }
    }

    /// Whether this is one of the 16-bit floats.
    pub const fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::BF16)
    }

    /// Whether this is one of the floating types.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16 | DType::F64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F64 => "f64",
            DType::U8 => "u8",
            DType::I32 => "i32",
            DType::U32 => "u32",
        })
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that a tensor can hold.
pub trait Element: bytemuck::Pod + PartialEq + Send + Sync + fmt::Debug + sealed::Sealed {
    /// The tensor's name for this type.
    const DTYPE: DType;
}

macro_rules! element {
    ($($t:ty => $d:ident),*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$d;
        }
    )*};
}
element!(f32 => F32, half::f16 => F16, half::bf16 => BF16, f64 => F64, u8 => U8, i32 => I32, u32 => U32);
