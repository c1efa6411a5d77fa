//! `cargo xtask tidy`: what a reader may rely on and no compiler checks. Every source file says in its first line what
//! it is about; an operation's files are where the table of operations says; the README's table is that table.

use crate::{
    root::{read, root},
    run::{cargo, output},
};
use anyhow::{Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Write the table of operations into the README instead of comparing it
    #[arg(long)]
    write: bool,
}

/// Lines a source file may have before it is taken to have two subjects.
const LONGEST: usize = 600;
const BEGIN: &str = "<!-- operations: written by `cargo xtask tidy --write` -->";
const END: &str = "<!-- end of operations -->";

pub(crate) fn main(args: &Args) -> Result<()> {
    let mut faults = Vec::new();
    for file in sources(&root())? {
        check_file(&file, &mut faults)?;
    }
    check_operations(args, &mut faults)?;
    if faults.is_empty() {
        println!("tidy");
        return Ok(());
    }
    bail!("{} faults:\n  {}", faults.len(), faults.join("\n  "));
}

/// Every source file that the repository tracks or would track.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|e| ["rs", "cu", "cuh", "wgsl", "h", "cpp", "py"].iter().any(|k| e == *k))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn check_file(path: &Path, faults: &mut Vec<String>) -> Result<()> {
    let text = read(path)?;
    let shown = path.strip_prefix(root()).unwrap_or(path).display().to_string();
    let tests = shown.ends_with("tests.rs") || shown.contains("/tests/");
    let first = text.lines().find(|line| !line.starts_with("#!") && !line.is_empty()).unwrap_or_default();
    let opens = ["//", "\"\"\"", "#"].iter().any(|mark| first.starts_with(mark));
    if !opens && !tests {
        faults.push(format!("{shown}: the first line does not say what the file is about"));
    }
    if text.lines().count() > LONGEST {
        faults.push(format!("{shown}: {} lines, more than {LONGEST}: two subjects?", text.lines().count()));
    }
    for (number, line) in text.lines().enumerate() {
        let at = || format!("{shown}:{}", number + 1);
        // Spelt in two halves, so that this file does not find itself.
        if [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")]
            .iter()
            .any(|mark| line.contains(mark))
        {
            faults.push(format!("{}: unfinished work", at()));
        }
        if let Some(reason) = line.trim_start().strip_prefix(concat!("// SAFE", "TY:"))
            && reason.trim().len() < 12
        {
            faults.push(format!("{}: the safety comment names no invariant", at()));
        }
    }
    Ok(())
}

/// Holds folders, kernels and the README's table against the table of operations.
fn check_operations(args: &Args, faults: &mut Vec<String>) -> Result<()> {
    let listed = output(&mut cargo(&["run", "--quiet", "-p", "foveate-verify", "--", "--list-operations"]))?;
    for line in listed.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, folder, wgpu, cuda] = fields[..] else {
            bail!("a torn line in the list of operations: {line}")
        };
        let home = root().join("src/ops").join(folder);
        if !home.join("mod.rs").is_file() {
            faults.push(format!("{name}: src/ops/{folder}/mod.rs is missing"));
        }
        if !home.join("tests.rs").is_file() && !home.join("tests/mod.rs").is_file() {
            faults.push(format!("{name}: src/ops/{folder} has no tests"));
        }
        for (claimed, device, kind) in [(wgpu, "wgpu", "wgsl"), (cuda, "cuda", "cu")] {
            if claimed == "true" {
                check_arm(name, [folder, device, kind], faults);
            }
        }
    }
    let readme = root().join("README.md");
    let text = read(&readme)?;
    let (Some(begin), Some(end)) = (text.find(BEGIN), text.find(END)) else {
        faults.push("README.md has no table of operations between its two marks".into());
        return Ok(());
    };
    let want = format!("{}{BEGIN}\n\n{}\n{}", &text[..begin], table(&listed), &text[end..]);
    if args.write && want != text {
        fs::write(&readme, want)?;
    } else if want != text {
        faults.push("README.md: the table of operations is not current: cargo xtask tidy --write".into());
    }
    Ok(())
}

/// An operation that claims a device has its launch file, and kernels of its own if that file names any; others are
/// composed of the kernels of their neighbours.
fn check_arm(name: &str, [folder, device, kind]: [&str; 3], faults: &mut Vec<String>) {
    let launch = root().join("src/ops").join(folder).join(format!("{device}.rs"));
    let Ok(text) = fs::read_to_string(&launch) else {
        faults.push(format!("{name} claims {device}, but {} is missing", launch.display()));
        return;
    };
    let kernels = root().join("kernels").join(folder);
    let is_kernel = |entry: fs::DirEntry| entry.path().extension().is_some_and(|e| e == kind);
    let found = fs::read_dir(&kernels).is_ok_and(|list| list.flatten().any(is_kernel));
    if text.contains("kernel! {") && !found {
        faults.push(format!("{name} has kernels, but {} has no {kind} file", kernels.display()));
    }
}

fn table(listed: &str) -> String {
    let mut table = String::from("| operation | CPU | WGSL | CUDA |\n| --- | --- | --- | --- |\n");
    let mark = |claimed: &str| if claimed == "true" { "yes" } else { "-" };
    for line in listed.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if let [name, _, wgpu, cuda] = fields[..] {
            table.push_str(&format!("| `{name}` | yes | {} | {} |\n", mark(wgpu), mark(cuda)));
        }
    }
    table
}
