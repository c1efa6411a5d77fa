//! Scaling of whole images by the bilinear rule of Pillow 11 (`Image.resize` with `BILINEAR`), to the bit: the one by which the
//! speed limits are brought to 1,200 × 1,600 pixels.
//!
//! A pixel is a weighted mean along each axis, columns first, of the pixels within one step of the coarser of both grids, with
//! weights that fall linearly to zero; weights are whole numbers of 2⁻²², and each pass rounds to bytes.

use super::{DenseImage, PatchSource, Window};
use crate::{Error, Result, host};

/// Bits of a weight behind the point.
const BITS: u32 = 22;

/// First input pixel and weights of an output pixel.
type Taps = (usize, Vec<i64>);

fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let tap = |at: usize| {
        let center = (at as f64 + 0.5) * scale;
        let first = (center - reach + 0.5).max(0.0) as usize;
        let end = ((center + reach + 0.5) as usize).min(from);
        let weight = |x: usize| (1.0 - ((x as f64 - center + 0.5) / reach).abs()).max(0.0);
        let sum: f64 = (first..end).map(weight).sum();
        let whole = |x: usize| (0.5 + weight(x) / sum * f64::from(1 << BITS)) as i64;
        (first, (first..end).map(whole).collect())
    };
    (0..to).map(tap).collect()
}

fn rounded(sum: i64) -> u8 {
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

/// The image at `size` [h, w].
///
/// ```
/// use foveate::data::{DenseImage, bilinear};
/// let image = DenseImage::new([1, 1, 2], vec![0, 100])?;
/// assert_eq!(bilinear::resize(&image, [1, 4])?.pixels(), [0, 25, 75, 100]);
/// # Ok::<(), foveate::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Argument`] for a size of zero; pixels that cannot be read; an image too large for memory.
pub fn resize(image: &dyn PatchSource, size: [usize; 2]) -> Result<DenseImage> {
    let [channels, height, width] = [image.channels(), image.height(), image.width()];
    if size.contains(&0) || height == 0 || width == 0 {
        let what = format!("from {height} × {width} to {} × {} pixels", size[0], size[1]);
        return Err(Error::argument("resize", format!("{what}: every side must be at least 1")));
    }
    let count = |h: usize, w: usize| channels.saturating_mul(h).saturating_mul(w);
    let mut pixels = host::filled(count(height, width), 0_u8, "an image: choose patches of it instead")?;
    image.read(Window::new(0, 0, height, width), &mut pixels)?;
    if size == [height, width] {
        return DenseImage::new([channels, height, width], pixels);
    }
    let mut wide = host::filled(count(height, size[1]), 0_u8, "a scaled image: choose a smaller size")?;
    let columns = taps(width, size[1]);
    for (line, to) in pixels.chunks_exact(width).zip(wide.chunks_exact_mut(size[1])) {
        for ((first, weights), to) in columns.iter().zip(to) {
            let pixels = &line[*first..first + weights.len()];
            *to = rounded(pixels.iter().zip(weights).map(|(pixel, weight)| i64::from(*pixel) * weight).sum());
        }
    }
    let mut out = host::filled(count(size[0], size[1]), 0_u8, "a scaled image: choose a smaller size")?;
    let rows = taps(height, size[0]);
    let mut sums = vec![0_i64; size[1]];
    for (plane, to) in wide.chunks_exact(height * size[1]).zip(out.chunks_exact_mut(size[0] * size[1])) {
        for ((first, weights), to) in rows.iter().zip(to.chunks_exact_mut(size[1])) {
            sums.fill(0);
            for (line, weight) in plane[first * size[1]..].chunks_exact(size[1]).zip(weights) {
                sums.iter_mut().zip(line).for_each(|(sum, pixel)| *sum += i64::from(*pixel) * weight);
            }
            to.iter_mut().zip(&sums).for_each(|(to, sum)| *to = rounded(*sum));
        }
    }
    DenseImage::new([channels, size[0], size[1]], out)
}
