//! `cargo xtask bench`: criterion for this crate alone, or this crate and its peers in turns with a table of ratios; on the
//! CPU or through wgpu.

mod compare;
mod goals;
mod machine;
mod peer;
mod python;
mod report;
mod server;
mod turns;

use crate::run::{cargo, output, run};
use anyhow::{Context, Result, bail, ensure};
use compare::Plan;
use peer::Peer;
use report::{Report, Row};
use server::Server;
use std::{fs, path::PathBuf, process::Command};

/// Where the benchmarks run, which decides their peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum On {
    /// Against PyTorch and ONNX Runtime.
    Cpu,
    /// On the adapter that wgpu finds, against burn.
    Wgpu,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only cases whose name holds this, such as `conv2d` or `50-layer1/forward`
    op: Option<String>,
    /// Where to run
    #[arg(long, value_enum, default_value = "cpu")]
    device: On,
    /// Measure PyTorch and ONNX Runtime (with `--device wgpu`: burn) in turns with this crate, and print how many times
    /// faster this crate is
    #[arg(long)]
    peers: bool,
    /// Python with the packages of benches/peers/requirements.txt; without it, an environment is made in the target
    /// folder (5.5 GB: PyPI's PyTorch brings CUDA)
    #[arg(long, value_name = "PATH", requires = "peers")]
    python: Option<PathBuf>,
    /// Rounds of each side whose medians are compared
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000), requires = "peers")]
    rounds: u32,
    /// Least seconds of a round
    #[arg(long, default_value_t = 0.3, value_name = "SECONDS", value_parser = seconds, requires = "peers")]
    min_time: f64,
    /// Threads of each side
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Write the table and the machine's description to this Markdown file as well
    #[arg(long, value_name = "FILE", requires = "peers")]
    save: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 60.0 => Ok(value),
        _ => Err("must be more than 0 and at most 60".into()),
    }
}

/// The benchmarks' program, with arguments of its own.
fn ours(on: On, arguments: &[&str]) -> Command {
    cargo(&[&["bench", "--quiet"], on.target(), &["--"], arguments].concat())
}

impl On {
    /// What cargo builds.
    fn target(self) -> &'static [&'static str] {
        match self {
            On::Cpu => &["--package", "foveate", "--bench", "cpu"],
            On::Wgpu => &["--package", "foveate", "--bench", "wgpu", "--features", "wgpu"],
        }
    }
}

pub(crate) fn main(args: &Args) -> Result<()> {
    run(&mut cargo(&[&["bench", "--no-run"], args.device.target()].concat()))?;
    if args.peers {
        return compare_all(args);
    }
    let only: Vec<&str> = args.op.iter().map(String::as_str).collect();
    let listed = output(&mut ours(args.device, &[&["--list"], only.as_slice()].concat()))?;
    ensure!(!listed.trim().is_empty(), "no benchmark is named like {}", only.join(" "));
    run(ours(args.device, &only).env("RAYON_NUM_THREADS", args.threads.to_string()))
}

fn compare_all(args: &Args) -> Result<()> {
    let on = args.device;
    let mut ours = Server::start("foveate", &mut ours(on, &["--serve"]))?;
    let mut peer = Peer::start(on, args.python.as_deref())?;
    same_cases(&ours, &peer.server)?;
    let chosen: Vec<(&str, &str)> = goals::in_order(&ours.cases)
        .filter(|(name, _)| args.op.as_ref().is_none_or(|op| name.contains(op)))
        .collect();
    if chosen.is_empty() {
        bail!("no case is named like {}: there are {}", args.op.as_deref().unwrap_or(""), ours.names());
    }
    let chosen: Vec<(String, String)> =
        chosen.iter().map(|&(name, about)| (name.into(), about.into())).collect();
    let plan = Plan { rounds: args.rounds as usize, min_time: args.min_time, threads: args.threads };
    let machine = machine::describe(on, &ours, &peer.server, &plan)?;
    let mut report = Report { on, machine, rows: Vec::new(), failures: Vec::new() };
    println!("{}", Report::head());
    for (name, about) in &chosen {
        for form in goals::peers(on, name) {
            let measured = match peer.measure(&mut ours, name, form, &plan) {
                Err(error) if on == On::Wgpu => {
                    println!("{name}: {error:#}");
                    report.failures.push(format!("{name}: {error:#}"));
                    continue;
                }
                measured => measured.with_context(|| format!("{name} against {form}"))?,
            };
            if report.rows.iter().any(|row: &Row| row.case == *name && row.measured.form == measured.form) {
                continue;
            }
            let row = Row { case: name.clone(), about: about.clone(), measured };
            println!("{}", row.line());
            report.rows.push(row);
        }
    }
    report.machine.extend(peer.tuning());
    println!("\n{}", report.summary());
    if let Some(path) = &args.save {
        fs::write(path, report.markdown()).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{} is written", path.display());
    }
    let wrong: Vec<String> = report.rows.iter().filter_map(Row::disagreement).collect();
    ensure!(wrong.is_empty(), "results differ:\n  {}", wrong.join("\n  "));
    ensure!(report.failures.is_empty(), "not measured:\n  {}", report.failures.join("\n  "));
    Ok(())
}

/// Both sides must know the same cases, in the same shapes.
fn same_cases(ours: &Server, peer: &Server) -> Result<()> {
    let alone = |one: &Server, other: &Server| -> Vec<String> {
        let missing = one.cases.iter().filter(|(name, about)| other.cases.get(*name) != Some(*about));
        missing.map(|(name, about)| format!("{}: {name} ({about})", one.name)).collect()
    };
    let differ = [alone(ours, peer), alone(peer, ours)].concat();
    ensure!(differ.is_empty(), "the two sides do not have the same cases:\n  {}", differ.join("\n  "));
    Ok(())
}
