//! Random variation of images for training: the published ones of the speed limits.
//!
//! | | Attention Sampling (ICML 2019) | Iterative Patch Selection (ICLR 2023) |
//! | --- | --- | --- |
//! | light | with probability 0.8: a x + b, a in [0.8, 1.2], b in [−0.1, 0.1] | brightness, contrast, saturation, hue by 0.1, in random order |
//! | place | with probability 0.8: moved by up to 100 pixels, the border repeated | moved by up to 100 pixels, zero beyond the border |
//!
//! The changes of colour are Pillow's, to the bit, as torchvision's `ColorJitter` applies them to images of bytes. Everything
//! random comes from the generator given: same state, same image.

use super::{DenseImage, PatchSource, Window};
use crate::{Error, Result, Rng, host};

/// One linear change of all pixels x, between 0 and 1: a x + b, cut to that range again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Light {
    /// Least and largest factor a.
    pub factor: [f32; 2],
    /// Least and largest term b.
    pub term: [f32; 2],
    /// How often it happens.
    pub probability: f32,
}

/// Changes of colour, in random order: factors in [1 − v, 1 + v], a turn of the hue in [−v, v] of a full circle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// Of black and the image.
    pub brightness: f32,
    /// Of its mean grey and the image.
    pub contrast: f32,
    /// Of its greys and the image.
    pub saturation: f32,
    /// Of the angle of colour, at most 0.5.
    pub hue: f32,
}

/// What stands where an image was moved away from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// Zero.
    Zero,
    /// The nearest pixel of the image.
    Nearest,
}

/// A move by whole pixels, each distance equally likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pan {
    /// The longest move in rows and in columns, to either side.
    pub most: [usize; 2],
    /// What stands where nothing is.
    pub beyond: Beyond,
    /// How often it happens.
    pub probability: f32,
}

/// How images are varied. The default leaves them as they are.
///
/// ```
/// use foveate::{Rng, data::{Augmentation, DenseImage, PatchSource}};
/// let image = DenseImage::new([3, 20, 20], (0..1200).map(|at| (at % 251) as u8).collect())?;
/// let augmentation = Augmentation::iterative_patch_selection();
/// let varied = augmentation.apply(&image, &mut Rng::stream(0, 7))?;
/// assert_eq!((varied.height(), varied.width()), (20, 20));
/// assert_eq!(varied, augmentation.apply(&image, &mut Rng::stream(0, 7))?);
/// # Ok::<(), foveate::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Augmentation {
    /// A linear change of all pixels.
    pub light: Option<Light>,
    /// Changes of colour.
    pub jitter: Option<Jitter>,
    /// A move.
    pub pan: Option<Pan>,
}

impl Augmentation {
    /// That of Attention Sampling for the speed limits.
    pub fn attention_sampling() -> Self {
        let light = Light { factor: [0.8, 1.2], term: [-0.1, 0.1], probability: 0.8 };
        let pan = Pan { most: [100, 100], beyond: Beyond::Nearest, probability: 0.8 };
        Augmentation { light: Some(light), jitter: None, pan: Some(pan) }
    }

    /// That of Iterative Patch Selection for the traffic signs. torchvision draws its moves as rounded real numbers, so that
    /// the two longest are half as likely there.
    pub fn iterative_patch_selection() -> Self {
        let jitter = Jitter { brightness: 0.1, contrast: 0.1, saturation: 0.1, hue: 0.1 };
        let pan = Pan { most: [100, 100], beyond: Beyond::Zero, probability: 1.0 };
        Augmentation { light: None, jitter: Some(jitter), pan: Some(pan) }
    }

    /// Whether it leaves images as they are.
    pub fn is_none(&self) -> bool {
        *self == Augmentation::default()
    }

