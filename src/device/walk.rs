//! A box of elements as two tensors hold it: axes of size one left out, neighbours merged where both tensors run on.

use crate::{Dims, dims::MAX_AXES};
use smallvec::SmallVec;

/// An axis of a box: its size, and how far its elements lie apart in the one and in the other tensor.
pub(crate) type BoxAxis = (usize, usize, usize);

/// The fewest axes that describe the box with these, outermost first; the result begins with the innermost.
pub(crate) fn merged(axes: impl DoubleEndedIterator<Item = BoxAxis>) -> SmallVec<[BoxAxis; MAX_AXES]> {
    let mut merged: SmallVec<[BoxAxis; MAX_AXES]> = SmallVec::new();
    for (size, a, b) in axes.rev().filter(|axis| axis.0 != 1) {
        match merged.last_mut() {
            Some(last) if a == last.0 * last.1 && b == last.0 * last.2 => last.0 *= size,
            _ => merged.push((size, a, b)),
        }
    }
    merged
}

/// The axes of two operands that are broadcast to a shape, outermost first.
pub(crate) fn broadcast(dims: Dims, a: Dims, b: Dims) -> impl DoubleEndedIterator<Item = BoxAxis> {
    let (a, b) = (distances(dims, a), distances(dims, b));
    (0..dims.rank()).map(move |axis| (dims[axis], a[axis], b[axis]))
}

/// Distances of the elements of an operand that is broadcast to `dims` along its axes; zero where it is repeated.
pub(crate) fn distances(dims: Dims, operand: Dims) -> [usize; MAX_AXES] {
    let mut distances = [0; MAX_AXES];
    let (mut distance, missing) = (1, dims.rank() - operand.rank());
    for axis in (missing..dims.rank()).rev() {
        let size = operand[axis - missing];
        if size > 1 {
            distances[axis] = distance;
        }
        distance *= size;
    }
    distances
}
