//! Tensors over memory of the crate cust, and cust's use of a tensor's memory; nothing is copied, and streams meet through
//! events. cust's blocking calls go to the context's default stream, so each meeting is with that stream as well.

use super::{
    Block, Cuda,
    context::{absent, check_driver, failure},
    interop::{Waited, cuda_of, of_length, over, same_context},
};
use crate::{
    Device, Dims, Element, Tensor,
    error::{Error, Result},
};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};
use cust::{
    memory::{DeviceBuffer, DeviceCopy, DevicePointer},
    stream::Stream,
};
use std::{fmt, mem::ManuallyDrop, ops::Deref, sync::Arc};

/// A tensor's memory lent to the application as a buffer of cust; see [`Tensor::to_cust`].
pub struct LentToCust<T: DeviceCopy> {
    buffer: ManuallyDrop<DeviceBuffer<T>>,
    stream: Arc<Stream>,
    block: Arc<Block>,
}

impl<T: DeviceCopy> Deref for LentToCust<T> {
    type Target = DeviceBuffer<T>;

    fn deref(&self) -> &DeviceBuffer<T> {
        &self.buffer
    }
}

impl<T: DeviceCopy> Drop for LentToCust<T> {
    fn drop(&mut self) {
        // What the application's stream does with the memory comes before its next owner's work. Nobody is left to tell of
        // a failure, which the next call on either stream reports again. The buffer does not own the memory, and is not
        // dropped.
        let _ = self.block.device().wait_for(&self.stream);
    }
}

impl<T: DeviceCopy> fmt::Debug for LentToCust<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} elements lent by {}", self.buffer.len(), self.block.device())
    }
}

impl Cuda {
    /// A device on a stream of cust, and in its context: as [`Cuda::from_stream`].
    ///
    /// # Errors
    /// As [`Cuda::new`]; [`Error::DeviceMismatch`] if the stream is not of a device's primary context, which
    /// `cust::context::Context` is and `cust::context::legacy::Context` is not.
    pub fn from_cust_stream(stream: Arc<Stream>) -> Result<Arc<Self>> {
        const OP: &str = "from_cust_stream";
        check_driver(0)?;
        let failed = |e| failure("cuda", OP, e);
        let theirs = context_of(&stream).map_err(failed)?;
        let ordinal = ordinal_of(theirs).map_err(failed)?;
        let ordinal = ordinal.ok_or_else(|| absent(0, "the stream's GPU is not among the driver's"))?;
        let context = CudaContext::new(ordinal).map_err(failed)?;
        if context.cu_ctx() != theirs {
            let what = "a stream of a context of its own: use cust::context::Context".to_owned();
            return Err(Error::DeviceMismatch { op: OP, what });
        }
        // SAFETY: the stream is of this context, and the device holds on to it for as long as anything holds on to the
        // wrapper (`give_back_stream`).
        let wrapped = unsafe { context.wrap_borrowed_stream(stream.as_inner().cast()) };
        let mut cuda = Cuda::on(wrapped)?;
        cuda.borrowed = Some(stream);
        Ok(Arc::new(cuda))
    }

    /// Lets go of cust's stream, unless the application still has a handle by [`Cuda::stream`]: the stream then stays.
    pub(super) fn give_back_stream(&mut self) {
        if Arc::strong_count(&self.stream) > 1 {
            std::mem::forget(self.borrowed.take());
        }
    }

    /// The device's kernels wait for what was asked of cust's stream, and of the default stream.
    fn wait_for(&self, stream: &Stream) -> Result<(), DriverError> {
        self.meetings(stream).iter().try_for_each(|other| self.stream.join(other))
    }

    /// Cust's stream, and the default stream, wait for the device's kernels.
    fn let_wait(&self, stream: &Stream) -> Result<(), DriverError> {
        self.meetings(stream).iter().try_for_each(|other| other.join(&self.stream))
    }

    /// The streams that cust's work may be on. The handle must not outlive `stream`.
    fn meetings(&self, stream: &Stream) -> [Arc<CudaStream>; 2] {
        // SAFETY: the stream is of this context (the callers' callers check it), and outlives the handle.
        let wrapped = unsafe { self.context.wrap_borrowed_stream(stream.as_inner().cast()) };
        [wrapped, self.context.default_stream()]
    }
}

