//! Running cargo and other programs, with their failure as an error that names them.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
};

/// A cargo command in the repository's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(crate::root::root());
    // Set by the cargo that started this program; the inner one must find its own.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// What a command writes to its standard output; an error unless it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let done = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {shown}"))?;
    if !done.status.success() {
        bail!("{shown}: {}", done.status);
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|w| w.to_string_lossy().into_owned()).collect();
    let program =
        Path::new(&words[0]).file_name().map_or(words[0].clone(), |n| n.to_string_lossy().into_owned());
    [&[program], &words[1..]].concat().join(" ")
}

/// `LD_LIBRARY_PATH` with `folder` in front.
pub(crate) fn library_path(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(old) = std::env::var_os("LD_LIBRARY_PATH") {
        path.push(":");
        path.push(old);
    }
    path
}
