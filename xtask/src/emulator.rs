//! `cargo xtask emulator`: builds the stand-in for the CUDA driver, `libcuda.so.1`, from `emulator/` and the kernels as
//! host C++. Programs that should run on it find it through `LD_LIBRARY_PATH`; see `emulator/README.md`.

#[cfg(test)]
mod tests;

use crate::root::{Source, read, root, sha256_of, sources, target};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build with AddressSanitizer: accesses out of bounds end the program with a report. Run the program with the
    /// variables that this prints
    #[arg(long, conflicts_with = "checks")]
    asan: bool,
    /// Build with a check of every access to memory: races, reads of what nothing wrote, accesses out of bounds or
    /// misaligned fail the launch with a report
    #[arg(long)]
    checks: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let kind = match (args.asan, args.checks) {
        (true, _) => Kind::Asan,
        (_, true) => Kind::Checks,
        _ => Kind::Plain,
    };
    build(kind)?;
    for (name, value) in environment(kind)? {
        println!("{name}={}", value.to_string_lossy());
    }
    Ok(())
}

/// How the emulator is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// With AddressSanitizer.
    Asan,
    /// With the emulator's own check of every access.
    Checks,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Plain => "plain",
            Kind::Asan => "asan",
            Kind::Checks => "checks",
        }
    }
}

/// The folder of the library.
fn folder(kind: Kind) -> PathBuf {
    target().join("emulator").join(kind.name())
}

/// What to set so that a program finds the emulator as its CUDA driver.
pub(crate) fn environment(kind: Kind) -> Result<Vec<(String, OsString)>> {
    let mut path = folder(kind).into_os_string();
    if let Some(old) = std::env::var_os("LD_LIBRARY_PATH").filter(|old| !old.is_empty()) {
        path.push(":");
        path.push(old);
    }
    let mut variables = vec![("LD_LIBRARY_PATH".to_owned(), path)];
    variables.push(("CUDA_LIBRARY_PATH".to_owned(), folder(kind).into_os_string()));
    if kind == Kind::Asan {
        let out = Command::new(compiler()).arg("-print-file-name=libasan.so").output();
        let out = out.context("cannot ask the C++ compiler for libasan.so")?;
        let library = String::from_utf8(out.stdout)?.trim().to_owned();
        ensure!(Path::new(&library).is_absolute(), "the C++ compiler has no libasan.so");
        variables.push(("LD_PRELOAD".to_owned(), library.into()));
        variables.push(("ASAN_OPTIONS".to_owned(), "detect_leaks=0".into()));
    }
    Ok(variables)
}

fn compiler() -> OsString {
    std::env::var_os("CXX").unwrap_or_else(|| "g++".into())
}

/// Builds the library if anything it is made of changed; returns its folder.
pub(crate) fn build(kind: Kind) -> Result<PathBuf> {
    build_from(&sources()?, kind, &folder(kind))
}

/// The names of all kernels.
pub(crate) fn kernels() -> Result<BTreeSet<String>> {
    Ok(sources()?.iter().flat_map(entry_points_of).collect())
}

/// As [`build`], of these kernels into this folder.
pub(crate) fn build_from(sources: &[Source], kind: Kind, dir: &Path) -> Result<PathBuf> {
    let objects = dir.join("objects");
    fs::create_dir_all(&objects)?;
    let flags = flags(kind);
    let units = units(sources, &objects, kind, &flags)?;
    compile(&units, &flags)?;
    let library = dir.join("libcuda.so.1");
    let link = sha256_of(&units.iter().map(|u| u.object.as_os_str().as_encoded_bytes()).collect::<Vec<_>>());
    let stamp = dir.join("linked");
    if !library.exists() || fs::read_to_string(&stamp).is_ok_and(|old| old != link) || !stamp.exists() {
        let mut command = Command::new(compiler());
        command.args(&flags).arg("-shared").arg("-Wl,-soname,libcuda.so.1").arg("-o").arg(&library);
        if kind == Kind::Checks {
            // A hook that the emulator has not got should be missed now.
            command.arg("-Wl,--no-undefined");
        }
        run(command.args(units.iter().map(|u| &u.object)))?;
        fs::write(&stamp, link)?;
    }
    // A loader that asks for the development name first must not find another driver under it; and the crate `cust` looks
    // for that name in the folder `lib64` of a CUDA tree.
    for (name, of) in [("libcuda.so", "libcuda.so.1"), ("lib64", ".")] {
        let link = dir.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(of, &link)?;
        }
    }
    for entry in fs::read_dir(&objects)? {
        let path = entry?.path();
        if !units.iter().any(|u| u.object == path || u.source == path) {
            fs::remove_file(path)?;
        }
    }
    Ok(dir.to_path_buf())
}

