//! What the command line says, and the plan it makes: the same data and training for every system.

use clap::{Parser, ValueEnum};
use foveate::{
    Result,
    data::{MegapixelConfig, MegapixelMnist, Mnist, NeedleConfig, NeedleMnist, Split},
    nn::{Activation, Task},
    train::{Dataset, TrainConfig},
};
use foveate_examples::{DEVICES, SystemConfig, SystemName, SystemOptions, digits};
use std::path::PathBuf;

/// Compare systems on the same images, with the same budget.
///
/// Without --mnist the digits are drawn by a built-in generator, so nothing has to be downloaded.
#[derive(Parser, Debug)]
#[command(args_override_self = true)]
pub(crate) struct Arguments {
    /// The systems, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ips,ats,uniform,cnn")]
    pub(crate) systems: Vec<SystemName>,
    /// The images
    #[arg(long, value_enum, default_value = "megapixel")]
    pub(crate) data: DataName,
    /// Folder of the four MNIST files (IDX, gzip or not)
    #[arg(long)]
    pub(crate) mnist: Option<PathBuf>,
    /// Runs of each system, of seeds 0, 1 …
    #[arg(long, default_value_t = 3)]
    pub(crate) seeds: u64,
    #[arg(long, default_value = "cpu", help = format!("Device: {DEVICES}"))]
    pub(crate) device: String,
    /// Height and width of an image, in pixels
    #[arg(long, default_value_t = 300)]
    pub(crate) canvas: usize,
    /// Height and width of a patch, in pixels
    #[arg(long, default_value_t = 50)]
    pub(crate) patch: usize,
    /// Patches that ips keeps, M
    #[arg(long, default_value_t = 12)]
    pub(crate) memory: usize,
    /// Patches that ats, uniform, zoom-in and dps look at
    #[arg(long, default_value_t = 12)]
    pub(crate) samples: usize,
    /// Height and width of the small view of ats and dps, in pixels
    #[arg(long, default_value_t = 60)]
    pub(crate) view: usize,
    /// Noise patterns per image of megapixel; digits per image of needle
    #[arg(long)]
    pub(crate) objects: Option<usize>,
    /// Training images
    #[arg(long, default_value_t = 8000)]
    pub(crate) train_images: usize,
    /// Test images
    #[arg(long, default_value_t = 500)]
    pub(crate) test_images: usize,
    /// Passes over the training images
    #[arg(long, default_value_t = 10)]
    pub(crate) epochs: usize,
    /// Images per step
    #[arg(long, default_value_t = 16)]
    pub(crate) batch: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 1e-3)]
    pub(crate) learning_rate: f64,
    /// Folder for runs, table and curves
    #[arg(long, default_value = "runs/compare")]
    pub(crate) out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DataName {
    /// Megapixel MNIST: five digits among noise, four tasks
    Megapixel,
    /// NeedleMNIST: is there a 3 among the digits?
    Needle,
}

/// The images of every run.
pub(crate) struct Data {
    name: DataName,
    mnist: Option<Mnist>,
    canvas: usize,
    objects: Option<usize>,
    images: [usize; 2],
}

impl Data {
    /// The training images of a seed, or such images of `scale` times the side.
    pub(crate) fn training(&self, seed: u64, scale: usize) -> Result<Box<dyn Dataset>> {
        self.split(Split::Train, seed, scale)
    }

    /// The test images, which are the same for all seeds.
    pub(crate) fn test(&self) -> Result<Box<dyn Dataset>> {
        self.split(Split::Test, 0, 1)
    }

    fn split(&self, split: Split, seed: u64, scale: usize) -> Result<Box<dyn Dataset>> {
        let digits = digits(self.mnist.as_ref(), seed, split)?;
        let (images, canvas) = (self.images[usize::from(split == Split::Test)], self.canvas * scale);
        Ok(match self.name {
            DataName::Megapixel => {
                let config = MegapixelConfig {
                    canvas: [canvas; 2],
                    noise_count: self.objects.unwrap_or(10),
                    seed,
                    ..MegapixelConfig::ips()
                };
                Box::new(MegapixelMnist::new(config, split, digits, images)?)
            }
            DataName::Needle => {
                let config = NeedleConfig::new(canvas);
                let config = NeedleConfig { digits: self.objects.unwrap_or(config.digits), seed, ..config };
                Box::new(NeedleMnist::new(config, split, digits, images)?)
            }
        })
    }
}

/// Everything that the arguments decide.
pub(crate) struct Plan {
    pub(crate) data: Data,
    pub(crate) tasks: Vec<Task>,
    pub(crate) canvas: usize,
    pub(crate) batch: usize,
    pub(crate) out: PathBuf,
    train: TrainConfig,
    options: SystemOptions,
}

impl Plan {
    pub(crate) fn new(a: &Arguments) -> Result<Self> {
        let tasks = match a.data {
            DataName::Megapixel => Task::megapixel_mnist(),
            DataName::Needle => vec![Task::new("present", 2, Activation::Softmax)],
        };
        let options = SystemOptions {
            small: true,
            patch: a.patch,
            stride: a.patch,
            selection: [a.memory, a.memory],
            samples: Some(a.samples),
            view: Some(a.view),
            dedup: true,
            tasks: tasks.clone(),
        };
        let train = TrainConfig {
            epochs: a.epochs,
            warmup_epochs: 1.min(a.epochs.saturating_sub(1)),
            batch: a.batch,
            learning_rate: a.learning_rate,
            ..TrainConfig::megapixel_mnist()
        };
        let mnist = a.mnist.as_ref().map(Mnist::open).transpose()?;
        let images = [a.train_images, a.test_images];
        let data = Data { name: a.data, mnist, canvas: a.canvas, objects: a.objects, images };
        let (canvas, batch, out) = (a.canvas, a.batch, a.out.clone());
        Ok(Plan { data, tasks, canvas, batch, out, train, options })
    }

    pub(crate) fn config(&self, system: SystemName) -> Result<SystemConfig> {
        SystemConfig::new(system, &self.options)
    }

    pub(crate) fn train(&self, seed: u64) -> TrainConfig {
        TrainConfig { seed, ..self.train.clone() }
    }
}
