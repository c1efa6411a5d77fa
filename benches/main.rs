//! The benchmarks: every case once under criterion, or, with `--serve`, behind a server that times one case at a time on
//! request, so that `cargo xtask bench --peers` can alternate with `peers/`. One module per operation or family; a case
//! has the name and the shapes of its peer's.
//!
//! `FOVEATE_BENCH_DEVICE` is `cpu` (default), `wgpu` or `cuda`, and decides which cases there are and how large;
//! `FOVEATE_BENCH_SIZE=smoke` makes them as small as they can be; `FOVEATE_BENCH_CASES=ladder` and `tune` leave the rungs of
//! the convolution, and the ways that a tuner chooses from; `alone` says that what is served has no peer, and may have cases
//! that no peer has.

mod adamw;
mod conv2d;
mod cross_attention;
mod encoder;
mod gumbel_top_k;
mod ladder;
mod layers;
mod overhead;
mod selection;
mod support;
mod top_k;
mod top_m_merge;
mod tune;
mod unfold;

use foveate::{Device, DeviceKind, Error, Result};
use std::process::ExitCode;
use support::{Case, sizes, sizes::Sizes};

/// All there is on the CPU.
fn on_the_cpu(sizes: &Sizes) -> Vec<Case> {
    let families = [
        conv2d::cases(sizes),
        encoder::cases(sizes.patches),
        selection::cases(sizes),
        unfold::cases(sizes.cut),
        cross_attention::cases(sizes.attention),
        top_m_merge::cases(),
        gumbel_top_k::cases(sizes.draws, 10),
        layers::cases(sizes.patches),
        adamw::cases(),
        overhead::cases(),
    ];
    families.into_iter().flatten().collect()
}

/// The operations whose speed decides a selection and a training step, of patches of 50².
fn through_wgpu(sizes: &Sizes) -> Vec<Case> {
    let families = [
        conv2d::cases(sizes).into_iter().filter(|case| case.name.starts_with("conv2d/50-")).collect(),
        encoder::cases(sizes.patches),
        selection::cases(sizes).into_iter().filter(|case| case.name == "selection/dense").collect(),
        cross_attention::cases(sizes.attention),
        unfold::pooled(sizes.cut),
        top_k::cases(),
        overhead::waited_for(),
        // Nobody has them beside this crate.
        if is_served() { Vec::new() } else { ladder::cases(sizes, DeviceKind::Wgpu) },
    ];
    families.into_iter().flatten().collect()
}

/// The CPU's cases in sizes that fill a GPU, and what costs the host its time.
fn on_cuda(sizes: &Sizes) -> Vec<Case> {
    let cases = on_the_cpu(sizes).into_iter().filter(|case| !case.name.starts_with("overhead/"));
    // Nobody has them beside this crate.
    let in_f16 = match is_served() && !is_alone() {
        true => Vec::new(),
        false => [
            encoder::in_f16_cases(sizes.patches),
            selection::in_f16_cases(sizes),
            selection::batches(sizes),
            gumbel_top_k::cases(sizes.large_draw, 100),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    cases.chain(top_k::cases()).chain(overhead::launched()).chain(in_f16).collect()
}

/// Whether those that are served may have no peer.
fn is_alone() -> bool {
    only() == "alone"
}

fn only() -> String {
    std::env::var("FOVEATE_BENCH_CASES").unwrap_or_default()
}

fn is_served() -> bool {
    std::env::args().any(|argument| argument == "--serve")
}

/// What the variables ask for: the device, and the sizes there.
fn chosen() -> Result<(Device, Sizes)> {
    let name = std::env::var("FOVEATE_BENCH_DEVICE").unwrap_or_else(|_| "cpu".into());
    let (device, usual) = match name.as_str() {
        "cpu" => (Device::Cpu, sizes::CPU),
        "wgpu" => (Device::wgpu()?, sizes::WGPU),
        "cuda" => (Device::cuda(0)?, sizes::CUDA),
        _ => {
            let why = "FOVEATE_BENCH_DEVICE is cpu, wgpu or cuda".into();
            return Err(Error::NoDevice { device: name, why });
        }
    };
    match std::env::var("FOVEATE_BENCH_SIZE").as_deref() {
        Ok("smoke") => Ok((device, sizes::SMOKE)),
        Ok(other) => {
            let what = format!("FOVEATE_BENCH_SIZE is `{other}`, must be `smoke` or not set");
            Err(Error::Argument { op: "benchmarks", what })
        }
        Err(_) => Ok((device, usual)),
    }
}

fn main() -> ExitCode {
    let (device, sizes) = match chosen() {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let kind = device.kind();
    let samples = if kind == DeviceKind::Wgpu { 10 } else { 20 };
    let only = only();
    let done = support::run(device.clone(), samples, || match kind {
        _ if only == "ladder" => ladder::cases(&sizes, kind),
        _ if only == "tune" => tune::cases(&sizes),
        DeviceKind::Wgpu => through_wgpu(&sizes),
        DeviceKind::Cuda => on_cuda(&sizes),
        _ => on_the_cpu(&sizes),
    });
    print_timings(&device);
    done
}

/// The time of every kernel, or of the strips of the last selection, where `FOVEATE_TRACE` asked for it.
fn print_timings(device: &Device) {
    #[cfg(feature = "wgpu")]
    if let Device::Wgpu(device) = device
        && let Ok(timings) = device.timings()
        && !timings.0.is_empty()
    {
        eprintln!("{timings}");
    }
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device
        && let Ok(timeline) = device.timeline()
        && !timeline.0.is_empty()
    {
        eprintln!("{timeline}");
    }
    #[cfg(not(any(feature = "cuda", feature = "wgpu")))]
    let _ = device;
}
