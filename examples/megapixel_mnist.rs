//! Trains Iterative Patch Selection on Megapixel MNIST from scratch: images that are almost entirely empty, in which
//! five small digits hide among noise. Prints progress, writes checkpoints, learning curves and attention maps, and can
//! be stopped and resumed at any time.
//!
//!     cargo run --release --example megapixel_mnist -- --help

use clap::{Parser, ValueEnum};
use foveate::{
    Device, Error, Result, Rng,
    checkpoint::write_whole,
    data::{
        Digits, MegapixelConfig, MegapixelMnist, Mnist, NoiseKind, PatchSource, Split, Thickness, strokes,
    },
    nn::{Module, Pass, ResNetConfig, Task},
    plot,
    select::{Ips, IpsConfig},
    train::{Accuracy, Dataset, StepReport, TrainConfig, Trainer, evaluate},
};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Train Iterative Patch Selection on Megapixel MNIST.
///
/// Without --mnist the digits are drawn by a built-in generator, so nothing has to be downloaded.
#[derive(Parser, Debug)]
struct Arguments {
    /// Folder of the four MNIST files (IDX, gzip or not)
    #[arg(long)]
    mnist: Option<PathBuf>,
    /// What to train; every option below overrides a part of it
    #[arg(long, value_enum, default_value = "small")]
    config: Config,
    /// Device: cpu, wgpu, cuda, cuda:1 …, or best (CUDA, else a GPU through wgpu, else the CPU). It must have every
    /// operation that the network needs
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Height and width of an image, in pixels
    #[arg(long)]
    canvas: Option<usize>,
    /// Height and width of a patch, in pixels
    #[arg(long)]
    patch: Option<usize>,
    /// Distance of neighbouring patches, in pixels; the patch size by default
    #[arg(long)]
    stride: Option<usize>,
    /// Patches kept by selection, M
    #[arg(long)]
    memory: Option<usize>,
    /// Patches seen per iteration of selection, I
    #[arg(long)]
    iteration: Option<usize>,
    /// Kind of noise
    #[arg(long, value_enum, default_value = "lines")]
    noise: Noise,
    /// Thickness of Bézier noise, in pixels of a 28 by 28 pattern
    #[arg(long, default_value_t = 1.0)]
    thickness: f32,
    /// Noise patterns per image
    #[arg(long)]
    noise_count: Option<usize>,
    /// Height and width of a digit, in pixels
    #[arg(long)]
    digit: Option<usize>,
    /// Training images
    #[arg(long)]
    train_images: Option<usize>,
    /// Test images
    #[arg(long)]
    test_images: Option<usize>,
    /// Passes over the training images
    #[arg(long)]
    epochs: Option<usize>,
    /// Images per step
    #[arg(long)]
    batch: Option<usize>,
    /// Peak learning rate
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Seed of the data, the first weights and everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Go on from the checkpoint in the output folder
    #[arg(long)]
    resume: bool,
    /// Stop after this many steps of the run, leaving a checkpoint
    #[arg(long)]
    stop_after: Option<usize>,
    /// Folder for checkpoint, curves and attention maps
    #[arg(long, default_value = "runs/megapixel_mnist")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Config {
    /// Canvas 300, patch 50, M = I = 12, a small encoder: learns in minutes on two CPU cores
    Small,
    /// The published configuration: canvas 1500, patch 50, M = I = 100, truncated ResNet-18, 150 epochs
    #[value(name = "mnist-1500")]
    Mnist1500,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Noise {
    /// Straight lines
    Lines,
    /// Bézier curves of 4, 6 or 8 control points
    Bezier,
}

/// Everything that the arguments decide.
struct Plan {
    data: MegapixelConfig,
    net: IpsConfig,
    train: TrainConfig,
    train_images: usize,
    test_images: usize,
}

impl Plan {
    fn new(a: &Arguments) -> Result<Self> {
        let small = matches!(a.config, Config::Small);
        let (canvas, memory, images, test) =
            if small { (300, 12, 8000, 500) } else { (1500, 100, 5000, 1000) };
        let canvas = a.canvas.unwrap_or(canvas);
        let patch = a.patch.unwrap_or(50);
        let memory = a.memory.unwrap_or(memory);
        let digit = a.digit.unwrap_or(28);
        let mut data = match a.noise {
            Noise::Lines => MegapixelConfig::ips(),
            Noise::Bezier => MegapixelConfig::bezier([canvas; 2], digit, a.thickness),
        };
        if let NoiseKind::Bezier { thickness } = &mut data.noise {
            *thickness = Thickness::Exact(a.thickness);
        }
        data.canvas = [canvas; 2];
        data.digit_size = digit;
        data.seed = a.seed;
        // Five times as dense as the published 50 on 1500², which would be 2 on a canvas of 300.
        data.noise_count = a.noise_count.unwrap_or(if small { 10 } else { data.noise_count });
        data.check()?;
        let encoder = if small { ResNetConfig::small(1) } else { ResNetConfig::truncated(1) };
        let iteration = a.iteration.unwrap_or(memory);
        let tasks = Task::megapixel_mnist();
        let mut net = IpsConfig::with_encoder(encoder, [patch; 2], memory, iteration, tasks, true);
        net.stride = [a.stride.unwrap_or(patch); 2];
        net.elide_constant = small;
        let mut train = TrainConfig { seed: a.seed, ..TrainConfig::megapixel_mnist() };
        if small {
            (train.epochs, train.warmup_epochs) = (20, 1);
        }
        train.epochs = a.epochs.unwrap_or(train.epochs);
        train.batch = a.batch.unwrap_or(train.batch);
        train.learning_rate = a.learning_rate.unwrap_or(train.learning_rate);
        let (train_images, test_images) = (a.train_images.unwrap_or(images), a.test_images.unwrap_or(test));
        Ok(Plan { data, net, train, train_images, test_images })
    }
}

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
    let device = open(&a.device)?;
    let (train, test) = datasets(a, &plan)?;
    std::fs::create_dir_all(&a.out).map_err(|e| Error::file(&a.out, e))?;
    let net = Ips::new(plan.net.clone(), &device, &mut Rng::new(a.seed))?;
    println!(
        "{device}: {} parameters, {} training images, {} test images",
        net.size(),
        train.len(),
        test.len()
    );
    let mut trainer = Trainer::new(net, plan.train.clone(), train.len())?;
    let mut log = Log::default();
    let checkpoint = a.out.join("checkpoint.safetensors");
    if a.resume {
        trainer.resume(&checkpoint)?;
        log = Log::read(&a.out.join("training.csv"), trainer.steps_done())?;
        println!("resumed at step {} of {}", trainer.steps_done(), trainer.steps());
    }
    let finished = training(a, &mut trainer, &train, &mut log, &checkpoint)?;
    log.draw(&a.out, &plan.net.tasks)?;
    if !finished {
        println!("stopped at step {}; go on with --resume", trainer.steps_done());
        return Ok(());
    }
    let accuracy = tested(trainer.net(), &test)?;
    for (at, task) in plan.net.tasks.iter().enumerate() {
        println!("{:<9} {:5.1} % of {} unseen images", task.name, 100.0 * accuracy.of(at), accuracy.images);
    }
    let maps = attention_maps(trainer.net(), &test, &a.out)?;
    println!("checkpoint      {}", checkpoint.display());
    println!("learning curve  {}", a.out.join("curves.png").display());
    println!("attention maps  {}", maps.display());
    Ok(())
}

