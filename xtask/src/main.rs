//! `cargo xtask`: what building, checking and measuring foveate needs beyond cargo itself. One module per subcommand.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod bench;
mod build_kernels;
mod bundle;
mod emulator;
mod root;
mod run;
mod test;
mod tidy;
mod verify;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "foveate's build tool")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Time the operations on the CPU, through wgpu or on CUDA, alone or in turns with PyTorch and ONNX Runtime or burn
    Bench(bench::Args),
    /// Make a folder that tests and measures this crate on a GPU machine without Rust
    Bundle(bundle::Args),
    /// Compile kernels/**/*.cu to PTX and write kernels/ptx/MANIFEST.toml, or check that both are current
    BuildKernels(build_kernels::Args),
    /// Build the stand-in for the CUDA driver that runs the kernels on the CPU, and print its folder
    Emulator(emulator::Args),
    /// Run everything that must hold: format, lints, tidiness, kernel freshness, every test on every device
    Test(test::Args),
    /// Check what no compiler checks: first lines, file sizes, the table of operations
    Tidy(tidy::Args),
    /// Time every way to compute the encoder's layers on a CUDA device, and make the table of the fastest
    Tune(bench::tune::Args),
    /// Replay recorded reference cases on a device
    Verify(verify::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Bench(args) => bench::main(&args),
        Task::Bundle(args) => bundle::main(&args),
        Task::BuildKernels(args) => build_kernels::main(&args),
        Task::Emulator(args) => emulator::main(&args),
        Task::Test(args) => test::main(&args),
        Task::Tidy(args) => tidy::main(&args),
        Task::Tune(args) => bench::tune::main(&args),
        Task::Verify(args) => verify::main(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
