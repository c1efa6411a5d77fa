//! Benchmarks of the CPU: every case once as a criterion benchmark, or, with `--serve`, behind a server that times one case
//! at a time on request, so that `cargo xtask bench --peers` can alternate with `peers/peer.py`. One module per operation
//! or family; a case has the name and the shapes of its peer's.

mod adamw;
mod conv2d;
mod cross_attention;
mod encoder;
mod gumbel_top_k;
mod layers;
mod overhead;
mod selection;
mod support;
mod top_m_merge;
mod unfold;

use criterion::{Criterion, Throughput};
use std::{process::ExitCode, time::Duration};
use support::{Call, Case};

fn cases() -> Vec<Case> {
    let families = [
        conv2d::cases(),
        encoder::cases(),
        selection::cases(),
        unfold::cases(),
        cross_attention::cases(),
        top_m_merge::cases(),
        gumbel_top_k::cases(),
        layers::cases(),
        adamw::cases(),
        overhead::cases(),
    ];
    families.into_iter().flatten().collect()
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--serve") {
        return match support::serve(&cases()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if let Err(error) = foveate::cpu::join_pool(0) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for case in cases() {
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
    // Criterion calls this once per sample, and not at all if the case is not asked for.
    let mut made: Option<Call> = None;
    group.bench_function(rest, |bencher| {
        let call = made.get_or_insert_with(|| (case.build)().unwrap_or_else(|error| leave(case, &error)));
        bencher.iter(|| call().unwrap_or_else(|error| leave(case, &error)));
    });
    group.finish();
}

/// A case that cannot run is no measurement.
fn leave(case: &Case, error: &foveate::Error) -> ! {
    eprintln!("error: {}: {error}", case.name);
    std::process::exit(1)
}
