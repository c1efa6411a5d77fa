//! Parameter blocks: a struct `<Name>Params` of a kernel has a twin of the same name in the launch code, and the two (or
//! three, with WGSL) must list the same fields, in order, with the same types.

use crate::root::{read, root};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A struct as one file declares it.
#[derive(Clone, Debug, PartialEq)]
struct Declared {
    file: PathBuf,
    /// `(name, type)`.
    fields: Vec<(String, String)>,
    repr_c: bool,
}

/// Checks every parameter block of every operation.
pub(crate) fn check() -> Result<()> {
    let kernels = root().join("kernels");
    let entries =
        std::fs::read_dir(&kernels).with_context(|| format!("cannot list {}", kernels.display()))?;
    for entry in entries {
        let folder = entry?.path();
        let Some(op) = folder.file_name().and_then(|n| n.to_str()) else { continue };
        let device = declarations(&folder, &["cu", "cuh", "wgsl"])?;
        if device.is_empty() {
            continue;
        }
        let host = declarations(&root().join("src/ops").join(op), &["rs"])?;
        for (name, declared) in &device {
            agree(name, declared, host.get(name).map_or(&[], Vec::as_slice))?;
        }
    }
    Ok(())
}

/// Every `*Params` struct in a folder's files of these kinds, by name.
fn declarations(folder: &Path, kinds: &[&str]) -> Result<BTreeMap<String, Vec<Declared>>> {
    let mut found: BTreeMap<String, Vec<Declared>> = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(found) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.sort();
    for file in files {
        let kind = file.extension().and_then(|e| e.to_str()).unwrap_or("");
        if !kinds.contains(&kind) {
            continue;
        }
        for (name, fields, repr_c) in structs(&read(&file)?, kind)? {
            found.entry(name).or_default().push(Declared { file: file.clone(), fields, repr_c });
        }
    }
    Ok(found)
}

fn agree(name: &str, device: &[Declared], host: &[Declared]) -> Result<()> {
    let first = &device[0];
    if host.is_empty() {
        bail!("{}: {name} has no twin in the operation's launch code", first.file.display());
    }
    for other in device.iter().skip(1).chain(host) {
        ensure!(
            other.fields == first.fields,
            "{name} differs:\n  {}: {}\n  {}: {}",
            first.file.display(),
            listed(&first.fields),
            other.file.display(),
            listed(&other.fields)
        );
    }
    for twin in host {
        ensure!(twin.repr_c, "{}: {name} must be #[repr(C)]", twin.file.display());
    }
    Ok(())
}

fn listed(fields: &[(String, String)]) -> String {
    fields.iter().map(|(name, of)| format!("{name}: {of}")).collect::<Vec<_>>().join(", ")
}

type Struct = (String, Vec<(String, String)>, bool);

/// The `*Params` structs of a text: CUDA C++ where `kind` is `cu` or `cuh`, else Rust or WGSL.
fn structs(text: &str, kind: &str) -> Result<Vec<Struct>> {
    let cuda = kind.starts_with("cu");
    let bare: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("").trim()).collect();
    let mut found = Vec::new();
    for (at, line) in bare.iter().enumerate() {
        let Some((_, head)) = line.split_once("struct ") else { continue };
        let Some(name) = head.strip_suffix('{').map(str::trim).filter(|n| n.ends_with("Params")) else {
            continue;
        };
        let attributes = bare[..at].iter().rev().take_while(|l| l.starts_with("#[") || l.is_empty());
        let repr_c = attributes.into_iter().any(|l| l.starts_with("#[repr(C)"));
        let mut fields = Vec::new();
        for line in bare[at + 1..].iter().take_while(|l| !l.starts_with('}')) {
            if line.is_empty() || line.starts_with("#[") {
                continue;
            }
            fields.push(if cuda { cuda_field(line) } else { colon_field(line) }.with_context(|| {
                format!("{name}: a field must stand alone on its line, this one does not: {line}")
            })?);
        }
        found.push((name.to_owned(), fields, repr_c));
    }
    Ok(found)
}

/// `u32 rows;`
fn cuda_field(line: &str) -> Option<(String, String)> {
    let (of, name) = line.strip_suffix(';')?.split_once(' ')?;
    let of = if of == "float" { "f32" } else { of };
    (!name.contains([',', ' '])).then(|| (name.to_owned(), of.to_owned()))
}

/// `pub(super) rows: u32,`
fn colon_field(line: &str) -> Option<(String, String)> {
    let (name, of) = line.trim_end_matches(',').split_once(':')?;
    let name = name.split_whitespace().last()?;
    (!of.contains(':')).then(|| (name.to_owned(), of.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUDA: &str =
        "struct FoldParams {\n    u32 rows;  // of patches\n    float scale;\n};\nstruct Other { int a; };\n";

    fn declared(text: &str, kind: &str) -> Vec<Declared> {
        let found = structs(text, kind).unwrap().into_iter();
        found.map(|(_, fields, repr_c)| Declared { file: kind.into(), fields, repr_c }).collect()
    }

    #[test]
    fn twins_agree_and_strangers_do_not() {
        let rust = "#[repr(C)]\n#[derive(Clone)]\nstruct FoldParams {\n    rows: u32,\n    pub(super) scale: f32,\n}\n";
        let wgsl = "struct FoldParams {\n  rows: u32,\n  scale: f32\n}\n";
        let device: Vec<_> = [declared(CUDA, "cu"), declared(wgsl, "wgsl")].concat();
        agree("FoldParams", &device, &declared(rust, "rs")).unwrap();
        for wrong in [
            rust.replace("rows", "cols"),
            rust.replace("u32", "i32"),
            rust.replace("    rows: u32,\n", ""),
            rust.replace("#[repr(C)]\n", ""),
            String::new(),
        ] {
            assert!(agree("FoldParams", &device, &declared(&wrong, "rs")).is_err(), "{wrong}");
        }
    }
}
