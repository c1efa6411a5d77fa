//! The twins of `kernels/common/walk.cuh`: sizes to divide by, and boxes of elements as two tensors hold them.

use super::Cx;
use crate::{
    device::walk::{BoxAxis, merged},
    dims::MAX_AXES,
    error::Result,
};
use bytemuck::{NoUninit, Pod, Zeroable};

/// A size to divide by. For numbers below 2³¹ the quotient is the upper half of the product with `multiplier`, shifted
/// (Granlund and Montgomery, "Division by invariant integers using multiplication", 1994).
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct DivisorParams {
    size: u32,
    multiplier: u32,
    shift: u32,
}

impl DivisorParams {
    /// Of a size of at least one; zero counts as one.
    pub(crate) fn new(cx: &Cx, size: usize) -> Result<Self> {
        Ok(Self::of(cx.u32(size.max(1))?))
    }

    const fn of(size: u32) -> Self {
        if size <= 1 {
            return DivisorParams { size: 1, multiplier: 0, shift: 0 };
        }
        let power = 31 + size.next_power_of_two().trailing_zeros();
        let multiplier = (1_u64 << power).div_ceil(size as u64) as u32;
        DivisorParams { size, multiplier, shift: power - 32 }
    }
}

/// A box of elements: its axes, innermost first, with their distances in two tensors.
#[repr(C)]
#[derive(Clone, Copy, Debug, NoUninit)]
pub(crate) struct WalkParams {
    a: [u64; 6],
    b: [u64; 6],
    count: u64,
    size: [DivisorParams; 5],
    axes: u32,
}

impl WalkParams {
    /// The box with these axes, outermost first; at most [`MAX_AXES`] of them.
    pub(crate) fn new(cx: &Cx, axes: impl DoubleEndedIterator<Item = BoxAxis>) -> Result<Self> {
        let merged = merged(axes);
        let mut walk = WalkParams {
            a: [0; MAX_AXES],
            b: [0; MAX_AXES],
            count: merged.iter().map(|axis| axis.0 as u64).product(),
            size: [DivisorParams::of(1); MAX_AXES - 1],
            axes: merged.len().max(1) as u32,
        };
        for (at, &(size, a, b)) in merged.iter().enumerate() {
            // The distances of the outermost axis are the last ones, whatever its number.
            let to = if at + 1 == merged.len() { MAX_AXES - 1 } else { at };
            (walk.a[to], walk.b[to]) = (a as u64, b as u64);
            if to < MAX_AXES - 1 {
                walk.size[to] = DivisorParams::new(cx, size)?;
            }
        }
        Ok(walk)
    }

    /// Elements of the box.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernels compute.
    fn quotient(n: u32, by: DivisorParams) -> u32 {
        match by.size {
            1 => n,
            _ => (((u64::from(n) * u64::from(by.multiplier)) >> 32) as u32) >> by.shift,
        }
    }

    #[test]
    fn products_divide_exactly() {
        const MOST: u32 = i32::MAX as u32;
        let sizes = (1..300).chain([1 << 16, 65_537, 1 << 30, (1 << 30) + 1, MOST - 1, MOST]);
        for size in sizes {
            let by = DivisorParams::of(size);
            let near = (1..4).flat_map(|k| {
                let multiple = (u64::from(size) * k).min(u64::from(MOST)) as u32;
                [multiple - 1, multiple, multiple.saturating_add(1).min(MOST)]
            });
            let spread = (0..=MOST).step_by(1 << 20).chain(MOST - 400..=MOST);
            for n in near.chain(spread) {
                assert_eq!(quotient(n, by), n / size, "{n} / {size}");
            }
        }
    }
}