fn open(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "wgpu" => Device::wgpu(),
        "cuda" => Device::cuda(0),
        "best" => Device::best(),
        other => match other.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()) {
            Some(ordinal) => Device::cuda(ordinal),
            None => {
                let why = "it is cpu, wgpu, cuda, cuda:N or best".to_owned();
                Err(Error::NoDevice { device: other.to_owned(), why })
            }
        },
    }
}

fn datasets(a: &Arguments, plan: &Plan) -> Result<(MegapixelMnist, MegapixelMnist)> {
    let digits = |split: Split| -> Result<Digits> {
        match &a.mnist {
            Some(folder) => Ok(Mnist::open(folder)?.split(split).clone()),
            None => strokes::digits(a.seed, split, if split == Split::Train { 20_000 } else { 4_000 }),
        }
    };
    let train =
        MegapixelMnist::new(plan.data.clone(), Split::Train, digits(Split::Train)?, plan.train_images)?;
    let test = MegapixelMnist::new(plan.data.clone(), Split::Test, digits(Split::Test)?, plan.test_images)?;
    Ok((train, test))
}

/// Trains to the end, or until `--stop-after`; says whether it reached the end.
fn training(
    a: &Arguments,
    trainer: &mut Trainer,
    data: &dyn Dataset,
    log: &mut Log,
    checkpoint: &Path,
) -> Result<bool> {
    const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(30);
    let style = "{bar:30} {pos}/{len} steps  {msg}  {elapsed} gone, {eta} left";
    let bar = ProgressBar::new(trainer.steps() as u64);
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.set_position(trainer.steps_done() as u64);
    bar.reset_eta();
    let mut saved = Instant::now();
    let mut done = 0;
    let save = |trainer: &Trainer, log: &Log| -> Result<()> {
        trainer.save(checkpoint)?;
        log.write(&a.out.join("training.csv"))
    };
    while trainer.steps_done() < trainer.steps() && a.stop_after.is_none_or(|most| done < most) {
        let report = trainer.step_on(data)?;
        log.push(&report);
        done += 1;
        bar.inc(1);
        bar.set_message(log.message());
        if saved.elapsed() > BETWEEN_CHECKPOINTS {
            save(trainer, log)?;
            if bar.is_hidden() {
                let left = HumanDuration(bar.eta());
                println!(
                    "step {} of {}  {}  {left} left",
                    trainer.steps_done(),
                    trainer.steps(),
                    log.message()
                );
            }
            saved = Instant::now();
        }
    }
    save(trainer, log)?;
    bar.finish();
    println!();
    Ok(trainer.steps_done() == trainer.steps())
}