impl Tensor {
    /// A tensor over a buffer of cust, which it takes over: the elements, packed and row-major, are not copied. What was
    /// asked of `stream` before, and of the default stream, comes before the tensor's first use, and the buffer is freed
    /// after its last.
    ///
    /// ```
    /// use foveate::{Device, Tensor, cuda::{Cuda, cust::{memory::DeviceBuffer, stream::{Stream, StreamFlags}}}, ops};
    /// use std::sync::Arc;
    /// # fn main() -> foveate::Result<()> {
    /// # let Ok(_context) = foveate::cuda::cust::quick_init() else { return Ok(()) };
    /// let stream = Arc::new(Stream::new(StreamFlags::DEFAULT, None).unwrap());
    /// let device = Device::Cuda(Cuda::from_cust_stream(stream.clone())?);
    /// let buffer = DeviceBuffer::from_slice(&[1.0_f32, 2.0, 3.0, 4.0]).unwrap();
    /// let x = Tensor::from_cust(&device, buffer, &stream, [2, 2])?;
    /// assert_eq!(ops::sum_all(&x)?.item::<f32>()?, 10.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::DeviceMismatch`] if `device` is not a CUDA device, or the buffer or the stream of another context,
    /// [`Error::DType`] for elements that it cannot hold, [`Error::Argument`] for a buffer of another length,
    /// [`Error::Device`] if the driver fails.
    pub fn from_cust<T: Element + DeviceCopy>(
        device: &Device,
        buffer: DeviceBuffer<T>,
        stream: &Stream,
        dims: impl Into<Dims>,
    ) -> Result<Self> {
        const OP: &str = "from_cust";
        let dims = dims.into();
        let cuda = cuda_of(OP, device)?;
        let failed = |e| cuda.failure(OP, e);
        let pointer = buffer.as_device_ptr().as_raw();
        cuda.bind(OP)?;
        same_context(OP, context_of(stream).map_err(failed)?, cuda)?;
        if let Some(owner) = owner_of(pointer).map_err(failed)? {
            same_context(OP, owner, cuda)?;
        }
        of_length(OP, buffer.len(), dims)?;
        cuda.wait_for(stream).map_err(failed)?;
        over::<T>(OP, device, pointer, dims, Waited::new(Box::new(buffer), cuda))
    }

    /// This tensor's memory as a buffer of cust: not copied, and not owned by the buffer. What the tensor is computed by
    /// comes before what `stream`, or the default stream, is asked to do next; what they are asked to do before the result
    /// is dropped comes before the memory is used again.
    ///
    /// The elements must not be written to: tensors are immutable, and others may share them.
    ///
    /// ```
    /// use foveate::{Device, Tensor, cuda::cust::{memory::CopyDestination, stream::{Stream, StreamFlags}}};
    /// use std::sync::Arc;
    /// # fn main() -> foveate::Result<()> {
    /// # let Ok(_context) = foveate::cuda::cust::quick_init() else { return Ok(()) };
    /// let stream = Arc::new(Stream::new(StreamFlags::DEFAULT, None).unwrap());
    /// let x = Tensor::from_slice(&[1.0_f32, 2.0], [2], &Device::cuda(0)?)?;
    /// let lent = x.to_cust::<f32>(&stream)?;
    /// let mut host = [0.0_f32; 2];
    /// lent.copy_to(&mut host).unwrap();
    /// assert_eq!(host, [1.0, 2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::DeviceMismatch`] if the tensor is not on a CUDA device or `stream` is of another context,
    /// [`Error::DType`] if it holds other elements, [`Error::Device`] if the driver fails.
    pub fn to_cust<T: Element + DeviceCopy>(&self, stream: &Arc<Stream>) -> Result<LentToCust<T>> {
        const OP: &str = "to_cust";
        let (block, pointer) = self.lendable::<T>(OP)?;
        let cuda = block.device();
        let failed = |e| cuda.failure(OP, e);
        cuda.bind(OP)?;
        same_context(OP, context_of(stream).map_err(failed)?, cuda)?;
        cuda.let_wait(stream).map_err(failed)?;
        // SAFETY: the block, which the result holds on to, owns the elements, and `LentToCust` never drops the buffer.
        let buffer =
            unsafe { DeviceBuffer::from_raw_parts(DevicePointer::from_raw(pointer), self.elements()) };
        Ok(LentToCust { buffer: ManuallyDrop::new(buffer), stream: stream.clone(), block: block.clone() })
    }
}

/// The context that a stream was made in.
fn context_of(stream: &Stream) -> Result<sys::CUcontext, DriverError> {
    let mut context = std::ptr::null_mut();
    // SAFETY: the stream is alive, and the pointer is to a live handle.
    unsafe { sys::cuStreamGetCtx(stream.as_inner().cast(), &mut context) }.result()?;
    Ok(context)
}

/// The context that memory was allocated in, if the driver names one.
fn owner_of(pointer: u64) -> Result<Option<sys::CUcontext>, DriverError> {
    if pointer == 0 {
        return Ok(None);
    }
    let mut context: sys::CUcontext = std::ptr::null_mut();
    let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_CONTEXT;
    // SAFETY: this attribute is a handle, to which the pointer is; an address of no allocation is an error.
    unsafe { sys::cuPointerGetAttribute((&raw mut context).cast(), attribute, pointer) }.result()?;
    Ok(Some(context).filter(|context| !context.is_null()))
}

/// The ordinal of the GPU that a context is on. The calling thread's context stays what it is.
fn ordinal_of(context: sys::CUcontext) -> Result<Option<usize>, DriverError> {
    let before = result::ctx::get_current()?;
    let mut device = 0;
    // SAFETY: the context is that of a live stream; the thread's own one is put back.
    unsafe {
        result::ctx::set_current(context)?;
        let found = sys::cuCtxGetDevice(&mut device).result();
        result::ctx::set_current(before.unwrap_or(std::ptr::null_mut()))?;
        found?;
    }
    let count = result::device::get_count()?;
    let ordinal = (0..count).find(|&at| result::device::get(at).is_ok_and(|other| other == device));
    Ok(ordinal.map(|at| at as usize))
}
