//! The emulator's library, called through the driver's interface as a program would.

use super::super::*;
use libloading::Library;
use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A kernel: its name and the bytes of each parameter, as PTX would declare them.
pub(super) type Declared = (&'static str, &'static [u32]);

pub(super) const SUCCESS: c_int = 0;
pub(super) const INVALID_VALUE: c_int = 1;
pub(super) const INVALID_IMAGE: c_int = 200;
pub(super) const OUT_OF_RESOURCES: c_int = 701;
pub(super) const LAUNCH_FAILED: c_int = 719;

/// The library with a context and the kernels loaded.
pub(super) struct Driver {
    pub(super) library: Library,
    pub(super) module: usize,
}

/// PTX with nothing but these entry points.
pub(super) fn ptx(kernels: &[Declared], version: &str) -> CString {
    let mut text = format!(".version {version}\n.target sm_80\n.address_size 64\n");
    for (name, params) in kernels {
        let list: Vec<String> =
            params.iter().enumerate().map(|(i, b)| format!(".param .u{} {name}_{i}", b * 8)).collect();
        text += &format!(
            ".visible .entry {name}(\n{}\n)\n.maxntid 128, 1, 1\n{{\n\tret;\n}}\n",
            list.join(",\n")
        );
    }
    CString::new(text).unwrap()
}

impl Driver {
    /// Builds and opens the emulator with the kernels of `emulator/tests/checks/<name>.cu`.
    pub(super) fn open(name: &str, kernels: &[Declared], kind: Kind) -> Self {
        let source = root().join("emulator/tests/checks").join(format!("{name}.cu"));
        let source = Source::read(name, &source).unwrap();
        let folder = target().join("emulator/checked").join(format!("{name}-{}", kind.name()));
        let dir = build_from(&[source], kind, &folder).unwrap();
        // SAFETY: the library's initialisers have no preconditions.
        let library = unsafe { Library::new(dir.join("libcuda.so.1")).unwrap() };
        let mut driver = Driver { library, module: 0 };
        assert_eq!(driver.call("cuInit", &[0]), SUCCESS);
        driver.module = driver.load(&ptx(kernels, "8.0")).unwrap();
        driver
    }

    /// Calls a function of up to eleven integers or pointers; the calling convention ignores further ones.
    pub(super) fn call(&self, name: &str, arguments: &[usize]) -> c_int {
        let mut a = [0; 11];
        a[..arguments.len()].copy_from_slice(arguments);
        type Any = unsafe extern "C" fn(
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
        ) -> c_int;
        // SAFETY: every function of the driver's interface that is called here takes integers and pointers alone.
        unsafe {
            let f = self.library.get::<Any>(name.as_bytes()).unwrap();
            f(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10])
        }
    }

    /// Makes a context current for this thread and loads a module.
    pub(super) fn load(&self, text: &CStr) -> std::result::Result<usize, c_int> {
        self.enter();
        let mut module = 0_usize;
        match self.call("cuModuleLoadData", &[(&raw mut module).addr(), text.as_ptr().addr()]) {
            SUCCESS => Ok(module),
            code => Err(code),
        }
    }

    pub(super) fn enter(&self) {
        let mut context = 0_usize;
        assert_eq!(self.call("cuDevicePrimaryCtxRetain", &[(&raw mut context).addr(), 0]), SUCCESS);
        assert_eq!(self.call("cuCtxSetCurrent", &[context]), SUCCESS);
    }

    /// Memory of `bytes` bytes that nothing has been written to.
    pub(super) fn allocate(&self, bytes: usize) -> usize {
        let mut at = 0_usize;
        assert_eq!(self.call("cuMemAlloc_v2", &[(&raw mut at).addr(), bytes]), SUCCESS);
        at
    }

    pub(super) fn upload(&self, data: &[u32]) -> usize {
        let at = self.allocate(data.len() * 4);
        assert_eq!(self.call("cuMemcpyHtoD_v2", &[at, data.as_ptr().addr(), data.len() * 4]), SUCCESS);
        at
    }

    pub(super) fn download(&self, at: usize, len: usize) -> Vec<u32> {
        let mut data = vec![0_u32; len];
        assert_eq!(self.call("cuMemcpyDtoH_v2", &[data.as_mut_ptr().addr(), at, len * 4]), SUCCESS);
        data
    }

    /// Launches one block (or `grid`) and returns the code and what the driver says of it.
    pub(super) fn launch(
        &self,
        name: &str,
        grid: usize,
        threads: usize,
        shared: usize,
        arguments: &[usize],
    ) -> (c_int, String) {
        let (mut function, symbol) = (0_usize, CString::new(name).unwrap());
        let code = self
            .call("cuModuleGetFunction", &[(&raw mut function).addr(), self.module, symbol.as_ptr().addr()]);
        assert_eq!(code, SUCCESS, "{name}");
        let mut list: Vec<*const usize> = arguments.iter().map(std::ptr::from_ref).collect();
        let params = list.as_mut_ptr().addr();
        type Launch = unsafe extern "C" fn(
            usize,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            usize,
            usize,
            usize,
        ) -> c_int;
        // SAFETY: `list` has a pointer for each of the kernel's parameters, to as many bytes as it has or more.
        let code = unsafe {
            let launch = self.library.get::<Launch>(b"cuLaunchKernel").unwrap();
            launch(function, grid as c_uint, 1, 1, threads as c_uint, 1, 1, shared as c_uint, 0, params, 0)
        };
        (code, self.text_of(code))
    }

    /// What the driver says of a code.
    pub(super) fn text_of(&self, code: c_int) -> String {
        let mut text: *const c_char = std::ptr::null();
        self.call("cuGetErrorString", &[code as usize, (&raw mut text).addr()]);
        assert!(!text.is_null());
        // SAFETY: the driver gave a string that lives until the next call on this thread.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}

/// A driver to use from this thread. One at a time of all of them: the order of threads is an environment variable.
pub(super) fn alone(driver: &Mutex<Driver>) -> (MutexGuard<'static, ()>, MutexGuard<'_, Driver>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let driver = driver.lock().unwrap_or_else(PoisonError::into_inner);
    driver.enter();
    (alone, driver)
}

/// Runs a test in every thread order.
pub(super) fn in_every_order(driver: &Mutex<Driver>, body: impl Fn(&Driver)) {
    let (_alone, driver) = alone(driver);
    for order in ["forward", "reversed", "shuffled:1", "shuffled:2"] {
        // SAFETY: the lock keeps other users of the variable out.
        unsafe { std::env::set_var("FOVEATE_EMULATOR_ORDER", order) };
        body(&driver);
    }
    // SAFETY: the same invariant as of the block above holds here.
    unsafe { std::env::remove_var("FOVEATE_EMULATOR_ORDER") };
}
