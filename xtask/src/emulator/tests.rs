//! Launches `emulator/tests/checks/checks.cu` through the driver's interface: sound kernels give known results in every
//! thread order, and each broken one is reported, or shows.

use super::*;
use libloading::Library;
use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint},
    sync::{LazyLock, Mutex, PoisonError},
};

const BLOCK: usize = 64;
/// Name and bytes of each parameter, as PTX would declare them.
const KERNELS: &[(&str, &[u32])] = &[
    ("block_sum", &[8, 8]),
    ("warp_words", &[8]),
    ("exponential", &[8, 8]),
    ("reversed", &[8, 8]),
    ("reversed_without_barrier", &[8, 8]),
    ("unwritten", &[8]),
    ("ended_early", &[8]),
    ("two_barriers", &[8]),
    ("lost_lanes", &[8]),
    ("not_in_mask", &[8]),
    ("beyond_global", &[8]),
    ("beyond_shared", &[8, 4]),
];
const SUCCESS: c_int = 0;
const INVALID_VALUE: c_int = 1;
const INVALID_IMAGE: c_int = 200;
const OUT_OF_RESOURCES: c_int = 701;
const LAUNCH_FAILED: c_int = 719;

/// The library with a context and the kernels loaded. One thread at a time: the order is an environment variable.
struct Driver {
    library: Library,
    module: usize,
}

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(|| Mutex::new(Driver::open(false)));

