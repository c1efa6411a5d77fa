//! The shape of a tensor: up to six axis sizes, stored inline so that an operation allocates nothing to know its shapes.

use crate::error::{Error, Result};
use std::{fmt, ops::Deref};

/// The most axes a tensor may have; the patches of a batch of images, `(B, N, C, ph, pw)`, need five.
pub const MAX_AXES: usize = 6;

/// Axis sizes, outermost first. Dereferences to `[usize]`.
///
/// ```
/// use foveate::Dims;
/// let dims = Dims::from([16, 3, 100, 100]);
/// assert_eq!(dims.elements(), 480_000);
/// assert_eq!(dims[1], 3);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dims {
    sizes: [usize; MAX_AXES],
    rank: u8,
}

impl Dims {
    /// The shape of a single value: no axes, one element.
    pub const SCALAR: Dims = Dims { sizes: [1; MAX_AXES], rank: 0 };

    /// A shape from a slice of at most [`MAX_AXES`] sizes.
    pub fn new(sizes: &[usize]) -> Result<Self> {
        if sizes.len() > MAX_AXES {
            return Err(Error::shape(
                "dims",
                format!("{} axes, but a tensor has at most {MAX_AXES}", sizes.len()),
            ));
        }
        Ok(Self::of(sizes))
    }

    /// As [`Dims::new`], for callers that know the length; further sizes are ignored.
    pub(crate) fn of(sizes: &[usize]) -> Self {
        let mut dims = Self::SCALAR;
        for (to, &from) in dims.sizes.iter_mut().zip(sizes) {
            *to = from;
        }
        dims.rank = sizes.len().min(MAX_AXES) as u8;
        dims
    }

    /// Number of elements; saturates at `usize::MAX`, which no allocation meets.
    pub fn elements(&self) -> usize {
        self.iter().fold(1usize, |n, &size| n.saturating_mul(size))
    }

    /// Refuses a shape whose axes cannot be multiplied, which an axis of size zero would hide: after it, products of
    /// any axes are exact.
    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        const MOST: usize = isize::MAX as usize / 16;
        let product = self.iter().try_fold(1_usize, |n, &size| n.checked_mul(size.max(1)));
        match product {
            Some(product) if product <= MOST => Ok(()),
            _ => Err(Error::shape(op, format!("shape {self} has more elements than can be addressed"))),
        }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// These axes and `more` behind them. At most [`MAX_AXES`] in all: what does not fit is an error.
    pub fn join(&self, more: &[usize]) -> Result<Self> {
        let mut all = self.to_vec();
        all.extend_from_slice(more);
        Self::new(&all)
    }

    /// The same shape with one axis set to another size. The axis must exist.
    pub fn with(mut self, axis: usize, size: usize) -> Self {
        if axis < self.rank() {
            self.sizes[axis] = size;
        }
        self
    }

    /// The shape without one axis.
    pub fn without(&self, axis: usize) -> Self {
        let mut dims = Self::SCALAR;
        for (at, &size) in self.iter().enumerate() {
            if at != axis {
                dims.sizes[dims.rank as usize] = size;
                dims.rank += 1;
            }
        }
        dims
    }

    /// `(outer, size, inner)`: the products of the sizes before, at and after `axis`. An axis that the shape lacks has
    /// size 1 behind all others.
    pub fn around(&self, axis: usize) -> (usize, usize, usize) {
        let product = |sizes: &[usize]| sizes.iter().fold(1_usize, |n, &size| n.saturating_mul(size));
        let at = axis.min(self.rank());
        let (outer, rest) = self.split_at(at);
        let (size, inner) = rest.split_first().map_or((1, &[][..]), |(size, inner)| (*size, inner));
        (product(outer), size, product(inner))
    }

    /// Resolves an axis counted from the end when negative (`-1` is the last).
    pub fn axis(&self, op: &'static str, axis: isize) -> Result<usize> {
        let rank = self.rank() as isize;
        let at = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&at) {
            Ok(at as usize)
        } else {
            Err(Error::argument(op, format!("axis {axis} of a tensor with {rank} axes {self}")))
        }
    }
}

impl Deref for Dims {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.sizes[..self.rank as usize]
    }
}

macro_rules! from_array {
    ($($n:literal)*) => {$(
        impl From<[usize; $n]> for Dims {
            fn from(sizes: [usize; $n]) -> Self {
                Self::of(&sizes)
            }
        }
    )*};
}
from_array!(0 1 2 3 4 5 6);

impl fmt::Display for Dims {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_counted_from_both_ends() {
        let dims = Dims::from([2, 3, 5]);
        assert_eq!(dims.axis("t", -1).unwrap(), 2);
        assert_eq!(dims.axis("t", 1).unwrap(), 1);
        assert!(dims.axis("t", 3).is_err() && dims.axis("t", -4).is_err());
        assert_eq!(dims.around(1), (2, 3, 5));
        assert_eq!((dims.around(0), dims.around(2)), ((1, 2, 15), (6, 5, 1)));
        assert_eq!(dims.around(7), (30, 1, 1));
        assert_eq!(dims.without(0), Dims::from([3, 5]));
        assert_eq!(dims.with(2, 7), Dims::from([2, 3, 7]));
    }

    #[test]
    fn a_zero_does_not_hide_sizes_that_cannot_be_multiplied() {
        assert!(Dims::from([0, 1 << 20, 1 << 20]).check("t").is_ok());
        assert!(Dims::from([0, 1 << 63, 2]).check("t").is_err());
        assert!(Dims::from([usize::MAX]).check("t").is_err());
        let cpu = crate::Device::Cpu;
        assert!(crate::Tensor::zeros([0, 1 << 63, 2], &cpu).is_err());
        let empty = crate::Tensor::zeros([0, 3], &cpu).unwrap();
        assert!(crate::ops::reshape(&empty, [0, 1 << 63, 2]).is_err());
        assert!(crate::ops::expand(&crate::Tensor::zeros([1, 1], &cpu).unwrap(), [1 << 62, 8]).is_err());
    }

    #[test]
    fn a_seventh_axis_is_refused() {
        assert!(Dims::new(&[1; 7]).is_err());
        assert!(Dims::from([1, 2, 3]).join(&[4, 5, 6, 7]).is_err());
        assert_eq!(Dims::from([]).elements(), 1);
    }
}
