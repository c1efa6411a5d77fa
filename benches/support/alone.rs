//! A benchmark's program: every case under criterion, or, with `--serve`, the server.

use super::{Call, Case, DEVICE, runs_ahead, serve::serve, settle, use_threads};
use criterion::{Criterion, Throughput};
use foveate::Device;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Runs the cases on a device, `samples` of each under criterion.
pub(crate) fn run(device: Device, samples: usize, cases: impl FnOnce() -> Vec<Case>) -> ExitCode {
    let device = DEVICE.get_or_init(|| device);
    let cases = cases();
    if std::env::args().any(|argument| argument == "--serve") {
        return match serve(&cases) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if let Err(error) = use_threads(0) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    if !matches!(device, Device::Cpu) {
        eprintln!("on {device}");
    }
    let mut criterion = Criterion::default()
        .sample_size(samples)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for case in cases {
        measure(&mut criterion, &case);
    }
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// Throughput, where arithmetic decides, is in floating-point operations ("elements") per second.
fn measure(criterion: &mut Criterion, case: &Case) {
    let (family, rest) = case.name.split_once('/').unwrap_or((&case.name, ""));
    let mut group = criterion.benchmark_group(family);
    if case.flops > 0 {
        group.throughput(Throughput::Elements(case.flops));
    }
    for form in &case.forms {
        // Criterion calls this once per sample, and not at all if the case is not asked for.
        let mut made: Option<Call> = None;
        group.bench_function(rest, |bencher| {
            let call = made.get_or_insert_with(|| (form.build)().unwrap_or_else(|error| leave(case, &error)));
            if runs_ahead() {
                bencher.iter_custom(|calls| together(call, calls, case));
            } else {
                bencher.iter(|| {
                    let results = call().unwrap_or_else(|error| leave(case, &error));
                    settle(&results).unwrap_or_else(|error| leave(case, &error));
                    results
                });
            }
        });
    }
    group.finish();
}

/// The time of so many calls that are waited for together, or of the host's part of them.
fn together(call: &mut Call, calls: u64, case: &Case) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        drop(call().unwrap_or_else(|error| leave(case, &error)));
    }
    let launched = start.elapsed();
    settle(&Vec::new()).unwrap_or_else(|error| leave(case, &error));
    if case.host { launched } else { start.elapsed() }
}

/// A case that cannot run is no measurement.
fn leave(case: &Case, error: &foveate::Error) -> ! {
    eprintln!("error: {}: {error}", case.name);
    std::process::exit(1)
}
