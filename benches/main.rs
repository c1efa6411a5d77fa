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

use foveate::Device;
use std::process::ExitCode;
use support::Case;

fn cases() -> Vec<Case> {
    let families = [
        conv2d::cases(conv2d::LAYERS),
        encoder::cases(100),
        selection::cases(),
        unfold::cases(),
        cross_attention::cases([16, 200]),
        top_m_merge::cases(),
        gumbel_top_k::cases(),
        layers::cases(),
        adamw::cases(),
        overhead::cases(),
    ];
    families.into_iter().flatten().collect()
}

fn main() -> ExitCode {
    support::run(Device::Cpu, 20, cases)
}
