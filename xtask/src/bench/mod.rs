//! `cargo xtask bench`: criterion for this crate alone, or a table of times of this crate alone or in turns with its peers;
//! on the CPU, through wgpu or on CUDA.

mod compare;
mod goals;
pub(crate) mod machine;
mod peer;
mod python;
mod report;
mod server;
pub(crate) mod tune;
mod turns;

use crate::{
    emulator::{self, Kind},
    root::read,
    run::{cargo, library_path, output, run},
};
use anyhow::{Context, Result, bail, ensure};
use compare::Plan;
use peer::Peer;
use report::{Report, Row};
use server::Server;
use std::{ffi::OsString, fs, path::PathBuf, process::Command};

/// Where the benchmarks run, which decides their peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// Against PyTorch and ONNX Runtime.
    Cpu,
    /// On the adapter that wgpu finds, against burn.
    Wgpu,
    /// On an NVIDIA GPU, against PyTorch there.
    Cuda,
}

/// The same, and the stand-in for a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Named {
    Cpu,
    Wgpu,
    Cuda,
    /// CUDA on the emulator, in the smallest sizes: times say nothing there
    CudaEmulated,
}

impl Named {
    fn on(self) -> On {
        match self {
            Named::Cpu => On::Cpu,
            Named::Wgpu => On::Wgpu,
            Named::Cuda | Named::CudaEmulated => On::Cuda,
        }
    }
}

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("table").args(["alone", "peers"])))]
pub(crate) struct Args {
    /// Only cases whose name holds this, such as `conv2d` or `50-layer1/forward`
    op: Option<String>,
    /// Where to run
    #[arg(long, value_enum, default_value = "cpu")]
    device: Named,
    /// Print a table of this crate's times instead of running criterion
    #[arg(long)]
    alone: bool,
    /// Measure PyTorch and ONNX Runtime (with `--device wgpu`: burn; with `--device cuda`: PyTorch) in turns with this
    /// crate, and print how many times faster this crate is
    #[arg(long)]
    peers: bool,
    /// Only this rung of the operation's ladder, as benches/README.md numbers them; `conv2d` has one, on `wgpu` and CUDA
    #[arg(long, conflicts_with = "peers")]
    rung: Option<u32>,
    /// Run every case once in its smallest size, to see that it runs
    #[arg(long)]
    smoke: bool,
    /// Python with the packages of benches/peers/requirements.txt; without it, an environment is made in the target
    /// folder (5.5 GB: PyPI's PyTorch brings CUDA)
    #[arg(long, value_name = "PATH", requires = "peers")]
    python: Option<PathBuf>,
    /// Rounds of each side whose medians are compared
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000), requires = "table")]
    rounds: u32,
    /// Least seconds of a round
    #[arg(long, default_value_t = 0.3, value_name = "SECONDS", value_parser = seconds, requires = "table")]
    min_time: f64,
    /// Threads of each side
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Write the table and the machine's description to this Markdown file as well
    #[arg(long, value_name = "FILE", requires = "table")]
    save: Option<PathBuf>,
    /// Write them to this JSON file as well
    #[arg(long, value_name = "FILE", requires = "table")]
    json: Option<PathBuf>,
    /// Benchmarks that are built already, with a file that says of what, and a folder of peer.py: what `cargo xtask
    /// bundle` makes. Nothing is built then
    #[arg(long, num_args = 3, value_names = ["PROGRAM", "BUILT", "SCRIPTS"], requires = "table")]
    bundled: Option<Vec<PathBuf>>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 60.0 => Ok(value),
        _ => Err("must be more than 0 and at most 60".into()),
    }
}

/// The benchmarks' program.
struct Program {
    on: On,
    smoke: bool,
    /// Where it is, unless cargo knows.
    built: Option<PathBuf>,
    /// Where it finds the emulator, if it should.
    library_path: Option<OsString>,
    /// Which cases it has, if not those that are compared with others: `ladder` or `tune`.
    cases: Option<&'static str>,
}

impl Program {
    /// The program of these arguments, built.
    fn new(args: &Args) -> Result<Self> {
        let built = args.bundled.as_ref().and_then(|parts| parts.first());
        let cases = args.rung.map(|_| "ladder").or(args.alone.then_some("alone"));
        Self::on(args.device, args.smoke, built, cases)
    }

    /// The program for a device, built unless it is at hand.
    fn on(device: Named, smoke: bool, built: Option<&PathBuf>, cases: Option<&'static str>) -> Result<Self> {
        let on = device.on();
        let emulated = device == Named::CudaEmulated;
        let mut library = None;
        if emulated {
            library = Some(library_path(&emulator::build(Kind::Plain)?));
        }
        let built = built.map(std::path::absolute).transpose()?;
        let program = Program { on, smoke: smoke || emulated, built, library_path: library, cases };
        if program.built.is_none() {
            run(&mut cargo(&[&["bench", "--no-run"], on.target()].concat()))?;
        }
        Ok(program)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.built {
            Some(path) => Command::new(path),
            None => cargo(&[&["bench", "--quiet"], self.on.target(), &["--"]].concat()),
        };
        command.args(arguments).env("FOVEATE_BENCH_DEVICE", self.on.name());
        if self.smoke {
            command.env("FOVEATE_BENCH_SIZE", "smoke");
        }
        if let Some(cases) = self.cases {
            command.env("FOVEATE_BENCH_CASES", cases);
        }
        if let Some(path) = &self.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }
}

