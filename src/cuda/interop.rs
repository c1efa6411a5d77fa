//! Tensors over device memory of an application, and an application's use of a tensor's memory, through cudarc or by
//! address; nothing is copied, and streams meet through events.

use super::{Block, Cuda};
use crate::{
    Device, Dims, Element, Tensor,
    error::{Error, Result},
    tensor::Buffer,
};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, sys};
use std::{any::Any, fmt, mem::ManuallyDrop, ops::Deref, sync::Arc};

/// A tensor's memory lent to the application as a cudarc slice; see [`Tensor::to_cuda`].
pub struct Lent<T> {
    slice: ManuallyDrop<CudaSlice<T>>,
    block: Arc<Block>,
}

impl<T> Lent<T> {
    /// Address of the first element on the device.
    pub fn pointer(&self) -> u64 {
        self.slice.device_ptr(self.slice.stream()).0
    }
}

impl<T> Deref for Lent<T> {
    type Target = CudaSlice<T>;

    fn deref(&self) -> &CudaSlice<T> {
        &self.slice
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        // What the application's stream does with the memory comes before its next owner's work. Nobody is left to tell of
        // a failure, which the next call on either stream reports again.
        let _ = self.block.device().stream.join(self.slice.stream());
        // SAFETY: taken once, here; the slice does not own the memory, so it is not freed but let go.
        let _ = unsafe { ManuallyDrop::take(&mut self.slice) }.leak();
    }
}

impl<T> fmt::Debug for Lent<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} elements lent by {}", self.slice.len(), self.block.device())
    }
}

/// A slice of the application under a tensor: freed on its own stream once the device's stream is done with it.
struct Owned<T> {
    slice: CudaSlice<T>,
    device: Arc<Cuda>,
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        let _ = self.slice.stream().join(&self.device.stream);
    }
}

impl Tensor {
    /// A tensor over a cudarc slice, which it takes over: the elements, packed and row-major, are not copied. What was
    /// asked of the slice's stream before comes before the tensor's first use, and the slice is freed after its last.
    ///
    /// ```
    /// use foveate::{Device, Tensor, cuda::Cuda, ops};
    /// # fn main() -> foveate::Result<()> {
    /// # let Ok(Device::Cuda(cuda)) = Device::cuda(0) else { return Ok(()) };
    /// # let stream = cuda.stream().context().new_stream().unwrap();
    /// // `stream` is the application's.
    /// let device = Device::Cuda(Cuda::from_stream(stream.clone())?);
    /// let slice = stream.clone_htod(&[1.0_f32, 2.0, 3.0, 4.0]).unwrap();
    /// let x = Tensor::from_cuda(&device, slice, [2, 2])?;
    /// assert_eq!(ops::sum_all(&x)?.item::<f32>()?, 10.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::DeviceMismatch`] if `device` is not the CUDA device of the slice's context, [`Error::DType`] for elements
    /// that it cannot hold, [`Error::Argument`] for a slice of another length, [`Error::Device`] if the driver fails.
    pub fn from_cuda<T: Element>(
        device: &Device,
        slice: CudaSlice<T>,
        dims: impl Into<Dims>,
    ) -> Result<Self> {
        const OP: &str = "from_cuda";
        let dims = dims.into();
        let cuda = cuda_of(OP, device)?;
        same_context(OP, slice.context().cu_ctx(), cuda)?;
        of_length(OP, slice.len(), dims)?;
        // Waits for the slice's last write, and for all that its stream was asked to do.
        cuda.stream.join(slice.stream()).map_err(|e| cuda.failure(OP, e))?;
        let pointer = slice.device_ptr(&cuda.stream).0;
        let owner = Owned { slice, device: cuda.clone() };
        over::<T>(OP, device, pointer, dims, Box::new(owner))
    }

    /// A tensor over device memory by its address: `dims` elements, packed and row-major, that are not copied. `owner` is
    /// dropped with the last tensor over the memory, after the device's stream has been waited for.
    ///
    /// # Safety
    /// From `pointer` on lie that many elements, in memory that the device's context can reach, and they stay there, and
    /// unchanged, until `owner` is dropped; what wrote them has been waited for, by an event or the host.
    ///
    /// # Errors
    /// [`Error::DeviceMismatch`] if `device` is not a CUDA device, [`Error::DType`] for elements that it cannot hold,
    /// [`Error::Argument`] for a null pointer or one that is no multiple of the element size.
    pub unsafe fn from_cuda_pointer<T: Element>(
        device: &Device,
        pointer: u64,
        dims: impl Into<Dims>,
        owner: Box<dyn Any + Send + Sync>,
    ) -> Result<Self> {
        const OP: &str = "from_cuda_pointer";
        let dims = dims.into();
        let cuda = cuda_of(OP, device)?;
        dims.check(OP)?;
        over::<T>(OP, device, pointer, dims, Waited::new(owner, cuda))
    }

