//! Tensors: immutable, packed row-major arrays on a device.

use crate::{
    Dims, cpu,
    device::Device,
    dtype::{DType, Element},
    error::{Error, Result},
    tape::Node,
};
use std::{fmt, ops::Range, sync::Arc};

/// Where the elements are.
#[derive(Clone)]
pub(crate) enum Buffer {
    Cpu(Arc<cpu::Block>),
    #[cfg(feature = "cuda")]
    Cuda(Arc<crate::cuda::Block>),
    #[cfg(feature = "wgpu")]
    Wgpu(Arc<crate::wgpu::Buffer>),
}

impl Buffer {
    pub(crate) fn device(&self) -> Device {
        match self {
            Buffer::Cpu(_) => Device::Cpu,
            #[cfg(feature = "cuda")]
            Buffer::Cuda(block) => Device::Cuda(block.device().clone()),
            #[cfg(feature = "wgpu")]
            Buffer::Wgpu(buffer) => Device::Wgpu(buffer.device().clone()),
        }
    }

    /// The block of a buffer on the CPU.
    pub(crate) fn on_cpu(&self) -> Option<&Arc<cpu::Block>> {
        match self {
            Buffer::Cpu(block) => Some(block),
            #[cfg(feature = "cuda")]
            Buffer::Cuda(_) => None,
            #[cfg(feature = "wgpu")]
            Buffer::Wgpu(_) => None,
        }
    }

    /// As [`Buffer::on_cpu`], to replace or write.
    pub(crate) fn on_cpu_mut(&mut self) -> Option<&mut Arc<cpu::Block>> {
        match self {
            Buffer::Cpu(block) => Some(block),
            #[cfg(feature = "cuda")]
            Buffer::Cuda(_) => None,
            #[cfg(feature = "wgpu")]
            Buffer::Wgpu(_) => None,
        }
    }

    /// Tells buffers apart: equal for two handles of the same buffer.
    pub(crate) fn address(&self) -> usize {
        match self {
            Buffer::Cpu(block) => Arc::as_ptr(block) as usize,
            #[cfg(feature = "cuda")]
            Buffer::Cuda(block) => Arc::as_ptr(block) as usize,
            #[cfg(feature = "wgpu")]
            Buffer::Wgpu(buffer) => Arc::as_ptr(buffer) as usize,
        }
    }
}

/// An immutable array on a device: cheap to clone, packed row-major, shareable between threads.
///
/// Its only views are reshapes and slices of the leading axis; everything else is an operation of [`crate::ops`]. A
/// tensor that a [`crate::Tape`] watches makes the operations it enters leave a record there.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], [2, 2], &Device::Cpu)?;
/// let y = ops::mul(&x, &x)?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 4.0, 9.0, 16.0]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tensor {
    pub(crate) buffer: Buffer,
    /// First element of this tensor in the buffer.
    pub(crate) offset: usize,
    pub(crate) dims: Dims,
    pub(crate) dtype: DType,
    pub(crate) node: Option<Node>,
}

impl Tensor {
    /// Copies `data` to `device`. The length must be the product of `dims`.
    pub fn from_slice<T: Element>(data: &[T], dims: impl Into<Dims>, device: &Device) -> Result<Self> {
        let dims = dims.into();
        if dims.elements() != data.len() {
            let what = format!("{} values for shape {dims}, which holds {}", data.len(), dims.elements());
            return Err(Error::shape("from_slice", what));
        }
        Self::from_bytes(bytemuck::cast_slice(data), dims, T::DTYPE, device)
    }

    /// As [`Tensor::from_slice`], with the dtype known at run time only.
    pub(crate) fn from_bytes(data: &[u8], dims: Dims, dtype: DType, device: &Device) -> Result<Self> {
        dims.check("from_slice")?;
        device.check_dtype("from_slice", dtype)?;
        let buffer = device.upload(data)?;
        Ok(Tensor { buffer, offset: 0, dims, dtype, node: None })
    }

    /// A tensor for an operation `what` to write.
    pub(crate) fn unwritten(dims: Dims, dtype: DType, device: &Device, what: &'static str) -> Result<Self> {
        dims.check(what)?;
        let buffer = device.alloc(dims.elements().saturating_mul(dtype.size()), what)?;
        Ok(Tensor { buffer, offset: 0, dims, dtype, node: None })
    }

    /// A tensor filled with one value.
    pub fn full<T: Element>(value: T, dims: impl Into<Dims>, device: &Device) -> Result<Self> {
        let dims = dims.into();
        let mut block = cpu::Block::new(dims.elements().saturating_mul(T::DTYPE.size()), "full")?;
        bytemuck::cast_slice_mut::<u8, T>(block.bytes_mut()).fill(value);
        Self::from_bytes(block.bytes(), dims, T::DTYPE, device)
    }

    /// A tensor of zeros of type `f32`.
    pub fn zeros(dims: impl Into<Dims>, device: &Device) -> Result<Self> {
        Self::full(0.0_f32, dims, device)
    }

