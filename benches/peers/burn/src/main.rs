//! The burn side of the wgpu benchmarks: the cases that `benches/main.rs` has through wgpu, in burn as its users would write them, behind the
//! server that this crate's side uses. `cargo xtask bench --device wgpu --peers` starts it.

mod attention;
mod conv2d;
mod encoder;
mod operations;
mod selection;
mod support;

use std::process::ExitCode;
use support::Case;

/// As many as on the other side.
const PATCHES: usize = 20;

fn cases() -> Vec<Case> {
    let families = [
        conv2d::cases(PATCHES),
        encoder::cases(PATCHES),
        selection::cases(),
        attention::cases(),
        operations::cases(),
    ];
    families.into_iter().flatten().collect()
}

fn main() -> ExitCode {
    match support::serve(&cases()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