    /// This tensor's memory as a cudarc slice on `stream`, which is the application's: not copied, and not owned by the
    /// slice. What the tensor is computed by comes before what `stream` is asked to do next; what it is asked to do before
    /// the result is dropped comes before the memory is used again.
    ///
    /// The elements must not be written to: tensors are immutable, and others may share them.
    ///
    /// ```
    /// use foveate::{Device, Tensor};
    /// # fn main() -> foveate::Result<()> {
    /// # let Ok(device) = Device::cuda(0) else { return Ok(()) };
    /// # let Device::Cuda(cuda) = &device else { return Ok(()) };
    /// # let stream = cuda.stream().context().new_stream().unwrap();
    /// let x = Tensor::from_slice(&[1.0_f32, 2.0], [2], &device)?;
    /// let lent = x.to_cuda::<f32>(&stream)?;
    /// assert_eq!(stream.clone_dtoh(&*lent).unwrap(), [1.0, 2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::DeviceMismatch`] if the tensor is not on a CUDA device or `stream` is of another context,
    /// [`Error::DType`] if it holds other elements, [`Error::Device`] if the driver fails.
    pub fn to_cuda<T: Element>(&self, stream: &Arc<CudaStream>) -> Result<Lent<T>> {
        const OP: &str = "to_cuda";
        let (block, pointer) = self.lendable::<T>(OP)?;
        let cuda = block.device();
        same_context(OP, stream.context().cu_ctx(), cuda)?;
        stream.join(&cuda.stream).map_err(|e| cuda.failure(OP, e))?;
        // SAFETY: the block, which the result holds on to, owns the elements, and `Lent` never lets the slice free them.
        let slice = unsafe { stream.upgrade_device_ptr::<T>(pointer, self.elements()) };
        Ok(Lent { slice: ManuallyDrop::new(slice), block: block.clone() })
    }

    /// The block and the address of a tensor of elements `T` on a CUDA device.
    pub(super) fn lendable<T: Element>(&self, op: &'static str) -> Result<(&Arc<Block>, u64)> {
        let Buffer::Cuda(block) = &self.buffer else {
            let what = format!("a tensor on {}: move it to a CUDA device with to_device", self.device());
            return Err(Error::DeviceMismatch { op, what });
        };
        if T::DTYPE != self.dtype {
            return Err(Error::dtype(op, format!("the tensor holds {}, not {}", self.dtype, T::DTYPE)));
        }
        Ok((block, block.pointer() + (self.offset * self.dtype.size()) as u64))
    }
}

/// The owner of memory by address: dropped when the device's stream is done with it, in the device's context.
pub(super) struct Waited {
    owner: ManuallyDrop<Box<dyn Any + Send + Sync>>,
    device: Arc<Cuda>,
}

impl Waited {
    pub(super) fn new(owner: Box<dyn Any + Send + Sync>, device: &Arc<Cuda>) -> Box<Self> {
        Box::new(Waited { owner: ManuallyDrop::new(owner), device: device.clone() })
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        let _ = self.device.synchronize();
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.owner) };
    }
}

pub(super) fn cuda_of<'d>(op: &'static str, device: &'d Device) -> Result<&'d Arc<Cuda>> {
    match device {
        Device::Cuda(cuda) => Ok(cuda),
        other => {
            let what = format!("CUDA memory on {other}: it needs the CUDA device of its context");
            Err(Error::DeviceMismatch { op, what })
        }
    }
}

/// An error if memory or a stream is of another context than the device's.
pub(super) fn same_context(op: &'static str, context: sys::CUcontext, cuda: &Cuda) -> Result<()> {
    if context == cuda.context.cu_ctx() {
        return Ok(());
    }
    let what = format!("memory or a stream of another context than that of {cuda}");
    Err(Error::DeviceMismatch { op, what })
}

/// An error unless there is an element for each place of a tensor.
pub(super) fn of_length(op: &'static str, elements: usize, dims: Dims) -> Result<()> {
    dims.check(op)?;
    if elements == dims.elements() {
        return Ok(());
    }
    Err(Error::argument(op, format!("{elements} elements for a tensor of {dims}")))
}

/// A tensor over memory that `owner` frees.
pub(super) fn over<T: Element>(
    op: &'static str,
    device: &Device,
    pointer: u64,
    dims: Dims,
    owner: Box<dyn Any + Send + Sync>,
) -> Result<Tensor> {
    let cuda = cuda_of(op, device)?;
    device.check_dtype(op, T::DTYPE)?;
    let size = T::DTYPE.size();
    if dims.elements() > 0 && (pointer == 0 || !pointer.is_multiple_of(size as u64)) {
        let what = format!("address {pointer:#x} is null or no multiple of the {size} bytes of {}", T::DTYPE);
        return Err(Error::argument(op, what));
    }
    let block = Block::foreign(cuda, pointer, dims.elements() * size, owner);
    Ok(Tensor { buffer: Buffer::Cuda(Arc::new(block)), offset: 0, dims, dtype: T::DTYPE, node: None })
}
