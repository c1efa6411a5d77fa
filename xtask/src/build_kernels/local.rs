//! Local memory: registers that a kernel spills, and arrays that it keeps on a stack, are slow. Each kernel with any is in
//! `kernels/local.toml`, with how much it may have and the reason.

use super::manifest::Manifest;
use crate::root::{read, root};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What one kernel may have, on any architecture.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    /// Bytes of registers stored and loaded.
    #[serde(default)]
    spills: u32,
    /// Bytes per thread.
    #[serde(default)]
    stack: u32,
    reason: String,
}

/// An error if a kernel has more than the list allows, or the list allows more than a kernel has.
pub(crate) fn check(manifest: &Manifest) -> Result<()> {
    let list = root().join("kernels/local.toml");
    let allowed: BTreeMap<String, Allowed> =
        toml::from_str(&read(&list)?).with_context(|| format!("cannot read {}", list.display()))?;
    compare(manifest, &allowed)
}

fn compare(manifest: &Manifest, allowed: &BTreeMap<String, Allowed>) -> Result<()> {
    let mut wrong = Vec::new();
    let kernels: BTreeMap<&String, [u32; 2]> = manifest
        .module
        .values()
        .flat_map(|module| &module.kernels)
        .map(|(name, k)| {
            let older = k.sm_80.unwrap_or_default();
            (name, [older.spills.max(k.sm_90.spills), older.stack.max(k.sm_90.stack)])
        })
        .collect();
    for (name, &[spills, stack]) in &kernels {
        let (may_spill, may_stack) = allowed.get(*name).map_or((0, 0), |a| (a.spills, a.stack));
        if spills > may_spill || stack > may_stack {
            wrong.push(format!(
                "{name} spills {spills} bytes of registers ({may_spill} allowed) and has a stack of {stack} bytes \
                 ({may_stack} allowed): give it fewer registers, or a reason in kernels/local.toml"
            ));
        }
    }
    for (name, allowed) in allowed {
        ensure!(!allowed.reason.trim().is_empty(), "kernels/local.toml: {name} has no reason");
        match kernels.get(name) {
            Some(&[spills, stack]) if [spills, stack] == [allowed.spills, allowed.stack] => {}
            Some(&[spills, stack]) if spills <= allowed.spills && stack <= allowed.stack => wrong.push(
                format!("kernels/local.toml allows {name} more than the {spills} and {stack} bytes it has"),
            ),
            Some(_) => {}
            None => wrong.push(format!("kernels/local.toml: there is no kernel {name}")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_kernels::{
        compiler::Resources,
        manifest::{Kernel, Module},
    };

    /// A manifest with one kernel, which spills and has a stack on one architecture.
    fn with(spills: u32, stack: u32) -> Manifest {
        let sm_90 = Resources { spills, stack, ..Default::default() };
        let kernel = Kernel { params: vec![8], sm_80: None, sm_90 };
        let module = Module {
            ptx: String::new(),
            compiler: String::new(),
            options: Vec::new(),
            ptx_version: String::new(),
            source_sha256: String::new(),
            ptx_sha256: String::new(),
            unproven: false,
            kernels: [("k".to_owned(), kernel)].into(),
        };
        Manifest { module: [("k".to_owned(), module)].into() }
    }

    #[test]
    fn spills_and_stacks_are_refused_unless_the_list_has_them() {
        let check = |spills, stack, list: &str| {
            compare(&with(spills, stack), &toml::from_str(list).unwrap()).map_err(|e| e.to_string())
        };
        let listed = "k = { spills = 8, stack = 16, reason = \"an array\" }";
        assert_eq!(check(0, 0, ""), Ok(()));
        assert_eq!(check(8, 16, listed), Ok(()));
        assert!(check(4, 0, "").unwrap_err().starts_with("k spills 4 bytes of registers (0 allowed)"));
        assert!(check(0, 8, "").unwrap_err().contains("a stack of 8 bytes (0 allowed)"));
        assert!(check(8, 24, listed).unwrap_err().contains("24 bytes (16 allowed)"));
        assert!(check(8, 8, listed).unwrap_err().contains("allows k more"));
        assert!(
            check(0, 0, &listed.replace("k = {", "gone = {"))
                .unwrap_err()
                .contains("there is no kernel gone")
        );
        assert!(check(8, 16, &listed.replace("an array", " ")).unwrap_err().contains("no reason"));
        assert!(toml::from_str::<BTreeMap<String, Allowed>>("k = { spills = 8 }").is_err());
    }
}