fn tested(net: &Ips, data: &MegapixelMnist) -> Result<Accuracy> {
    let bar = ProgressBar::new(data.len() as u64);
    let accuracy = evaluate(net, data, 16, 0, |done| {
        bar.set_position(done as u64);
        true
    });
    bar.finish_and_clear();
    accuracy
}

/// Draws where the network looked in the first test images.
fn attention_maps(net: &Ips, data: &MegapixelMnist, out: &Path) -> Result<PathBuf> {
    let folder = out.join("attention");
    std::fs::create_dir_all(&folder).map_err(|e| Error::file(&folder, e))?;
    for index in 0..data.len().min(8) {
        let sample = data.sample(index)?;
        let images: [&dyn PatchSource; 1] = [&sample.image];
        let chosen = net.select(&images, &mut Rng::stream(0, index as u64))?;
        let prediction = net.classify(&images, &chosen, &mut Pass::evaluation())?;
        let scores = prediction.scores.to_vec::<f32>()?;
        let grid = net.grid(&images)?;
        let path = folder.join(format!("test-{index:02}.png"));
        plot::attention_map(&path, &sample.image, &grid, &chosen[0].indices, &scores)?;
    }
    Ok(folder)
}

/// The course of training: a row per step, smoothed for display.
#[derive(Default)]
struct Log {
    /// step, loss, share right per task.
    rows: Vec<(usize, f32, Vec<f32>)>,
}

impl Log {
    const WINDOW: usize = 100;

    fn push(&mut self, report: &StepReport) {
        let right = report.correct.iter().map(|c| *c as f32 / report.images as f32).collect();
        self.rows.push((report.step, report.loss, right));
    }

    /// Means over the last rows up to `end`: loss, then the tasks.
    fn smoothed(&self, end: usize) -> Vec<f32> {
        let rows = &self.rows[end.saturating_sub(Self::WINDOW)..end];
        let mut means = vec![0.0; 1 + rows.first().map_or(0, |r| r.2.len())];
        for (_, loss, right) in rows {
            means[0] += loss / rows.len() as f32;
            means[1..].iter_mut().zip(right).for_each(|(m, r)| *m += r / rows.len() as f32);
        }
        means
    }

    fn message(&self) -> String {
        let means = self.smoothed(self.rows.len());
        let tasks: Vec<String> = means[1..].iter().map(|m| format!("{:.0}", 100.0 * m)).collect();
        format!("loss {:.3}  maj/max/top/multi {} %", means[0], tasks.join("/"))
    }

    fn write(&self, path: &Path) -> Result<()> {
        let mut text = String::from("step,loss,majority,max,top,multi\n");
        for (step, loss, right) in &self.rows {
            let right: Vec<String> = right.iter().map(f32::to_string).collect();
            text.push_str(&format!("{step},{loss},{}\n", right.join(",")));
        }
        write_whole(path, text.as_bytes())
    }

    /// The rows before `step` of an earlier run.
    fn read(path: &Path, step: usize) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        let mut log = Log::default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let number = |at: usize| fields.get(at).and_then(|f| f.parse::<f32>().ok());
            let row = fields.first().and_then(|f| f.parse::<usize>().ok()).zip(number(1));
            let (at, loss) =
                row.ok_or_else(|| Error::file(path, format!("a line that is not a row of the log: {line}")))?;
            if at < step {
                log.rows.push((at, loss, (2..fields.len()).filter_map(number).collect()));
            }
        }
        Ok(log)
    }

    fn draw(&self, out: &Path, tasks: &[Task]) -> Result<()> {
        let every = (self.rows.len() / 400).max(1);
        let series = |name: &str, column: usize| plot::Series {
            name: name.to_owned(),
            points: (every..=self.rows.len())
                .step_by(every)
                .map(|end| (self.rows[end - 1].0 as f64, f64::from(self.smoothed(end)[column])))
                .collect(),
        };
        let accuracies: Vec<plot::Series> =
            tasks.iter().enumerate().map(|(at, task)| series(&task.name, at + 1)).collect();
        plot::curves(out.join("curves.png"), "accuracy in training", ["step", "share right"], &accuracies)?;
        plot::curves(out.join("loss.png"), "training loss", ["step", "loss"], &[series("loss", 0)])
    }
}
