//! The grid of a study: every combination of its lists is a point, every point is trained with several seeds.

use crate::arguments::{Encoder, Noise, NoiseCounts};
use clap::ValueEnum;
use foveate::{
    Result,
    data::{
        Digits, MegapixelConfig, MegapixelMnist, NoiseKind, PatchGrid, Split, Thickness,
        megapixel::{noise_count, object_to_image, object_to_patch},
    },
    nn::Task,
    train::TrainConfig,
};
use foveate_examples::{Regularisers, SystemConfig, SystemName, SystemOptions};

/// What a study varies, and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    pub(crate) canvas: usize,
    pub(crate) digits: Vec<usize>,
    pub(crate) patches: Vec<usize>,
    pub(crate) noises: Vec<Noise>,
    pub(crate) thicknesses: Vec<f32>,
    pub(crate) noise_counts: NoiseCounts,
    pub(crate) train_images: Vec<usize>,
    pub(crate) test_images: usize,
    pub(crate) memory: usize,
    pub(crate) iteration: usize,
    pub(crate) encoder: Encoder,
    pub(crate) train: TrainConfig,
    /// What is published has none.
    pub(crate) regularisers: Option<Regularisers>,
}

/// One of its points.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) canvas: usize,
    pub(crate) digit: usize,
    pub(crate) patch: usize,
    pub(crate) noise: Noise,
    pub(crate) thickness: f32,
    pub(crate) noise_count: usize,
    pub(crate) train_images: usize,
}

impl Grid {
    /// All points, those of fewer training images first.
    pub(crate) fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for &train_images in &self.train_images {
            for &noise in &self.noises {
                for &thickness in &self.thicknesses {
                    for &patch in &self.patches {
                        for &digit in &self.digits {
                            points.extend(self.counts(digit).into_iter().map(|noise_count| Point {
                                canvas: self.canvas,
                                digit,
                                patch,
                                noise,
                                thickness,
                                noise_count,
                                train_images,
                            }));
                        }
                    }
                }
            }
        }
        points
    }

    fn counts(&self, digit: usize) -> Vec<usize> {
        match &self.noise_counts {
            NoiseCounts::Given(counts) => counts.clone(),
            NoiseCounts::BySize(canvas) => {
                let area = (self.canvas as f64 / *canvas as f64).powi(2);
                vec![(noise_count(digit) as f64 * area).round() as usize]
            }
        }
    }

    /// The network for a point.
    pub(crate) fn net(&self, point: &Point) -> Result<SystemConfig> {
        let options = SystemOptions {
            small: self.encoder == Encoder::Small,
            patch: point.patch,
            stride: point.patch,
            selection: [self.memory, self.iteration],
            samples: None,
            view: None,
            dedup: true,
            tasks: Task::megapixel_mnist(),
        };
        let net = SystemConfig::new(SystemName::Ips, &options)?;
        match &self.regularisers {
            Some(regularisers) => net.regularised(regularisers),
            None => Ok(net),
        }
    }

    /// Steps of a run of a point, if it can be trained.
    pub(crate) fn steps(&self, point: &Point) -> Result<usize> {
        self.net(point)?;
        point.data(0).check()?;
        PatchGrid::new([point.canvas; 2], [point.patch; 2], [point.patch; 2])?;
        Ok(self.train.epochs * point.train_images.div_ceil(self.train.batch.max(1)))
    }

    /// Images of a point, made of the digits of their split.
    pub(crate) fn images(
        &self,
        point: &Point,
        split: Split,
        digits: &Digits,
        seed: u64,
    ) -> Result<MegapixelMnist> {
        let images = if split == Split::Train { point.train_images } else { self.test_images };
        MegapixelMnist::new(point.data(seed), split, digits.clone(), images)
    }
}

impl Point {
    fn data(&self, seed: u64) -> MegapixelConfig {
        let canvas = [self.canvas; 2];
        let bezier = MegapixelConfig::bezier(canvas, self.digit, self.thickness);
        let config = match self.noise {
            Noise::Lines => MegapixelConfig { canvas, digit_size: self.digit, ..MegapixelConfig::ips() },
            Noise::Bezier => bezier,
            Noise::BezierExact => {
                let noise = NoiseKind::Bezier { thickness: Thickness::Exact(self.thickness) };
                MegapixelConfig { noise, ..bezier }
            }
        };
        MegapixelConfig { noise_count: self.noise_count, seed, ..config }
    }

    /// Thickness of the noise that is drawn, in pixels of a 28 by 28 pattern; none of straight lines.
    pub(crate) fn drawn_thickness(&self) -> Option<f32> {
        match self.noise {
            Noise::Lines => None,
            Noise::Bezier => Some(self.thickness.trunc()),
            Noise::BezierExact => Some(self.thickness),
        }
    }

    /// The share of the image that one digit covers, in percent.
    pub(crate) fn object_to_image(&self) -> f64 {
        100.0 * object_to_image(self.digit, [self.canvas; 2])
    }

    /// The area of a digit in that of a patch, in percent.
    pub(crate) fn object_to_patch(&self) -> f64 {
        100.0 * object_to_patch(self.digit, [self.patch; 2])
    }

    /// A name for the folder of one of its runs.
    pub(crate) fn folder(&self, seed: u64) -> String {
        let Point { canvas, digit, patch, noise, thickness, noise_count, train_images } = self;
        let noise = noise.name();
        format!(
            "canvas{canvas}-digit{digit}-patch{patch}-{noise}{thickness}x{noise_count}-images{train_images}-seed{seed}"
        )
    }
}

impl Noise {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
