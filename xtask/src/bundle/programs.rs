//! The executables of a bundle: built by cargo, found in what it says of them.

use super::Profile;
use crate::{
    run::{cargo, output},
    test::FEATURES,
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

pub(super) struct Programs {
    tests: PathBuf,
    cuda_tests: PathBuf,
    verify: PathBuf,
    example: PathBuf,
    benchmarks: PathBuf,
    /// The benchmarks again, for PyTorch's process.
    library: PathBuf,
    xtask: PathBuf,
}

/// What a bundle's tests and programs are of, so that one build of the library serves them.
const PACKAGES: [&str; 12] = [
    "--release",
    "--package",
    "foveate",
    "--package",
    "foveate-examples",
    "--package",
    "foveate-verify",
    "--package",
    "foveate-in-process",
    "--no-default-features",
    "--features",
    "foveate/cuda,foveate-examples/cuda,foveate-verify/cuda",
];
const QUIETLY: [&str; 2] = ["--quiet", "--message-format=json-render-diagnostics"];

impl Programs {
    pub(super) fn build(profile: Profile) -> Result<Self> {
        // Of a development build just what the test command builds, so that nothing is built again.
        let which = match profile {
            Profile::Release => &PACKAGES[..],
            Profile::Dev => &["--workspace", "--features", FEATURES],
        };
        // All tests, and with them the examples and the programs that are tested; a build of one of these by itself would
        // have other features. Benchmarks are not among them.
        let all = [&["test", "--no-run"], which].concat();
        let mut said = built(&all)?;
        said.extend(built(&[&all[..], &["--bench", "ops"]].concat())?);
        Ok(Programs {
            tests: one(&said, "foveate", "lib", true)?,
            cuda_tests: one(&said, "cuda", "test", true)?,
            verify: one(&said, "foveate-verify", "bin", false)?,
            example: one(&said, "megapixel_mnist", "example", false)?,
            benchmarks: one(&said, "ops", "bench", true)?,
            library: library(&said, "foveate_in_process")?,
            // The program that runs now.
            xtask: std::env::current_exe()?,
        })
    }

    /// By the names that `run.sh` calls them.
    pub(super) fn named(&self) -> [(&'static str, &Path); 7] {
        [
            ("foveate-tests", &self.tests),
            ("cuda-tests", &self.cuda_tests),
            ("foveate-verify", &self.verify),
            ("megapixel_mnist", &self.example),
            ("ops", &self.benchmarks),
            ("libfoveate_in_process.so", &self.library),
            ("xtask", &self.xtask),
        ]
    }
}

/// What cargo says of everything that a command builds, or that was built already.
fn built(arguments: &[&str]) -> Result<Vec<Value>> {
    println!("$ cargo {}", arguments.join(" "));
    let said = output(&mut cargo(&[arguments, &QUIETLY[..]].concat()))?;
    Ok(said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The executable of a target, as a test or as a program.
fn one(artifacts: &[Value], name: &str, kind: &str, test: bool) -> Result<PathBuf> {
    let found = artifacts.iter().find_map(|artifact| {
        let target = &artifact["target"];
        let is = target["name"] == name
            && target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|known| known == kind))
            && artifact["profile"]["test"] == test;
        if is { artifact["executable"].as_str() } else { None }
    });
    found.map(PathBuf::from).with_context(|| format!("cargo named no executable of the {kind} {name}"))
}

/// The library of a crate that other languages load.
fn library(artifacts: &[Value], name: &str) -> Result<PathBuf> {
    let of_crate = |artifact: &&Value| {
        artifact["target"]["name"] == name
            && artifact["target"]["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"))
            && artifact["profile"]["test"] == false
    };
    let files =
        artifacts.iter().filter(of_crate).filter_map(|artifact| artifact["filenames"].as_array()).flatten();
    let mut files = files.filter_map(|file| file.as_str());
    let found = files.find(|file| file.ends_with(std::env::consts::DLL_SUFFIX));
    found.map(PathBuf::from).with_context(|| format!("cargo named no library of {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn executables_are_found_by_name_kind_and_use() {
        let artifact = |name: &str, kind: &str, test: bool, executable: Value| {
            json!({
                "reason": "compiler-artifact", "target": {"name": name, "kind": [kind]}, "profile": {"test": test},
                "executable": executable,
            })
        };
        let said = [
            artifact("foveate", "lib", false, Value::Null),
            artifact("foveate", "lib", true, "deps/foveate-1".into()),
            artifact("cuda", "test", true, "deps/cuda-2".into()),
        ];
        assert_eq!(one(&said, "foveate", "lib", true).unwrap(), Path::new("deps/foveate-1"));
        assert_eq!(one(&said, "cuda", "test", true).unwrap(), Path::new("deps/cuda-2"));
        let library_of = |files: Value| {
            vec![json!({
                "target": {"name": "seen", "kind": ["cdylib", "rlib"]}, "profile": {"test": false}, "filenames": files,
            })]
        };
        let file = format!("libseen{}", std::env::consts::DLL_SUFFIX);
        assert_eq!(library(&library_of(json!(["libseen.rlib", file])), "seen").unwrap(), Path::new(&file));
        assert!(library(&library_of(json!(["libseen.rlib"])), "seen").is_err());
        assert!(one(&said, "ops", "bench", true).unwrap_err().to_string().contains("the bench ops"));
    }
}
