//! A box of elements as two tensors hold it, for kernels that use `common/walk.wgsl`.

use crate::{
    Dims,
    device::walk::{BoxAxis, broadcast, merged},
    dims::MAX_AXES,
};

/// Sizes of a box and distances of its axes in two tensors, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    axes: u32,
    /// Sizes of all axes but the last.
    pub(crate) size: [u32; MAX_AXES - 1],
    pub(crate) a: [u32; MAX_AXES],
    pub(crate) b: [u32; MAX_AXES],
}

impl Walk {
    /// The box with these axes, outermost first; at most [`MAX_AXES`] of them.
    pub fn new(axes: impl DoubleEndedIterator<Item = BoxAxis>) -> Self {
        let merged = merged(axes);
        let mut walk = Walk { axes: merged.len().max(1) as u32, ..Walk::default() };
        let count = merged.len();
        for (at, (size, a, b)) in merged.into_iter().enumerate() {
            // The distances of the outermost axis are the last ones, whatever its number.
            let to = if at + 1 == count { MAX_AXES - 1 } else { at };
            (walk.a[to], walk.b[to]) = (a as u32, b as u32);
            if to < MAX_AXES - 1 {
                walk.size[to] = size as u32;
            }
        }
        walk
    }

    /// Two operands broadcast to a shape.
    pub fn broadcast(dims: Dims, a: Dims, b: Dims) -> Self {
        Self::new(broadcast(dims, a, b))
    }

    /// The tuning constant AXES.
    pub fn axes(&self) -> u32 {
        self.axes
    }
}

/// Defines the parameters of a kernel that uses `common/walk.wgsl`: `u32` fields of its own, then those of the walk.
macro_rules! walk_params {
    ($vis:vis struct $name:ident { $($field:ident),* $(,)? }) => {
        $crate::wgpu_params! {
            #[derive(Default)]
            $vis struct $name {
                $($field: u32,)*
                size_0: u32, size_1: u32, size_2: u32, size_3: u32, size_4: u32,
                a_0: u32, a_1: u32, a_2: u32, a_3: u32, a_4: u32, a_last: u32,
                b_0: u32, b_1: u32, b_2: u32, b_3: u32, b_4: u32, b_last: u32,
            }
        }
        impl $name {
            /// The parameters of a walk; the others are zero.
            fn along(walk: &$crate::wgpu::Walk) -> Self {
                let [size_0, size_1, size_2, size_3, size_4] = walk.size;
                let [a_0, a_1, a_2, a_3, a_4, a_last] = walk.a;
                let [b_0, b_1, b_2, b_3, b_4, b_last] = walk.b;
                Self {
                    size_0, size_1, size_2, size_3, size_4,
                    a_0, a_1, a_2, a_3, a_4, a_last,
                    b_0, b_1, b_2, b_3, b_4, b_last,
                    ..Self::default()
                }
            }
        }
    };
}
pub(crate) use walk_params;

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the kernel finds element `at`.
    fn places(walk: &Walk, mut at: u32) -> (u32, u32) {
        let mut place = (0, 0);
        for axis in 0..walk.axes as usize - 1 {
            let index = at % walk.size[axis];
            at /= walk.size[axis];
            place = (place.0 + index * walk.a[axis], place.1 + index * walk.b[axis]);
        }
        (place.0 + at * walk.a[MAX_AXES - 1], place.1 + at * walk.b[MAX_AXES - 1])
    }

    #[test]
    fn tensors_that_run_along_need_one_axis() {
        let dims = Dims::from([2, 3, 1, 5]);
        let walk = Walk::broadcast(dims, dims, dims);
        assert_eq!(walk.axes(), 1);
        assert!((0..30).all(|at| places(&walk, at) == (at, at)));
        assert_eq!(Walk::broadcast(dims, Dims::SCALAR, Dims::from([1, 1])).axes(), 1);
        assert_eq!(Walk::broadcast(Dims::SCALAR, Dims::SCALAR, Dims::SCALAR).axes(), 1);
    }

    #[test]
    fn every_element_is_found() {
        let dims = Dims::from([2, 3, 4, 5, 2, 3]);
        let (a, b) = (Dims::from([3, 1, 5, 1, 3]), Dims::from([2, 1, 4, 1, 2, 1]));
        let walk = Walk::broadcast(dims, a, b);
        assert_eq!(walk.axes(), 6);
        for at in 0..dims.elements() {
            let from = |operand| crate::ops::elementwise::source(at, dims, operand) as u32;
            assert_eq!(places(&walk, at as u32), (from(a), from(b)), "element {at}");
        }
    }
}
