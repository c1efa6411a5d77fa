//! Where things are: the repository's root, its target folder, and the kernels' source files.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Reads a text file, naming it on failure.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Lower-case hexadecimal SHA-256 of a file's contents.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of several parts. Their lengths keep neighbouring ones apart.
pub(crate) fn sha256_of(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A `.cu` file and every header it includes in quotes.
pub(crate) struct Source {
    /// Its module's name: the operation's, which is its folder's; with the file's own behind it where that is another.
    pub(crate) op: String,
    /// The `.cu` file.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
    /// Text of the headers by the name they are included under.
    pub(crate) headers: BTreeMap<String, String>,
    /// Hash of the source and its headers, with their names.
    pub(crate) sha256: String,
    /// The virtual architecture that it is compiled for.
    pub(crate) arch: &'static str,
}

/// What a `.cu` file is compiled for, and what one is that uses the instructions of compute capability 9.0 alone, whose name
/// ends in `.90a.cu`.
pub(crate) const ARCH: &str = "compute_80";
pub(crate) const HOPPER: &str = "compute_90a";

/// All kernel sources by module: `kernels/<op>/<op>.cu`, and `kernels/<op>/<part>.cu`, which is `<op>_<part>`.
pub(crate) fn sources() -> Result<Vec<Source>> {
    let kernels = root().join("kernels");
    let mut found = Vec::new();
    let entries = fs::read_dir(&kernels).with_context(|| format!("cannot list {}", kernels.display()))?;
    for entry in entries {
        let folder = entry?.path();
        let Some(op) = folder.file_name().and_then(|n| n.to_str()).map(str::to_owned) else { continue };
        for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = file.path();
            if path.extension().is_none_or(|kind| kind != "cu") {
                continue;
            }
            let Some(part) = path.file_stem().and_then(|n| n.to_str()) else { continue };
            let part = part.trim_end_matches(".90a");
            let module = if part == op { op.clone() } else { format!("{op}_{part}") };
            found.push(Source::read(&module, &path)?);
        }
    }
    found.sort_by(|a, b| a.op.cmp(&b.op));
    Ok(found)
}

impl Source {
    /// Reads one `.cu` file with its headers.
    pub(crate) fn read(op: &str, path: &Path) -> Result<Self> {
        let text = read(path)?;
        let mut headers = BTreeMap::new();
        let mut resolved: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut queue: VecDeque<(PathBuf, String)> = VecDeque::from([(path.to_path_buf(), text.clone())]);
        while let Some((file, text)) = queue.pop_front() {
            for name in includes(&text) {
                let at = file.parent().unwrap_or(Path::new("")).join(name);
                let at = fs::canonicalize(&at)
                    .with_context(|| format!("{} includes {name}, which is not there", file.display()))?;
                if let Some(other) = resolved.get(name) {
                    if *other != at {
                        bail!("{op}.cu: \"{name}\" names both {} and {}", other.display(), at.display());
                    }
                    continue;
                }
                let header = read(&at)?;
                headers.insert(name.to_owned(), header.clone());
                resolved.insert(name.to_owned(), at.clone());
                queue.push_back((at, header));
            }
        }
        let mut parts = vec![text.as_bytes()];
        for (name, header) in &headers {
            parts.extend([name.as_bytes(), header.as_bytes()]);
        }
        let sha256 = sha256_of(&parts);
        let arch = if path.to_string_lossy().ends_with(".90a.cu") { HOPPER } else { ARCH };
        Ok(Source { op: op.to_owned(), path: path.to_path_buf(), text, headers, sha256, arch })
    }
}

/// The names that a file includes in quotes.
fn includes(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("#include")?.trim_start().strip_prefix('"')?;
        rest.split('"').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_includes_are_found() {
        let text = "#include \"a.cuh\"\n  #include  \"../b.cuh\" // why\n#include <c.h>\nint x;\n";
        assert_eq!(includes(text).collect::<Vec<_>>(), ["a.cuh", "../b.cuh"]);
    }

    #[test]
    fn a_header_is_part_of_the_hash() {
        let dir = std::env::temp_dir().join(format!("foveate-source-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("k.cu"), "#include \"h.cuh\"\n").unwrap();
        fs::write(dir.join("h.cuh"), "int a;\n").unwrap();
        let before = Source::read("k", &dir.join("k.cu")).unwrap().sha256;
        fs::write(dir.join("h.cuh"), "int b;\n").unwrap();
        let after = Source::read("k", &dir.join("k.cu")).unwrap().sha256;
        fs::remove_dir_all(&dir).unwrap();
        assert_ne!(before, after);
    }
}