fn ptx(kernels: &[(&str, &[u32])], version: &str) -> CString {
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
    fn open(asan: bool) -> Self {
        let source = Source::read("checks", &root().join("emulator/tests/checks/checks.cu")).unwrap();
        let folder = target().join(if asan { "emulator/checks-asan" } else { "emulator/checks" });
        let dir = build_from(&[source], asan, &folder).unwrap();
        // SAFETY: the library's initialisers have no preconditions.
        let library = unsafe { Library::new(dir.join("libcuda.so.1")).unwrap() };
        let mut driver = Driver { library, module: 0 };
        assert_eq!(driver.call("cuInit", &[0]), SUCCESS);
        driver.module = driver.load(&ptx(KERNELS, "8.0")).unwrap();
        driver
    }

    /// Calls a function of up to eleven integers or pointers; the calling convention ignores further ones.
    fn call(&self, name: &str, arguments: &[usize]) -> c_int {
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
    fn load(&self, text: &CStr) -> std::result::Result<usize, c_int> {
        self.enter();
        let mut module = 0_usize;
        match self.call("cuModuleLoadData", &[(&raw mut module).addr(), text.as_ptr().addr()]) {
            SUCCESS => Ok(module),
            code => Err(code),
        }
    }

    fn enter(&self) {
        let mut context = 0_usize;
        assert_eq!(self.call("cuDevicePrimaryCtxRetain", &[(&raw mut context).addr(), 0]), SUCCESS);
        assert_eq!(self.call("cuCtxSetCurrent", &[context]), SUCCESS);
    }

    fn upload(&self, data: &[u32]) -> usize {
        let mut at = 0_usize;
        assert_eq!(self.call("cuMemAlloc_v2", &[(&raw mut at).addr(), data.len() * 4]), SUCCESS);
        assert_eq!(self.call("cuMemcpyHtoD_v2", &[at, data.as_ptr().addr(), data.len() * 4]), SUCCESS);
        at
    }

    fn download(&self, at: usize, len: usize) -> Vec<u32> {
        let mut data = vec![0_u32; len];
        assert_eq!(self.call("cuMemcpyDtoH_v2", &[data.as_mut_ptr().addr(), at, len * 4]), SUCCESS);
        data
    }

    /// Launches one block (or `grid`) and returns the code and what the driver says of it.
    fn launch(
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
        let mut text: *const c_char = std::ptr::null();
        self.call("cuGetErrorString", &[code as usize, (&raw mut text).addr()]);
        assert!(!text.is_null());
        // SAFETY: the driver gave a string that lives until the next call on this thread.
        (code, unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }
}

/// Runs a test in every thread order.
fn in_every_order(body: impl Fn(&Driver)) {
    let driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    driver.enter();
    for order in ["forward", "reversed", "shuffled:1", "shuffled:2"] {
        // SAFETY: the lock keeps other users of the variable out.
        unsafe { std::env::set_var("FOVEATE_EMULATOR_ORDER", order) };
        body(&driver);
    }
    // SAFETY: the same invariant as of the block above holds here.
    unsafe { std::env::remove_var("FOVEATE_EMULATOR_ORDER") };
}

fn floats(words: &[u32]) -> Vec<f32> {
    words.iter().map(|&w| f32::from_bits(w)).collect()
}

fn counting(n: usize) -> Vec<u32> {
    (0..n).map(|i| (i as f32).to_bits()).collect()
}

#[test]
fn sound_kernels_give_their_results_in_every_order() {
    in_every_order(|d| {
        let (x, y) = (d.upload(&counting(3 * BLOCK)), d.upload(&[0; BLOCK * 8]));
        assert_eq!(d.launch("block_sum", 3, BLOCK, 0, &[x, y]).0, SUCCESS);
        let sum = |block: usize| (0..BLOCK).map(|i| (block * BLOCK + i) as f32).sum::<f32>();
        assert_eq!(floats(&d.download(y, 3)), [sum(0), sum(1), sum(2)]);
        assert_eq!(d.launch("reversed", 1, BLOCK, BLOCK * 4, &[x, y]).0, SUCCESS);
        assert!(floats(&d.download(y, BLOCK)).iter().enumerate().all(|(i, &v)| v == (BLOCK - 1 - i) as f32));
        assert_eq!(d.launch("warp_words", 1, BLOCK, 0, &[y]).0, SUCCESS);
        for (thread, words) in d.download(y, BLOCK * 8).chunks(8).enumerate() {
            let lane = thread as u32 % 32;
            let down = if lane % 8 < 5 { lane + 3 } else { lane };
            let last = if lane < 16 { lane ^ 15 } else { 0xffff_0000 };
            let want = [
                50,
                lane.saturating_sub(3).max(if lane < 3 { lane } else { 0 }),
                down,
                lane ^ 1,
                0xaaaa_aaaa,
                1,
                last,
                2,
            ];
            assert_eq!(words, want, "thread {thread}");
        }
    });
}

#[test]
fn the_exponential_is_within_its_bound() {
    let driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    driver.enter();
    let blocks = 4096;
    let x: Vec<u32> =
        (0..blocks * BLOCK).map(|i| (-87.0 * i as f32 / (blocks * BLOCK) as f32).to_bits()).collect();
    let (at, to) = (driver.upload(&x), driver.upload(&x));
    assert_eq!(driver.launch("exponential", blocks, BLOCK, 0, &[at, to]).0, SUCCESS);
    let mut worst = 0.0_f64;
    for (x, y) in floats(&x).into_iter().zip(floats(&driver.download(to, x.len()))) {
        let (exact, near) = (f64::from(x).exp(), f64::from(x).exp() as f32);
        let unit = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
        worst = worst.max((f64::from(y) - exact).abs() / unit);
    }
    assert!(worst < 1.1, "{worst} units in the last place");
    let special = [0.0, -0.0, -103.9, -105.0, f32::NEG_INFINITY, f32::NAN];
    let x: Vec<u32> = special.iter().cycle().take(BLOCK).map(|v: &f32| v.to_bits()).collect();
    let (at, to) = (driver.upload(&x), driver.upload(&x));
    assert_eq!(driver.launch("exponential", 1, BLOCK, 0, &[at, to]).0, SUCCESS);
    let y = floats(&driver.download(to, 6));
    assert_eq!(y[..5], [1.0, 1.0, f32::from_bits(1), 0.0, 0.0]);
    assert!(y[5].is_nan());
}

#[test]
fn a_missing_barrier_shows_in_some_order() {
    let wrong = std::cell::Cell::new(0);
    in_every_order(|d| {
        let (x, y) = (d.upload(&counting(BLOCK)), d.upload(&[0; BLOCK]));
        assert_eq!(d.launch("reversed_without_barrier", 1, BLOCK, BLOCK * 4, &[x, y]).0, SUCCESS);
        let right =
            floats(&d.download(y, BLOCK)).iter().enumerate().all(|(i, &v)| v == (BLOCK - 1 - i) as f32);
        wrong.set(wrong.get() + usize::from(!right));
    });
    assert!(wrong.get() > 0);
}

#[test]
fn unwritten_shared_memory_reads_as_nan() {
    in_every_order(|d| {
        let y = d.upload(&[0; BLOCK]);
        assert_eq!(d.launch("unwritten", 2, BLOCK, 0, &[y]).0, SUCCESS);
        let read = floats(&d.download(y, BLOCK));
        assert!(
            read.iter().enumerate().all(|(i, v)| if i == 1 { *v == 1.0 } else { v.is_nan() }),
            "{read:?}"
        );
    });
}

#[test]
fn misused_barriers_and_warp_operations_are_reported() {
    in_every_order(|d| {
        let y = d.upload(&[0; BLOCK]);
        for (kernel, says) in [
            ("ended_early", "divergent barrier"),
            ("two_barriers", "divergent barrier"),
            ("lost_lanes", "deadlock"),
            ("not_in_mask", "not in the mask"),
        ] {
            let (code, text) = d.launch(kernel, 1, BLOCK, 0, &[y]);
            assert_eq!(code, LAUNCH_FAILED, "{kernel}");
            assert!(text.contains(says) && text.contains(kernel) && text.contains("checks.cu:"), "{text}");
        }
        // The next launch is not troubled.
        assert_eq!(d.launch("warp_words", 1, 32, 0, &[d.upload(&[0; 32 * 8])]).0, SUCCESS);
    });
}

#[test]
fn launches_beyond_the_limits_are_refused() {
    in_every_order(|d| {
        let (x, y) = (d.upload(&counting(BLOCK)), d.upload(&[0; BLOCK]));
        assert_eq!(d.launch("reversed", 1, 2048, 0, &[x, y]).0, INVALID_VALUE);
        assert_eq!(d.launch("reversed", 1, 256, 0, &[x, y]).0, OUT_OF_RESOURCES);
        assert_eq!(d.launch("reversed", 1, BLOCK, 48 * 1024 + 1, &[x, y]).0, INVALID_VALUE);
        assert_eq!(d.launch("reversed", 0, BLOCK, 0, &[x, y]).0, INVALID_VALUE);
        assert_eq!(
            d.call("cuMemcpyHtoD_v2", &[y + 4, counting(BLOCK).as_ptr().addr(), BLOCK * 4]),
            INVALID_VALUE
        );
        assert_eq!(d.call("cuStreamBeginCapture_v2", &[0, 0]), 801);
    });
}

#[test]
fn modules_that_do_not_fit_are_refused() {
    let driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(driver.load(&ptx(&[("reversed", &[8, 8])], "8.1")), Err(222));
    assert_eq!(driver.load(&ptx(&[("reversed", &[8, 4])], "8.0")), Err(INVALID_IMAGE));
    assert_eq!(driver.load(&ptx(&[("reversed", &[8])], "8.0")), Err(INVALID_IMAGE));
    assert_eq!(driver.load(&ptx(&[("absent", &[8])], "8.0")), Err(INVALID_IMAGE));
}

/// Runs in a process of its own, which AddressSanitizer ends: see `overruns_end_the_program`.
#[test]
#[ignore = "run by overruns_end_the_program"]
fn one_launch_under_asan() {
    let kernel = std::env::var("FOVEATE_CHECK").unwrap();
    let driver = Driver::open(true);
    let y = driver.upload(&[0; BLOCK]);
    let arguments = if kernel == "beyond_shared" { vec![y, 1] } else { vec![y] };
    assert_eq!(driver.launch(&kernel, 1, BLOCK, 0, &arguments).0, SUCCESS);
}

#[test]
fn overruns_end_the_program() {
    let child = |kernel: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "emulator::tests::one_launch_under_asan", "--ignored", "--nocapture"]);
        command.envs(environment(true).unwrap()).env("FOVEATE_CHECK", kernel);
        let out = command.output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (sound, says) = child("warp_words_on_too_little");
    assert!(!sound && !says.contains("AddressSanitizer"), "an unknown kernel is no overrun: {says}");
    let (sound, says) = child("ended_early");
    assert!(!sound && says.contains("divergent barrier") && !says.contains("AddressSanitizer"), "{says}");
    for (kernel, kind) in
        [("beyond_global", "heap-buffer-overflow"), ("beyond_shared", "global-buffer-overflow")]
    {
        let (sound, says) = child(kernel);
        assert!(!sound && says.contains(kind) && says.contains("checks.cu"), "{kernel}: {says}");
    }
}

#[test]
fn entry_points_are_found() {
    let text = "extern \"C\" __global__ void __launch_bounds__(max(1, T), 2)\nfirst(int a) {}\n\
        __device__ void no(int);\nextern \"C\" __global__ void second(\n  float* x) {}";
    assert_eq!(entry_points(text), ["first", "second"]);
    let text = "#define BOTH(name, of) \\\n  extern \"C\" __global__ void __launch_bounds__(T) name##_##of(int a) {} \\\n  \
        extern \"C\" __global__ void name##_grad(int a) {}\nBOTH(f, x)\nBOTH(g, y);\n#define OTHER(a) a\nOTHER(3)\n";
    assert_eq!(entry_points(text), ["f_x", "g_y", "f_grad", "g_grad"]);
}
