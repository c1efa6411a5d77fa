//! What the command line says, and the grid of runs it makes: every list on it is an axis of the grid.

use crate::{grid::Grid, study::Study};
use clap::{Parser, ValueEnum};
use foveate_examples::{DEVICES, Regularisers};
use std::path::PathBuf;

/// Repeat a study of Riffi-Aslett and Fell (arXiv 2412.11237) on Megapixel MNIST, at the published scale or a smaller one.
///
/// Every run is kept as soon as it is finished; a run that was stopped goes on from its checkpoint when the same command is
/// given again. Without --mnist the digits are drawn by a built-in generator, so nothing has to be downloaded.
#[derive(Parser, Debug)]
#[command(args_override_self = true)]
pub(crate) struct Arguments {
    /// The study
    #[arg(value_enum)]
    pub(crate) study: Study,
    /// What to train; every option below overrides a part of it
    #[arg(long, value_enum, default_value = "small")]
    pub(crate) scale: Scale,
    /// Folder of the four MNIST files (IDX, gzip or not)
    #[arg(long)]
    pub(crate) mnist: Option<PathBuf>,
    #[arg(long, default_value = "cpu", help = format!("Device: {DEVICES}"))]
    pub(crate) device: String,
    /// Runs at each point of the grid, of seeds 0, 1 …
    #[arg(long, default_value_t = 3)]
    pub(crate) seeds: u64,
    /// Height and width of an image, in pixels
    #[arg(long)]
    canvas: Option<usize>,
    /// Heights and widths of a digit, in pixels, separated by commas
    #[arg(long, value_delimiter = ',')]
    digit: Option<Vec<usize>>,
    /// Heights and widths of a patch, in pixels, separated by commas
    #[arg(long, value_delimiter = ',')]
    patch: Option<Vec<usize>>,
    /// Kinds of noise, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    noise: Option<Vec<Noise>>,
    /// Thicknesses of Bézier noise, in pixels of a 28 by 28 pattern, separated by commas
    #[arg(long, value_delimiter = ',')]
    thickness: Option<Vec<f32>>,
    /// Noise patterns per image, separated by commas; by default as densely as published for the digit's size
    #[arg(long, value_delimiter = ',')]
    noise_count: Option<Vec<usize>>,
    /// Numbers of training images, separated by commas
    #[arg(long, value_delimiter = ',')]
    train_images: Option<Vec<usize>>,
    /// Test images
    #[arg(long)]
    test_images: Option<usize>,
    /// Passes over the training images
    #[arg(long)]
    epochs: Option<usize>,
    /// Passes during which the learning rate rises
    #[arg(long)]
    warmup_epochs: Option<usize>,
    /// Images per step
    #[arg(long)]
    batch: Option<usize>,
    /// Peak learning rate
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Patches kept by selection, M
    #[arg(long)]
    memory: Option<usize>,
    /// Patches seen per iteration of selection, I; M by default
    #[arg(long)]
    iteration: Option<usize>,
    /// The patch encoder
    #[arg(long, value_enum)]
    encoder: Option<Encoder>,
    #[command(flatten)]
    pub(crate) regularisers: Regularisers,
    /// Print the runs and their steps, and train nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// Folder for runs, tables and plot; `runs/study-NAME` by default
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scale {
    /// As published: canvases of 1500 or 3000, truncated ResNet-18; hours to days on a GPU
    Paper,
    /// A canvas of 300 and a small encoder; hours on two CPU cores
    Small,
    /// Two points of every axis and one epoch of a few images: shows that it runs, and no more
    Smallest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Noise {
    /// Straight lines
    Lines,
    /// Bézier curves whose thickness is cut to a whole number, as the published generator does
    Bezier,
    /// Bézier curves as thick as said, anti-aliased
    BezierExact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoder {
    /// One that learns in minutes on two CPU cores
    Small,
    /// ResNet-18 up to its second stage, as published
    Truncated,
}

impl Arguments {
    /// The grid of the study at its scale, with what the command line overrides.
    pub(crate) fn grid(&self) -> Grid {
        let grid = self.study.grid(self.scale);
        let memory = self.memory.unwrap_or(grid.memory);
        let epochs = self.epochs.unwrap_or(grid.train.epochs);
        let mut train = grid.train;
        train.warmup_epochs = self.warmup_epochs.unwrap_or(train.warmup_epochs.min(epochs.saturating_sub(1)));
        train.epochs = epochs;
        train.batch = self.batch.unwrap_or(train.batch);
        train.learning_rate = self.learning_rate.unwrap_or(train.learning_rate);
        Grid {
            canvas: self.canvas.unwrap_or(grid.canvas),
            digits: self.digit.clone().unwrap_or(grid.digits),
            patches: self.patch.clone().unwrap_or(grid.patches),
            noises: self.noise.clone().unwrap_or(grid.noises),
            thicknesses: self.thickness.clone().unwrap_or(grid.thicknesses),
            noise_counts: self.noise_count.clone().map_or(grid.noise_counts, NoiseCounts::Given),
            train_images: self.train_images.clone().unwrap_or(grid.train_images),
            test_images: self.test_images.unwrap_or(grid.test_images),
            memory,
            iteration: self.iteration.unwrap_or(memory),
            encoder: self.encoder.unwrap_or(grid.encoder),
            train,
            regularisers: Some(self.regularisers.clone()),
        }
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/study-{}", self.study.name())))
    }
}

/// How many noise patterns an image has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NoiseCounts {
    /// Each of these.
    Given(Vec<usize>),
    /// As many as published for the digit's size on a canvas of this side, thinned out to the canvas at hand.
    BySize(usize),
}