    /// Checks probabilities and ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming the one that is impossible.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::argument("augmentation", what));
        let probabilities = [self.light.map(|l| l.probability), self.pan.map(|p| p.probability)];
        if let Some(p) = probabilities.into_iter().flatten().find(|p| !(0.0..=1.0).contains(p)) {
            return refuse(format!("a probability of {p}, must be between 0 and 1"));
        }
        let ranges = self.light.map_or([[0.0; 2]; 2], |light| [light.factor, light.term]);
        if let Some([least, most]) =
            ranges.into_iter().find(|[a, b]| !(a <= b && a.is_finite() && b.is_finite()))
        {
            return refuse(format!("a range from {least} to {most}, must be finite and rise"));
        }
        let Some(Jitter { brightness, contrast, saturation, hue }) = self.jitter else { return Ok(()) };
        match [brightness, contrast, saturation, 2.0 * hue].into_iter().find(|v| !(0.0..=1.0).contains(v)) {
            Some(_) => refuse(format!("{:?}: at most 1 and, for hue, 0.5; at least 0", self.jitter)),
            None => Ok(()),
        }
    }

    /// The image, varied; its size stays.
    ///
    /// # Errors
    ///
    /// As [`Augmentation::check`]; [`Error::Argument`] for changes of colour of an image of other than 1 or 3 channels; pixels
    /// that cannot be read.
    pub fn apply(&self, image: &dyn PatchSource, rng: &mut Rng) -> Result<DenseImage> {
        self.check()?;
        let dims = [image.channels(), image.height(), image.width()];
        let mut pixels = host::filled(dims.iter().product(), 0_u8, "an image: choose patches of it instead")?;
        image.read(Window::new(0, 0, dims[1], dims[2]), &mut pixels)?;
        if let Some(light) = self.light.filter(|light| happens(light.probability, rng)) {
            let [factor, term] = [light.factor, light.term].map(|range| between(range, rng));
            let lit = |x: u8| ((factor * f32::from(x) / 255.0 + term).clamp(0.0, 1.0) * 255.0).round() as u8;
            pixels.iter_mut().for_each(|pixel| *pixel = lit(*pixel));
        }
        if let Some(jitter) = self.jitter {
            if dims[0] != 1 && dims[0] != 3 {
                let what = format!("changes of colour of an image of {} channels: 1 or 3 can be", dims[0]);
                return Err(Error::argument("augmentation", what));
            }
            jitter.apply(&mut pixels, dims[0] == 3, rng);
        }
        if let Some(pan) = self.pan.filter(|pan| happens(pan.probability, rng)) {
            let by = pan.most.map(|most| rng.below(2 * most as u32 + 1) as isize - most as isize);
            pixels = moved(&pixels, dims, by, pan.beyond)?;
        }
        DenseImage::new(dims, pixels)
    }
}

fn happens(probability: f32, rng: &mut Rng) -> bool {
    rng.uniform() < probability
}

fn between([least, most]: [f32; 2], rng: &mut Rng) -> f32 {
    least + (most - least) * rng.uniform()
}

/// The pixels (C, H, W) moved by rows and columns.
fn moved(pixels: &[u8], dims: [usize; 3], by: [isize; 2], beyond: Beyond) -> Result<Vec<u8>> {
    let [_, height, width] = dims;
    let from = |at: usize, by: isize, size: usize| {
        let from = at as isize - by;
        match beyond {
            Beyond::Zero => usize::try_from(from).ok().filter(|from| *from < size),
            Beyond::Nearest => Some(from.clamp(0, size as isize - 1) as usize),
        }
    };
    let columns: Vec<Option<usize>> = (0..width).map(|at| from(at, by[1], width)).collect();
    let mut out = host::filled(pixels.len(), 0_u8, "a moved image")?;
    for (at, to) in out.chunks_exact_mut(width).enumerate() {
        let Some(row) = from(at % height, by[0], height) else { continue };
        let line = &pixels[(at / height * height + row) * width..][..width];
        to.iter_mut().zip(&columns).for_each(|(to, from)| *to = from.map_or(0, |from| line[from]));
    }
    Ok(out)
}

