//! Trains several systems on the same images with the same budget, with several seeds each, and writes a table: accuracy,
//! work per image, memory of a training step, time per image. Each run is a folder; what is done is not done again, and
//! what was stopped (Ctrl-C) goes on.
//!
//!     cargo run --release --example compare -- --systems ips,ats,uniform,cnn

mod arguments;
mod table;

use arguments::{Arguments, Plan};
use clap::Parser;
use foveate::{
    Device, Result, Rng, plot,
    train::{Trainer, evaluate},
};
use foveate_examples::{
    Interrupt, Log, RunFolder, Shown, SystemName, WithSystem, attention_maps, device, exit_code,
};
use std::{path::PathBuf, process::ExitCode, time::Instant};
use table::{Row, Table};

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()))
}

fn run(a: &Arguments) -> Result<()> {
    let plan = Plan::new(a)?;
    foveate::cpu::join_pool(0)?;
    let device = device(&a.device)?;
    let interrupt = Interrupt::listen();
    let mut table = Table::new(&plan)?;
    for seed in 0..a.seeds {
        for &system in &a.systems {
            let one = One { plan: &plan, system, seed, device: &device, interrupt: &interrupt };
            match plan.config(system)?.run(&device, &mut Rng::new(seed), one)? {
                Some(row) => table.push(row),
                None => {
                    println!("stopped; the same command goes on");
                    return Ok(());
                }
            }
            // After each run, so that what is known can be read while the rest goes on.
            table.write(&a.out)?;
        }
    }
    draw(a, &plan)?;
    println!("{}", table.markdown());
    println!("table  {} and table.csv", a.out.join("table.md").display());
    println!("curves {}", a.out.join("curves.png").display());
    Ok(())
}

/// The course of the first seed of each system, by the first task.
fn draw(a: &Arguments, plan: &Plan) -> Result<()> {
    let mut series = Vec::new();
    for &system in &a.systems {
        let log = Log::read(&folder(plan, system, 0).join("training.csv"), usize::MAX)?;
        series.push(log.series(&system.name(), 1));
    }
    let title = format!("{} in training", plan.tasks[0].name);
    plot::curves(a.out.join("curves.png"), &title, ["step", "share right"], &series)
}

fn folder(plan: &Plan, system: SystemName, seed: u64) -> PathBuf {
    plan.out.join(format!("{}-{seed}", system.name()))
}

/// One system with one seed. Its work gives a row of the table, or nothing if it was interrupted.
struct One<'a> {
    plan: &'a Plan,
    system: SystemName,
    seed: u64,
    device: &'a Device,
    interrupt: &'a Interrupt,
}

impl WithSystem for One<'_> {
    type Output = Option<Row>;

    fn with<S: Shown>(self, net: S) -> Result<Option<Row>> {
        let (train_data, test) = (self.plan.data.training(self.seed, 1)?, self.plan.data.test()?);
        let settings = self.plan.train(self.seed);
        let path = folder(self.plan, self.system, self.seed);
        let folder = RunFolder::new(path, &net, &settings, [&*train_data, &*test]);
        if let Some(fields) = folder.finished()? {
            return Row::read(&fields, folder.path()).map(Some);
        }
        println!("{} with seed {}: {} parameters", self.system.name(), self.seed, net.size());
        let memory = [1, 2].map(|scale| self.peak_of_a_step(net.clone(), scale));
        let [memory, memory_double] = memory;
        let Some((net, _)) = folder.train(net, settings, &*train_data, self.interrupt)? else {
            return Ok(None);
        };
        let begun = Instant::now();
        let accuracy = evaluate(&net, &*test, self.plan.batch, self.seed, |_| true)?;
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3 / accuracy.images as f64;
        attention_maps(&net, &*test, folder.path())?;
        let row = Row {
            system: self.system.name(),
            seed: self.seed,
            accuracy: (0..self.plan.tasks.len()).map(|task| accuracy.of(task)).collect(),
            macs: net.macs([self.plan.canvas; 2])?,
            memory: memory?,
            memory_double: memory_double?,
            milliseconds,
        };
        folder.finish(&row.fields())?;
        Ok(Some(row))
    }
}

impl One<'_> {
    /// The most that a training step takes on the device beyond the network, on images of `scale` times the side.
    fn peak_of_a_step<S: Shown>(&self, net: S, scale: usize) -> Result<usize> {
        let data = self.plan.data.training(self.seed, scale)?;
        let mut trainer = Trainer::new(net, self.plan.train(self.seed), &*data)?;
        // The first step makes the optimiser's state and starts threads.
        trainer.step_on(&*data)?;
        self.device.synchronize()?;
        self.device.release();
        self.device.reset_peak();
        let before = self.device.memory().in_use;
        trainer.step_on(&*data)?;
        self.device.synchronize()?;
        Ok(self.device.memory().peak - before)
    }
}
