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
    xtask: PathBuf,
}

/// What a bundle's tests and programs are of, so that one build of the library serves them.
const PACKAGES: [&str; 10] = [
    "--release",
    "--package",
    "foveate",
    "--package",
    "foveate-examples",
    "--package",
    "foveate-verify",
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
            // The program that runs now.
            xtask: std::env::current_exe()?,
        })
    }

    /// By the names that `run.sh` calls them.
    pub(super) fn named(&self) -> [(&'static str, &Path); 6] {
        [
            ("foveate-tests", &self.tests),
            ("cuda-tests", &self.cuda_tests),
            ("foveate-verify", &self.verify),
            ("megapixel_mnist", &self.example),
            ("ops", &self.benchmarks),
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
        assert!(one(&said, "ops", "bench", true).unwrap_err().to_string().contains("the bench ops"));
    }
}
