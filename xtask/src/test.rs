//! `cargo xtask test`: everything that must hold, in one command, with one table at its end.

mod emulated;

use crate::{
    build_kernels, bundle,
    emulator::{self, Kind},
    root::target,
    run::{cargo, run},
    tidy, verify,
};
use anyhow::{Context, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Devices that must run: a skip on one of them is a failure (cpu, wgpu, cuda, cuda-emulated)
    #[arg(long, value_delimiter = ',')]
    require: Vec<String>,
    /// Leave out formatting, clippy and documentation
    #[arg(long)]
    quick: bool,
    /// Only the tests of the CUDA kernels on the emulator
    #[arg(long)]
    emulated: bool,
}

/// Every feature but those that need something installed to build.
pub(crate) const FEATURES: &str = "wgpu,cuda,files,plot";

pub(crate) fn main(args: &Args) -> Result<()> {
    const KNOWN: [&str; 4] = ["cpu", "wgpu", "cuda", "cuda-emulated"];
    if let Some(other) = args.require.iter().find(|d| !KNOWN.contains(&d.as_str())) {
        bail!("--require {other}: the devices are {}", KNOWN.join(", "));
    }
    if args.emulated {
        return emulated::passes(!args.quick).map(drop);
    }
    if !args.quick {
        run(&mut cargo(&["fmt", "--all", "--check"]))?;
        let lints =
            ["clippy", "--workspace", "--all-targets", "--features", FEATURES, "--", "-D", "warnings"];
        run(&mut cargo(&lints))?;
        let alone =
            ["clippy", "-p", "foveate", "--no-default-features", "--all-targets", "--", "-D", "warnings"];
        run(&mut cargo(&alone))?;
    }
    tidy::main(&tidy::Args::default())?;
    build_kernels::main(&build_kernels::Args { check: true, ..Default::default() })?;
    let native = target().join("test-report.tsv");
    let narrow = target().join("test-report-narrow.tsv");
    for report in [&native, &narrow] {
        let _ = fs::remove_file(report);
    }
    fs::create_dir_all(target())?;
    run(cargo(&["test", "--workspace", "--features", FEATURES]).env("FOVEATE_TEST_REPORT", &native))?;
    run(&mut cargo(&["test", "-p", "foveate", "--no-default-features"]))?;
    let emulated = emulated::passes(!args.quick)?;
    on_a_narrow_adapter(&narrow)?;
    if !args.quick {
        let features = format!("{FEATURES},cust");
        let mut doc = cargo(&["doc", "-p", "foveate", "--no-deps", "--features", &features]);
        run(doc.env("RUSTDOCFLAGS", "-D warnings").envs(emulator::environment(Kind::Plain)?))?;
    }
    verify::own_cases(&args.require)?;
    bundle::in_a_test_run()?;
    let mut devices = BTreeMap::new();
    collect(&native, |device| device.to_owned(), &mut devices)?;
    for (name, report) in &emulated {
        collect(report, |_| (*name).to_owned(), &mut devices)?;
    }
    collect(&narrow, |device| format!("{device}-narrow"), &mut devices)?;
    table(&devices);
    let mut required: Vec<&str> = args.require.iter().map(String::as_str).collect();
    if required.contains(&"wgpu") {
        required.push("wgpu-narrow");
    }
    if required.contains(&"cuda-emulated") {
        for name in emulated::names() {
            required.push(name);
        }
    }
    for device in required {
        match devices.get(device) {
            Some(outcome) if outcome.skipped.is_empty() && !outcome.ran.is_empty() => {}
            Some(outcome) if !outcome.skipped.is_empty() => {
                let (test, why) = outcome.skipped.iter().next().context("no skip")?;
                bail!(
                    "{device} is required, but {} tests were skipped ({test}: {why})",
                    outcome.skipped.len()
                );
            }
            _ => bail!("{device} is required, but no test ran on it"),
        }
    }
    Ok(())
}

/// The library's tests once more through wgpu, with the limits of every browser and, where the adapter is Mesa's llvmpipe,
/// subgroups of 16 instead of 8. Every tensor has memory of its own, filled with NaN, so that what a kernel leaves
/// unwritten is found.
fn on_a_narrow_adapter(report: &Path) -> Result<()> {
    let mut command = cargo(&["test", "--workspace", "--lib", "--features", FEATURES]);
    command.env("LP_NATIVE_VECTOR_WIDTH", "512").env("FOVEATE_WGPU_LIMITS", "webgpu");
    command.env("FOVEATE_DEVICES", "wgpu").env("FOVEATE_POOL", "off").env("FOVEATE_TEST_REPORT", report);
    run(&mut command)
}

#[derive(Default)]
struct Outcome {
    ran: BTreeSet<String>,
    /// Test and reason.
    skipped: BTreeMap<String, String>,
}

/// Reads the lines that the tests left: device, test, `ran` or `skipped`, reason.
fn collect(
    report: &Path,
    name: impl Fn(&str) -> String,
    devices: &mut BTreeMap<String, Outcome>,
) -> Result<()> {
    let text = fs::read_to_string(report).unwrap_or_default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [device, test, what, why] = fields[..] else {
            bail!("{}: a torn line: {line}", report.display())
        };
        if why.starts_with("not among FOVEATE_DEVICES") {
            continue;
        }
        let outcome = devices.entry(name(device)).or_default();
        match what {
            "ran" => {
                outcome.ran.insert(test.to_owned());
            }
            _ => {
                outcome.skipped.insert(test.to_owned(), why.to_owned());
            }
        }
    }
    Ok(())
}

fn table(devices: &BTreeMap<String, Outcome>) {
    println!("\n{:<24} {:>9} {:>9}  why skipped", "device", "tests run", "skipped");
    for (device, outcome) in devices {
        let reasons: BTreeSet<&str> = outcome.skipped.values().map(String::as_str).collect();
        let reasons: Vec<&str> = reasons.into_iter().collect();
        println!(
            "{device:<24} {:>9} {:>9}  {}",
            outcome.ran.len(),
            outcome.skipped.len(),
            reasons.join("; ")
        );
    }
}
