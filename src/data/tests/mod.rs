//! Tests of the data modules, by subject.

mod source;

#[cfg(feature = "data")]
mod idx;
#[cfg(feature = "data")]
mod megapixel;
#[cfg(feature = "data")]
mod noise;
#[cfg(feature = "data")]
mod published;
#[cfg(feature = "data")]
mod strokes;

#[cfg(feature = "data")]
use helpers::{fnv, mnist, plain_digits};

#[cfg(feature = "data")]
mod helpers {
    //! What several of the tests need.

    use std::path::PathBuf;

    use crate::data::{DIGIT_SIDE, Digits, Mnist};

    /// The 64-bit FNV-1a hash, to compare many bytes with those that another program made.
    pub(super) fn fnv(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// 200 digits that stand for nothing but can be made by any program: label (7k + ⌊k/10⌋) mod 10, and of the pixels
    /// every third, (31k + 17p) mod 256.
    pub(super) fn plain_digits() -> Digits {
        const AREA: usize = DIGIT_SIDE * DIGIT_SIDE;
        let pixel =
            |k: usize, p: usize| if p.is_multiple_of(3) { ((k * 31 + p * 17) % 256) as u8 } else { 0 };
        let pixels = (0..200).flat_map(|k| (0..AREA).map(move |p| pixel(k, p))).collect();
        Digits::new(pixels, (0..200).map(|k| ((k * 7 + k / 10) % 10) as u8).collect()).unwrap()
    }

    /// Real MNIST, from the folder `FOVEATE_MNIST` or from `data/mnist` below the folder `FOVEATE_SHARED`. `None`, reported
    /// on standard error, if neither is set; a folder that is named must hold it.
    pub(super) fn mnist(test: &str) -> Option<Mnist> {
        let named = std::env::var_os("FOVEATE_MNIST").map(PathBuf::from);
        let shared =
            || std::env::var_os("FOVEATE_SHARED").map(|folder| PathBuf::from(folder).join("data/mnist"));
        let Some(folder) = named.or_else(shared) else {
            eprintln!("skipped: {test}: no MNIST; name its folder in FOVEATE_MNIST");
            return None;
        };
        Some(Mnist::open(folder).unwrap())
    }
}
