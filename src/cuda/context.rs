//! One CUDA device: found without a panic where there is none, its kernels loaded and resolved when it is made.

use super::{
    copies::Copies,
    kernels::{CAPABILITY, MODULES, Module as Embedded, PTX_VERSION},
    memory::{self, Pool},
    timeline::Marks,
};
use crate::{
    Precision,
    device::Memory,
    error::{Error, Result},
};
use cudarc::driver::{
    CudaContext, CudaStream, DriverError,
    result::{self, function, module},
    sys::{self, CUdevice_attribute, CUfunction_attribute, CUresult},
};
use std::{
    collections::BTreeMap,
    ffi::CString,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

/// The oldest driver interface that takes the embedded PTX: PTX 8.0 came with CUDA 12.0, and their numbers have gone on
/// together.
const DRIVER: i32 = 1000 * (PTX_VERSION.0 + 4) + 10 * PTX_VERSION.1;
/// The release of NVIDIA's driver that brought that interface.
const RELEASE: &str = "525";

/// Driver functions that are called after the device is made; cudarc would panic at the first use of a missing one.
const SYMBOLS: &[&[u8]] = &[
    b"cuCtxGetCurrent\0",
    b"cuCtxSetCurrent\0",
    b"cuDeviceGet\0",
    b"cuDeviceGetAttribute\0",
    b"cuDeviceGetCount\0",
    b"cuDeviceGetName\0",
    b"cuDevicePrimaryCtxRelease_v2\0",
    b"cuDevicePrimaryCtxRetain\0",
    b"cuDriverGetVersion\0",
    b"cuEventCreate\0",
    b"cuEventDestroy_v2\0",
    b"cuEventElapsedTime\0",
    b"cuEventRecord\0",
    b"cuEventSynchronize\0",
    b"cuFuncGetAttribute\0",
    b"cuFuncSetAttribute\0",
    b"cuGetErrorName\0",
    b"cuGetErrorString\0",
    b"cuGraphDestroy\0",
    b"cuGraphExecDestroy\0",
    b"cuGraphInstantiateWithFlags\0",
    b"cuGraphLaunch\0",
    b"cuInit\0",
    b"cuLaunchKernel\0",
    b"cuMemAlloc_v2\0",
    b"cuMemFreeHost\0",
    b"cuMemFree_v2\0",
    b"cuMemGetInfo_v2\0",
    b"cuMemHostAlloc\0",
    b"cuMemcpyDtoDAsync_v2\0",
    b"cuMemcpyDtoHAsync_v2\0",
    b"cuMemcpyHtoDAsync_v2\0",
    b"cuMemsetD8Async\0",
    b"cuModuleGetFunction\0",
    b"cuModuleLoadData\0",
    b"cuModuleUnload\0",
    b"cuStreamBeginCapture_v2\0",
    b"cuStreamCreate\0",
    b"cuStreamDestroy_v2\0",
    b"cuStreamEndCapture\0",
    b"cuStreamSynchronize\0",
    b"cuStreamWaitEvent\0",
];

/// The devices that are open, by ordinal: asking again gives the same one.
static OPEN: Mutex<BTreeMap<usize, Weak<Cuda>>> = Mutex::new(BTreeMap::new());

/// An NVIDIA GPU. The operations on its tensors go to one stream; what is copied from and to the host to another one.
pub struct Cuda {
    ordinal: usize,
    name: String,
    capability: (i32, i32),
    /// Handles by [`super::Kernel::index`].
    pub(super) functions: Vec<Function>,
    modules: Vec<Module>,
    pub(super) pool: Mutex<Pool>,
    pub(super) launches: AtomicU64,
    pub(super) graphs: AtomicU64,
    pub(super) overflows: AtomicU64,
    pub(super) traces: AtomicBool,
    marks: Mutex<Vec<Marks>>,
    /// The most bytes of memory to hold.
    pub(super) limit: AtomicUsize,
    pub(super) read_backs: AtomicU64,
    /// Bytes of shared memory that a block may have.
    shared: u32,
    pub(super) copies: Copies,
    /// The stream's owner, if that is the crate cust.
    #[cfg(feature = "cust")]
    pub(super) borrowed: Option<Arc<cust::stream::Stream>>,
    /// By [`Precision::index`].
    precision: AtomicUsize,
    warpgroups: AtomicBool,
    pub(super) stream: Arc<CudaStream>,
    pub(super) context: Arc<CudaContext>,
}

/// A kernel's handle in the context.
#[derive(Clone, Copy)]
pub(super) struct Function(pub(super) sys::CUfunction);
// SAFETY: a function handle is an opaque value of the context, which any thread may use; the modules that own it live as
// long as the device.
unsafe impl Send for Function {}
// SAFETY: the same invariant as of the block above holds here.
unsafe impl Sync for Function {}

struct Module(sys::CUmodule);
// SAFETY: as for `Function`.
unsafe impl Send for Module {}
// SAFETY: the same invariant as of the block above holds here.
unsafe impl Sync for Module {}

impl Cuda {
    /// The GPU with this ordinal, as `CUDA_VISIBLE_DEVICES` numbers them.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where there is no driver, no such GPU, or one of them is too old for the embedded kernels
    /// (driver 525, compute capability 8.0); [`Error::Device`] where the driver fails otherwise.
    pub fn new(ordinal: usize) -> Result<Arc<Self>> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = open.get(&ordinal).and_then(Weak::upgrade) {
            return Ok(device);
        }
        check_driver(ordinal)?;
        let device = Arc::new(Self::make(ordinal)?);
        open.insert(ordinal, Arc::downgrade(&device));
        Ok(device)
    }

    fn make(ordinal: usize) -> Result<Self> {
        let failed = |what: &str, e: DriverError| failure(&format!("cuda:{ordinal}"), what, e);
        let context = CudaContext::new(ordinal).map_err(|e| failed("the primary context", e))?;
        // SAFETY: all of this crate's kernels and allocations are on one stream; other streams meet it through events.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|e| failed("a stream", e))?;
        Self::on(stream)
    }

    /// A device on a stream of the application, and in its context: all of its kernels go there, in order with the
    /// application's, and copies from and to the host to a stream that this makes, which events join to it. Its kernels
    /// are loaded into that context, and its memory is its own. Every call makes another device, whose tensors do not meet
    /// those of the others.
    ///
    /// # Errors
    /// As [`Cuda::new`].
    pub fn from_stream(stream: Arc<CudaStream>) -> Result<Arc<Self>> {
        check_driver(stream.context().ordinal())?;
        Ok(Arc::new(Self::on(stream)?))
    }

    /// How operands are rounded where a call does not say it.
    pub(crate) fn precision(&self) -> Precision {
        Precision::ALL[self.precision.load(Ordering::Relaxed) % Precision::ALL.len()]
    }

    pub(crate) fn set_precision(&self, precision: Precision) {
        self.precision.store(precision.index(), Ordering::Relaxed);
    }

    /// Whether rounded products are made by warpgroups (`wgmma`) where there is such a kernel.
    pub fn warpgroups(&self) -> bool {
        self.warpgroups.load(Ordering::Relaxed)
    }

    /// From now on, matrix products in TF32, f16 or bf16, and convolutions whose operands are gathered on the way (but not
    /// their gradients), are multiplied by warpgroups, or no longer: by `wgmma`, an instruction that compute capability 9.0
    /// alone has. The same numbers are rounded and multiplied; a GPU may add them up in another order. These kernels have run
    /// on the emulator and on no GPU: so this is off unless it is asked for.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a GPU of another compute capability.
    pub fn set_warpgroups(&self, on: bool) -> Result<()> {
        if on && self.capability != (9, 0) {
            let (major, minor) = self.capability;
            return Err(Error::Unsupported {
                op: "set_warpgroups",
                device: self.to_string(),
                what: format!("wgmma is of compute capability 9.0, this is {major}.{minor}: leave it off"),
            });
        }
        self.warpgroups.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// A device on a stream, in the stream's context.
    pub(super) fn on(stream: Arc<CudaStream>) -> Result<Self> {
        let context = stream.context().clone();
        let ordinal = context.ordinal();
        let failed = |what: &str, e: DriverError| failure(&format!("cuda:{ordinal}"), what, e);
        context.bind_to_thread().map_err(|e| failed("the context", e))?;
        let name = context.name().map_err(|e| failed("the device's name", e))?;
        let capability = context.compute_capability().map_err(|e| failed("the compute capability", e))?;
        if capability < CAPABILITY {
            return Err(absent(ordinal, too_old(&name, capability)));
        }
        let attribute = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let shared = context.attribute(attribute).map_err(|e| failed("the shared memory", e))?;
        let copies = Copies::new(&context).map_err(|e| failed("the stream for copies", e))?;
        let mut device = Cuda {
            ordinal,
            name,
            capability,
            functions: Vec::new(),
            modules: Vec::new(),
            pool: Mutex::default(),
            launches: AtomicU64::new(0),
            graphs: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
            traces: AtomicBool::new(asked_to_trace()),
            marks: Mutex::default(),
            limit: AtomicUsize::new(usize::MAX),
            read_backs: AtomicU64::new(0),
            shared: shared.unsigned_abs(),
            copies,
            #[cfg(feature = "cust")]
            borrowed: None,
            precision: AtomicUsize::new(Precision::F32.index()),
            warpgroups: AtomicBool::new(false),
            stream,
            context,
        };
        device.load()?;
        Ok(device)
    }

    /// Loads every embedded module that the GPU can have and looks its kernels up; those that it cannot have are null.
    fn load(&mut self) -> Result<()> {
        for embedded in MODULES {
            if embedded.only.is_some_and(|only| only != self.capability) {
                let none = embedded.kernels.iter().map(|_| Function(std::ptr::null_mut()));
                self.functions.extend(none);
                continue;
            }
            // SAFETY: the text ends with a zero (build.rs adds it); `on` made the context current.
            let module = unsafe { module::load_data(embedded.ptx.as_ptr().cast()) };
            let module = module.map_err(|e| self.refused(embedded, e))?;
            self.modules.push(Module(module));
            for kernel in embedded.kernels {
                let name = CString::new(kernel.name).unwrap_or_default();
                // SAFETY: the module was loaded above and is unloaded with the device.
                let function = unsafe { module::get_function(module, name) };
                let function =
                    function.map_err(|e| self.failure(&format!("the kernel {}", kernel.name), e))?;
                if kernel.dynamic_shared {
                    self.allow_shared(function).map_err(|e| self.failure(kernel.name, e))?;
                }
                self.functions.push(Function(function));
            }
        }
        Ok(())
    }

    /// Lets a kernel have all the shared memory that a block may have; without this it would be 48 KB.
    fn allow_shared(&self, kernel: sys::CUfunction) -> Result<(), DriverError> {
        use CUfunction_attribute::{
            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
        };
        // SAFETY: the handle is of a module that is loaded, and its context is current.
        unsafe {
            let own = function::get_function_attribute(kernel, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?;
            let rest = i32::try_from(self.shared).unwrap_or(i32::MAX).saturating_sub(own);
            function::set_function_attribute(kernel, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, rest)
        }
    }

    /// Why a module cannot be had: its PTX is newer than the driver, its target newer than the GPU, or something else.
    fn refused(&self, module: &Embedded, error: DriverError) -> Error {
        match error.0 {
            CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
                let (major, minor) = PTX_VERSION;
                let what = format!("the driver refuses PTX {major}.{minor}, in which `{}` is", module.name);
                absent(self.ordinal, format!("{what}: install {RELEASE} or newer"))
            }
            CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => {
                let what = too_old(&self.name, self.capability);
                absent(self.ordinal, format!("no kernels of `{}`: {what}", module.name))
            }
            _ => self.failure(&format!("the kernels of {}", module.name), error),
        }
    }

    /// The GPU's name, such as `NVIDIA H200`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ordinal it was opened by.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// The stream that all of its kernels go to. What is asked of it by the application is in order with them; copies from
    /// the host are on a stream of their own, which it waits for.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Major and minor compute capability.
    pub fn capability(&self) -> (i32, i32) {
        self.capability
    }

    /// How many kernels were launched since the device was made, apart from those of graphs.
    pub fn launches(&self) -> u64 {
        self.launches.load(Ordering::Relaxed)
    }

    /// How many graphs were launched since the device was made.
    pub fn graphs(&self) -> u64 {
        self.graphs.load(Ordering::Relaxed)
    }

    /// How many selections met values that f16 cannot hold, since the device was made.
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    pub(crate) fn count_overflow(&self) {
        self.overflows.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the most bytes of device memory that this crate holds, in tensors and kept for them: what would need more is
    /// [`Error::OutOfMemory`], and selection streams images that do not fit. Without it there is all that the driver gives.
    pub fn set_memory_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that could still be had.
    pub(crate) fn room(&self) -> Result<usize> {
        self.bind("the memory")?;
        let (free, _) = result::mem_get_info().map_err(|e| self.failure("the memory", e))?;
        let held = self.memory();
        let limit = self.limit.load(Ordering::Relaxed);
        Ok(limit.saturating_sub(held.in_use).min(free + held.pooled))
    }

    /// How often something was copied to the host since the device was made: each time it waited.
    pub fn read_backs(&self) -> u64 {
        self.read_backs.load(Ordering::Relaxed)
    }

    /// Bytes of shared memory that a block may have.
    pub(super) fn shared(&self) -> u32 {
        self.shared
    }

    /// Memory that this crate holds on the device.
    pub fn memory(&self) -> Memory {
        self.pool().memory()
    }

    /// Starts the peak of [`Cuda::memory`] anew.
    pub fn reset_peak(&self) {
        self.pool().reset_peak();
    }

    /// Waits for the stream and returns pooled memory to the driver.
    pub fn release(&self) -> Result<()> {
        self.synchronize()?;
        memory::release(self)
    }

    /// Waits until all that was asked of the device is done; failures of kernels surface here.
    pub fn synchronize(&self) -> Result<()> {
        self.bind("synchronise")?;
        for (stream, what) in [(&self.copies.stream, "the stream for copies"), (&self.stream, "the stream")] {
            // SAFETY: the stream lives as long as the device.
            unsafe { result::stream::synchronize(stream.cu_stream()) }.map_err(|e| self.failure(what, e))?;
        }
        Ok(())
    }

    /// Makes the device's context the calling thread's.
    pub(super) fn bind(&self, what: &str) -> Result<()> {
        self.context.bind_to_thread().map_err(|e| self.failure(what, e))
    }

    /// Events of the last selection whose timeline is kept.
    pub(super) fn marks(&self) -> MutexGuard<'_, Vec<Marks>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A driver's error as one of the crate's.
    pub(super) fn failure(&self, what: &str, error: DriverError) -> Error {
        failure(&self.to_string(), what, error)
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure. The last tensor is gone, so the pool holds every block.
        let _ = self.release();
        for module in self.modules.drain(..) {
            // SAFETY: loaded by `load`, unloaded once; the handles into it go with the device.
            let _ = unsafe { module::unload(module.0) };
        }
        #[cfg(feature = "cust")]
        self.give_back_stream();
    }
}

impl fmt::Display for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "cuda:{} ({})", self.ordinal, self.name)
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `FOVEATE_TRACE` is set, to anything but `0` or `off`.
fn asked_to_trace() -> bool {
    std::env::var("FOVEATE_TRACE").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "off"))
}