impl Jitter {
    fn apply(&self, pixels: &mut [u8], colour: bool, rng: &mut Rng) {
        let factor = |v: f32, rng: &mut Rng| between([1.0 - v, 1.0 + v], rng);
        // Drawn in any case and order, so that one setting's zero does not change what the others draw.
        let [bright, contrast, saturate] =
            [self.brightness, self.contrast, self.saturation].map(|v| factor(v, rng));
        let turn = between([-self.hue, self.hue], rng);
        for change in rng.permutation(4) {
            match change {
                0 => blend(pixels, |_| 0, bright),
                1 => {
                    let mean = mean_grey(pixels, colour);
                    blend(pixels, |_| mean, contrast);
                }
                2 if colour => {
                    let greys = greys(pixels);
                    blend(pixels, |at| greys[at % greys.len()], saturate);
                }
                3 if colour => turn_hue(pixels, turn),
                _ => {}
            }
        }
    }
}

/// Pillow's `Image.blend` of what `other` gives for a place and the pixel there.
fn blend(pixels: &mut [u8], other: impl Fn(usize) -> u8, factor: f32) {
    for (at, pixel) in pixels.iter_mut().enumerate() {
        let from = f32::from(other(at));
        *pixel = (from + factor * (f32::from(*pixel) - from)).clamp(0.0, 255.0) as u8;
    }
}

/// Pillow's grey of the colours of planes (3, H, W), one each.
fn greys(pixels: &[u8]) -> Vec<u8> {
    let plane = pixels.len() / 3;
    let grey = |at: usize| {
        let [r, g, b] = [0, 1, 2].map(|c| u32::from(pixels[c * plane + at]));
        ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
    };
    (0..plane).map(grey).collect()
}

fn mean_grey(pixels: &[u8], colour: bool) -> u8 {
    let mean =
        |greys: &[u8]| greys.iter().map(|&g| u64::from(g)).sum::<u64>() as f64 / greys.len().max(1) as f64;
    let mean = if colour { mean(&greys(pixels)) } else { mean(pixels) };
    (mean + 0.5) as u8
}

/// Turns the hue by `turn` of a circle, through Pillow's HSV of bytes.
fn turn_hue(pixels: &mut [u8], turn: f32) {
    let by = (turn * 255.0) as i32;
    let (red, rest) = pixels.split_at_mut(pixels.len() / 3);
    let (green, blue) = rest.split_at_mut(red.len());
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let [h, s, v] = hsv([*r, *g, *b]);
        [*r, *g, *b] = rgb([(i32::from(h) + by).rem_euclid(256) as u8, s, v]);
    }
}

