//! Megapixel MNIST: five digits, three of one class, lost among noise on a large black canvas.
//!
//! The task is Katharopoulos and Fleuret's (*Processing megapixel images with deep attention-sampling models*, ICML
//! 2019), with the four labels of Bergner et al. (*Iterative Patch Selection*, ICLR 2023) and the Bézier noise and digit
//! sizes of Riffi-Aslett and Fell (arXiv 2412.11237).

use super::{
    DIGIT_SIDE, Digits, Draws, Labels, NoiseKind, Order, PatchSource, SparseImage, Split, Window,
    compose::{Stamp, compose},
    noise::NoisePool,
    placement::{DIGITS, Placement},
    resize,
    stream::{Purpose, stream},
};
use crate::{Error, Result};

/// What the images of a data set are like.
///
/// ```
/// use foveate::data::{MegapixelConfig, NoiseKind};
/// // Figure 4 of arXiv 2412.11237: 3000 × 3000, digits of 84 pixels, 400 Bézier curves.
/// let config = MegapixelConfig::bezier([3000, 3000], 84, 1.925);
/// assert_eq!((config.noise_count, config.noise), (400, NoiseKind::bezier(1.925)));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MegapixelConfig {
    /// [H, W] of the canvas in pixels, each at most 65,535.
    pub canvas: [usize; 2],
    /// Side of a digit on the canvas in pixels; the 28 × 28 digits are scaled to it ([`resize`]).
    pub digit_size: usize,
    /// Look of the noise.
    pub noise: NoiseKind,
    /// Pieces of noise in each image, and patterns in the pool they are drawn from; at most 65,535.
    pub noise_count: usize,
    /// Side of a piece of noise on the canvas in pixels.
    pub noise_size: usize,
    /// Rows at the top and columns at the left where no noise begins.
    pub noise_margin: usize,
    /// What lies over what.
    pub order: Order,
    /// Which random numbers decide.
    pub draws: Draws,
    /// Seed of the data set, shared by both splits.
    pub seed: u64,
}

impl MegapixelConfig {
    /// The data set of Iterative Patch Selection: 1500 × 1500 pixels, 50 lines below digits of 28 pixels.
    pub fn ips() -> Self {
        Self {
            canvas: [1500, 1500],
            digit_size: DIGIT_SIDE,
            noise: NoiseKind::Lines,
            noise_count: 50,
            noise_size: DIGIT_SIDE,
            noise_margin: DIGIT_SIDE,
            order: Order::DigitsOverNoise,
            draws: Draws::Counter,
            seed: 0,
        }
    }

    /// The data set of Attention Sampling: as [`ips`](MegapixelConfig::ips), with the noise over the digits.
    pub fn ats() -> Self {
        Self { order: Order::NoiseOverDigits, ..Self::ips() }
    }

    /// Bézier noise of the size of the digits, as much of it as [`noise_count`] says, of the published thickness rule.
    pub fn bezier(canvas: [usize; 2], digit_size: usize, thickness: f32) -> Self {
        Self {
            canvas,
            digit_size,
            noise: NoiseKind::bezier(thickness),
            noise_count: noise_count(digit_size),
            noise_size: digit_size,
            noise_margin: 0,
            ..Self::ips()
        }
    }

    /// Checks that such images can be made.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the sizes that do not fit.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::argument("megapixel", what));
        let [height, width] = self.canvas;
        let most = usize::from(u16::MAX);
        if height > most || width > most || self.noise_count > most {
            return refuse(format!(
                "a canvas of {height} × {width} with {} pieces of noise: each must be at most {most}",
                self.noise_count
            ));
        }
        let side = self.digit_size;
        if side == 0 || (height / side) * (width / side) < DIGITS {
            return refuse(format!(
                "{DIGITS} digits of {side} × {side} pixels do not fit on {height} × {width}: enlarge the canvas or \
                 choose digits of at least 1 pixel that fit"
            ));
        }
        let reach = self.noise_size.saturating_add(self.noise_margin);
        if self.noise_count > 0 && (self.noise_size == 0 || reach > height || reach > width) {
            return refuse(format!(
                "noise of {0} × {0} pixels behind a margin of {1} does not fit on {height} × {width}",
                self.noise_size, self.noise_margin
            ));
        }
        if self.draws == Draws::Published && self.seed >= u64::from(u32::MAX) {
            return refuse(format!("the published scripts take a seed below 2^32 − 1, not {}", self.seed));
        }
        self.noise.check()
    }
}

