//! The pinned CUDA compiler: NVRTC 12.0 turns a `.cu` file into PTX 8.0, ptxas 12.0 proves that PTX and reports what
//! each kernel uses. Both come from PyPI packages; no CUDA toolkit is needed.

use crate::root::{Source, target};
use anyhow::{Context, Result, anyhow, bail, ensure};
use libloading::Library;
use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char, c_int, c_void},
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// The compiler's release. Only this one may write the committed PTX: others emit other text.
pub(crate) const RELEASE: &str = "12.0.140";
/// The newest PTX that the drivers to be supported (525 on) accept.
pub(crate) const PTX_VERSION: &str = "8.0";
const PACKAGES: [&str; 3] = [
    "nvidia-cuda-nvrtc-cu12==12.0.140",
    "nvidia-cuda-nvcc-cu12==12.0.140",
    "nvidia-cuda-runtime-cu12==12.0.146",
];
/// Compiler options that shape the code. Contraction is off: see `kernels/common/base.cuh`.
pub(crate) const OPTIONS: [&str; 2] = ["-std=c++17", "--fmad=false"];

/// Where the compiler's parts are.
pub(crate) struct Compiler {
    nvrtc: PathBuf,
    ptxas: PathBuf,
    include: Vec<PathBuf>,
}

/// Registers, spills and shared memory of one kernel on one architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Resources {
    /// Registers per thread.
    pub(crate) registers: u32,
    /// Bytes of registers stored to and loaded from memory, summed.
    pub(crate) spills: u32,
    /// Bytes of stack per thread.
    pub(crate) stack: u32,
    /// Bytes of static shared memory per block.
    pub(crate) shared: u32,
}

/// How to look for the compiler.
pub(crate) struct Search<'a> {
    pub(crate) nvrtc: Option<&'a Path>,
    pub(crate) ptxas: Option<&'a Path>,
    /// Install the packages if nothing is found.
    pub(crate) fetch: bool,
    /// Ask on the terminal whether to install them.
    pub(crate) offer: bool,
}

impl Compiler {
    /// Looks at the paths given, then at a toolkit on the machine, then in the xtask's own virtual environment. `None`
    /// if there is none and none may be installed; an error if what was named or installed does not serve.
    pub(crate) fn find(search: &Search) -> Result<Option<Self>> {
        if search.nvrtc.is_some() || search.ptxas.is_some() {
            let (Some(nvrtc), Some(ptxas)) = (search.nvrtc, search.ptxas) else {
                bail!("--nvrtc (FOVEATE_NVRTC) and --ptxas (FOVEATE_PTXAS) must be given together");
            };
            let include = include_beside(nvrtc);
            let named = Compiler { nvrtc: nvrtc.into(), ptxas: ptxas.into(), include };
            named.check_release()?;
            return Ok(Some(named));
        }
        if let Some(toolkit) = toolkits().find(|c| c.check_release().is_ok()) {
            return Ok(Some(toolkit));
        }
        let venv = target().join("cuda-tools").join(RELEASE);
        if let Some(own) = in_venv(&venv) {
            own.check_release()?;
            return Ok(Some(own));
        }
        if !(search.fetch || search.offer && accepted(&venv)) {
            return Ok(None);
        }
        install(&venv)?;
        let own =
            in_venv(&venv).ok_or_else(|| anyhow!("{} lacks libnvrtc.so.12 or ptxas", venv.display()))?;
        own.check_release()?;
        Ok(Some(own))
    }

    /// An error unless both parts are of the pinned release.
    fn check_release(&self) -> Result<()> {
        let out = Command::new(&self.ptxas).arg("--version").output();
        let out = out.with_context(|| format!("cannot run {}", self.ptxas.display()))?;
        let says = String::from_utf8_lossy(&out.stdout).into_owned();
        ensure!(
            says.contains(&format!("V{RELEASE}")),
            "{} is not release {RELEASE}: only that one may write the committed PTX; use --fetch to install it",
            self.ptxas.display()
        );
        let nvrtc = Nvrtc::open(&self.nvrtc)?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to live integers.
        nvrtc.check(unsafe { (nvrtc.version)(&mut major, &mut minor) })?;
        ensure!(
            RELEASE.starts_with(&format!("{major}.{minor}.")),
            "{} is NVRTC {major}.{minor}, must be {RELEASE}",
            self.nvrtc.display()
        );
        Ok(())
    }