fn hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let [rc, gc, bc] = [r, g, b].map(|c| f32::from(most - c) / range);
    let sixths = if r == most {
        bc - gc
    } else if g == most {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let hue = ((f64::from(sixths) / 6.0 + 1.0) % 1.0) as f32;
    let saturation = range / f32::from(most);
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

fn rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sixths = f64::from(h) * 6.0 / 255.0;
    let part = (sixths - sixths.floor()) as f32;
    let (s, full) = (f64::from((f64::from(s) / 255.0) as f32), f64::from(v));
    let byte = |x: f64| x.round().clamp(0.0, 255.0) as u8;
    let p = byte(full * (1.0 - s));
    let q = byte(full * (1.0 - s * f64::from(part)));
    let t = byte(full * (1.0 - s * (1.0 - f64::from(part))));
    match sixths as u32 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

#[cfg(test)]
mod tests {
    use super::super::bilinear;
    use super::*;

    /// (3, 4, 5); what is expected of it here and below is from Pillow 11.
    fn colours() -> Vec<u8> {
        let interleaved: Vec<u8> = (0..60).map(|i| ((i * 37 + 11) % 256) as u8).collect();
        DenseImage::from_interleaved([3, 4, 5], &interleaved).unwrap().pixels().to_vec()
    }

    #[test]
    fn images_are_resized_as_by_pillow() {
        let image = DenseImage::new([3, 4, 5], colours()).unwrap();
        assert_eq!(bilinear::resize(&image, [5, 7]).unwrap().pixels(), LARGER);
        assert_eq!(bilinear::resize(&image, [3, 2]).unwrap().pixels(), SMALLER);
        assert_eq!(bilinear::resize(&image, [4, 5]).unwrap(), image);
        assert!(bilinear::resize(&image, [0, 2]).is_err());
    }

    #[test]
    fn colours_are_changed_as_by_pillow() {
        let changed = |change: &dyn Fn(&mut [u8])| {
            let mut pixels = colours();
            change(&mut pixels);
            pixels
        };
        assert_eq!(changed(&|pixels| blend(pixels, |_| 0, 1.1)), BRIGHTER);
        let mean = mean_grey(&colours(), true);
        assert_eq!(changed(&|pixels| blend(pixels, |_| mean, 0.9)), LESS_CONTRAST);
        let greys = greys(&colours());
        assert_eq!(changed(&|pixels| blend(pixels, |at| greys[at % 20], 1.1)), MORE_COLOUR);
        assert_eq!(changed(&|pixels| turn_hue(pixels, 0.07)), TURNED);
        assert_eq!(changed(&|pixels| turn_hue(pixels, -0.1)), TURNED_BACK);
    }

    #[test]
    fn moves_leave_zeros_or_the_border() {
        let pixels: Vec<u8> = (1..=12).collect();
        let to = |by, beyond| moved(&pixels, [2, 2, 3], by, beyond).unwrap();
        assert_eq!(to([1, -1], Beyond::Zero), [0, 0, 0, 2, 3, 0, 0, 0, 0, 8, 9, 0]);
        assert_eq!(to([1, -1], Beyond::Nearest), [2, 3, 3, 2, 3, 3, 8, 9, 9, 8, 9, 9]);
        assert_eq!(to([-9, 9], Beyond::Zero), [0; 12]);
        assert_eq!(to([-9, 9], Beyond::Nearest), [[4; 6], [10; 6]].concat());
    }

    /// The same draws give the same image, others another; shares and ranges are those of the setting.
    #[test]
    fn variation_is_drawn_from_the_seed() {
        let image = DenseImage::new([1, 1, 1], vec![100]).unwrap();
        let light = Augmentation { pan: None, ..Augmentation::attention_sampling() };
        let lit = |seed| light.apply(&image, &mut Rng::new(seed)).unwrap().pixels()[0];
        let seen: Vec<u8> = (0..2000).map(lit).collect();
        assert_eq!(seen, (0..2000).map(lit).collect::<Vec<u8>>());
        let same = seen.iter().filter(|v| **v == 100).count();
        // A fifth is left as it is, and a few of the others come out alike.
        assert!((380..480).contains(&same), "{same}");
        assert!(seen.iter().all(|v| (54..=146).contains(v)) && seen.iter().any(|v| *v < 64), "{seen:?}");
        let mut line = vec![0; 401];
        line[200] = 255;
        let line = DenseImage::new([1, 1, 401], line).unwrap();
        let pan = Augmentation { jitter: None, ..Augmentation::iterative_patch_selection() };
        let flat = Pan { most: [0, 100], beyond: Beyond::Zero, probability: 1.0 };
        let pan = Augmentation { pan: Some(flat), ..pan };
        let at = |seed| {
            let moved = pan.apply(&line, &mut Rng::new(seed)).unwrap();
            moved.pixels().iter().position(|v| *v == 255).unwrap()
        };
        let places: Vec<usize> = (0..3000).map(at).collect();
        assert_eq!((places.iter().min(), places.iter().max()), (Some(&100), Some(&300)));
        let mean = places.iter().sum::<usize>() as f64 / 3000.0;
        assert!((mean - 200.0).abs() < 4.0, "{mean}");
    }

    #[test]
    fn impossible_settings_are_errors() {
        let image = DenseImage::new([2, 1, 1], vec![1, 2]).unwrap();
        let refused = |augmentation: Augmentation| {
            let error = augmentation.apply(&image, &mut Rng::new(0)).unwrap_err();
            assert!(matches!(error, Error::Argument { op: "augmentation", .. }), "{error}");
        };
        let (ips, ats) = (Augmentation::iterative_patch_selection(), Augmentation::attention_sampling());
        refused(ips);
        refused(Augmentation { jitter: ips.jitter.map(|jitter| Jitter { hue: 0.6, ..jitter }), ..ips });
        refused(Augmentation { pan: ats.pan.map(|pan| Pan { probability: 1.5, ..pan }), ..ats });
        refused(Augmentation { light: ats.light.map(|light| Light { term: [0.1, -0.1], ..light }), ..ats });
        assert_eq!(Augmentation::default().apply(&image, &mut Rng::new(0)).unwrap(), image);
    }

    #[rustfmt::skip]
    const LARGER: [u8; 105] = [
        11, 74, 154, 233, 129, 136, 199, 41, 104, 133, 84, 108, 166, 229, 76, 139, 146, 42, 121, 146, 136,
        110, 173, 180, 76, 155, 125, 42, 140, 203, 210, 106, 185, 155, 72, 48, 111, 118, 14, 93, 173, 236,
        78, 141, 148, 44, 123, 126, 87, 113, 176, 183, 79, 158, 128, 45, 147, 166, 162, 113, 192, 162, 79,
        177, 94, 64, 143, 222, 192, 109, 85, 148, 155, 51, 130, 100, 17, 115, 178, 185, 81, 160, 130, 47,
        150, 140, 128, 116, 195, 165, 82, 184, 101, 71, 150, 174, 155, 116, 214, 131, 101, 180, 76, 83, 146,
    ];

    #[rustfmt::skip]
    const SMALLER: [u8; 18] = [
        106, 154, 117, 124, 168, 134, 102, 125, 154, 120, 132, 163, 139, 105, 138, 151, 129, 124,
    ];

    #[rustfmt::skip]
    const BRIGHTER: [u8; 60] = [
        12, 134, 255, 96, 218, 59, 181, 22, 144, 255, 106, 228, 69, 191, 31, 154, 255, 116, 238, 79, 52,
        174, 15, 137, 255, 100, 222, 62, 184, 25, 147, 255, 110, 232, 72, 194, 35, 157, 255, 119, 93, 215,
        56, 178, 18, 140, 255, 103, 225, 66, 188, 28, 150, 255, 113, 235, 75, 198, 38, 160,
    ];

    #[rustfmt::skip]
    const LESS_CONTRAST: [u8; 60] = [
        22, 122, 222, 92, 192, 61, 161, 31, 130, 230, 100, 200, 69, 169, 39, 139, 238, 108, 208, 77, 56,
        156, 25, 125, 225, 94, 194, 64, 164, 33, 133, 233, 103, 202, 72, 172, 41, 141, 241, 111, 89, 189,
        58, 158, 28, 128, 228, 97, 197, 67, 166, 36, 136, 236, 105, 205, 75, 175, 44, 144,
    ];

    #[rustfmt::skip]
    const MORE_COLOUR: [u8; 60] = [
        8, 119, 247, 85, 198, 51, 162, 17, 128, 255, 94, 207, 60, 171, 26, 137, 255, 103, 216, 69, 48, 159,
        7, 125, 239, 91, 202, 57, 168, 16, 134, 248, 100, 211, 66, 177, 25, 143, 255, 109, 89, 200, 47, 166,
        0, 132, 243, 98, 209, 56, 175, 7, 141, 252, 107, 218, 65, 184, 16, 150,
    ];

    #[rustfmt::skip]
    const TURNED: [u8; 60] = [
        11, 122, 233, 88, 115, 54, 166, 20, 131, 242, 97, 124, 63, 174, 29, 140, 251, 107, 133, 72, 20, 131,
        56, 97, 236, 63, 174, 29, 140, 65, 106, 245, 72, 183, 38, 149, 74, 115, 254, 81, 85, 196, 15, 162,
        18, 128, 239, 94, 205, 24, 171, 27, 137, 248, 103, 214, 32, 180, 36, 146,
    ];

    #[rustfmt::skip]
    const TURNED_BACK: [u8; 60] = [
        11, 122, 233, 88, 236, 54, 166, 20, 131, 242, 97, 245, 63, 174, 29, 140, 251, 107, 254, 72, 85, 196,
        15, 162, 141, 128, 239, 94, 205, 24, 171, 150, 137, 248, 103, 214, 32, 180, 159, 146, 77, 188, 184,
        154, 18, 120, 231, 86, 197, 193, 163, 27, 129, 240, 95, 206, 202, 172, 36, 138,
    ];
}
