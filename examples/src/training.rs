//! Training that writes its course and checkpoints into a folder and goes on from them.

use crate::{Interrupt, Log, Progress, Shown};
use foveate::{
    Error, Result, Rng,
    data::{Digits, Mnist, Split, strokes},
    train::{Dataset, Trainer},
};
use indicatif::HumanDuration;
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The digits of a split: of the MNIST files in a folder, or drawn by the built-in generator.
///
/// # Errors
///
/// Files that are absent or damaged.
pub fn digits(mnist: Option<&Mnist>, seed: u64, split: Split) -> Result<Digits> {
    match mnist {
        Some(mnist) => Ok(mnist.split(split).clone()),
        None => strokes::digits(seed, split, if split == Split::Train { 20_000 } else { 4_000 }),
    }
}

/// Trains up to step `stop` or until Ctrl-C, writing `checkpoint.safetensors` and `training.csv` into `out` every half
/// minute and at the end. Says how fast it went.
///
/// # Errors
///
/// Those of the trainer; files that cannot be written.
pub fn train<S: Shown>(
    trainer: &mut Trainer<S>,
    data: &dyn Dataset,
    log: &mut Log,
    stop: usize,
    interrupt: &Interrupt,
    out: &Path,
) -> Result<()> {
    const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(30);
    let tasks = trainer.net().tasks().to_vec();
    let mut progress = Progress::new(trainer.steps(), trainer.steps_done(), "steps");
    let mut saved = Instant::now();
    let save = |trainer: &Trainer<S>, log: &Log| -> Result<()> {
        // The log first: resuming drops what it has beyond the checkpoint, but could not make up what it lacks.
        log.write(&out.join("training.csv"), &tasks)?;
        trainer.save(out.join("checkpoint.safetensors"))
    };
    let pace = trainer.run(data, stop, |trainer, report| {
        log.push(report);
        progress.at(trainer.steps_done(), log.message(&tasks));
        if saved.elapsed() > BETWEEN_CHECKPOINTS {
            save(trainer, log)?;
            saved = Instant::now();
        }
        Ok(if interrupt.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    drop(progress);
    if pace.steps > 0 {
        let rate = pace.steps_per_second();
        println!(
            "{} steps, {rate:.2} a second; {:.1} % of the time without a batch to learn from; all {} would take {}",
            pace.steps,
            100.0 * pace.waiting_share(),
            trainer.steps(),
            HumanDuration(Duration::from_secs_f64(trainer.steps() as f64 / rate))
        );
    }
    save(trainer, log)
}

/// Draws where the network looked in the first images, into the folder `attention`; nothing for one that looks everywhere
/// alike.
///
/// # Errors
///
/// Those of the network; files that cannot be written.
pub fn attention_maps<S: Shown>(net: &S, data: &dyn Dataset, out: &Path) -> Result<Option<PathBuf>> {
    let folder = out.join("attention");
    std::fs::create_dir_all(&folder).map_err(|e| Error::file(&folder, e))?;
    let mut drawn = false;
    for index in 0..data.len().min(8) {
        let path = folder.join(format!("test-{index:02}.png"));
        drawn |= net.show(&*data.example(index)?.image, &mut Rng::stream(0, index as u64), &path)?;
    }
    Ok(drawn.then_some(folder))
}