    /// Compiles to PTX for a virtual architecture such as `compute_80`. No path enters the result.
    pub(crate) fn ptx(&self, source: &Source, arch: &str) -> Result<String> {
        let nvrtc = Nvrtc::open(&self.nvrtc)?;
        let mut options: Vec<String> = OPTIONS.iter().map(|&o| o.into()).collect();
        options.push(format!("--gpu-architecture={arch}"));
        options.extend(self.include.iter().map(|at| format!("-I{}", at.display())));
        let ptx = nvrtc.compile(source, &options)?;
        ensure!(
            ptx.contains(&format!("V{RELEASE}")),
            "{} did not write its release {RELEASE} into the PTX of {}",
            self.nvrtc.display(),
            source.op
        );
        Ok(ptx)
    }

    /// Assembles PTX for a real architecture such as `sm_90` and returns what each kernel uses.
    pub(crate) fn resources(&self, ptx: &Path, arch: &str) -> Result<BTreeMap<String, Resources>> {
        let mut ptxas = Command::new(&self.ptxas);
        ptxas.arg("-v").arg(format!("-arch={arch}")).arg(ptx).arg("-o").arg("/dev/null");
        let out = ptxas.output().with_context(|| format!("cannot run {}", self.ptxas.display()))?;
        let says = String::from_utf8_lossy(&out.stderr).into_owned();
        ensure!(out.status.success(), "ptxas -arch={arch} refuses {}:\n{says}", ptx.display());
        Ok(parse_resources(&says))
    }
}

/// Reads the report of `ptxas -v`.
fn parse_resources(report: &str) -> BTreeMap<String, Resources> {
    let before = |line: &str, unit: &str| -> u32 {
        let head = line.split(unit).next().unwrap_or("");
        let digits = head.rsplit(|c: char| !c.is_ascii_digit()).next();
        if line.contains(unit) { digits.and_then(|d| d.parse().ok()).unwrap_or(0) } else { 0 }
    };
    let mut kernels = BTreeMap::new();
    let mut now: Option<String> = None;
    for line in report.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            now = rest.split('\'').next().map(str::to_owned);
        }
        let Some(kernel) = &now else { continue };
        let of: &mut Resources = kernels.entry(kernel.clone()).or_default();
        if line.contains("bytes stack frame") {
            of.stack = before(line, " bytes stack frame");
            of.spills = before(line, " bytes spill stores") + before(line, " bytes spill loads");
        } else if line.contains("Used ") {
            of.registers = before(line, " registers");
            of.shared = before(line, " bytes smem");
        }
    }
    kernels
}

/// A toolkit of the machine, from `CUDA_HOME`, `CUDA_PATH` or its usual place.
fn toolkits() -> impl Iterator<Item = Compiler> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    named.chain([PathBuf::from("/usr/local/cuda")]).filter_map(|root| {
        let nvrtc = root.join("lib64/libnvrtc.so.12");
        let ptxas = root.join("bin/ptxas");
        let found = nvrtc.is_file() && ptxas.is_file();
        found.then(|| Compiler { nvrtc, ptxas, include: vec![root.join("include")] })
    })
}

/// The include folders of the packages or the toolkit that an NVRTC library belongs to.
fn include_beside(nvrtc: &Path) -> Vec<PathBuf> {
    let Some(root) = nvrtc.parent().and_then(Path::parent) else { return Vec::new() };
    let beside = root.parent().unwrap_or(root);
    [root.join("include"), beside.join("cuda_runtime/include"), beside.join("cuda_nvcc/include")]
        .into_iter()
        .filter(|at| at.is_dir())
        .collect()
}

/// The compiler inside a virtual environment, if it is complete.
fn in_venv(venv: &Path) -> Option<Compiler> {
    let lib = std::fs::read_dir(venv.join("lib")).ok()?.flatten().next()?.path();
    let nvidia = lib.join("site-packages/nvidia");
    let nvrtc = nvidia.join("cuda_nvrtc/lib/libnvrtc.so.12");
    let ptxas = nvidia.join("cuda_nvcc/bin/ptxas");
    let include = vec![nvidia.join("cuda_runtime/include"), nvidia.join("cuda_nvcc/include")];
    let complete = nvrtc.is_file() && ptxas.is_file() && include.iter().all(|at| at.is_dir());
    complete.then_some(Compiler { nvrtc, ptxas, include })
}