/// One file to compile. Its object is named by the hash of all that goes into it.
struct Unit {
    source: PathBuf,
    object: PathBuf,
    /// Beside those of all units.
    flags: &'static [&'static str],
}

/// What makes the compiler call the hooks of `emulator/src/checks.cpp`.
const HOOKS: &[&str] =
    &["-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0", "-fsanitize=alignment"];

/// For every unit, and for the library.
fn flags(kind: Kind) -> Vec<String> {
    let include = root().join("emulator/include");
    let text = "-std=c++17 -O2 -g1 -fPIC -fvisibility=hidden -fno-strict-aliasing -ffp-contract=off -pthread -Wall -Wextra \
        -Wno-unknown-pragmas -Wno-missing-field-initializers -Werror";
    let mut flags: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    flags.push(format!("-I{}", include.display()));
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("fma") && std::is_x86_feature_detected!("avx2") {
        flags.push("-mavx2".into());
        flags.push("-mfma".into());
    }
    let more: &[&str] = match kind {
        Kind::Plain => &[],
        Kind::Asan => {
            &["-fsanitize=address", "-fsanitize-sections=emulated_shared", "-fno-omit-frame-pointer"]
        }
        // Lines of inlined functions and of their callers are in the full debug information alone.
        Kind::Checks => &["-DFOVEATE_EMULATOR_CHECKS", "-g2", "-fno-var-tracking"],
    };
    flags.extend(more.iter().map(|&flag| flag.to_owned()));
    flags
}

/// The emulator's own files: in every build, and those of the checks.
const STEMS: &[&str] = &[
    "copies",
    "driver",
    "graphs",
    "memory",
    "ptx",
    "record",
    "scheduler",
    "shadow",
    "streams",
    "unsupported",
];
const CHECKS: &[&str] = &["checks", "lines"];
/// What they include.
const HEADERS: [&str; 12] = [
    "include/cuda_emulator.h",
    "src/checks.h",
    "src/copies.h",
    "src/driver.h",
    "src/graphs.h",
    "src/lines.h",
    "src/memory.h",
    "src/ptx.h",
    "src/record.h",
    "src/scheduler.h",
    "src/shadow.h",
    "src/streams.h",
];

/// The emulator's own files, and a wrapper around each `.cu` file that registers its entry points.
fn units(sources: &[Source], objects: &Path, kind: Kind, flags: &[String]) -> Result<Vec<Unit>> {
    let home = root().join("emulator");
    let version = Command::new(compiler())
        .arg("--version")
        .output()
        .context("no C++ compiler: install g++ or set CXX")?;
    let mut shared = vec![version.stdout, flags.join(" ").into_bytes()];
    for header in HEADERS {
        shared.push(read(&home.join(header))?.into_bytes());
    }
    let named = |stem: &str, own: &[u8]| -> PathBuf {
        let parts: Vec<&[u8]> = shared.iter().map(Vec::as_slice).chain([own]).collect();
        objects.join(format!("{stem}-{}.o", &sha256_of(&parts)[..16]))
    };
    let mut units = Vec::new();
    for &stem in STEMS.iter().chain(if kind == Kind::Checks { CHECKS } else { &[] }) {
        let source = home.join("src").join(format!("{stem}.cpp"));
        units.push(Unit { object: named(stem, read(&source)?.as_bytes()), source, flags: &[] });
    }
    let hooks = if kind == Kind::Checks { HOOKS } else { &[] };
    for kernel in sources {
        let text = wrapper(kernel)?;
        let source = objects.join(format!("{}.cpp", kernel.op));
        if fs::read_to_string(&source).ok().as_ref() != Some(&text) {
            fs::write(&source, &text)?;
        }
        let own = format!("{}{text}{}", kernel.sha256, hooks.join(" "));
        units.push(Unit { object: named(&kernel.op, own.as_bytes()), source, flags: hooks });
    }
    Ok(units)
}

