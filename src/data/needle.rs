//! NeedleMNIST: is there a 3 among the digits on a large black canvas?
//!
//! The task is Kong and Henao's (arXiv 2106.02694, appendix J): a view small enough to see the whole image does not show what
//! a digit is, so that a network that chooses where to look from such a view hardly beats chance.

use super::{
    DIGIT_SIDE, Digits, SparseImage, Split,
    compose::{Stamp, compose},
    stream::{Purpose, stream},
};
use crate::{Error, Result, Rng};

/// What the images of a data set are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedleConfig {
    /// [H, W] of the canvas in pixels, each at most 65,535. The publication has 64², 128², 256², 512² and 1024².
    pub canvas: [usize; 2],
    /// Digits in each image, of 28 × 28 pixels, which do not overlap.
    pub digits: usize,
    /// The class that is looked for.
    pub needle: u8,
    /// Seed of the data set, shared by both splits.
    pub seed: u64,
}

impl NeedleConfig {
    /// Three digits on a canvas of `side`²; the publication does not say how many it has.
    pub fn new(side: usize) -> Self {
        NeedleConfig { canvas: [side; 2], digits: 3, needle: 3, seed: 0 }
    }

    /// Checks that such images can be made.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the sizes that do not fit.
    pub fn check(&self) -> Result<()> {
        let [height, width] = self.canvas;
        let room = (height / DIGIT_SIDE) * (width / DIGIT_SIDE);
        if self.digits == 0 || self.digits > room || height.max(width) > usize::from(u16::MAX) {
            let what = format!(
                "{} digits on {height} × {width}: at least 1, and no more than {room} fit; sides are at most 65,535",
                self.digits
            );
            return Err(Error::argument("needle", what));
        }
        if self.needle > 9 {
            return Err(Error::argument(
                "needle",
                format!("a needle of class {}: digits end at 9", self.needle),
            ));
        }
        Ok(())
    }
}

/// One split of a NeedleMNIST data set. Images are made when asked for, always the same for the same index; half of them, by
/// chance, have the needle, once.
///
/// ```
/// use foveate::data::{NeedleConfig, NeedleMnist, Split, strokes};
/// let digits = strokes::digits(0, Split::Test, 50)?;
/// let test = NeedleMnist::new(NeedleConfig::new(128), Split::Test, digits, 100)?;
/// let (image, present) = test.sample(7)?;
/// assert_eq!((image, present), test.sample(7)?);
/// # Ok::<(), foveate::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NeedleMnist {
    config: NeedleConfig,
    split: Split,
    digits: Digits,
    len: usize,
}

impl NeedleMnist {
    /// A split of `len` images made of `digits`, which are those of the same split.
    ///
    /// # Errors
    /// [`Error::Argument`] if the configuration is impossible ([`NeedleConfig::check`]), if `len` is zero or above 2^31 − 1,
    /// or if there is no digit of the needle's class, or of no other.
    pub fn new(config: NeedleConfig, split: Split, digits: Digits, len: usize) -> Result<Self> {
        config.check()?;
        let needles = digits.of_class(config.needle).len();
        if needles == 0 || needles == digits.len() || len == 0 || len > i32::MAX as usize {
            let what = format!(
                "{len} images of {} digits, {needles} of class {}: at least one of each is needed",
                digits.len(),
                config.needle
            );
            return Err(Error::argument("needle", what));
        }
        Ok(NeedleMnist { config, split, digits, len })
    }

    /// Number of images; never zero.
    #[expect(clippy::len_without_is_empty, reason = "a split without images cannot be made")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What tells it from other data sets, in one line.
    pub fn description(&self) -> String {
        format!("{:?}, {:?}, digits {:016x}", self.config, self.split, self.digits.fingerprint())
    }

