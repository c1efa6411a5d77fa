//! kernels/ptx/MANIFEST.toml: what each committed PTX file was made from, and what its kernels use. `build.rs` reads it
//! line by line, so every kernel is one line.

use super::compiler::{OPTIONS, PTX_VERSION, RELEASE, Resources};
use crate::root::Source;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write};

#[derive(Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Manifest {
    /// By operation.
    #[serde(default)]
    pub(crate) module: BTreeMap<String, Module>,
}

/// One PTX file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Module {
    /// Its name below `kernels/ptx`.
    pub(crate) ptx: String,
    pub(crate) compiler: String,
    pub(crate) options: Vec<String>,
    pub(crate) ptx_version: String,
    /// Of the `.cu` file and its headers.
    pub(crate) source_sha256: String,
    pub(crate) ptx_sha256: String,
    /// Whether its kernels have not run on a GPU so far and so are never a default: those for compute capability 9.0 alone,
    /// whose instructions the emulator knows from their description only.
    #[serde(default)]
    pub(crate) unproven: bool,
    pub(crate) kernels: BTreeMap<String, Kernel>,
}

/// One entry point.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Kernel {
    /// Bytes of each parameter.
    pub(crate) params: Vec<u32>,
    /// What it uses on `sm_80`, if it runs there, and on `sm_90`.
    #[serde(default)]
    pub(crate) sm_80: Option<Resources>,
    pub(crate) sm_90: Resources,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("kernels/ptx/MANIFEST.toml is not what build-kernels writes")
    }

    /// The file's text: the same for the same contents.
    pub(crate) fn text(&self) -> String {
        let mut out = String::from("# Written by `cargo xtask build-kernels`; do not edit.\n");
        let resources = |r: &Resources| {
            let Resources { registers, spills, stack, shared } = r;
            format!("{{ registers = {registers}, spills = {spills}, stack = {stack}, shared = {shared} }}")
        };
        for (op, m) in &self.module {
            let _ = write!(
                out,
                "\n[module.{op}]\nptx = \"{}\"\ncompiler = \"{}\"\noptions = {:?}\nptx_version = \"{}\"\n\
                 source_sha256 = \"{}\"\nptx_sha256 = \"{}\"\n{}\n[module.{op}.kernels]\n",
                m.ptx,
                m.compiler,
                m.options,
                m.ptx_version,
                m.source_sha256,
                m.ptx_sha256,
                if m.unproven { "unproven = true\n" } else { "" }
            );
            for (name, k) in &m.kernels {
                let a = k.sm_80.as_ref().map_or(String::new(), |r| format!(", sm_80 = {}", resources(r)));
                let b = resources(&k.sm_90);
                let _ = writeln!(out, "{name} = {{ params = {:?}{a}, sm_90 = {b} }}", k.params);
            }
        }
        out
    }
}

impl Module {
    /// Whether it was made from this source by the pinned compiler.
    pub(crate) fn current(&self, source: &Source) -> bool {
        self.source_sha256 == source.sha256
            && self.compiler == compiler()
            && self.options == options(source.arch)
    }
}

/// The compiler as the manifest names it.
pub(crate) fn compiler() -> String {
    format!("nvrtc {RELEASE}")
}

/// The options as the manifest lists them.
pub(crate) fn options(arch: &str) -> Vec<String> {
    OPTIONS.iter().map(|&o| o.to_owned()).chain([format!("--gpu-architecture={arch}")]).collect()
}

/// The `.version` that a PTX file declares.
pub(crate) fn ptx_version(ptx: &str) -> Result<String> {
    let line = ptx.lines().find_map(|line| line.trim().strip_prefix(".version"));
    line.map(|v| v.trim().to_owned()).context("the PTX has no .version line")
}

/// An error if a PTX version is newer than the pin.
pub(crate) fn check_version(what: &str, version: &str) -> Result<()> {
    let parse = |v: &str| -> Result<(u32, u32)> {
        let (major, minor) = v.split_once('.').with_context(|| format!("PTX version \"{v}\""))?;
        Ok((major.parse()?, minor.parse()?))
    };
    if parse(version)? > parse(PTX_VERSION)? {
        bail!("{what} is PTX {version}; drivers from 525 on take at most {PTX_VERSION}");
    }
    Ok(())
}

/// The entry points of a PTX file, with the bytes of each parameter.
pub(crate) fn entries(ptx: &str) -> Result<BTreeMap<String, Vec<u32>>> {
    let mut found = BTreeMap::new();
    for part in ptx.split(".entry ").skip(1) {
        let (name, rest) = part.split_once('(').context("an .entry without parameters")?;
        let (list, _) = rest.split_once(')').context("an .entry whose parameters do not end")?;
        let params = list.split(".param").skip(1).map(param_bytes).collect::<Result<_>>()?;
        found.insert(name.trim().to_owned(), params);
    }
    Ok(found)
}

/// Bytes of one parameter, from `.u64 name` or `.align 4 .b8 name[56]`.
fn param_bytes(text: &str) -> Result<u32> {
    let text = text.trim().trim_end_matches(',');
    if let Some((_, size)) = text.split_once('[') {
        return size.trim_end_matches(']').trim().parse().with_context(|| format!("parameter {text}"));
    }
    let bits = text.split_whitespace().next().map(|t| t.trim_start_matches(|c: char| !c.is_ascii_digit()));
    let bits: u32 = bits.and_then(|b| b.parse().ok()).with_context(|| format!("parameter {text}"))?;
    Ok(bits / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::ARCH;

    #[test]
    fn entries_and_their_parameters_are_read() {
        let ptx = ".version 8.0\n.visible .entry f(\n\t.param .u64 f_param_0,\n\t.param .align 4 .b8 f_param_1[40]\n)\n.maxntid 256, 1, 1\n{ }\n\
            .visible .entry g(\n\t.param .u32 g_param_0\n)\n{ }\n";
        let found = entries(ptx).unwrap();
        assert_eq!(found["f"], [8, 40]);
        assert_eq!(found["g"], [4]);
        assert_eq!(ptx_version(ptx).unwrap(), "8.0");
    }

    #[test]
    fn a_newer_ptx_is_refused() {
        assert!(check_version("x", "8.0").is_ok() && check_version("x", "7.8").is_ok());
        assert!(check_version("x", "8.1").is_err() && check_version("x", "9.0").is_err());
        assert!(check_version("x", "10.0").is_err());
    }

    #[test]
    fn the_text_reads_back() {
        let kernel = Kernel {
            params: vec![8, 56],
            sm_80: Some(Resources { registers: 32, ..Default::default() }),
            sm_90: Resources { shared: 7, ..Default::default() },
        };
        let module = Module {
            ptx: "a.compute_80.ptx".into(),
            compiler: compiler(),
            options: options(ARCH),
            ptx_version: "8.0".into(),
            source_sha256: "00".into(),
            ptx_sha256: "11".into(),
            unproven: false,
            kernels: [("k".to_owned(), kernel)].into(),
        };
        let mut hopper = Module { ptx: "b.compute_90a.ptx".into(), unproven: true, ..module.clone() };
        hopper.kernels.values_mut().for_each(|kernel| kernel.sm_80 = None);
        let manifest = Manifest { module: [("a".to_owned(), module), ("b".to_owned(), hopper)].into() };
        assert_eq!(Manifest::parse(&manifest.text()).unwrap(), manifest);
    }
}
