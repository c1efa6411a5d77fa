//! Trains Iterative Patch Selection, or another system, on Megapixel MNIST from scratch: images that are almost entirely empty, in which
//! five small digits hide among noise. Shows progress, writes checkpoints, learning curves and attention maps, and can
//! be stopped (Ctrl-C) and resumed at any time.
//!
//!     cargo run --release --example megapixel_mnist -- --help

mod arguments;

use arguments::{Arguments, Plan};
use clap::Parser;
use foveate::{
    Error, Result, Rng,
    data::{MegapixelMnist, Mnist, Split},
    train::{Accuracy, Trainer, evaluate},
};
use foveate_examples::{
    Interrupt, Log, Progress, Shown, WithSystem, attention_maps, device, digits, exit_code, train,
};
use std::process::ExitCode;

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()))
}

fn run(a: &Arguments) -> Result<()> {
    let plan = Plan::new(a)?;
    foveate::cpu::join_pool(0)?;
    let device = device(&a.device)?;
    device.set_precision(a.precision)?;
    plan.net.clone().run(&device, &mut Rng::new(a.seed), Run { arguments: a, plan: &plan })
}

/// The work of the program, on a system of any type.
struct Run<'a> {
    arguments: &'a Arguments,
    plan: &'a Plan,
}

impl WithSystem for Run<'_> {
    type Output = ();

    /// Trains a system, tests it, and writes what it learned and where it looks.
    fn with<S: Shown>(self, net: S) -> Result<()> {
        let Run { arguments: a, plan } = self;
        let (data, test) = datasets(a, plan)?;
        std::fs::create_dir_all(&a.out).map_err(|e| Error::file(&a.out, e))?;
        println!(
            "{}: {} parameters, {} training images, {} test images",
            net.device(),
            net.size(),
            data.len(),
            test.len()
        );
        let mut trainer = Trainer::new(net, plan.train.clone(), &data)?
            .recomputing(a.recompute)
            .keeping_activations(a.activations.into())?;
        let mut log = Log::default();
        let checkpoint = a.out.join("checkpoint.safetensors");
        if a.resume {
            trainer.resume(&checkpoint)?;
            log = Log::read(&a.out.join("training.csv"), trainer.steps_done())?;
            println!("resumed at step {} of {}", trainer.steps_done(), trainer.steps());
        }
        let stop = a.stop_after.map_or(trainer.steps(), |most| trainer.steps_done().saturating_add(most));
        let stop = stop.min(trainer.steps());
        train(&mut trainer, &data, &mut log, stop, &Interrupt::listen(), &a.out)?;
        log.draw(&a.out, trainer.net().tasks())?;
        if trainer.steps_done() < trainer.steps() {
            println!("stopped at step {}; go on with --resume", trainer.steps_done());
            return Ok(());
        }
        let accuracy = tested(trainer.net(), &test)?;
        for (at, task) in trainer.net().tasks().iter().enumerate() {
            println!(
                "{:<9} {:5.1} % of {} unseen images",
                task.name,
                100.0 * accuracy.of(at),
                accuracy.images
            );
        }
        println!("checkpoint      {}", checkpoint.display());
        println!("learning curves {} and loss.png", a.out.join("curves.png").display());
        if let Some(maps) = attention_maps(trainer.net(), &test, &a.out)? {
            println!("attention maps  {}", maps.display());
        }
        Ok(())
    }
}

fn datasets(a: &Arguments, plan: &Plan) -> Result<(MegapixelMnist, MegapixelMnist)> {
    let mnist = a.mnist.as_ref().map(Mnist::open).transpose()?;
    let set = |split: Split, images: usize| {
        MegapixelMnist::new(plan.data.clone(), split, digits(mnist.as_ref(), a.seed, split)?, images)
    };
    Ok((set(Split::Train, plan.train_images)?, set(Split::Test, plan.test_images)?))
}

fn tested<S: Shown>(net: &S, data: &MegapixelMnist) -> Result<Accuracy> {
    let mut progress = Progress::new(data.len(), 0, "test images");
    evaluate(net, data, 16, 0, |done| {
        progress.at(done, String::new());
        true
    })
}
