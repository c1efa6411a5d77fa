//! `cargo xtask bundle`: a folder that a GPU machine without Rust and without a network tests and measures this crate
//! with: executables, recorded cases, the peer's scripts, and `run.sh`, which is all that has to be run there.

mod check;
mod programs;

use crate::{
    bench::machine,
    root::{root, target},
    run::run,
};
use anyhow::{Context, Result, bail, ensure};
use programs::Programs;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What a bundle may hold: it travels to its machine whole.
const MOST: u64 = 40_000_000;
/// Marks a folder as one that may be replaced.
const BUILT: &str = "BUILT";

/// How the executables are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// For CUDA alone, optimised, in less than 40 MB
    Release,
    /// The executables of `cargo xtask test`, which have every feature; of any size
    Dev,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder to make; `bundle` in the target folder by default. An older bundle there is replaced
    #[arg(long)]
    out: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
    /// Go through it here as well, in short, with the emulator as the device
    #[arg(long)]
    check: bool,
    /// The Python of that, whose PyTorch is the peer if it has one (python3)
    #[arg(long, requires = "check", value_name = "PATH")]
    python: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| target().join("bundle"));
    let size = make(&out, args.profile)?;
    println!("{}: {:.1} MB. There: ./run.sh", out.display(), size as f64 * 1e-6);
    if args.check { check::on_the_emulator(&out, args.python.as_deref()) } else { Ok(()) }
}

/// A bundle of the executables that the test command has built, and a way through it.
pub(crate) fn in_a_test_run() -> Result<()> {
    main(&Args { out: Some(target().join("bundle-test")), profile: Profile::Dev, check: true, python: None })
}

/// Makes the bundle and gives its size in bytes.
fn make(out: &Path, profile: Profile) -> Result<u64> {
    let programs = Programs::build(profile)?;
    empty(out)?;
    fs::write(out.join(BUILT), built(profile)?)?;
    pack(&programs, &out.join("programs.tar.gz"))?;
    copy(&root().join("verify/cases"), &out.join("cases"), &["safetensors"])?;
    copy(&root().join("benches/peers"), &out.join("peers"), &["py", "txt"])?;
    let script = out.join("run.sh");
    fs::write(&script, include_str!("run.sh"))?;
    executable(&script)?;
    let size = size(out)?;
    let most = if profile == Profile::Release { MOST } else { u64::MAX };
    ensure!(
        size <= most,
        "{} holds {size} bytes, more than the {most} that it may: what grew?",
        out.display()
    );
    Ok(size)
}

/// The executables without their symbols, which are most of them, compressed: each holds the whole library.
fn pack(programs: &Programs, archive: &Path) -> Result<()> {
    let folder = target().join("bundle-programs");
    let bin = folder.join("bin");
    if bin.exists() {
        fs::remove_dir_all(&bin)?;
    }
    fs::create_dir_all(&bin)?;
    for (name, path) in programs.named() {
        run(Command::new("strip").arg("-o").arg(bin.join(name)).arg(path))
            .context("`strip` is in binutils")?;
    }
    run(Command::new("tar").arg("-C").arg(&folder).arg("-czf").arg(archive).arg("bin"))
}

/// An empty folder. One that is there and no bundle is left alone.
fn empty(out: &Path) -> Result<()> {
    if out.exists() {
        let entries = fs::read_dir(out).with_context(|| format!("cannot list {}", out.display()))?.count();
        if entries > 0 && !out.join(BUILT).is_file() {
            bail!("{} is there and is no bundle: name another folder with --out", out.display());
        }
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))
}

/// What the programs are built of, a line each.
fn built(profile: Profile) -> Result<String> {
    let mut lines = machine::build()?;
    lines.push(format!("{profile:?} executables for {}", std::env::consts::ARCH));
    Ok(lines.join("\n") + "\n")
}

/// The files of a folder with one of these endings, not those of folders in it.
fn copy(from: &Path, to: &Path, endings: &[&str]) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name()
            && path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known))
        {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

fn executable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_something_else_is_not_replaced() {
        let folder = std::env::temp_dir().join(format!("foveate-bundle-{}", std::process::id()));
        empty(&folder).unwrap();
        empty(&folder.join("new")).unwrap();
        fs::write(folder.join("letter"), "twelve bytes").unwrap();
        assert!(empty(&folder).unwrap_err().to_string().contains("is no bundle"));
        assert_eq!(size(&folder).unwrap(), 12);
        fs::write(folder.join(BUILT), "").unwrap();
        empty(&folder).unwrap();
        assert_eq!(size(&folder).unwrap(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }
}
