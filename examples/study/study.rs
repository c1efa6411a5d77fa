//! The studies by name: what each varies, at which scales, and along which axis its results are shown.

use crate::{
    arguments::{Encoder, Noise, NoiseCounts, Scale},
    grid::{Grid, Point},
};
use clap::ValueEnum;
use foveate::train::TrainConfig;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Study {
    /// Figure 4: accuracy over the size of a digit in the image, for several numbers of training images
    O2i,
    /// Table 2: accuracy over the thickness of the noise, as it is cut to a whole number and as it is meant
    Thickness,
    /// Table 3: accuracy over the amount of noise
    Noise,
    /// Table 4: accuracy over the size of a patch, with few training images
    PatchSize,
    /// Table 7: accuracy over the size of a digit
    DigitSize,
}

impl Study {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Its place in the paper.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Study::O2i => "Figure 4",
            Study::Thickness => "Table 2",
            Study::Noise => "Table 3",
            Study::PatchSize => "Table 4",
            Study::DigitSize => "Table 7",
        }
    }

    /// Name of the horizontal axis.
    pub(crate) fn axis(self) -> &'static str {
        match self {
            Study::O2i => "O2I, %",
            Study::Thickness => "thickness, px",
            Study::Noise => "noise patterns",
            Study::PatchSize => "patch, px",
            Study::DigitSize => "digit, px",
        }
    }

    /// Its name as a column of a table.
    pub(crate) fn column(self) -> &'static str {
        match self {
            Study::O2i => "o2i_percent",
            Study::Thickness => "thickness",
            Study::Noise => "noise_count",
            Study::PatchSize => "patch",
            Study::DigitSize => "digit",
        }
    }

    /// Where a point is on it.
    pub(crate) fn x(self, point: &Point) -> f64 {
        match self {
            Study::O2i => point.object_to_image(),
            // The shortest decimal, so that 1.4 is the published 1.4.
            Study::Thickness => point.thickness.to_string().parse().unwrap_or(f64::NAN),
            Study::Noise => point.noise_count as f64,
            Study::PatchSize => point.patch as f64,
            Study::DigitSize => point.digit as f64,
        }
    }

    /// The line of the plot to which a point of a grid belongs: what the study compares, and whatever else varies.
    pub(crate) fn line(self, point: &Point, grid: &Grid) -> String {
        let counts = matches!(&grid.noise_counts, NoiseCounts::Given(counts) if counts.len() > 1);
        let parts = [
            (self == Study::O2i || grid.train_images.len() > 1, format!("{} images", point.train_images)),
            (self == Study::Thickness || grid.noises.len() > 1, point.noise.name()),
            (self != Study::Thickness && grid.thicknesses.len() > 1, format!("{} px thick", point.thickness)),
            (self != Study::Noise && counts, format!("{} patterns", point.noise_count)),
            (self != Study::PatchSize && grid.patches.len() > 1, format!("patch {}", point.patch)),
            (
                !matches!(self, Study::O2i | Study::DigitSize) && grid.digits.len() > 1,
                format!("digit {}", point.digit),
            ),
        ];
        let named: Vec<String> =
            parts.into_iter().filter_map(|(named, part)| named.then_some(part)).collect();
        named.join(", ")
    }

    /// What it trains at a scale.
    pub(crate) fn grid(self, scale: Scale) -> Grid {
        match scale {
            Scale::Paper => self.published(),
            Scale::Small => self.small(),
            Scale::Smallest => self.smallest(),
        }
    }

    /// The published grids: 100 epochs, M = I = 100, patches of 50, unless a study says otherwise.
    fn published(self) -> Grid {
        let all = Grid {
            canvas: 3000,
            digits: vec![28],
            patches: vec![50],
            noises: vec![Noise::Bezier],
            thicknesses: vec![1.925],
            noise_counts: NoiseCounts::BySize(3000),
            train_images: vec![5000],
            test_images: 1000,
            memory: 100,
            iteration: 100,
            encoder: Encoder::Truncated,
            train: TrainConfig { epochs: 100, ..TrainConfig::megapixel_mnist() },
            regularisers: None,
        };
        match self {
            Study::O2i => {
                Grid { digits: vec![28, 56, 84, 112], train_images: vec![800, 1000, 2000, 4000], ..all }
            }
            Study::Thickness => Grid {
                canvas: 1500,
                noises: vec![Noise::Bezier, Noise::BezierExact],
                thicknesses: vec![1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6],
                noise_counts: NoiseCounts::Given(vec![800]),
                train_images: vec![2000],
                train: TrainConfig { epochs: 50, ..all.train },
                ..all
            },
            Study::Noise => {
                let counts = vec![100, 200, 300, 400, 600, 800];
                Grid { noise_counts: NoiseCounts::Given(counts), ..all }
            }
            Study::PatchSize => {
                Grid { digits: vec![84], patches: vec![25, 50, 100, 150], train_images: vec![1000], ..all }
            }
            Study::DigitSize => Grid {
                canvas: 1500,
                digits: vec![14, 21, 28, 46, 64],
                noises: vec![Noise::Lines],
                noise_counts: NoiseCounts::Given(vec![50]),
                train: TrainConfig { epochs: 150, ..all.train },
                ..all
            },
        }
    }

    /// The same on a canvas of 300 with the published density of noise where that leaves some.
    fn small(self) -> Grid {
        let all = Grid {
            canvas: 300,
            train_images: vec![8000],
            test_images: 500,
            memory: 12,
            iteration: 12,
            encoder: Encoder::Small,
            train: TrainConfig { epochs: 20, warmup_epochs: 1, ..TrainConfig::megapixel_mnist() },
            ..self.published()
        };
        match self {
            Study::O2i => {
                Grid { digits: vec![14, 21, 28, 42], train_images: vec![1000, 2000, 4000, 8000], ..all }
            }
            Study::Thickness => Grid {
                thicknesses: vec![1.4, 1.8, 2.2, 2.6],
                // As dense as 800 on 1500².
                noise_counts: NoiseCounts::Given(vec![32]),
                ..all
            },
            Study::Noise => Grid { noise_counts: NoiseCounts::Given(vec![2, 4, 8, 16]), ..all },
            Study::PatchSize => {
                Grid { digits: vec![28], patches: vec![20, 30, 50, 60], train_images: vec![4000], ..all }
            }
            Study::DigitSize => {
                Grid { digits: vec![14, 21, 28, 46], noise_counts: NoiseCounts::Given(vec![10]), ..all }
            }
        }
    }

    /// Two points of each axis, 8 or 16 images.
    fn smallest(self) -> Grid {
        let all = Grid {
            canvas: 96,
            digits: vec![14],
            patches: vec![24],
            thicknesses: vec![1.925],
            noise_counts: NoiseCounts::Given(vec![4]),
            train_images: vec![8],
            test_images: 8,
            memory: 4,
            iteration: 4,
            train: TrainConfig { epochs: 2, batch: 4, ..self.small().train },
            ..self.small()
        };
        match self {
            Study::O2i => Grid { digits: vec![10, 14], train_images: vec![8, 16], ..all },
            Study::Thickness => Grid { thicknesses: vec![1.4, 2.6], ..all },
            Study::Noise => Grid { noise_counts: NoiseCounts::Given(vec![2, 6]), ..all },
            Study::PatchSize => Grid { patches: vec![16, 24], ..all },
            Study::DigitSize => Grid { digits: vec![10, 14], ..all },
        }
    }
}