/// Why a GPU cannot run the embedded kernels.
fn too_old(name: &str, (major, minor): (i32, i32)) -> String {
    let need = CAPABILITY;
    format!("{name} has compute capability {major}.{minor}, the kernels need {}.{} or newer", need.0, need.1)
}

pub(super) fn absent(ordinal: usize, why: impl Into<String>) -> Error {
    Error::NoDevice { device: format!("cuda:{ordinal}"), why: why.into() }
}

pub(super) fn failure(device: &str, what: &str, error: DriverError) -> Error {
    let name =
        error.error_name().map_or_else(|_| format!("{:?}", error.0), |n| n.to_string_lossy().into_owned());
    let text = error.error_string().map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
    Error::Device { device: device.to_owned(), what: format!("{what}: {name} ({text})") }
}

/// Everything that must hold before cudarc may be asked for a context, which would panic without a driver.
pub(super) fn check_driver(ordinal: usize) -> Result<()> {
    // SAFETY: loads the driver's library, whose initialisers have no preconditions.
    if !unsafe { sys::is_culib_present() } {
        let why =
            format!("no CUDA driver (libcuda.so.1) was found: install NVIDIA's driver, {RELEASE} or newer");
        return Err(absent(ordinal, why));
    }
    for symbol in SYMBOLS {
        // SAFETY: the symbol is only looked for, not called.
        if unsafe { sys::culib().get::<unsafe extern "C" fn()>(*symbol) }.is_err() {
            let name = String::from_utf8_lossy(symbol.strip_suffix(b"\0").unwrap_or(symbol)).into_owned();
            return Err(absent(
                ordinal,
                format!("the CUDA driver has no {name}: install {RELEASE} or newer"),
            ));
        }
    }
    let mut version = 0;
    // SAFETY: the symbol was found above, and the pointer is to a live integer.
    let code = unsafe { sys::cuDriverGetVersion(&mut version) };
    if code == sys::CUresult::CUDA_SUCCESS && version < DRIVER {
        let (major, minor) = (version / 1000, version % 1000 / 10);
        return Err(absent(
            ordinal,
            format!("the driver is one for CUDA {major}.{minor}: install {RELEASE} or newer"),
        ));
    }
    let why = |e: DriverError| {
        let text = e.error_string().map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
        absent(ordinal, format!("{:?} ({text})", e.0))
    };
    result::init().map_err(why)?;
    let count = result::device::get_count().map_err(why)?;
    if ordinal >= usize::try_from(count).unwrap_or(0) {
        return Err(absent(ordinal, format!("the driver has {count} device(s)")));
    }
    Ok(())
}
