//! `foveate-verify`: replays recorded cases and prints a table of worst errors; exits non-zero on a failure.

use anyhow::{Context, Result, bail};
use clap::Parser;
use foveate::{DType, Precision};
use foveate_verify::{Verdict, replay_file};
use std::{path::PathBuf, process::ExitCode};

/// Replay recorded reference cases on a device.
#[derive(Parser)]
struct Arguments {
    /// Folder of `*.safetensors` cases.
    #[arg(long, required_unless_present = "list_operations")]
    cases: Option<PathBuf>,
    /// Print the table of operations instead: name, folder, whether there is a WGSL and a CUDA kernel.
    #[arg(long)]
    list_operations: bool,
    /// Device: cpu, wgpu or cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Type of float operands: f32, or f16 for the operations that take it.
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// How operands of products are rounded: f32, or on CUDA tf32, f16 or bf16.
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Only the cases of this operation.
    #[arg(long)]
    only: Option<String>,
    /// Report operations that have no kernel on the device, or take no such operands, as skipped instead of failed.
    #[arg(long)]
    skip_unsupported: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    if arguments.list_operations {
        for op in foveate::ops::table::OPS {
            println!("{}\t{}\t{}\t{}", op.name, op.folder, op.arms.wgpu, op.arms.cuda);
        }
        return Ok(());
    }
    let folder = arguments.cases.context("--cases is missing")?;
    let device = foveate_verify::device(&arguments.device)?;
    device.set_precision(arguments.precision)?;
    let dtype = match arguments.dtype.as_str() {
        "f32" => DType::F32,
        "f16" => DType::F16,
        other => bail!("--dtype {other}: it is f32 or f16"),
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| format!("{}: the folder of cases cannot be read", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    println!(
        "{:<36} {:>12} {:>12}  verdict ({device}, {dtype}, {} products)",
        "case", "outputs", "gradients", arguments.precision
    );
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let report = replay_file(file, &device, dtype, arguments.only.as_deref())?;
        let Some(report) = report else { continue };
        let cell = |error: Option<f64>| error.map_or("-".into(), |e| format!("{e:.1e}"));
        let verdict = match &report.verdict {
            Verdict::Passed => {
                passed += 1;
                report.note.as_ref().map_or("pass".to_owned(), |note| format!("pass: {note}"))
            }
            Verdict::Unsupported(why) if arguments.skip_unsupported => {
                skipped += 1;
                format!("skipped: {why}")
            }
            Verdict::Unsupported(why) | Verdict::Failed(why) => {
                failed += 1;
                format!("FAIL: {why}")
            }
        };
        println!("{name:<36} {:>12} {:>12}  {verdict}", cell(report.outputs), cell(report.gradients));
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed + skipped == 0 {
        bail!("no case matched in {}", folder.display());
    }
    if failed > 0 {
        bail!("{failed} cases failed");
    }
    Ok(())
}
