//! Benchmarks of wgpu, on the adapter that `Device::wgpu` chooses: the operations whose speed decides a selection and a
//! training step, at 20 patches, because the adapter may be a software driver. Under criterion, or with `--serve`
//! behind the server that `cargo xtask bench --device wgpu --peers` alternates with `peers/burn`.

#[path = "../conv2d.rs"]
mod conv2d;
#[path = "../cross_attention.rs"]
mod cross_attention;
#[path = "../encoder.rs"]
mod encoder;
mod ladder;
mod operations;
#[path = "../selection.rs"]
mod selection;
#[path = "../support/mod.rs"]
mod support;

use foveate::Device;
use std::process::ExitCode;
use support::Case;

const PATCHES: usize = 20;

fn cases() -> Vec<Case> {
    let layers = conv2d::LAYERS.into_iter().filter(|(name, _)| name.starts_with("50-"));
    let families = [
        conv2d::cases(layers.map(|(name, layer)| (name, conv2d::Layer { n: PATCHES, ..layer }))),
        encoder::cases(PATCHES),
        selection::cases().into_iter().filter(|case| case.name == "selection/dense").collect(),
        cross_attention::cases([1, 100]),
        operations::cases(),
    ];
    let mut cases: Vec<Case> = families.into_iter().flatten().collect();
    if !std::env::args().any(|argument| argument == "--serve") {
        // Nobody has them beside this crate.
        cases.extend(ladder::cases(PATCHES));
    }
    cases
}

fn main() -> ExitCode {
    match Device::wgpu() {
        Ok(device) => {
            let done = support::run(device.clone(), 10, cases);
            print_timings(&device);
            done
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The time of every kernel, where `FOVEATE_TRACE` asked for it.
fn print_timings(device: &Device) {
    if let Device::Wgpu(device) = device
        && let Ok(timings) = device.timings()
        && !timings.0.is_empty()
    {
        eprintln!("{timings}");
    }
}
