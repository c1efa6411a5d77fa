//! A tensor's data as a CPU kernel sees it: dims, dtype, and a slice of the type asked for.

use crate::{
    Dims,
    dtype::{DType, Element},
    error::{Error, Result},
};

/// An operand, read only.
#[derive(Clone, Copy)]
pub struct In<'a> {
    /// Its shape.
    pub dims: Dims,
    /// Its element type.
    pub dtype: DType,
    pub(crate) bytes: &'a [u8],
}

impl<'a> In<'a> {
    /// The elements as `T`; a dtype error if they are something else.
    pub fn get<T: Element>(&self) -> Result<&'a [T]> {
        same::<T>(self.dtype)?;
        Ok(bytemuck::cast_slice(self.bytes))
    }

    /// The elements as `f32`.
    pub fn f32(&self) -> Result<&'a [f32]> {
        self.get()
    }

    /// The elements as `i32`.
    pub fn i32(&self) -> Result<&'a [i32]> {
        self.get()
    }

    /// The elements as `u8`.
    pub fn u8(&self) -> Result<&'a [u8]> {
        self.get()
    }
}

/// A result, to be written in full: its contents are unspecified before, except for operations that update in place.
pub struct Out<'a> {
    /// Its shape.
    pub dims: Dims,
    /// Its element type.
    pub dtype: DType,
    pub(crate) bytes: &'a mut [u8],
}

impl Out<'_> {
    /// The elements as `T`; a dtype error if they are something else.
    pub fn get<T: Element>(&mut self) -> Result<&mut [T]> {
        same::<T>(self.dtype)?;
        Ok(bytemuck::cast_slice_mut(self.bytes))
    }

    /// The elements as `f32`.
    pub fn f32(&mut self) -> Result<&mut [f32]> {
        self.get()
    }

    /// The elements as `i32`.
    pub fn i32(&mut self) -> Result<&mut [i32]> {
        self.get()
    }
}

fn same<T: Element>(dtype: DType) -> Result<()> {
    if T::DTYPE == dtype {
        return Ok(());
    }
    Err(Error::dtype("view", format!("the data are {dtype}, the kernel asked for {}", T::DTYPE)))
}