/// Pieces of noise that go with a digit size: −7.14·s + 1000, cut to a whole number; none from s = 141 on
/// (arXiv 2412.11237: 800, 600, 400 and 200 for 28, 56, 84 and 112 pixels).
pub fn noise_count(digit_size: usize) -> usize {
    (1000.0 - 7.14 * digit_size as f64).max(0.0) as usize
}

/// Share of an image of [H, W] pixels that one digit of `digit_size`² covers (O2I), 0 to 1.
pub fn object_to_image(digit_size: usize, canvas: [usize; 2]) -> f64 {
    (digit_size as f64).powi(2) / (canvas[0] as f64 * canvas[1] as f64)
}

/// Area of a digit of `digit_size`² over that of a patch of [ph, pw] pixels (O2P); above 1 when it is larger.
pub fn object_to_patch(digit_size: usize, patch: [usize; 2]) -> f64 {
    object_to_image(digit_size, patch)
}

/// One digit of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedDigit {
    /// 0 to 9.
    pub class: u8,
    /// Which digit of the set it is.
    pub index: u32,
    /// Row of its first pixel.
    pub row: u32,
    /// Column of its first pixel.
    pub column: u32,
}

/// An image with its answers. It is a [`PatchSource`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The pixels.
    pub image: SparseImage,
    /// The answers.
    pub labels: Labels,
    /// The digits, the three of the majority class first.
    pub digits: [PlacedDigit; DIGITS],
}

impl PatchSource for Sample {
    fn channels(&self) -> usize {
        self.image.channels()
    }

    fn height(&self) -> usize {
        self.image.height()
    }

    fn width(&self) -> usize {
        self.image.width()
    }

    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        self.image.read(window, out)
    }

    fn view(&self, size: [usize; 2], out: &mut [f32]) -> Result<()> {
        self.image.view(size, out)
    }
}

/// One split of a Megapixel MNIST data set. Images are made when asked for, always the same for the same index.
///
/// ```
/// use foveate::data::{strokes, MegapixelConfig, MegapixelMnist, Split};
/// let config = MegapixelConfig { canvas: [300, 300], noise_count: 20, ..MegapixelConfig::ips() };
/// let test = MegapixelMnist::new(config, Split::Test, strokes::digits(0, Split::Test, 50)?, 500)?;
/// assert_eq!(test.sample(499)?, test.sample(499)?);
/// assert!(test.sample(500).is_err());
/// # Ok::<(), foveate::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MegapixelMnist {
    config: MegapixelConfig,
    split: Split,
    digits: Digits,
    len: usize,
    pool: NoisePool,
    /// Drawn in advance for [`Draws::Published`].
    planned: Option<Vec<Placement>>,
}

impl MegapixelMnist {
    /// A split of `len` images made of `digits`, which are those of the same split: training and test images share no
    /// digit.
    ///
    /// # Errors
    /// [`Error::Argument`] if the configuration is impossible ([`MegapixelConfig::check`]), if `len` is zero or above
    /// 2^31 − 1, or if a class has no digit.
    pub fn new(config: MegapixelConfig, split: Split, digits: Digits, len: usize) -> Result<Self> {
        config.check()?;
        if len == 0 || len > i32::MAX as usize {
            return Err(Error::argument(
                "megapixel",
                format!("{len} images: at least 1 and below 2^31 are possible"),
            ));
        }
        if let Some(class) = (0..10).find(|&class| digits.of_class(class).is_empty()) {
            let what = format!("the {} digits given have no {class}; every class is needed", digits.len());
            return Err(Error::argument("megapixel", what));
        }
        let (pool, planned) = match config.draws {
            Draws::Counter => {
                let mut rng = stream(config.seed, split, Purpose::NoisePool, 0);
                (NoisePool::draw(config.noise, config.noise_count, config.noise_size, &mut rng)?, None)
            }
            Draws::Published => {
                let (pool, planned) = Placement::published(&config, split, &digits, len)?;
                (pool, Some(planned))
            }
        };
        Ok(Self { config, split, digits, len, pool, planned })
    }

