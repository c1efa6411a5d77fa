//! What an operation's specification reads and writes.
//!
//! Every operation states its maths a second time as plain loops over [`Real`] numbers. In `f64` that specification
//! judges every kernel on every device and is what gradient checks differentiate; in `f32` it is the "straightforward
//! computation" whose error a kernel's error is measured against. Nothing else ever runs it.

use crate::Dims;
use std::{fmt, ops};

/// The numbers a specification computes with: `f64` or `f32`.
pub trait Real:
    num_traits::Float + ops::AddAssign + ops::SubAssign + ops::MulAssign + fmt::Debug + Send + Sync + 'static
{
    /// The nearest value of this type.
    fn of(x: f64) -> Self;
    /// The value as `f64`, exactly.
    fn f64(self) -> f64;
}

impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn f64(self) -> f64 {
        self
    }
}

impl Real for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn f64(self) -> f64 {
        f64::from(self)
    }
}

/// An operand: floats in `x`, or, for images, indices and random words, integers in `int`; the other one is empty.
/// Dereferences to the floats.
#[derive(Clone, Copy)]
pub struct In<'a, T> {
    /// Its shape.
    pub dims: Dims,
    /// The elements of a floating operand.
    pub x: &'a [T],
    /// The elements of an integer operand.
    pub int: &'a [i64],
}

impl<T> ops::Deref for In<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.x
    }
}

/// A result, all zeros to begin with (or the present value, for operations that update in place).
pub struct Out<'a, T> {
    /// Its shape.
    pub dims: Dims,
    /// The elements of a floating result.
    pub x: &'a mut [T],
    /// The elements of an integer result.
    pub int: &'a mut [i64],
}

impl<T> ops::Deref for Out<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.x
    }
}

impl<T> ops::DerefMut for Out<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.x
    }
}
