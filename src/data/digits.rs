//! A set of labelled 28 × 28 digits in memory, whether read from MNIST or drawn by the built-in generator.

use std::sync::Arc;

use crate::{Error, Result};

/// Side of a digit in pixels, before any scaling.
pub const DIGIT_SIDE: usize = 28;

const AREA: usize = DIGIT_SIDE * DIGIT_SIDE;

/// Labelled 28 × 28 digits, white on black. Cheap to clone: the pixels are shared.
#[derive(Clone, Debug)]
pub struct Digits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// (len, 28, 28)
    pixels: Vec<u8>,
    /// (len), each below 10
    labels: Vec<u8>,
    /// For each class the indices of its digits, ascending.
    classes: [Vec<u32>; 10],
}

impl Digits {
    /// The set with `pixels` (len, 28, 28) and `labels` (len).
    ///
    /// # Errors
    /// [`Error::Shape`] if the numbers of pixels and labels do not fit, [`Error::Argument`] if a label is above 9.
    pub fn new(pixels: Vec<u8>, labels: Vec<u8>) -> Result<Self> {
        if labels.len().checked_mul(AREA) != Some(pixels.len()) || labels.len() > u32::MAX as usize {
            let what = format!("{} bytes are not {} digits of 28 × 28", pixels.len(), labels.len());
            return Err(Error::shape("Digits::new", what));
        }
        let mut classes: [Vec<u32>; 10] = Default::default();
        for (index, &label) in labels.iter().enumerate() {
            let Some(class) = classes.get_mut(usize::from(label)) else {
                return Err(Error::argument("Digits::new", format!("label {index} is {label}, not 0 to 9")));
            };
            class.push(index as u32);
        }
        Ok(Self(Arc::new(Inner { pixels, labels, classes })))
    }

    /// Number of digits.
    pub fn len(&self) -> usize {
        self.0.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.labels.is_empty()
    }

    /// A number that tells this set from others: FNV-1a over its labels and pixels.
    pub fn fingerprint(&self) -> u64 {
        let bytes = self.0.labels.iter().chain(&self.0.pixels);
        bytes
            .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
    }

    /// All labels, (len).
    pub fn labels(&self) -> &[u8] {
        &self.0.labels
    }

    /// All pixels, (len, 28, 28).
    pub fn all_pixels(&self) -> &[u8] {
        &self.0.pixels
    }

    /// The pixels (28, 28) and the label of digit `index`; `None` behind the last.
    pub fn get(&self, index: usize) -> Option<(&[u8], u8)> {
        let label = *self.0.labels.get(index)?;
        Some((&self.0.pixels[index * AREA..(index + 1) * AREA], label))
    }

    /// Indices of the digits of `class`, ascending; none for a class above 9.
    pub fn of_class(&self, class: u8) -> &[u32] {
        self.0.classes.get(usize::from(class)).map_or(&[], Vec::as_slice)
    }

    /// The `rank`-th digit, in order, that is not of `class`. `rank` is below the number of such digits.
    pub(super) fn other_than(&self, class: u8, rank: u32) -> u32 {
        let members = self.of_class(class);
        // Members that stand before the digit looked for: those with at most `rank` others in front of them.
        let (mut low, mut high) = (0, members.len());
        while low < high {
            let middle = (low + high) / 2;
            if members[middle] - middle as u32 <= rank {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        rank + low as u32
    }
}
