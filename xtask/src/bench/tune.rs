//! `cargo xtask tune conv2d`: times every way to compute the encoder's layers on the CUDA device at hand, and makes of the
//! fastest the table that decides from then on, `src/ops/conv2d/cuda/table.rs`.

use super::{Named, Program, compare, plan, server::Server};
use crate::root::{read, root};
use anyhow::{Context, Result, bail, ensure};
use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The operation, of which there is one
    #[arg(value_parser = ["conv2d"])]
    op: String,
    /// Where to time: `cuda`, or `cuda-emulated` to see that everything runs. What the emulator takes says nothing of a GPU
    /// and never becomes the table
    #[arg(long, value_enum, default_value = "cuda")]
    device: Named,
    /// Only layers whose name holds this, such as `64-64-3-1-1-13`; what is written keeps the rows of the others
    #[arg(long)]
    only: Option<String>,
    /// Rounds whose median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Least seconds of a round
    #[arg(long, default_value_t = 0.05, value_name = "SECONDS")]
    min_time: f64,
    /// Write the table into the crate
    #[arg(long)]
    write: bool,
    /// Write it to this file as well
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Every way once in its smallest size, to see that it runs: no table is made
    #[arg(long, conflicts_with_all = ["write", "save"])]
    smoke: bool,
    /// Benchmarks that are built already: what `cargo xtask bundle` makes
    #[arg(long, value_name = "PROGRAM", conflicts_with = "write")]
    bundled: Option<PathBuf>,
}

/// The table that bundled programs were built with.
const TABLE: &str = include_str!("../../../src/ops/conv2d/cuda/table.rs");

/// The precisions in the order of the table's columns.
const PRECISIONS: [&str; 4] = ["f32", "tf32", "f16", "bf16"];

/// The fastest ways of the layers that were timed, by layer and precision, with their seconds.
type Fastest = BTreeMap<String, BTreeMap<String, (String, f64)>>;

pub(crate) fn main(args: &Args) -> Result<()> {
    ensure!(args.device.on() == super::On::Cuda, "there is a choice on CUDA alone: --device cuda");
    let emulated = args.device == Named::CudaEmulated;
    let kept = args.write || args.save.is_some();
    ensure!(
        !(kept && emulated),
        "times of the emulator never become the table: leave --write and --save out"
    );
    let program = Program::on(args.device, args.smoke, args.bundled.as_ref(), Some("tune"))?;
    let mut server = Server::start("foveate", &mut program.command(&["--serve"]))?;
    let measured_on = server.greeting["device"].as_str().unwrap_or("an unnamed GPU").to_owned();
    let fastest = measure(args, &program, &mut server)?;
    if args.smoke || emulated {
        println!("times of the smallest sizes, or of the emulator, make no table");
        return Ok(());
    }
    let home = root().join("src/ops/conv2d/cuda/table.rs");
    let old = if args.bundled.is_some() { TABLE.to_owned() } else { read(&home)? };
    let new = table_of(&old, &fastest, &measured_on)?;
    for path in args.write.then_some(&home).into_iter().chain(&args.save) {
        fs::write(path, &new).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{} is written", path.display());
    }
    Ok(())
}

/// Times every case; what fails is said and is not chosen.
fn measure(args: &Args, program: &Program, server: &mut Server) -> Result<Fastest> {
    let mut fastest = Fastest::new();
    let plan = plan([args.rounds, 1], args.min_time, program);
    let names: Vec<String> = server.cases.keys().cloned().collect();
    for name in names.iter().filter(|name| args.only.as_ref().is_none_or(|only| name.contains(only))) {
        let [_, layer, precision, way] = name.split('/').collect::<Vec<_>>()[..] else {
            bail!("a case of no layer, precision and way: {name}");
        };
        let seconds = match compare::measure(server, None, name, "", &plan) {
            Ok(measured) => measured.ours,
            Err(error) => {
                println!("{name}: {error:#}");
                continue;
            }
        };
        println!("{layer:22} {precision:5} {way:14} {:10.1} us", seconds * 1e6);
        let best = fastest.entry(layer.into()).or_default();
        if best.get(precision).is_none_or(|(_, least)| seconds < *least) {
            best.insert(precision.into(), (way.into(), seconds));
        }
    }
    ensure!(!fastest.is_empty(), "no layer was timed");
    Ok(fastest)
}