/// C++ that holds one `.cu` file, in a namespace of its own: operations may use the same names for different things.
fn wrapper(kernel: &Source) -> Result<String> {
    let (op, path) = (&kernel.op, kernel.path.display());
    let mut text = format!("#include \"cuda_emulator.h\"\nnamespace op_{op} {{\n#include \"{path}\"\n}}\n");
    let names = entry_points_of(kernel);
    ensure!(!names.is_empty(), "{path} has no extern \"C\" __global__ function");
    for name in names {
        text +=
            &format!("static const emulator::Registration<op_{op}::{name}> register_{name}(\"{name}\");\n");
    }
    Ok(text)
}

fn entry_points_of(source: &Source) -> Vec<String> {
    let headers: Vec<&str> = source.headers.values().map(String::as_str).collect();
    entry_points(&source.text, &headers)
}

/// The names of a file's `extern "C" __global__` functions, those included that a macro of the file or of a header makes.
fn entry_points(text: &str, headers: &[&str]) -> Vec<String> {
    let [joined, headers] = [text, &headers.join("\n")].map(|text| text.replace("\\\n", " "));
    let (mut macros, plain): (Vec<&str>, Vec<&str>) =
        joined.lines().partition(|line| line.trim_start().starts_with("#define"));
    macros.extend(headers.lines().filter(|line| line.trim_start().starts_with("#define")));
    let mut found: Vec<String> = declared(&plain.join("\n")).map(str::to_owned).collect();
    for (name, parameters, body) in macros.iter().filter_map(|line| function_macro(line)) {
        for pattern in declared(body) {
            let calls = plain.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix('('));
            found.extend(calls.filter_map(|call| {
                let arguments: Vec<&str> = call.split_once(')')?.0.split(',').map(str::trim).collect();
                let value = |token: &str| match parameters.iter().position(|p| *p == token) {
                    Some(at) => arguments.get(at).copied().unwrap_or("").to_owned(),
                    None => token.to_owned(),
                };
                Some(pattern.split("##").map(|token| value(token.trim())).collect::<String>())
            }));
        }
    }
    found
}

/// Name, parameters and body of a `#define` with parameters.
fn function_macro(line: &str) -> Option<(&str, Vec<&str>, &str)> {
    let (name, rest) = line.trim_start().strip_prefix("#define")?.trim_start().split_once('(')?;
    let (parameters, body) = rest.split_once(')')?;
    Some((name, parameters.split(',').map(str::trim).collect(), body))
}

/// The names as they stand behind `extern "C" __global__`.
fn declared(text: &str) -> impl Iterator<Item = &str> {
    text.split("extern \"C\" __global__").skip(1).filter_map(|part| {
        let mut rest = part.trim_start();
        rest = rest.strip_prefix("void").unwrap_or(rest).trim_start();
        if let Some(bounds) = rest.strip_prefix("__launch_bounds__(") {
            let mut depth = 1;
            let end = bounds.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            rest = bounds[end.map_or(bounds.len(), |end| end + 1)..].trim_start();
        }
        rest.split('(').next().map(str::trim)
    })
}

/// Compiles what has no object yet, as many at a time as there are processors.
fn compile(units: &[Unit], flags: &[String]) -> Result<()> {
    let todo: Mutex<Vec<&Unit>> = Mutex::new(units.iter().filter(|u| !u.object.exists()).collect());
    let next = || todo.lock().ok().and_then(|mut todo| todo.pop());
    let worker = || -> Result<()> {
        while let Some(unit) = next() {
            // Under a name of its own first: an interrupted compilation leaves no object behind.
            let part = unit.object.with_extension("part");
            let mut command = Command::new(compiler());
            run(command.args(flags).args(unit.flags).arg("-c").arg(&unit.source).arg("-o").arg(&part))?;
            fs::rename(&part, &unit.object)?;
        }
        Ok(())
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        handles.into_iter().try_for_each(|h| h.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?)
    })
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed with {status}");
    Ok(())
}