impl On {
    fn name(self) -> &'static str {
        match self {
            On::Cpu => "cpu",
            On::Wgpu => "wgpu",
            On::Cuda => "cuda",
        }
    }

    /// What cargo builds.
    fn target(self) -> &'static [&'static str] {
        match self {
            On::Cpu => &["--package", "foveate", "--bench", "ops", "--no-default-features"],
            On::Wgpu => &["--package", "foveate", "--bench", "ops", "--features", "wgpu"],
            On::Cuda => {
                &["--package", "foveate", "--bench", "ops", "--no-default-features", "--features", "cuda"]
            }
        }
    }
}

impl Args {
    /// What the names of the cases that were asked for hold.
    fn filter(&self) -> Result<Option<String>> {
        let Some(rung) = self.rung else { return Ok(self.op.clone()) };
        ensure!(self.op.as_deref() == Some("conv2d"), "the operation with a ladder is conv2d");
        ensure!(self.device != Named::Cpu, "the ladder is of GPUs: name one with --device");
        Ok(Some(format!("ladder/{rung}-")))
    }
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let filter = args.filter()?;
    let program = Program::new(args)?;
    if args.peers || args.alone {
        return table(args, &program, filter.as_deref());
    }
    let only: Vec<&str> = filter.iter().map(String::as_str).collect();
    let listed = output(&mut program.command(&[&["--list"], only.as_slice()].concat()))?;
    ensure!(!listed.trim().is_empty(), "no benchmark is named like {}", only.join(" "));
    let how: &[&str] = if program.smoke { &["--test"] } else { &[] };
    run(program.command(&[how, &only].concat()).env("RAYON_NUM_THREADS", args.threads.to_string()))
}

/// The table, on the terminal and in files. An error where results differ or a case could not be measured.
fn table(args: &Args, program: &Program, filter: Option<&str>) -> Result<()> {
    let report = measure_all(args, program, filter)?;
    println!("\n{}", report.summary());
    for path in [&args.save, &args.json].into_iter().flatten() {
        println!("{} is written", path.display());
    }
    let wrong: Vec<String> = report.rows.iter().filter_map(Row::disagreement).collect();
    ensure!(wrong.is_empty(), "results differ:\n  {}", wrong.join("\n  "));
    ensure!(report.failures.is_empty(), "not measured:\n  {}", report.failures.join("\n  "));
    Ok(())
}

fn write(args: &Args, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(&report.json())?;
    for (path, text) in [(&args.save, report.markdown()), (&args.json, json)] {
        if let Some(path) = path {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// Every case that was asked for. The files are written anew after each, so that a run that is cut short leaves what it has.
fn measure_all(args: &Args, program: &Program, filter: Option<&str>) -> Result<Report> {
    let on = program.on;
    let [built, scripts] =
        [1, 2].map(|at| args.bundled.as_ref().and_then(|parts| parts.get(at)).map(PathBuf::as_path));
    let mut ours = Server::start("foveate", &mut program.command(&["--serve"]))?;
    let mut peer = match args.peers {
        true => Some(Peer::start(on, args.python.as_deref(), scripts, program.smoke)?),
        false => None,
    };
    if let Some(peer) = &peer {
        same_cases(&ours, &peer.server)?;
    }
    let chosen = chosen(filter, &ours)?;
    let plan = plan([args.rounds, args.threads], args.min_time, program);
    let built = built.map(read).transpose()?;
    let server = peer.as_ref().map(|peer| &peer.server);
    let machine = machine::describe(on, &ours, server, &plan, built.as_deref())?;
    let mut report = Report { on, alone: args.alone, machine, rows: Vec::new(), failures: Vec::new() };
    println!("{}", Report::head());
    for (name, about) in &chosen {
        let forms: &[&str] = if args.alone { &[""] } else { goals::peers(on, name) };
        for form in forms {
            let measured = match &mut peer {
                Some(peer) => peer.measure(&mut ours, name, form, &plan),
                None => compare::measure(&mut ours, None, name, form, &plan),
            };
            match measured {
                Err(error) if on == On::Cpu => return Err(error.context(format!("{name} {form}"))),
                Err(error) => {
                    println!("{name}: {error:#}");
                    report.failures.push(format!("{name}: {error:#}"));
                }
                Ok(measured) => report.add(Row::new(on, name, about, measured)),
            }
        }
        write(args, &report)?;
    }
    report.machine.extend(peer.and_then(|peer| peer.tuning()));
    write(args, &report)?;
    Ok(report)
}

/// Cases and their shapes, in the order of the table.
fn chosen(op: Option<&str>, ours: &Server) -> Result<Vec<(String, String)>> {
    let named = goals::in_order(&ours.cases).filter(|(name, _)| op.is_none_or(|op| name.contains(op)));
    let chosen: Vec<(String, String)> = named.map(|(name, about)| (name.into(), about.into())).collect();
    if chosen.is_empty() {
        bail!("no case is named like {}: there are {}", op.unwrap_or(""), ours.names());
    }
    Ok(chosen)
}

fn plan([rounds, threads]: [u32; 2], min_time: f64, program: &Program) -> Plan {
    // The host has cores to spare beside a GPU, and beside a smoke run nothing matters.
    let calm = if program.on == On::Cuda || program.smoke { f64::INFINITY } else { compare::CALM };
    let (rounds, min_time) = if program.smoke { (1, 0.0) } else { (rounds as usize, min_time) };
    Plan { rounds, min_time, threads, calm }
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
