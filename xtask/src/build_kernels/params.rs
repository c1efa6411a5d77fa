//! Parameter blocks of CUDA kernels: a struct `<Name>Params` of a kernel has a twin of the same name in the operation's
//! launch file, `cuda.rs` or one of the folder `cuda` (one of what several operations share in `src/cuda`), and the two
//! must list the same fields, in order, with the same types. For WGSL the tests that `wgpu_kernel!` makes compare Rust with what naga reads from the
//! text.

use crate::root::{read, root};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// A struct as one file declares it.
#[derive(Clone, Debug, PartialEq)]
struct Declared {
    file: PathBuf,
    name: String,
    /// `(name, type)`.
    fields: Vec<(String, String)>,
    repr_c: bool,
}

/// Checks every parameter block of every operation.
pub(crate) fn check() -> Result<()> {
    let kernels = root().join("kernels");
    let entries =
        std::fs::read_dir(&kernels).with_context(|| format!("cannot list {}", kernels.display()))?;
    let mut wrong = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        let Some(op) = folder.file_name().and_then(|n| n.to_str()) else { continue };
        let mut host = Vec::new();
        for file in hosts(op) {
            host.extend(declared_in(&file)?);
        }
        for device in files(&folder, &["cu", "cuh"]) {
            for block in declared_in(&device)? {
                wrong.extend(agree(&block, &host).err().map(|e| e.to_string()));
            }
        }
    }
    wrong.sort();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The files that hold the twins of the blocks of `kernels/<op>`.
fn hosts(op: &str) -> Vec<PathBuf> {
    let src = root().join("src");
    if op == "common" {
        return files(&src.join("cuda"), &["rs"]);
    }
    let home = src.join("ops").join(op);
    let launch =
        [home.join("cuda.rs"), src.join(op).join("cuda.rs"), src.join("cuda").join(format!("{op}.rs"))];
    launch.into_iter().filter(|file| file.is_file()).chain(files(&home.join("cuda"), &["rs"])).collect()
}

/// A folder's files of these kinds.
fn files(folder: &Path, kinds: &[&str]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let kind = |path: &Path| path.extension().and_then(|e| e.to_str()).unwrap_or("").to_owned();
    let mut found: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| kinds.contains(&kind(p).as_str())).collect();
    found.sort();
    found
}

/// Every `*Params` struct of a file.
fn declared_in(file: &Path) -> Result<Vec<Declared>> {
    structs(&read(file)?, file)
}

/// An error unless the launch file has this block's twin.
fn agree(block: &Declared, host: &[Declared]) -> Result<()> {
    let name = &block.name;
    let Some(twin) = host.iter().find(|twin| twin.name == *name) else {
        bail!("{}: {name} has no twin in the operation's launch file", block.file.display());
    };
    ensure!(
        twin.fields == block.fields,
        "{name} differs:\n  {}: {}\n  {}: {}",
        block.file.display(),
        listed(&block.fields),
        twin.file.display(),
        listed(&twin.fields)
    );
    ensure!(twin.repr_c, "{}: {name} must be #[repr(C)]", twin.file.display());
    Ok(())
}

fn listed(fields: &[(String, String)]) -> String {
    fields.iter().map(|(name, of)| format!("{name}: {of}")).collect::<Vec<_>>().join(", ")
}

/// The `*Params` structs of a text: CUDA C++ or Rust, by the file's name.
fn structs(text: &str, file: &Path) -> Result<Vec<Declared>> {
    let cuda = file.extension().and_then(|e| e.to_str()).is_some_and(|e| e.starts_with("cu"));
    let bare: String =
        text.lines().map(|line| line.split("//").next().unwrap_or("").to_owned() + "\n").collect();
    let mut found = Vec::new();
    for (at, _) in bare.match_indices("struct ") {
        let Some((name, body)) = bare[at + "struct ".len()..].split_once('{') else { continue };
        let name = name.trim();
        if !name.ends_with("Params") {
            continue;
        }
        let body = body.split('}').next().unwrap_or("");
        let fields =
            body.split(if cuda { ';' } else { ',' }).map(str::trim).filter(|field| !field.is_empty());
        let fields = fields.map(|field| {
            let read = if cuda { cuda_field(field) } else { colon_field(field) };
            read.with_context(|| {
                format!("{}: {name} has a field that cannot be read: {field}", file.display())
            })
        });
        let line = bare[..at].rfind('\n').map_or(0, |end| end + 1);
        let head: Vec<&str> = bare[..line].lines().rev().take_while(|l| !l.trim().is_empty()).collect();
        let repr_c = head.iter().any(|l| l.contains("#[repr(C)"));
        let fields = fields.collect::<Result<_>>()?;
        found.push(Declared { file: file.into(), name: name.into(), fields, repr_c });
    }
    Ok(found)
}

/// `u32 rows`, or `u32 sizes[6]`
fn cuda_field(field: &str) -> Option<(String, String)> {
    let (of, name) = field.split_once(' ')?;
    let of = match of {
        "float" => "f32",
        "double" => "f64",
        of => of,
    };
    if let Some((name, size)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) {
        return Some((name.to_owned(), format!("[{of}; {size}]")));
    }
    (!name.contains([',', ' '])).then(|| (name.to_owned(), of.to_owned()))
}

/// `pub(super) rows: u32`
fn colon_field(field: &str) -> Option<(String, String)> {
    let (name, of) = field.split_once(':')?;
    let name = name.split_whitespace().last()?;
    (!of.contains(':')).then(|| (name.to_owned(), of.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUDA: &str =
        "struct FoldParams {\n    u32 rows;  // of patches\n    float scale;\n};\nstruct Other { int a; };\n";
    const RUST: &str = "\n#[repr(C)]\n#[derive(Clone)]\nstruct FoldParams {\n    rows: u32,\n    pub(super) scale: f32,\n}\n";

    fn read_as(text: &str, file: &str) -> Vec<Declared> {
        structs(text, Path::new(file)).unwrap()
    }

    #[test]
    fn twins_agree_and_strangers_do_not() {
        let cuda = read_as(CUDA, "fold.cu");
        assert_eq!(cuda.len(), 1);
        agree(&cuda[0], &read_as(RUST, "cuda.rs")).unwrap();
        for wrong in [
            RUST.replace("rows", "cols"),
            RUST.replace("u32", "i32"),
            RUST.replace("    rows: u32,\n", ""),
            RUST.replace("#[repr(C)]\n", ""),
            RUST.replace("FoldParams", "FoulParams"),
            String::new(),
        ] {
            assert!(agree(&cuda[0], &read_as(&wrong, "cuda.rs")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arrays_are_compared_with_their_lengths() {
        let cuda = read_as("struct WalkParams {\n    u64 a[6];\n};\n", "walk.cuh");
        let rust = |of: &str| format!("#[repr(C)]\nstruct WalkParams {{\n    a: {of},\n}}\n");
        agree(&cuda[0], &read_as(&rust("[u64; 6]"), "walk.rs")).unwrap();
        assert!(agree(&cuda[0], &read_as(&rust("[u64; 5]"), "walk.rs")).is_err());
    }

    #[test]
    fn several_fields_may_share_a_line() {
        let cuda = read_as(CUDA, "fold.cu");
        let rust = "#[repr(C)]\nstruct FoldParams {\n    // why\n    rows: u32, scale: f32,\n}\n";
        agree(&cuda[0], &read_as(rust, "cuda.rs")).unwrap();
        assert!(agree(&cuda[0], &read_as(&rust.replace("f32", "u32"), "cuda.rs")).is_err());
    }
}