    /// Number of images; never zero.
    #[expect(clippy::len_without_is_empty, reason = "a split without images cannot be made")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &MegapixelConfig {
        &self.config
    }

    /// Which split it is.
    pub fn split(&self) -> Split {
        self.split
    }

    /// The digits its images are made of.
    pub fn digits(&self) -> &Digits {
        &self.digits
    }

    /// The noise patterns its images draw from.
    pub fn noise_pool(&self) -> &NoisePool {
        &self.pool
    }

    /// Image `index`.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no such image, or if its digits found no room on a canvas that barely holds them.
    pub fn sample(&self, index: usize) -> Result<Sample> {
        let placement = self.placement(index)?;
        let [height, width] = self.config.canvas;
        let digits = self.placed_digits(&placement);
        let scaled = self.scaled_digits(&placement)?;
        let side = self.config.digit_size;
        let digit_stamps = scaled.iter().zip(&digits).map(|(pixels, digit)| Stamp {
            row: digit.row as usize,
            column: digit.column as usize,
            side,
            pixels,
        });
        let noise_stamps = placement.noise.iter().map(|noise| Stamp {
            row: usize::from(noise.at[0]),
            column: usize::from(noise.at[1]),
            side: self.pool.side(),
            pixels: self.pool.pattern(usize::from(noise.pattern)),
        });
        let stamps: Vec<Stamp> = match self.config.order {
            Order::DigitsOverNoise => noise_stamps.chain(digit_stamps).collect(),
            Order::NoiseOverDigits => digit_stamps.chain(noise_stamps).collect(),
        };
        Ok(Sample { image: compose(height, width, &stamps)?, labels: labels_of(&digits), digits })
    }

    /// The answers for image `index`, without making its pixels.
    ///
    /// # Errors
    /// As [`sample`](MegapixelMnist::sample).
    pub fn labels(&self, index: usize) -> Result<Labels> {
        Ok(labels_of(&self.placed_digits(&self.placement(index)?)))
    }

    fn placement(&self, index: usize) -> Result<Placement> {
        if index >= self.len {
            let what = format!("there is no image {index} in a split of {}", self.len);
            return Err(Error::argument("megapixel", what));
        }
        if let Some(planned) = &self.planned {
            return Ok(planned[index].clone());
        }
        let mut rng = stream(self.config.seed, self.split, Purpose::Sample, index as u64);
        Placement::draw(&self.config, &self.digits, &mut rng)
    }

    fn placed_digits(&self, placement: &Placement) -> [PlacedDigit; DIGITS] {
        placement.digits.map(|digit| PlacedDigit {
            class: self.digits.labels()[digit.index as usize],
            index: digit.index,
            row: digit.at[0],
            column: digit.at[1],
        })
    }

    /// The five digits as they are pasted, each (digit_size, digit_size).
    fn scaled_digits(&self, placement: &Placement) -> Result<Vec<Vec<u8>>> {
        let scale = |index: u32| {
            let (pixels, _) = self.digits.get(index as usize).unwrap_or_default();
            resize::area_u8(pixels, DIGIT_SIDE, self.config.digit_size)
        };
        placement.digits.iter().map(|digit| scale(digit.index)).collect()
    }
}

fn labels_of(digits: &[PlacedDigit; DIGITS]) -> Labels {
    Labels::new(digits.map(|digit| digit.class), digits.map(|digit| digit.row))
}
