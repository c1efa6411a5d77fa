//! `cargo xtask build-kernels`: compiles every `kernels/<op>/*.cu` to `kernels/ptx/<module>.compute_80.ptx` and records in
//! `MANIFEST.toml` what each file was made from; `--check` holds the committed files against their sources. WGSL, which
//! drivers compile, is validated.

mod compiler;
mod local;
mod manifest;
mod params;
mod wgsl;

use crate::root::{HOPPER, Source, read, root, sha256, sources};
use anyhow::{Context, Result, bail, ensure};
use compiler::{Compiler, Search};
use manifest::{Kernel, Manifest, Module};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Write nothing: fail if a source changed and its PTX did not, if a PTX is newer than the pin, if a parameter block
    /// differs from its twin, if a kernel has a stack or spills that kernels/local.toml does not allow, or (where the
    /// compiler is present) if compiling again gives other bytes
    #[arg(long)]
    pub(crate) check: bool,
    /// Install the pinned compiler from PyPI into target/cuda-tools if it is not there
    #[arg(long)]
    pub(crate) fetch: bool,
    /// Print registers, spills and shared memory of every kernel
    #[arg(long)]
    pub(crate) resources: bool,
    /// Compile everything, also what is current
    #[arg(long)]
    pub(crate) force: bool,
    /// libnvrtc.so.12 to use, of the pinned release
    #[arg(long, env = "FOVEATE_NVRTC")]
    pub(crate) nvrtc: Option<PathBuf>,
    /// ptxas to use, of the pinned release
    #[arg(long, env = "FOVEATE_PTXAS")]
    pub(crate) ptxas: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    wgsl::check()?;
    let dir = root().join("kernels/ptx");
    let sources = sources()?;
    let old = match fs::read_to_string(dir.join("MANIFEST.toml")) {
        Ok(text) => Manifest::parse(&text)?,
        Err(_) => Manifest::default(),
    };
    let search = Search {
        nvrtc: args.nvrtc.as_deref(),
        ptxas: args.ptxas.as_deref(),
        fetch: args.fetch,
        offer: !args.check,
    };
    let shown = if args.check {
        check(&dir, &sources, &old, &search)?;
        old
    } else {
        build(args, &dir, &sources, &old, &search)?
    };
    if args.resources {
        print_resources(&shown);
    }
    Ok(())
}

/// Compiles what is not current, writes it and the manifest, and removes PTX whose source is gone.
fn build(args: &Args, dir: &Path, sources: &[Source], old: &Manifest, search: &Search) -> Result<Manifest> {
    let current = |source: &&Source| {
        let module = old.module.get(&source.op).filter(|m| m.current(source));
        module.is_some_and(|m| file_sha256(&dir.join(&m.ptx)).is_ok_and(|sha| sha == m.ptx_sha256))
    };
    let (fresh, stale): (Vec<&Source>, Vec<&Source>) =
        sources.iter().partition(|s| !args.force && current(s));
    let mut new = Manifest::default();
    for source in &fresh {
        if let Some(module) = old.module.get(&source.op) {
            new.module.insert(source.op.clone(), module.clone());
        }
    }
    fs::create_dir_all(dir)?;
    if !stale.is_empty() {
        let compiler = Compiler::find(search)?.with_context(|| {
            format!(
                "no CUDA {} compiler: run `cargo xtask build-kernels --fetch` to install it from PyPI",
                compiler::RELEASE
            )
        })?;
        for source in &stale {
            let (module, ptx) = compile(&compiler, source)?;
            fs::write(dir.join(&module.ptx), ptx)?;
            new.module.insert(source.op.clone(), module);
        }
    }
    fs::write(dir.join("MANIFEST.toml"), new.text())?;
    for stray in strays(dir, &new)? {
        fs::remove_file(&stray)?;
    }
    params::check()?;
    local::check(&new)?;
    println!("{} compiled, {} current", stale.len(), fresh.len());
    Ok(new)
}

