//! `cargo xtask`: what building, checking and measuring foveate needs beyond cargo itself. One module per subcommand.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod build_kernels;
mod emulator;
mod root;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "foveate's build tool")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compile kernels/**/*.cu to PTX and write kernels/ptx/MANIFEST.toml, or check that both are current
    BuildKernels(build_kernels::Args),
    /// Build the stand-in for the CUDA driver that runs the kernels on the CPU, and print its folder
    Emulator(emulator::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::BuildKernels(args) => build_kernels::main(&args),
        Task::Emulator(args) => emulator::main(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
