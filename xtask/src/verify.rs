//! `cargo xtask verify`: replays recorded cases on a device.

use crate::{
    emulator,
    root::root,
    run::{cargo, library_path, run},
};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of `*.safetensors` cases; the repository's own by default
    #[arg(long)]
    cases: Option<PathBuf>,
    /// cpu, wgpu, cuda, cuda-emulated or cuda-emulated-checks
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Type of float operands: f32, or f16 for the operations that take it
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// How operands of products are rounded: f32, or on CUDA tf32, f16 or bf16
    #[arg(long, default_value = "f32")]
    precision: String,
    /// Only the cases of this operation
    #[arg(long)]
    only: Option<String>,
    /// Report operations without a kernel on the device, or without such operands, as skipped instead of failed
    #[arg(long)]
    skip_unsupported: bool,
}

/// The emulator's checking build.
const CHECKED: &str = "cuda-emulated-checks";

/// The cases that the repository carries.
fn own() -> PathBuf {
    root().join("verify/cases")
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let cases = args.cases.clone().unwrap_or_else(own);
    // cargo runs the program in the repository's root, so a relative folder must be resolved here.
    let cases = std::path::absolute(&cases)?;
    replay(&cases, [&args.device, &args.dtype, &args.precision], args.only.as_deref(), args.skip_unsupported)
}

/// Replays the repository's own cases on the CPU and on every device that is required.
pub(crate) fn own_cases(required: &[String]) -> Result<()> {
    replay(&own(), ["cpu", "f32", "f32"], None, false)?;
    replay(&own(), ["cpu", "f16", "f32"], None, true)?;
    for device in required.iter().filter(|d| *d != "cpu") {
        replay(&own(), [device, "f32", "f32"], None, false)?;
        match device.as_str() {
            "wgpu" => replay(&own(), [device, "f16", "f32"], None, true)?,
            "cuda-emulated" => {
                replay(&own(), [CHECKED, "f32", "f32"], None, false)?;
                for precision in ["tf32", "f16", "bf16"] {
                    replay(&own(), [device, "f32", precision], None, false)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn replay(
    cases: &Path,
    [device, dtype, precision]: [&str; 3],
    only: Option<&str>,
    skip_unsupported: bool,
) -> Result<()> {
    let (name, emulator) = match device {
        "cpu" | "wgpu" | "cuda" => (device, None),
        "cuda-emulated" => ("cuda", Some(emulator::Kind::Plain)),
        CHECKED => ("cuda", Some(emulator::Kind::Checks)),
        other => bail!("--device {other}: the devices are cpu, wgpu, cuda, cuda-emulated, {CHECKED}"),
    };
    // One build for every device.
    let mut command =
        cargo(&["run", "--release", "--quiet", "-p", "foveate-verify", "--features", "wgpu,cuda", "--"]);
    command.arg("--cases").arg(cases).args(["--device", name, "--dtype", dtype, "--precision", precision]);
    if let Some(only) = only {
        command.args(["--only", only]);
    }
    if skip_unsupported {
        command.arg("--skip-unsupported");
    }
    if let Some(kind) = emulator {
        command.env("LD_LIBRARY_PATH", library_path(&emulator::build(kind)?));
    }
    if device == CHECKED {
        command.env("FOVEATE_POOL", "bare");
    }
    run(&mut command)
}