fn accepted(venv: &Path) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    eprint!("No CUDA {RELEASE} compiler found. Install it from PyPI (45 MB) into {}? [y/N] ", venv.display());
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn install(venv: &Path) -> Result<()> {
    eprintln!("installing {} into {}", PACKAGES.join(", "), venv.display());
    let run = |command: &mut Command| -> Result<()> {
        let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
        ensure!(status.success(), "{command:?} failed with {status}");
        Ok(())
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    run(Command::new(venv.join("bin/python")).args(pip).args(PACKAGES))
}

type Program = *mut c_void;

/// The functions of NVRTC that are used, from a library opened by path.
struct Nvrtc {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    error: unsafe extern "C" fn(c_int) -> *const c_char,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    ptx_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    ptx: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    // Last: the functions above live in it.
    _library: Library,
}

impl Nvrtc {
    fn open(path: &Path) -> Result<Self> {
        // SAFETY: NVRTC's initialisers have no preconditions; each symbol has the type that nvrtc.h declares for it, and
        // the library is kept as long as the functions.
        unsafe {
            let library = Library::new(path).with_context(|| format!("cannot load {}", path.display()))?;
            Ok(Nvrtc {
                version: *library.get(b"nvrtcVersion\0")?,
                error: *library.get(b"nvrtcGetErrorString\0")?,
                create: *library.get(b"nvrtcCreateProgram\0")?,
                compile: *library.get(b"nvrtcCompileProgram\0")?,
                log_size: *library.get(b"nvrtcGetProgramLogSize\0")?,
                log: *library.get(b"nvrtcGetProgramLog\0")?,
                ptx_size: *library.get(b"nvrtcGetPTXSize\0")?,
                ptx: *library.get(b"nvrtcGetPTX\0")?,
                destroy: *library.get(b"nvrtcDestroyProgram\0")?,
                _library: library,
            })
        }
    }

    fn check(&self, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: NVRTC returns a static string for every code.
        let what = unsafe { CStr::from_ptr((self.error)(code)) };
        bail!("NVRTC: {}", what.to_string_lossy())
    }

    fn compile(&self, source: &Source, options: &[String]) -> Result<String> {
        let text = CString::new(source.text.as_str())?;
        let name = CString::new(format!("{}.cu", source.op))?;
        let owned = |strings: Vec<&String>| -> Result<Vec<CString>> {
            strings.into_iter().map(|s| Ok(CString::new(s.as_str())?)).collect()
        };
        let pointers =
            |strings: &[CString]| -> Vec<*const c_char> { strings.iter().map(|s| s.as_ptr()).collect() };
        let names = owned(source.headers.keys().collect())?;
        let texts = owned(source.headers.values().collect())?;
        let options = owned(options.iter().collect())?;
        let (name_ptrs, text_ptrs, option_ptrs) = (pointers(&names), pointers(&texts), pointers(&options));
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: every string outlives the calls, the counts are those of the arrays, the buffers have the sizes that
        // NVRTC asked for, and the program is destroyed once.
        unsafe {
            self.check((self.create)(
                &mut program,
                text.as_ptr(),
                name.as_ptr(),
                text_ptrs.len() as c_int,
                text_ptrs.as_ptr(),
                name_ptrs.as_ptr(),
            ))?;
            let code = (self.compile)(program, option_ptrs.len() as c_int, option_ptrs.as_ptr());
            let result = match code {
                0 => self.text(program, self.ptx_size, self.ptx),
                _ => Err(anyhow!(
                    "{}:\n{}",
                    source.path.display(),
                    self.text(program, self.log_size, self.log)?
                )),
            };
            (self.destroy)(&mut program);
            result
        }
    }

    /// A text of the program that has to be asked for its size first, without the terminating zero.
    ///
    /// # Safety
    /// `program` must be a live program of this library, `size` and `get` a pair of its functions.
    unsafe fn text(
        &self,
        program: Program,
        size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
        get: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    ) -> Result<String> {
        let mut bytes = 0;
        // SAFETY: as the caller promises; the buffer has the size that was asked for.
        unsafe {
            self.check(size(program, &mut bytes))?;
            let mut text = vec![0u8; bytes];
            self.check(get(program, text.as_mut_ptr().cast()))?;
            text.truncate(bytes.saturating_sub(1));
            Ok(String::from_utf8(text)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_ptxas_is_read() {
        let report = "ptxas info    : 316 bytes gmem\n\
            ptxas info    : Compiling entry function 'a' for 'sm_80'\n\
            ptxas info    : Function properties for a\n    16 bytes stack frame, 20 bytes spill stores, 56 bytes spill loads\n\
            ptxas info    : Used 32 registers, 25856 bytes smem, 400 bytes cmem[0]\n\
            ptxas info    : Compiling entry function 'b' for 'sm_80'\n\
            ptxas info    : Function properties for b\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 8 registers, 400 bytes cmem[0]\n";
        let read = parse_resources(report);
        assert_eq!(read["a"], Resources { registers: 32, spills: 76, stack: 16, shared: 25856 });
        assert_eq!(read["b"], Resources { registers: 8, spills: 0, stack: 0, shared: 0 });
    }
}
