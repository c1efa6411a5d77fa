//! Embeds the committed PTX (feature `cuda`): checks each file against `kernels/ptx/MANIFEST.toml` and writes the table
//! of modules and kernels that `src/cuda/kernels.rs` includes. Runs no tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    if let Err(what) = cuda::embed() {
        println!("cargo::error={what}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[cfg(feature = "cuda")]
mod cuda {
    use sha2::{Digest, Sha256};
    use std::{env, fmt::Write, fs, path::Path};

    type Result<T> = std::result::Result<T, String>;

    /// One module of the manifest.
    #[derive(Default)]
    struct Module {
        name: String,
        ptx: String,
        sha256: String,
        /// Name, and bytes of each parameter.
        kernels: Vec<(String, Vec<u32>)>,
    }

    pub(crate) fn embed() -> Result<()> {
        let root = env::var("CARGO_MANIFEST_DIR").map_err(|e| e.to_string())?;
        let folder = Path::new(&root).join("kernels/ptx");
        println!("cargo::rerun-if-changed={}", folder.display());
        let modules = read_manifest(&read(&folder.join("MANIFEST.toml"))?)?;
        let (mut table, mut names, mut index) = (String::new(), String::new(), 0);
        // The newest PTX version, and the newest GPU that a module is for which all must load.
        let mut needs = (0, 0);
        for module in &modules {
            let path = folder.join(&module.ptx);
            let ptx = read(&path)?;
            let found: String =
                Sha256::digest(ptx.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            if found != module.sha256 {
                return Err(format!(
                    "{} is not the file of the manifest: run `cargo xtask build-kernels`",
                    path.display()
                ));
            }
            let (version, target) = (number(&ptx, ".version ")?, number(&ptx, ".target sm_")?);
            // With an `a` behind it, the target is the only one that has the module's instructions.
            let only = ptx.contains(&format!(".target sm_{target}a"));
            needs = (needs.0.max(version), if only { needs.1 } else { needs.1.max(target) });
            let only = if only { format!("Some(({}, {}))", target / 10, target % 10) } else { "None".into() };
            let listed: Vec<String> = module.kernels.iter().map(|(name, _)| name.to_uppercase()).collect();
            let _ = writeln!(
                table,
                "    Module {{ name: {:?}, only: {only}, ptx: concat!(include_str!({path:?}), \"\\0\"), kernels: &[{}] }},",
                module.name,
                listed.join(", ")
            );
            for (name, params) in &module.kernels {
                let (threads, dynamic) = (threads(&ptx, name)?, dynamic_shared(&ptx, name));
                let _ = writeln!(
                    names,
                    "pub(crate) const {}: Kernel = Kernel {{ index: {index}, name: {name:?}, params: &{params:?}, threads: {threads}, dynamic_shared: {dynamic} }};",
                    name.to_uppercase()
                );
                index += 1;
            }
        }
        let (version, target) = needs;
        let code = format!(
            "pub(crate) const PTX_VERSION: (i32, i32) = ({}, {});\npub(crate) const CAPABILITY: (i32, i32) = ({}, {});\n\
             pub(crate) const MODULES: &[Module] = &[\n{table}];\n{names}",
            version / 10,
            version % 10,
            target / 10,
            target % 10
        );
        let out = env::var("OUT_DIR").map_err(|e| e.to_string())?;
        fs::write(Path::new(&out).join("kernels.rs"), code).map_err(|e| e.to_string())
    }

    fn read(path: &Path) -> Result<String> {
        fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Reads the lines that `cargo xtask build-kernels` writes.
    fn read_manifest(text: &str) -> Result<Vec<Module>> {
        let mut modules: Vec<Module> = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("[module.").and_then(|rest| rest.strip_suffix(']')) {
                if !name.ends_with(".kernels") {
                    modules.push(Module { name: name.into(), ..Module::default() });
                }
                continue;
            }
            let (Some((key, value)), Some(module)) = (line.split_once(" = "), modules.last_mut()) else {
                continue;
            };
            match key {
                "ptx" => module.ptx = value.trim_matches('"').into(),
                "ptx_sha256" => module.sha256 = value.trim_matches('"').into(),
                _ => {
                    let list = value.strip_prefix("{ params = [").and_then(|rest| rest.split(']').next());
                    let Some(list) = list else { continue };
                    let bytes: std::result::Result<Vec<u32>, _> = list.split(", ").map(str::parse).collect();
                    let bytes = bytes.map_err(|e| format!("the parameters of {key} in the manifest: {e}"))?;
                    module.kernels.push((key.into(), bytes));
                }
            }
        }
        if modules.is_empty() {
            return Err("kernels/ptx/MANIFEST.toml lists no module".into());
        }
        Ok(modules)
    }

    /// The number behind `key`, without its point: 80 of `.version 8.0`.
    fn number(ptx: &str, key: &str) -> Result<u32> {
        let rest = ptx.split(key).nth(1).unwrap_or("");
        let digits: String = rest.chars().filter(|c| *c != '.').take_while(char::is_ascii_digit).collect();
        digits.parse().map_err(|_| format!("PTX without {key}"))
    }

    /// Whether a kernel uses shared memory whose size the launch says.
    fn dynamic_shared(ptx: &str, kernel: &str) -> bool {
        let names = ptx
            .split(".extern .shared")
            .skip(1)
            .filter_map(|rest| rest.split('[').next()?.split_whitespace().last());
        let body =
            ptx.split(&format!(".entry {kernel}(")).nth(1).and_then(|rest| rest.split(".entry ").next());
        body.is_some_and(|body| names.into_iter().any(|name| body.contains(name)))
    }

    /// The block size that a kernel's `__launch_bounds__` names: its threads, unless a launch says otherwise.
    fn threads(ptx: &str, kernel: &str) -> Result<u32> {
        let entry = ptx.split(&format!(".entry {kernel}(")).nth(1);
        let head = entry.and_then(|entry| entry.split('{').next());
        let bound =
            head.and_then(|head| head.split(".maxntid").nth(1)).and_then(|rest| rest.split(',').next());
        let threads = bound.and_then(|bound| bound.trim().parse().ok());
        threads.ok_or_else(|| format!("{kernel} has no __launch_bounds__"))
    }
}
