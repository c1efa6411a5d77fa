//! The twins of `kernels/common/walk.cuh`: sizes to divide by, and boxes of elements as two tensors hold them.

use super::Cx;
use crate::{
    device::walk::{BoxAxis, merged},
    dims::MAX_AXES,
    error::Result,
};
use bytemuck::{NoUninit, Pod, Zeroable};

/// A size to divide by: the quotient is the upper half of the product with `multiplier` (Granlund and Montgomery, "Division
/// by invariant integers using multiplication", 1994).
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct DivisorParams {
    multiplier: u64,
    size: u64,
}

impl DivisorParams {
    /// Divides the numbers below `count` by a size; zero counts as one.
    pub(crate) fn new(cx: &Cx, size: usize, count: usize) -> Result<Self> {
        let size = size.max(1);
        if size < count && count.checked_mul(size).is_none() {
            // Not exact. It takes more elements than any memory holds.
            cx.u32(count)?;
        }
        Ok(Self::of(size as u64, count as u64))
    }

    /// The multiplier is 2⁶⁴ / size, rounded up, which is exact for numbers whose product with the size is below 2⁶⁴. Of
    /// size one it would be 2⁶⁴, but the kernels know. Numbers below the size have the quotient zero.
    const fn of(size: u64, count: u64) -> Self {
        let multiplier = if size < count { (u64::MAX / size).wrapping_add(1) } else { 0 };
        DivisorParams { multiplier, size }
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
    axes: u64,
}

impl WalkParams {
    /// The box with these axes, outermost first; at most [`MAX_AXES`] of them.
    pub(crate) fn new(cx: &Cx, axes: impl DoubleEndedIterator<Item = BoxAxis>) -> Result<Self> {
        let merged = merged(axes);
        let count: usize = merged.iter().map(|axis| axis.0).product();
        let mut walk = WalkParams {
            a: [0; MAX_AXES],
            b: [0; MAX_AXES],
            count: count as u64,
            size: [DivisorParams::of(1, 1); MAX_AXES - 1],
            axes: merged.len().max(1) as u64,
        };
        for (at, &(size, a, b)) in merged.iter().enumerate() {
            // The distances of the outermost axis are the last ones, whatever its number.
            let to = if at + 1 == merged.len() { MAX_AXES - 1 } else { at };
            (walk.a[to], walk.b[to]) = (a as u64, b as u64);
            if to < MAX_AXES - 1 {
                walk.size[to] = DivisorParams::new(cx, size, count)?;
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
    fn quotient(n: u64, by: DivisorParams) -> u64 {
        match by.size {
            1 => n,
            _ => ((u128::from(n) * u128::from(by.multiplier)) >> 64) as u64,
        }
    }

    #[test]
    fn products_divide_exactly() {
        let sizes = (1..300).chain([1 << 16, 65_537, 1 << 30, (1 << 30) + 1, u64::from(u32::MAX)]);
        for size in sizes {
            let most = u64::MAX / size;
            let by = DivisorParams::of(size, most);
            let edges = (0..64).flat_map(|power| {
                let multiple = (1 << power) / size * size;
                [multiple.saturating_sub(1), multiple, multiple + 1, (multiple + size).saturating_sub(1)]
            });
            for n in edges.chain(most - 400..=most).filter(|n| *n <= most) {
                assert_eq!(quotient(n, by), n / size, "{n} / {size}");
            }
        }
        assert_eq!(quotient((1 << 40) - 1, DivisorParams::of(1 << 40, 1 << 40)), 0);
    }
}
