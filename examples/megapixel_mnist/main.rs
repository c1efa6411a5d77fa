//! Trains Iterative Patch Selection, or another system, on Megapixel MNIST from scratch: images that are almost entirely empty, in which
//! five small digits hide among noise. Shows progress, writes checkpoints, learning curves and attention maps, and can
//! be stopped (Ctrl-C) and resumed at any time.
//!
//!     cargo run --release --example megapixel_mnist -- --help

mod arguments;
mod log;
mod maps;
mod systems;

use arguments::{Arguments, Plan};
use clap::Parser;
use foveate::{
    Error, Result, Rng,
    data::{Digits, MegapixelMnist, Mnist, Split, strokes},
    select::{Ats, Cnn, Dps, Ips, Mil, ZoomIn},
    train::{Accuracy, Dataset, Trainer, evaluate},
};
use foveate_examples::{Interrupt, Progress, device};
use log::Log;
use maps::Shown;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use systems::SystemConfig;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(a: &Arguments) -> Result<()> {
    let plan = Plan::new(a)?;
    foveate::cpu::join_pool(0)?;
    let (device, mut rng) = (device(&a.device)?, Rng::new(a.seed));
    match plan.net.clone() {
        SystemConfig::Ips(config) => train(a, &plan, Ips::new(config, &device, &mut rng)?),
        SystemConfig::Ats(config) => train(a, &plan, Ats::new(config, &device, &mut rng)?),
        SystemConfig::ZoomIn(config) => train(a, &plan, ZoomIn::new(config, &device, &mut rng)?),
        SystemConfig::Dps(config) => train(a, &plan, Dps::new(config, &device, &mut rng)?),
        SystemConfig::Mil(config) => train(a, &plan, Mil::new(config, &device, &mut rng)?),
        SystemConfig::Cnn(config) => train(a, &plan, Cnn::new(config, &device, &mut rng)?),
    }
}

/// Trains a system, tests it, and writes what it learned and where it looks.
fn train<S: Shown>(a: &Arguments, plan: &Plan, net: S) -> Result<()> {
    let (train, test) = datasets(a, plan)?;
    std::fs::create_dir_all(&a.out).map_err(|e| Error::file(&a.out, e))?;
    println!(
        "{}: {} parameters, {} training images, {} test images",
        net.device(),
        net.size(),
        train.len(),
        test.len()
    );
    let mut trainer = Trainer::new(net, plan.train.clone(), &train)?;
    let mut log = Log::default();
    let checkpoint = a.out.join("checkpoint.safetensors");
    if a.resume {
        trainer.resume(&checkpoint)?;
        log = Log::read(&a.out.join("training.csv"), trainer.steps_done())?;
        println!("resumed at step {} of {}", trainer.steps_done(), trainer.steps());
    }
    let finished = training(a, &mut trainer, &train, &mut log, &checkpoint)?;
    log.draw(&a.out, trainer.net().tasks())?;
    if !finished {
        println!("stopped at step {}; go on with --resume", trainer.steps_done());
        return Ok(());
    }
    let accuracy = tested(trainer.net(), &test)?;
    for (at, task) in trainer.net().tasks().iter().enumerate() {
        println!("{:<9} {:5.1} % of {} unseen images", task.name, 100.0 * accuracy.of(at), accuracy.images);
    }
    let maps = attention_maps(trainer.net(), &test, &a.out)?;
    println!("checkpoint      {}", checkpoint.display());
    println!("learning curves {} and loss.png", a.out.join("curves.png").display());
    if let Some(maps) = maps {
        println!("attention maps  {}", maps.display());
    }
    Ok(())
}

fn datasets(a: &Arguments, plan: &Plan) -> Result<(MegapixelMnist, MegapixelMnist)> {
    let mnist = a.mnist.as_ref().map(Mnist::open).transpose()?;
    let digits = |split: Split| -> Result<Digits> {
        match &mnist {
            Some(mnist) => Ok(mnist.split(split).clone()),
            None => strokes::digits(a.seed, split, if split == Split::Train { 20_000 } else { 4_000 }),
        }
    };
    let train =
        MegapixelMnist::new(plan.data.clone(), Split::Train, digits(Split::Train)?, plan.train_images)?;
    let test = MegapixelMnist::new(plan.data.clone(), Split::Test, digits(Split::Test)?, plan.test_images)?;
    Ok((train, test))
}

/// Trains to the end, until `--stop-after` or until Ctrl-C; says whether it reached the end.
fn training<S: Shown>(
    a: &Arguments,
    trainer: &mut Trainer<S>,
    data: &dyn Dataset,
    log: &mut Log,
    checkpoint: &Path,
) -> Result<bool> {
    const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(30);
    let interrupt = Interrupt::listen();
    let mut progress = Progress::new(trainer.steps(), trainer.steps_done(), "steps");
    let stop = a
        .stop_after
        .map_or(trainer.steps(), |most| trainer.steps().min(trainer.steps_done().saturating_add(most)));
    let mut saved = Instant::now();
    let save = |trainer: &Trainer<S>, log: &Log| -> Result<()> {
        // The log first: resuming drops what it has beyond the checkpoint, but could not make up what it lacks.
        log.write(&a.out.join("training.csv"))?;
        trainer.save(checkpoint)
    };
    while trainer.steps_done() < stop && !interrupt.pressed() {
        log.push(&trainer.step_on(data)?);
        progress.at(trainer.steps_done(), log.message());
        if saved.elapsed() > BETWEEN_CHECKPOINTS {
            save(trainer, log)?;
            saved = Instant::now();
        }
    }
    save(trainer, log)?;
    Ok(trainer.steps_done() == trainer.steps())
}

fn tested<S: Shown>(net: &S, data: &MegapixelMnist) -> Result<Accuracy> {
    let mut progress = Progress::new(data.len(), 0, "test images");
    evaluate(net, data, 16, 0, |done| {
        progress.at(done, String::new());
        true
    })
}

/// Draws where the network looked in the first test images; nothing for one that looks everywhere alike.
fn attention_maps<S: Shown>(net: &S, data: &MegapixelMnist, out: &Path) -> Result<Option<PathBuf>> {
    let folder = out.join("attention");
    std::fs::create_dir_all(&folder).map_err(|e| Error::file(&folder, e))?;
    let mut drawn = false;
    for index in 0..data.len().min(8) {
        let path = folder.join(format!("test-{index:02}.png"));
        drawn |= net.show(&data.sample(index)?.image, &mut Rng::stream(0, index as u64), &path)?;
    }
    Ok(drawn.then_some(folder))
}
