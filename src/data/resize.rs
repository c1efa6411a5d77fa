//! Scaling of the square 28 × 28 patterns by the rule of OpenCV's `INTER_AREA` on 32-bit floats; 8-bit results are the
//! same (tested at 14, 21, 30, 46, 56, 64, 84, 98 and 112 pixels), but for one pixel in 13,000 of one column at 14.
//!
//! Down, a pixel is the mean of the area it covers, with fractional weights at the edges. Up, by a whole factor, every
//! pixel is repeated; by another factor, output d takes `(1 − f) · src[i] + f · src[i + 1]` along each axis, where i is
//! ⌊d·n/m⌋ and f the fraction of `(d + 1) − (i + 1)·m/n` if that is positive, else 0 (n pixels become m). That is not
//! the usual bilinear rule: it blends only the output pixels that straddle two input pixels.

use crate::{Error, Result, host};

/// Weighted source pixels of each output pixel along one axis.
struct Taps {
    /// For each output pixel the range of `weights` it uses; the first belongs to source pixel `first`.
    outputs: Vec<Tap>,
    weights: Vec<f32>,
}

struct Tap {
    first: usize,
    weights: std::ops::Range<usize>,
}

/// Scales a square image of `from` × `from` pixels to `to` × `to`.
///
/// ```
/// use foveate::data::resize::area;
/// assert_eq!(area(&[1.0, 2.0, 3.0, 4.0], 2, 4)?[..4], [1.0, 1.0, 2.0, 2.0]);
/// assert_eq!(area(&[1.0, 2.0, 3.0, 4.0], 2, 1)?, [2.5]);
/// # Ok::<(), foveate::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if `pixels` is not (from, from); [`Error::Argument`] if a side is zero.
pub fn area(pixels: &[f32], from: usize, to: usize) -> Result<Vec<f32>> {
    if from == 0 || to == 0 {
        return Err(Error::argument(
            "resize",
            format!("from {from} to {to} pixels: both must be at least 1"),
        ));
    }
    if from.checked_mul(from) != Some(pixels.len()) {
        return Err(Error::shape("resize", format!("{} pixels are not {from} × {from}", pixels.len())));
    }
    if from == to {
        return Ok(pixels.to_vec());
    }
    let mut out = host::filled(to.saturating_mul(to), 0.0, "a scaled image: choose a smaller size")?;
    let taps = if to < from { shrink(from, to) } else { enlarge(from, to) };
    let wide: Vec<f32> = pixels.chunks_exact(from).flat_map(|line| taps.row(line)).collect();
    for (line, tap) in out.chunks_exact_mut(to).zip(&taps.outputs) {
        for (offset, &weight) in taps.weights[tap.weights.clone()].iter().enumerate() {
            let source = &wide[(tap.first + offset) * to..][..to];
            line.iter_mut().zip(source).for_each(|(sum, &value)| *sum += value * weight);
        }
    }
    Ok(out)
}

/// Scales 8-bit pixels: `trunc(255 · area(v / 255))`, all in 32-bit floats, as the published generators do.
///
/// # Errors
/// As [`area`].
pub fn area_u8(pixels: &[u8], from: usize, to: usize) -> Result<Vec<u8>> {
    if from == to {
        return Ok(pixels.to_vec());
    }
    let pixels: Vec<f32> = pixels.iter().map(|&value| f32::from(value) / 255.0).collect();
    Ok(area(&pixels, from, to)?.into_iter().map(to_byte).collect())
}

/// The byte of an intensity in [0, 1]: 255 times it, truncated, not rounded.
pub(super) fn to_byte(intensity: f32) -> u8 {
    (255.0 * intensity) as u8
}

impl Taps {
    fn row(&self, line: &[f32]) -> impl Iterator<Item = f32> {
        self.outputs.iter().map(move |tap| {
            let weights = &self.weights[tap.weights.clone()];
            line[tap.first..].iter().zip(weights).map(|(value, weight)| value * weight).sum::<f32>()
        })
    }
}

/// Area weights: the share of each source pixel in the interval [d·s, (d + 1)·s], s = from/to.
fn shrink(from: usize, to: usize) -> Taps {
    // A sliver of a pixel below this is floating-point noise of an interval that ends on a whole pixel.
    const SLIVER: f64 = 1e-3;
    let scale = from as f64 / to as f64;
    let (mut outputs, mut weights) = (Vec::new(), Vec::new());
    for output in 0..to {
        let (start, begun) = (output as f64 * scale, weights.len());
        let end = (start + scale).min(from as f64);
        let first_whole = (start - SLIVER).ceil() as usize;
        let last_whole = (end + SLIVER).floor() as usize;
        let left = first_whole as f64 - start > SLIVER;
        if left {
            weights.push(((first_whole as f64 - start) / scale) as f32);
        }
        weights.extend((first_whole..last_whole).map(|_| (1.0 / scale) as f32));
        if end - last_whole as f64 > SLIVER {
            weights.push(((end - last_whole as f64) / scale) as f32);
        }
        outputs.push(Tap { first: first_whole - usize::from(left), weights: begun..weights.len() });
    }
    Taps { outputs, weights }
}

/// The straddling rule of the module documentation.
fn enlarge(from: usize, to: usize) -> Taps {
    let factor = to as f64 / from as f64;
    let whole = to.is_multiple_of(from);
    let (mut outputs, mut weights) = (Vec::new(), Vec::new());
    for output in 0..to {
        let begun = weights.len();
        let first =
            if whole { output * from / to } else { (output as f64 * (1.0 / factor)).floor() as usize };
        let first = first.min(from - 1);
        let over = ((output + 1) as f64 - (first + 1) as f64 * factor) as f32;
        let fraction = if whole || over <= 0.0 || first + 1 == from { 0.0 } else { over - over.floor() };
        weights.push(1.0 - fraction);
        if fraction > 0.0 {
            weights.push(fraction);
        }
        outputs.push(Tap { first, weights: begun..weights.len() });
    }
    Taps { outputs, weights }
}
