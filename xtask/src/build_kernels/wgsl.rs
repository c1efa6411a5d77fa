//! WGSL texts as the launch files join them, parsed and validated by naga: a typo is found here, before any device sees it.
//! Parameters and bindings are held against Rust by the tests that `wgpu_kernel!` makes and by every launch.

use crate::root::{read, root};
use anyhow::{Result, bail};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Validates every module that a launch file under `src` or `benches` names, and fails if a text is part of none.
pub(crate) fn check() -> Result<()> {
    let mut modules = BTreeSet::new();
    for folder in ["src", "benches"] {
        for file in files(&root().join(folder), "rs")? {
            modules.extend(named(&read(&file)?));
        }
    }
    let kernels = root().join("kernels");
    // A mistake in a text that several modules share is one fault.
    let mut faults = BTreeSet::new();
    for module in &modules {
        let parts =
            module.iter().map(|name| Ok((name.as_str(), read(&kernels.join(format!("{name}.wgsl")))?)));
        faults.extend(validate(&parts.collect::<Result<Vec<_>>>()?).err());
    }
    let used: BTreeSet<&String> = modules.iter().flatten().collect();
    for file in files(&kernels, "wgsl")? {
        let name = file.strip_prefix(&kernels)?.with_extension("").display().to_string();
        if !used.contains(&name) {
            faults.insert(format!("kernels/{name}.wgsl: no launch file names it among its texts"));
        }
    }
    if !faults.is_empty() {
        bail!("{}", Vec::from_iter(faults).join("\n"));
    }
    println!("{} WGSL modules are valid", modules.len());
    Ok(())
}

/// Every file below a folder with this extension.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

/// The lists of texts in a launch file: `texts: ["common/grid", "unfold/unfold"]`.
fn named(source: &str) -> Vec<Vec<String>> {
    let code =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let lists = code.split("texts: [").skip(1).filter_map(|rest| rest.split(']').next());
    let names = lists.map(|list| list.split('"').skip(1).step_by(2).map(str::to_owned).collect());
    names.filter(|names: &Vec<String>| !names.is_empty()).collect()
}

/// Parses and validates texts joined to a module; otherwise says what is wrong in which file and line.
fn validate(parts: &[(&str, String)]) -> Result<(), String> {
    let text = parts.iter().map(|part| part.1.as_str()).collect::<Vec<_>>().join("\n");
    // Lines of the module are counted from one; each text begins a new one.
    let place = |line: Option<u32>| {
        let mut line = line.unwrap_or(1) as usize;
        for (name, text) in parts {
            let lines = text.split('\n').count();
            if line <= lines {
                return format!("kernels/{name}.wgsl:{line}");
            }
            line -= lines;
        }
        "kernels".to_owned()
    };
    let module = naga::front::wgsl::parse_str(&text).map_err(|e| {
        format!("{}: {}", place(e.location(&text).map(|at| at.line_number)), e.emit_to_string(&text))
    })?;
    let mut validator =
        Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16 | Capabilities::SHADER_INT64);
    validator.validate(&module).map_err(|e| {
        format!("{}: {}", place(e.location(&text).map(|at| at.line_number)), e.emit_to_string(&text))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_texts_are_found_in_launch_files() {
        let source = "/// texts: [\"not/this\"]\nop: \"a\", texts: [\"common/grid\",\n \"a/a\"], x\n texts: [$t], texts: [\"b/b\"]";
        assert_eq!(named(source), [vec!["common/grid".to_owned(), "a/a".into()], vec!["b/b".into()]]);
    }

    #[test]
    fn a_typo_is_found_in_the_file_and_line_where_it_stands() {
        let common = "fn twice(x: f32) -> f32 {\n    return x + x;\n}\n";
        let kernel = "@group(0) @binding(0) var<storage, read_write> y: array<f32>;\n\
                      @compute @workgroup_size(1)\nfn main() {\n    y[0] = twice(y[1]);\n}\n";
        let check =
            |common: &str, kernel: &str| validate(&[("common/twice", common.into()), ("a/a", kernel.into())]);
        assert_eq!(check(common, kernel), Ok(()));
        let typo = check(common, &kernel.replace("twice", "twcie")).unwrap_err();
        assert!(typo.starts_with("kernels/a/a.wgsl:4: ") && typo.contains("twcie"), "{typo}");
        let typo = check(&common.replace("x + x", "x + z"), kernel).unwrap_err();
        assert!(typo.starts_with("kernels/common/twice.wgsl:2: "), "{typo}");
        // What parses and is not valid.
        let wrong = check(common, &kernel.replace("y[0] =", "y = ")).unwrap_err();
        assert!(wrong.starts_with("kernels/a/a.wgsl:"), "{wrong}");
    }
}
