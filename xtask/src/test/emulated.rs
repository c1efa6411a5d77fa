//! The CUDA tests without a GPU: all of them on the emulator, then those on small shapes with every check that the emulator
//! has and in other orders of the threads. See `emulator/README.md`.

use super::FEATURES;
use crate::{
    emulator::{self, Kind},
    root::{read, target},
    run::{cargo, run},
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A way of running the tests.
struct Pass {
    name: &'static str,
    kind: Kind,
    /// Order of the threads of a block.
    order: &'static str,
    /// What streams do when.
    streams: &'static str,
    /// What becomes of freed device memory, and what fresh memory holds: see `src/cuda/memory.rs`.
    pool: &'static str,
    /// On small shapes alone.
    small: bool,
}

const ON_SMALL_SHAPES: Pass =
    Pass { name: "", kind: Kind::Plain, order: "forward", streams: "eager", pool: "off", small: true };
const PASSES: [Pass; 5] = [
    Pass { name: "cuda-emulated", pool: "on", small: false, ..ON_SMALL_SHAPES },
    Pass { name: "cuda-emulated-checks", kind: Kind::Checks, pool: "bare", ..ON_SMALL_SHAPES },
    Pass { name: "cuda-emulated-asan", kind: Kind::Asan, ..ON_SMALL_SHAPES },
    // Memory that is used again shows what does not wait for its last use.
    Pass {
        name: "cuda-emulated-reversed",
        order: "reversed",
        streams: "late",
        pool: "on",
        ..ON_SMALL_SHAPES
    },
    Pass {
        name: "cuda-emulated-shuffled",
        order: "shuffled:7",
        streams: "shuffled:7",
        pool: "on",
        ..ON_SMALL_SHAPES
    },
];
/// The tests of the feature `cust`.
const CUST: &str = "cuda-emulated-cust";

/// The names of all passes, which are devices of their own in the table of tests.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PASSES.iter().map(|pass| pass.name).chain([CUST])
}

/// Runs every pass, each over all kernels; their reports. `lints`: clippy as well, where it needs the emulator.
pub(super) fn passes(lints: bool) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut reports: Vec<(&str, PathBuf)> = Vec::new();
    let mut times = Vec::new();
    let mut tests = Vec::new();
    for pass in &PASSES {
        let start = Instant::now();
        emulator::build(pass.kind)?;
        let built = start.elapsed();
        let report = pass.run(&tests)?;
        times.push((pass.name, built, start.elapsed() - built));
        if tests.is_empty() {
            tests = on_the_device(&report)?;
        }
        reports.push((pass.name, report));
    }
    let start = Instant::now();
    reports.push((CUST, with_cust(lints)?));
    times.push((CUST, Duration::ZERO, start.elapsed()));
    println!("\n{:<24} {:>9} {:>9}", "on the emulator", "built, s", "tests, s");
    for (name, built, tests) in times {
        println!("{name:<24} {:>9.0} {:>9.0}", built.as_secs_f64(), tests.as_secs_f64());
    }
    Ok(reports)
}

/// The feature `cust`: it is built against the emulator as a CUDA tree, and its tests run on it, also where streams do their
/// work late, as do those of the device as a whole.
fn with_cust(lints: bool) -> Result<PathBuf> {
    emulator::build(Kind::Plain)?;
    let report = target().join(format!("test-report-{CUST}.tsv"));
    let _ = fs::remove_file(&report);
    let run_on = |streams: &str, arguments: &[&str]| -> Result<()> {
        let mut command = cargo(&arguments[..1]);
        command.args(["-p", "foveate", "--no-default-features", "--features", "cust"]).args(&arguments[1..]);
        command.envs(emulator::environment(Kind::Plain)?).env("FOVEATE_TEST_REPORT", &report);
        run(command.env("FOVEATE_EMULATOR_STREAMS", streams))
    };
    if lints {
        run_on("eager", &["clippy", "--lib", "--test", "cust", "--", "-D", "warnings"])?;
    }
    run_on("eager", &["test", "--test", "cust"])?;
    run_on("late", &["test", "--test", "cust", "--test", "cuda"])?;
    run_on("eager", &["test", "--doc", "cust"])?;
    Ok(report)
}

/// The tests that had something to do on a CUDA device.
fn on_the_device(report: &Path) -> Result<Vec<String>> {
    let text = read(report)?;
    let ran = text.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        (fields.next() == Some("cuda"))
            .then(|| fields.next())
            .flatten()
            .filter(|_| fields.next() == Some("ran"))
    });
    let tests: BTreeSet<String> = ran.map(str::to_owned).collect();
    ensure!(!tests.is_empty(), "no test ran on the emulator");
    Ok(tests.into_iter().collect())
}

impl Pass {
    /// Runs these tests of the library, or, if none are named, all, and those of the device as a whole.
    fn run(&self, tests: &[String]) -> Result<PathBuf> {
        let (report, launches) = (self.file("report"), self.file("kernels"));
        for file in [&report, &launches] {
            let _ = fs::remove_file(file);
        }
        // Of the workspace, as the other tests: with the features of one package alone all would be compiled again.
        let mut command = cargo(&["test", "--workspace", "--lib", "--features", FEATURES]);
        // For the tests alone: cargo and the compiler should not run with AddressSanitizer.
        let runner: Vec<String> = emulator::environment(self.kind)?
            .iter()
            .map(|(name, value)| format!(", '{name}={}'", value.to_string_lossy()))
            .collect();
        command.arg("--config").arg(format!("target.'cfg(all())'.runner=['env'{}]", runner.concat()));
        match tests {
            [] => command.args(["--test", "cuda", "--test", "no_driver"]),
            _ => command.args(["--", "--exact"]).args(tests),
        };
        command.env("FOVEATE_DEVICES", "cuda").env("FOVEATE_TEST_REPORT", &report);
        command.env("FOVEATE_TEST_SIZE", if self.small { "small" } else { "all" });
        command.env("FOVEATE_POOL", self.pool).env("FOVEATE_EMULATOR_ORDER", self.order);
        command.env("FOVEATE_EMULATOR_STREAMS", self.streams);
        // Kernels for this capability alone run too.
        command.env("FOVEATE_EMULATOR_CAPABILITY", "90");
        command.env("FOVEATE_EMULATOR_RECORD", &launches);
        println!("$ cargo test --workspace --lib: {}", self.name);
        let status = command.status().context("cannot start cargo")?;
        ensure!(status.success(), "the tests failed on {}: {status}", self.name);
        self.all_kernels_ran(&fs::read_to_string(launches).unwrap_or_default())?;
        Ok(report)
    }

    fn file(&self, what: &str) -> PathBuf {
        target().join(format!("test-{what}-{}.tsv", self.name))
    }

    fn all_kernels_ran(&self, launched: &str) -> Result<()> {
        let launched: BTreeSet<&str> = launched.lines().collect();
        let kernels = emulator::kernels()?;
        let missing: Vec<&str> =
            kernels.iter().map(String::as_str).filter(|kernel| !launched.contains(kernel)).collect();
        let (name, all) = (self.name, kernels.len());
        ensure!(missing.is_empty(), "{name}: of {all} kernels these did not run: {}", missing.join(", "));
        println!("{name}: all {all} kernels ran");
        Ok(())
    }
}