/// The table's text with the rows of what was timed in the place of the old ones.
fn table_of(old: &str, fastest: &Fastest, measured_on: &str) -> Result<String> {
    let mut new = String::new();
    let mut replaced = 0;
    for line in old.lines() {
        match layer_of(line).and_then(|layer| Some((fastest.get(&layer)?, layer))) {
            Some((ways, layer)) => {
                writeln!(new, "{}", row(&layer, ways)?)?;
                replaced += 1;
            }
            None if line.starts_with("/// The GPU that was measured.") => {
                writeln!(new, "/// The GPU that was measured.")?;
            }
            None if line.starts_with("pub(super) const MEASURED_ON") => {
                writeln!(new, "pub(super) const MEASURED_ON: Option<&str> = Some({measured_on:?});")?;
            }
            None => writeln!(new, "{line}")?,
        }
    }
    ensure!(replaced == fastest.len(), "{} layers were timed, {replaced} are in the table", fastest.len());
    Ok(new)
}

/// The name of the layer that a line of the table is about: `64-128-3-2-1-13` of `row([64, 128], [3, 2, 1], 13, [...`.
fn layer_of(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("row(")?;
    let (shape, _) = rest.rsplit_once(", [")?;
    let numbers: Vec<&str> =
        shape.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()).collect();
    (numbers.len() == 6).then(|| numbers.join("-"))
}

fn row(layer: &str, ways: &BTreeMap<String, (String, f64)>) -> Result<String> {
    let [channels, outs, kernel, stride, padding, side] = layer.split('-').collect::<Vec<_>>()[..] else {
        bail!("a layer of no six numbers: {layer}");
    };
    let mut chosen = Vec::new();
    for precision in PRECISIONS {
        let (way, _) =
            ways.get(precision).with_context(|| format!("{layer} was not timed in {precision}"))?;
        chosen.push(way.as_str());
    }
    Ok(format!(
        "    row([{channels}, {outs}], [{kernel}, {stride}, {padding}], {side}, [{}]),",
        chosen.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fastest(layer: &str) -> Fastest {
        let way = |precision: &str| (precision.to_owned(), (format!("Way({precision})"), 1.0));
        [(layer.to_owned(), PRECISIONS.map(way).into())].into()
    }

    #[test]
    fn a_timed_layer_takes_the_place_of_its_row() {
        let old = TABLE;
        let new = table_of(old, &fastest("64-64-3-1-1-13"), "some GPU").unwrap();
        let row = "    row([64, 64], [3, 1, 1], 13, [Way(f32), Way(tf32), Way(f16), Way(bf16)]),";
        assert!(new.lines().any(|line| line == row), "{new}");
        assert!(new.contains("Option<&str> = Some(\"some GPU\");"), "{new}");
        let differ = old.lines().zip(new.lines()).filter(|(old, new)| old != new).count();
        assert_eq!((old.lines().count(), differ), (new.lines().count(), 3));
        assert!(table_of(old, &fastest("64-64-3-1-1-14"), "some GPU").is_err(), "no such layer");
    }

    #[test]
    fn a_layer_needs_every_precision() {
        let mut some = fastest("1-2-3-4-5-6");
        some.values_mut().for_each(|ways| drop(ways.remove("f16")));
        let ways = &some["1-2-3-4-5-6"];
        assert!(row("1-2-3-4-5-6", ways).unwrap_err().to_string().contains("not timed in f16"));
    }
}
