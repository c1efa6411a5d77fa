//! Repeats the studies of Riffi-Aslett and Fell (arXiv 2412.11237) of Iterative Patch Selection on Megapixel MNIST, at any
//! scale, and writes their tables and plots beside the published figures. Each run is a folder; what is done is not done
//! again, and what was stopped (Ctrl-C) goes on.
//!
//!     cargo run --release --example study -- o2i

mod arguments;
mod grid;
mod published;
mod results;
mod study;

use arguments::Arguments;
use clap::Parser;
use foveate::{
    Device, Error, Result, Rng,
    data::{Digits, Mnist, Split},
    train::{TrainConfig, evaluate},
};
use foveate_examples::{Interrupt, RunFolder, Shown, WithSystem, device, digits, exit_code, most_frequent};
use grid::{Grid, Point};
use results::{Results, Row};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()))
}

fn run(a: &Arguments) -> Result<()> {
    let (grid, out) = (a.grid(), a.out());
    let (points, mnist) = (grid.points(), a.mnist.as_ref().map(Mnist::open).transpose()?);
    let Some(first) = points.first().filter(|_| a.seeds > 0) else {
        return Err(Error::argument("study", "a grid without points or seeds has nothing to train"));
    };
    if a.list {
        return list(&grid, &points, a.seeds);
    }
    // What cannot be trained is said before anything else is.
    points.iter().try_for_each(|point| grid.steps(point).map(drop))?;
    foveate::cpu::join_pool(0)?;
    let device = device(&a.device)?;
    fs::create_dir_all(&out).map_err(|e| Error::file(&out, e))?;
    // All runs are tested on images of seed 0.
    let test = digits(mnist.as_ref(), 0, Split::Test)?;
    let mut results = Results {
        study: a.study,
        grid: &grid,
        tasks: foveate::nn::Task::megapixel_mnist().into_iter().map(|task| task.name).collect(),
        settings: settings(a, &grid),
        chance: most_frequent(&grid.images(first, Split::Test, &test, 0)?)?,
        rows: Vec::new(),
    };
    let (interrupt, all) = (Interrupt::listen(), points.len() * a.seeds as usize);
    for seed in 0..a.seeds {
        let train = digits(mnist.as_ref(), seed, Split::Train)?;
        let context = Context { grid: &grid, seed, digits: [&train, &test], interrupt: &interrupt };
        for point in &points {
            println!("run {} of {all}: {}", results.rows.len() + 1, point.folder(seed));
            match context.run(point, &device, &out)? {
                Some(row) => results.rows.push(row),
                None => {
                    println!("stopped; the same command goes on");
                    return Ok(());
                }
            }
            // After each run, so that what is known can be read while the rest goes on.
            results.write(&out)?;
        }
    }
    println!("{}", results.markdown());
    println!("runs  {} with seeds", out.join("results.csv").display());
    println!("table {} and table.csv", out.join("table.md").display());
    println!("plot  {}", out.join("study.png").display());
    Ok(())
}

/// Prints the runs and their steps.
fn list(grid: &Grid, points: &[Point], seeds: u64) -> Result<()> {
    let mut total = 0;
    for seed in 0..seeds {
        for point in points {
            let steps = grid.steps(point)?;
            println!("{}: {steps} steps", point.folder(seed));
            total += steps;
        }
    }
    println!("{} runs, {total} steps of {} images", points.len() as u64 * seeds, grid.train.batch);
    Ok(())
}

/// What all points have in common, in a line.
fn settings(a: &Arguments, grid: &Grid) -> String {
    let encoder = format!("{:?}", grid.encoder).to_lowercase();
    let TrainConfig { epochs, batch, learning_rate, .. } = &grid.train;
    let digits = if a.mnist.is_some() { "MNIST" } else { "built-in" };
    let stkim = a.regularisers.stkim.map(|top| {
        let (share, also) = (a.regularisers.stkim_probability, a.regularisers.stkim_in_evaluation);
        format!(" STKIM of {top} with {share}{}.", if also { ", in evaluation too" } else { "" })
    });
    let diversity = Some(a.regularisers.diversity).filter(|weight| *weight > 0.0);
    let diversity = diversity.map(|weight| format!(" Diversity of weight {weight}."));
    let regularisers = [stkim, diversity].into_iter().flatten().collect::<String>();
    format!(
        "Canvas {}, {epochs} epochs in batches of {batch} at a rate of up to {learning_rate}, M = {}, I = {}, {encoder} \
         encoder, {digits} digits, {} test images.{regularisers}",
        grid.canvas, grid.memory, grid.iteration, grid.test_images
    )
}

/// What all runs of a seed have in common.
struct Context<'a> {
    grid: &'a Grid,
    seed: u64,
    /// To train and to test with.
    digits: [&'a Digits; 2],
    interrupt: &'a Interrupt,
}

impl Context<'_> {
    fn run(&self, point: &Point, device: &Device, out: &Path) -> Result<Option<Row>> {
        let path = out.join("runs").join(point.folder(self.seed));
        self.grid.net(point)?.run(device, &mut Rng::new(self.seed), One { context: self, point, path })
    }
}

/// One point with one seed. Its work gives a row of the table, or nothing if it was interrupted.
struct One<'a> {
    context: &'a Context<'a>,
    point: &'a Point,
    path: PathBuf,
}

impl WithSystem for One<'_> {
    type Output = Option<Row>;

    fn with<S: Shown>(self, net: S) -> Result<Option<Row>> {
        let One { context: &Context { grid, seed, digits: [train, test], interrupt }, point, path } = self;
        let data = grid.images(point, Split::Train, train, seed)?;
        let test = grid.images(point, Split::Test, test, 0)?;
        let settings = TrainConfig { seed, ..grid.train.clone() };
        let folder = RunFolder::new(path, &net, &settings, [&data, &test]);
        if let Some(fields) = folder.finished()? {
            return Row::read(&fields, point.clone(), seed, folder.path()).map(Some);
        }
        let (batch, steps_per_epoch) = (settings.batch, data.len().div_ceil(settings.batch.max(1)));
        let Some((net, log)) = folder.train(net, settings, &data, interrupt)? else {
            return Ok(None);
        };
        let accuracy = evaluate(&net, &test, batch, seed, |_| true)?;
        let tasks = net.tasks().len();
        let row = Row {
            point: point.clone(),
            seed,
            test: (0..tasks).map(|task| accuracy.of(task)).collect(),
            train: (0..tasks).map(|task| log.right(task, steps_per_epoch)).collect(),
        };
        folder.finish(&row.fields())?;
        Ok(Some(row))
    }
}