/// Holds the committed files against the sources; compiles again where the compiler is present.
fn check(dir: &Path, sources: &[Source], old: &Manifest, search: &Search) -> Result<()> {
    let mut wrong: Vec<String> = Vec::new();
    for source in sources {
        if let Err(e) = check_module(dir, source, old) {
            wrong.push(format!("{e:#}"));
        }
    }
    for op in old.module.keys().filter(|&op| !sources.iter().any(|s| s.op == *op)) {
        wrong.push(format!("{op} is in the manifest but has no source"));
    }
    wrong.extend(strays(dir, old)?.iter().map(|p| format!("{} is not in the manifest", p.display())));
    for checked in [params::check(), local::check(old)] {
        wrong.extend(checked.err().map(|e| format!("{e:#}")));
    }
    let compiler = if wrong.is_empty() { Compiler::find(search)? } else { None };
    if let Some(compiler) = &compiler {
        for source in sources {
            if let Err(e) = check_again(dir, compiler, source, old) {
                wrong.push(format!("{e:#}"));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("{}\nrun `cargo xtask build-kernels` and commit what it writes", wrong.join("\n"));
    }
    match compiler {
        Some(_) => println!("{} modules are current, and compile to the same bytes", sources.len()),
        None => println!("{} modules are current (no compiler here to compile them again)", sources.len()),
    }
    Ok(())
}

/// Hashes and version of one module.
fn check_module(dir: &Path, source: &Source, old: &Manifest) -> Result<()> {
    let op = &source.op;
    let module = old.module.get(op).with_context(|| format!("{op} has no PTX"))?;
    ensure!(module.current(source), "{op}: the source or the compiler changed since its PTX was made");
    let ptx = read(&dir.join(&module.ptx))?;
    ensure!(sha256(ptx.as_bytes()) == module.ptx_sha256, "{} was changed by hand", module.ptx);
    let version = manifest::ptx_version(&ptx)?;
    ensure!(version == module.ptx_version, "{}: the manifest says PTX {}", module.ptx, module.ptx_version);
    manifest::check_version(&module.ptx, &version)?;
    let entries = manifest::entries(&ptx)?;
    let listed: BTreeMap<String, Vec<u32>> =
        module.kernels.iter().map(|(name, k)| (name.clone(), k.params.clone())).collect();
    ensure!(entries == listed, "{}: its entry points are not those of the manifest", module.ptx);
    Ok(())
}

/// Compiles one module again: the bytes must be the same, and so must the manifest's entry.
fn check_again(dir: &Path, compiler: &Compiler, source: &Source, old: &Manifest) -> Result<()> {
    let (module, ptx) = compile(compiler, source)?;
    ensure!(ptx == read(&dir.join(&module.ptx))?, "{}: compiling again gives other bytes", module.ptx);
    ensure!(
        old.module.get(&source.op) == Some(&module),
        "{}: the manifest's entry is not current",
        source.op
    );
    Ok(())
}

/// Compiles one source and measures its kernels.
fn compile(compiler: &Compiler, source: &Source) -> Result<(Module, String)> {
    let (arch, hopper) = (source.arch, source.arch == HOPPER);
    let ptx = compiler.ptx(source, arch)?;
    let version = manifest::ptx_version(&ptx)?;
    manifest::check_version(&source.op, &version)?;
    let name = format!("{}.{arch}.ptx", source.op);
    let scratch = crate::root::target().join("ptx");
    fs::create_dir_all(&scratch)?;
    let at = scratch.join(&name);
    fs::write(&at, &ptx)?;
    let sm_80 = if hopper { None } else { Some(compiler.resources(&at, "sm_80")?) };
    let sm_90 = compiler.resources(&at, if hopper { "sm_90a" } else { "sm_90" })?;
    let of = |table: &BTreeMap<String, compiler::Resources>, kernel: &str| {
        table.get(kernel).copied().with_context(|| format!("ptxas reports nothing on {kernel}"))
    };
    let mut kernels = BTreeMap::new();
    for (kernel, params) in manifest::entries(&ptx)? {
        let sm_80 = sm_80.as_ref().map(|table| of(table, &kernel)).transpose()?;
        let sm_90 = of(&sm_90, &kernel)?;
        kernels.insert(kernel, Kernel { params, sm_80, sm_90 });
    }
    ensure!(!kernels.is_empty(), "{} has no extern \"C\" __global__ function", source.path.display());
    let module = Module {
        ptx: name,
        compiler: manifest::compiler(),
        options: manifest::options(arch),
        ptx_version: version,
        source_sha256: source.sha256.clone(),
        ptx_sha256: sha256(ptx.as_bytes()),
        unproven: hopper,
        kernels,
    };
    Ok((module, ptx))
}

/// PTX files that no module of the manifest names.
fn strays(dir: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        if name.ends_with(".ptx") && !manifest.module.values().any(|m| m.ptx == name) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn file_sha256(path: &Path) -> Result<String> {
    Ok(sha256(read(path)?.as_bytes()))
}

/// Registers, bytes of spills and of stack per thread, bytes of static shared memory per block.
fn print_resources(manifest: &Manifest) {
    const UNITS: [&str; 4] = ["regs", "spills", "stack", "shared"];
    let row = |of: [String; 4]| of.map(|cell| format!("{cell:>7}")).concat();
    println!("{:34}{:>28}   {:>28}", "", "sm_80", "sm_90");
    let units = row(UNITS.map(str::to_owned));
    println!("{:34}{units}   {units}", "kernel");
    for (name, kernel) in manifest.module.values().flat_map(|m| &m.kernels) {
        let [a, b] = [kernel.sm_80, Some(kernel.sm_90)].map(|r| match r {
            Some(r) => row([r.registers, r.spills, r.stack, r.shared].map(|n| n.to_string())),
            None => row([""; 4].map(str::to_owned)),
        });
        println!("{name:34}{a}   {b}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use compiler::Resources;

    /// A folder with one PTX file, its source, and the manifest that fits both.
    fn committed(dir: &Path, version: &str) -> (Source, Manifest) {
        let ptx = format!(".version {version}\n.visible .entry k(\n\t.param .u64 k_param_0\n)\n{{ }}\n");
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("k.compute_80.ptx"), &ptx).unwrap();
        fs::write(dir.join("k.cu"), "extern \"C\" __global__ void k(int*) {}\n").unwrap();
        let source = Source::read("k", &dir.join("k.cu")).unwrap();
        let kernel = Kernel { params: vec![8], sm_80: None, sm_90: Resources::default() };
        let module = Module {
            ptx: "k.compute_80.ptx".into(),
            compiler: manifest::compiler(),
            options: manifest::options(source.arch),
            ptx_version: version.into(),
            source_sha256: source.sha256.clone(),
            ptx_sha256: sha256(ptx.as_bytes()),
            unproven: false,
            kernels: [("k".to_owned(), kernel)].into(),
        };
        (source, Manifest { module: [("k".to_owned(), module)].into() })
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let dir = std::env::temp_dir().join(format!("foveate-check-{}", std::process::id()));
        let (source, manifest) = committed(&dir, "8.0");
        check_module(&dir, &source, &manifest).unwrap();
        let refused = |source: &Source, manifest: &Manifest| {
            format!("{:#}", check_module(&dir, source, manifest).unwrap_err())
        };

        fs::write(dir.join("k.cu"), "extern \"C\" __global__ void k(int* x) { *x = 1; }\n").unwrap();
        let edited = Source::read("k", &dir.join("k.cu")).unwrap();
        assert!(refused(&edited, &manifest).contains("changed since its PTX was made"));
        assert!(refused(&source, &Manifest::default()).contains("k has no PTX"));

        fs::write(dir.join("k.compute_80.ptx"), ".version 8.0\n").unwrap();
        assert!(refused(&source, &manifest).contains("changed by hand"));
        let (source, manifest) = committed(&dir, "8.1");
        assert!(refused(&source, &manifest).contains("at most 8.0"));
        fs::write(dir.join("stray.compute_80.ptx"), "").unwrap();
        assert_eq!(strays(&dir, &manifest).unwrap().len(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