    /// A tensor of one element without axes.
    pub fn scalar<T: Element>(value: T, device: &Device) -> Result<Self> {
        Self::from_slice(&[value], Dims::SCALAR, device)
    }

    /// Shape.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims.elements()
    }

    /// The device that holds the elements.
    pub fn device(&self) -> Device {
        self.buffer.device()
    }

    /// Whether a tape records what is done with this tensor.
    pub fn is_watched(&self) -> bool {
        self.node.is_some()
    }

    /// The elements, copied to the host. Waits for the device.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype {
            return Err(Error::dtype("to_vec", format!("the tensor holds {}, not {}", self.dtype, T::DTYPE)));
        }
        let mut data = Vec::new();
        let (device, len) = (self.device(), self.elements());
        let refused = |_| Error::OutOfMemory {
            device: "host".into(),
            bytes: len * size_of::<T>(),
            what: "to_vec".into(),
        };
        data.try_reserve_exact(len).map_err(refused)?;
        data.resize(len, bytemuck::Zeroable::zeroed());
        device.download(
            &self.buffer,
            self.offset * self.dtype.size(),
            bytemuck::cast_slice_mut(&mut data),
        )?;
        Ok(data)
    }

    /// As [`Tensor::to_vec`], as a future for any executor. On wgpu the copy starts here, after everything called before,
    /// and nothing blocks the thread that polls; the other devices have finished when this returns.
    ///
    /// ```
    /// use foveate::{Device, Tensor};
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #         if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) { return value }
    /// #         std::thread::yield_now();
    /// #     }
    /// # }
    /// # fn main() -> foveate::Result<()> {
    /// let device = Device::best()?;
    /// let x = Tensor::from_slice(&[1.0_f32, 2.0], [2], &device)?;
    /// let reading = x.to_vec_async::<f32>();
    /// // … other work …
    /// assert_eq!(block_on(reading)?, [1.0, 2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::DType`] if the tensor holds other elements, [`Error::OutOfMemory`], and [`Error::Device`] if the device
    /// fails on the way.
    pub fn to_vec_async<T: Element>(&self) -> impl Future<Output = Result<Vec<T>>> + Send + 'static + use<T> {
        let (dtype, len, size) = (self.dtype, self.elements(), size_of::<T>());
        let reading = (T::DTYPE == dtype).then(|| {
            let first = self.offset * size;
            self.device().read(&self.buffer, first..first + len * size)
        });
        async move {
            let Some(reading) = reading else {
                let what = format!("the tensor holds {dtype}, not {}", T::DTYPE);
                return Err(Error::dtype("to_vec_async", what));
            };
            let mut data = crate::host::filled(len, T::zeroed(), "to_vec_async")?;
            bytemuck::cast_slice_mut(&mut data).copy_from_slice(&reading.await?);
            Ok(data)
        }
    }

    /// The one element of a tensor that has just one.
    pub fn item<T: Element>(&self) -> Result<T> {
        match self.to_vec::<T>()?.as_slice() {
            [value] => Ok(*value),
            _ => Err(Error::shape(
                "item",
                format!("shape {} has not exactly one element: use to_vec", self.dims),
            )),
        }
    }

    /// The same tensor on another device (a cheap clone if it is there already). The copy is not watched.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        if self.device().same(device) {
            return Ok(self.detach());
        }
        let mut block = cpu::Block::new(self.elements().saturating_mul(self.dtype.size()), "to_device")?;
        self.device().download(&self.buffer, self.offset * self.dtype.size(), block.bytes_mut())?;
        Self::from_bytes(block.bytes(), self.dims, self.dtype, device)
    }

    /// The same values, unknown to any tape.
    pub fn detach(&self) -> Self {
        Tensor { node: None, ..self.clone() }
    }

    /// A view of this tensor's elements in another shape; not recorded. [`crate::ops::reshape`] is the recorded form.
    pub(crate) fn view(&self, dims: Dims) -> Result<Self> {
        dims.check("reshape")?;
        if dims.elements() != self.elements() {
            let what = format!("{} does not hold as many elements as {}", dims, self.dims);
            return Err(Error::shape("reshape", what));
        }
        Ok(Tensor { dims, node: None, ..self.clone() })
    }

    /// A view of the rows `range` of the leading axis; not recorded. [`crate::ops::slice`] is the recorded form.
    pub(crate) fn rows(&self, range: Range<usize>) -> Result<Self> {
        let Some(&rows) = self.dims.first() else {
            return Err(Error::shape("slice", "a tensor without axes has no rows"));
        };
        if range.start > range.end || range.end > rows {
            return Err(Error::argument(
                "slice",
                format!("rows {range:?} of a tensor of shape {}", self.dims),
            ));
        }
        let row: usize = self.dims[1..].iter().product();
        let offset = self.offset + range.start * row;
        Ok(Tensor { offset, dims: self.dims.with(0, range.len()), node: None, ..self.clone() })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Tensor({} {} on {}", self.dims, self.dtype, self.device())?;
        if let Some(node) = &self.node {
            write!(f, ", %{}", node.value)?;
        }
        f.write_str(")")
    }
}