    /// Image `index`, and whether the needle is in it.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no such image, or if its digits found no room on a canvas that barely holds them.
    pub fn sample(&self, index: usize) -> Result<(SparseImage, bool)> {
        if index >= self.len {
            let what = format!("there is no image {index} in a split of {}", self.len);
            return Err(Error::argument("needle", what));
        }
        let mut rng = stream(self.config.seed, self.split, Purpose::Sample, index as u64);
        let present = rng.below(2) == 1;
        let needles = self.digits.of_class(self.config.needle);
        let others = (self.digits.len() - needles.len()) as u32;
        let mut indices: Vec<u32> = (0..self.config.digits)
            .map(|_| self.digits.other_than(self.config.needle, rng.below(others)))
            .collect();
        if present {
            indices[0] = needles[rng.below(needles.len() as u32) as usize];
        }
        let corners = self.corners(&mut rng)?;
        let stamps: Vec<Stamp> = indices
            .iter()
            .zip(corners)
            .filter_map(|(&index, [row, column])| {
                let (pixels, _) = self.digits.get(index as usize)?;
                Some(Stamp { row, column, side: DIGIT_SIDE, pixels })
            })
            .collect();
        Ok((compose(self.config.canvas[0], self.config.canvas[1], &stamps)?, present))
    }

    /// First pixels of digits that do not overlap: drawn one after the other, all anew where one finds no room.
    fn corners(&self, rng: &mut Rng) -> Result<Vec<[usize; 2]>> {
        const ATTEMPTS: usize = 1000;
        let apart =
            |a: &[usize; 2], b: &[usize; 2]| (0..2).any(|axis| a[axis].abs_diff(b[axis]) >= DIGIT_SIDE);
        for _ in 0..ATTEMPTS {
            let mut corners: Vec<[usize; 2]> = Vec::with_capacity(self.config.digits);
            for _ in 0..4 * self.config.digits + 100 {
                let corner =
                    self.config.canvas.map(|side| rng.below((side - DIGIT_SIDE + 1) as u32) as usize);
                if corners.iter().all(|other| apart(&corner, other)) {
                    corners.push(corner);
                }
                if corners.len() == self.config.digits {
                    return Ok(corners);
                }
            }
        }
        let what =
            format!("{} digits found no room on {:?}: use fewer", self.config.digits, self.config.canvas);
        Err(Error::argument("needle", what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{PatchSource, strokes};

    fn set(config: NeedleConfig) -> NeedleMnist {
        NeedleMnist::new(config, Split::Train, strokes::digits(1, Split::Train, 60).unwrap(), 400).unwrap()
    }

    /// Ink is that of as many digits; the label says whether one of them is the needle.
    #[test]
    fn images_hold_their_digits() {
        let set = set(NeedleConfig { digits: 4, ..NeedleConfig::new(128) });
        let ink = |index: u32| set.digits.get(index as usize).unwrap().0.iter().filter(|v| **v > 0).count();
        let inks: Vec<usize> = (0..60).map(ink).collect();
        let mut with = 0;
        for index in 0..set.len() {
            let (image, present) = set.sample(index).unwrap();
            assert_eq!((image.height(), image.width()), (128, 128));
            assert!(image.nonzero() >= 4 * inks.iter().min().unwrap());
            assert!(image.nonzero() <= 4 * inks.iter().max().unwrap());
            with += usize::from(present);
        }
        assert!(with.abs_diff(200) < 40, "{with} of 400");
        assert!(set.sample(400).is_err());
        let same = |a: usize, b: usize| set.sample(a).unwrap() == set.sample(b).unwrap();
        assert!(same(5, 5) && !same(5, 6));
    }

    /// With one digit an image has the needle or it does not: every label can be read off the digit itself.
    #[test]
    fn the_label_is_true() {
        let set = set(NeedleConfig { digits: 1, canvas: [28, 28], ..NeedleConfig::new(28) });
        for index in 0..100 {
            let (image, present) = set.sample(index).unwrap();
            let mut pixels = vec![0; 28 * 28];
            image.to_dense(&mut pixels).unwrap();
            let at = (0..60).find(|&at| set.digits.get(at).unwrap().0 == pixels).unwrap();
            assert_eq!(set.digits.labels()[at] == 3, present, "{index}");
        }
    }

    #[test]
    fn impossible_sets_are_refused() {
        let digits = strokes::digits(1, Split::Train, 60).unwrap();
        for config in [
            NeedleConfig { digits: 0, ..NeedleConfig::new(128) },
            NeedleConfig { digits: 5, ..NeedleConfig::new(64) },
            NeedleConfig { needle: 10, ..NeedleConfig::new(64) },
            NeedleConfig::new(20),
            NeedleConfig::new(70_000),
        ] {
            assert!(matches!(config.check(), Err(Error::Argument { op: "needle", .. })));
        }
        assert!(NeedleMnist::new(NeedleConfig::new(128), Split::Train, digits, 0).is_err());
    }
}
