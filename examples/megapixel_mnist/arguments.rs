//! What the command line says, and the plan it makes: data, system and training.

use clap::{Parser, ValueEnum};
use foveate::{
    DType, Precision, Result,
    data::{MegapixelConfig, NoiseKind, PatchGrid, Thickness},
    nn::Task,
    train::TrainConfig,
};
use foveate_examples::{DEVICES, Regularisers, SystemConfig, SystemName, SystemOptions};
use std::path::PathBuf;

/// Train Iterative Patch Selection, or another system, on Megapixel MNIST.
///
/// Without --mnist the digits are drawn by a built-in generator, so nothing has to be downloaded.
#[derive(Parser, Debug)]
#[command(args_override_self = true)]
pub(crate) struct Arguments {
    /// Folder of the four MNIST files (IDX, gzip or not)
    #[arg(long)]
    pub(crate) mnist: Option<PathBuf>,
    /// The system
    #[arg(long, value_enum, default_value = "ips")]
    pub(crate) system: SystemName,
    /// What to train; every option below overrides a part of it
    #[arg(long, value_enum, default_value = "small")]
    pub(crate) config: Config,
    /// Device; it must have every operation that the network needs
    #[arg(long, default_value = "cpu", long_help = format!("Device: {DEVICES}. It must have every operation that the network needs"))]
    pub(crate) device: String,
    /// How operands are rounded before they are multiplied: f32, or tf32, f16 and bf16 on CUDA; with bf16, patches are
    /// scored in f16
    #[arg(long, default_value_t)]
    pub(crate) precision: Precision,
    /// How activations are kept for the gradients: as bf16 or f16 in half the memory
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) activations: Activations,
    /// Compute the inside of residual blocks again for the gradients instead of keeping it
    #[arg(long)]
    pub(crate) recompute: bool,
    /// Height and width of an image, in pixels
    #[arg(long)]
    pub(crate) canvas: Option<usize>,
    /// Height and width of a patch, in pixels
    #[arg(long)]
    pub(crate) patch: Option<usize>,
    /// Distance of neighbouring patches, in pixels; the patch size by default
    #[arg(long)]
    pub(crate) stride: Option<usize>,
    /// Patches kept by selection, M
    #[arg(long)]
    pub(crate) memory: Option<usize>,
    /// Patches looked at (ats, uniform, zoom-in, dps)
    #[arg(long)]
    pub(crate) samples: Option<usize>,
    /// Height and width of the small view of the image (ats, uniform, dps), in pixels
    #[arg(long)]
    pub(crate) view: Option<usize>,
    /// Patches seen per iteration of selection, I
    #[arg(long)]
    pub(crate) iteration: Option<usize>,
    /// Kind of noise
    #[arg(long, value_enum, default_value = "lines")]
    pub(crate) noise: Noise,
    /// Thickness of Bézier noise, in pixels of a 28 by 28 pattern; the published generator cuts it to a whole number
    #[arg(long, default_value_t = 1.0)]
    pub(crate) thickness: f32,
    /// Draw Bézier noise as thick as --thickness says, anti-aliased, instead of cutting it to a whole number
    #[arg(long)]
    pub(crate) exact_thickness: bool,
    /// Noise patterns per image
    #[arg(long)]
    pub(crate) noise_count: Option<usize>,
    /// Height and width of a digit, in pixels
    #[arg(long)]
    pub(crate) digit: Option<usize>,
    /// Score each distinct constant patch once: exact, and faster where images are mostly blank
    #[arg(long)]
    pub(crate) dedup: bool,
    #[command(flatten)]
    pub(crate) regularisers: Regularisers,
    /// Training images
    #[arg(long)]
    pub(crate) train_images: Option<usize>,
    /// Test images
    #[arg(long)]
    pub(crate) test_images: Option<usize>,
    /// Passes over the training images
    #[arg(long)]
    pub(crate) epochs: Option<usize>,
    /// Images per step
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Peak learning rate
    #[arg(long)]
    pub(crate) learning_rate: Option<f64>,
    /// Seed of the data, the first weights and everything random
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Go on from the checkpoint in the output folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Stop after this many steps of the run, leaving a checkpoint
    #[arg(long)]
    pub(crate) stop_after: Option<usize>,
    /// Folder for checkpoint, curves and attention maps
    #[arg(long, default_value = "runs/megapixel_mnist")]
    pub(crate) out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Config {
    /// Canvas 300, patch 50, M = I = 12, a small encoder: learns in minutes on two CPU cores
    Small,
    /// The published configuration: canvas 1500, patch 50, M = I = 100, truncated ResNet-18, 150 epochs
    #[value(name = "mnist-1500")]
    Mnist1500,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Activations {
    F32,
    Bf16,
    F16,
}

impl From<Activations> for DType {
    fn from(activations: Activations) -> Self {
        match activations {
            Activations::F32 => DType::F32,
            Activations::Bf16 => DType::BF16,
            Activations::F16 => DType::F16,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Noise {
    /// Straight lines
    Lines,
    /// Bézier curves of 4, 6 or 8 control points
    Bezier,
}

/// Everything that the arguments decide.
pub(crate) struct Plan {
    pub(crate) data: MegapixelConfig,
    pub(crate) net: SystemConfig,
    pub(crate) train: TrainConfig,
    pub(crate) train_images: usize,
    pub(crate) test_images: usize,
}

impl Plan {
    pub(crate) fn new(a: &Arguments) -> Result<Self> {
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
        if let (NoiseKind::Bezier { thickness }, true) = (&mut data.noise, a.exact_thickness) {
            *thickness = Thickness::Exact(a.thickness);
        }
        data.canvas = [canvas; 2];
        data.digit_size = digit;
        data.seed = a.seed;
        // Five times as dense as the published 50 on 1500², which would be 2 on a canvas of 300.
        data.noise_count = a.noise_count.unwrap_or(if small { 10 } else { data.noise_count });
        data.check()?;
        let options = SystemOptions {
            small,
            patch,
            stride: a.stride.unwrap_or(patch),
            selection: [memory, a.iteration.unwrap_or(memory)],
            samples: a.samples,
            view: a.view,
            dedup: a.dedup,
            tasks: Task::megapixel_mnist(),
        };
        let net = SystemConfig::new(a.system, &options)?.regularised(&a.regularisers)?;
        PatchGrid::new(data.canvas, [patch; 2], [options.stride; 2])?;
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
