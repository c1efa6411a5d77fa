//! Which digits and which noise an image gets, and where.

use super::{Digits, MegapixelConfig, Split, draw::Draw, mt19937::Mt19937, noise::NoisePool};
use crate::{Error, Result, host};

/// Which random numbers decide an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Draws {
    /// The crate's own [`Rng`](crate::Rng), with a stream for each image: any image can be made without the others.
    Counter,
    /// NumPy's legacy generator in the order of the published scripts, seeded with `seed`, plus 1 for the training
    /// split: the images of those scripts again. All placements are drawn when the split is opened, six bytes for each
    /// piece of noise.
    Published,
}

/// What lies over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Digits are pasted last; their black background erases noise (Iterative Patch Selection).
    DigitsOverNoise,
    /// Noise is pasted last, over the digits (Attention Sampling).
    NoiseOverDigits,
}

/// Digits in an image.
pub(super) const DIGITS: usize = 5;
/// Of these, how many are of the majority class.
const MAJORITY: usize = 3;

/// A digit's index in its set, and the row and column of its first pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DigitAt {
    pub(super) index: u32,
    pub(super) at: [u32; 2],
}

/// A piece of noise: its pattern's index in the pool, and the row and column of its first pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NoiseAt {
    pub(super) pattern: u16,
    pub(super) at: [u16; 2],
}

/// Everything random about one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) digits: [DigitAt; DIGITS],
    pub(super) noise: Vec<NoiseAt>,
}

impl Placement {
    /// One image out of a stream of its own.
    pub(super) fn draw(config: &MegapixelConfig, digits: &Digits, draw: &mut impl Draw) -> Result<Self> {
        let mut placement = Placement::default();
        placement.choose_digits(digits, draw);
        placement.place_digits(config, draw)?;
        placement.noise.resize(config.noise_count, NoiseAt::default());
        placement.place_noise(config, draw);
        placement.choose_noise(config, draw);
        Ok(placement)
    }

    /// All images of a split and their noise, in the order in which the published scripts draw them.
    pub(super) fn published(
        config: &MegapixelConfig,
        split: Split,
        digits: &Digits,
        len: usize,
    ) -> Result<(NoisePool, Vec<Self>)> {
        let seed = u32::try_from(config.seed + u64::from(split == Split::Train))
            .map_err(|_| Error::argument("megapixel", "a published seed has at most 32 bits"))?;
        let mut draw = Mt19937::new(seed);
        let mut all = host::filled(len, Placement::default(), "placements: make fewer images")?;
        all.iter_mut().for_each(|one| one.choose_digits(digits, &mut draw));
        for one in &mut all {
            one.place_digits(config, &mut draw)?;
        }
        let pool = NoisePool::draw(config.noise, config.noise_count, config.noise_size, &mut draw)?;
        for one in &mut all {
            one.noise.resize(config.noise_count, NoiseAt::default());
            one.place_noise(config, &mut draw);
        }
        all.iter_mut().for_each(|one| one.choose_noise(config, &mut draw));
        Ok((pool, all))
    }

    /// Three digits of a random class, then two of other classes, each out of all digits that are not of the first.
    fn choose_digits(&mut self, digits: &Digits, draw: &mut impl Draw) {
        let class = draw.scaled(10) as u8;
        let members = digits.of_class(class);
        let others = digits.len() - members.len();
        let (majority, rest) = self.digits.split_at_mut(MAJORITY);
        majority
            .iter_mut()
            .for_each(|digit| digit.index = members[draw.below(members.len() as u32) as usize]);
        rest.iter_mut().for_each(|digit| digit.index = digits.other_than(class, draw.below(others as u32)));
    }

    /// Corners rounded half to even, each drawn again until its digit overlaps none before it.
    ///
    /// Four digits can block a small canvas entirely; after many misses all five are therefore placed anew.
    fn place_digits(&mut self, config: &MegapixelConfig, draw: &mut impl Draw) -> Result<()> {
        const TRIES: usize = 10_000;
        const RESTARTS: usize = 100;
        let side = config.digit_size;
        let span = config.canvas.map(|length| (length - side) as f64);
        'restart: for _ in 0..RESTARTS {
            for placed in 0..DIGITS {
                let free = (0..TRIES).find_map(|_| {
                    let at = span.map(|span| (draw.uniform() * span).round_ties_even() as u32);
                    let overlaps =
                        |other: &DigitAt| (0..2).all(|i| (other.at[i].abs_diff(at[i]) as usize) < side);
                    (!self.digits[..placed].iter().any(overlaps)).then_some(at)
                });
                let Some(at) = free else { continue 'restart };
                self.digits[placed].at = at;
            }
            return Ok(());
        }
        let [height, width] = config.canvas;
        let what = format!(
            "no room found for {DIGITS} digits of {side} × {side} on {height} × {width} pixels; enlarge the canvas"
        );
        Err(Error::argument("megapixel", what))
    }

    /// Corners cut to whole numbers, from `noise_margin` on.
    fn place_noise(&mut self, config: &MegapixelConfig, draw: &mut impl Draw) {
        let margin = config.noise_margin as f64;
        let span = config.canvas.map(|length| length as f64 - config.noise_size as f64 - margin);
        for noise in &mut self.noise {
            noise.at = span.map(|span| (draw.uniform() * span + margin) as u16);
        }
    }

    fn choose_noise(&mut self, config: &MegapixelConfig, draw: &mut impl Draw) {
        let patterns = config.noise_count as u32;
        self.noise.iter_mut().for_each(|noise| noise.pattern = draw.scaled(patterns) as u16);
    }
}
