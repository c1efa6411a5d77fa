//! Handwritten-like digits drawn by the program itself, for use where no MNIST files are at hand.
//!
//! A digit is one of several ways of writing it (skeletons.rs), with every point of the pen's path moved a little, then
//! squeezed, slanted, turned and bent, drawn with a pen of random and changing width, and laid out as MNIST digits are:
//! fitted into 20 × 20 pixels, its centre of mass in the middle of 28 × 28. Digits of the two splits share no randomness.

mod skeletons;

use rayon::prelude::*;

use super::{
    DIGIT_SIDE, Digits, Split,
    raster::{self, Nib},
    resize,
    stream::{Purpose, stream},
};
use crate::{Error, Result, Rng, host};
use skeletons::STYLES;

const SIDE: usize = DIGIT_SIDE;
const AREA: usize = SIDE * SIDE;
/// Side of the square that a digit is fitted into.
const FIT: f32 = 20.0;

/// `count` digits of a split; digit i is of class i mod 10 and the same whatever `count` is.
///
/// ```
/// use foveate::data::{strokes, Split};
/// let digits = strokes::digits(0, Split::Train, 25)?;
/// let (pixels, class) = digits.get(13).unwrap();
/// assert_eq!((pixels.len(), class), (28 * 28, 3));
/// # Ok::<(), foveate::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] if `count` is above 2^32 − 1.
pub fn digits(seed: u64, split: Split, count: usize) -> Result<Digits> {
    if count > u32::MAX as usize {
        return Err(Error::argument("strokes", format!("{count} digits: at most 2^32 − 1 can be numbered")));
    }
    let mut pixels = host::filled(count.saturating_mul(AREA), 0, "digits: make fewer")?;
    pixels.par_chunks_exact_mut(AREA).enumerate().for_each(|(index, digit)| {
        let mut rng = stream(seed, split, Purpose::Strokes, index as u64);
        digit.copy_from_slice(&draw((index % 10) as u8, &mut rng));
    });
    let labels = host::made(count, "the digits' labels", |index| (index % 10) as u8)?;
    Digits::new(pixels, labels)
}

/// Draws one digit of `class`, 28 × 28, white on black; classes above 9 count on from 0.
pub fn draw(class: u8, rng: &mut Rng) -> [u8; AREA] {
    let mut strokes = write(usize::from(class) % 10, rng);
    distort(&mut strokes, rng);
    let pen = Pen::choose(rng);
    fit(&mut strokes, pen.reach());

    let mut grid = vec![0.0_f32; AREA];
    for stroke in &strokes {
        raster::pen(&pen.walk(stroke), pen.edge, SIDE, &mut grid);
    }
    centre(&mut strokes, &grid);
    grid.fill(0.0);
    for stroke in &strokes {
        raster::pen(&pen.walk(stroke), pen.edge, SIDE, &mut grid);
    }
    std::array::from_fn(|pixel| resize::to_byte(grid[pixel] * pen.ink))
}

/// A pen's path without its width, (x, y).
type Path = Vec<[f32; 2]>;

/// Chooses a way of writing `class` and draws smooth curves through its points, each moved by about a thirtieth of the
/// digit's size.
fn write(class: usize, rng: &mut Rng) -> Vec<Path> {
    const SHAKE: f32 = 0.03;
    let styles = STYLES[class];
    let mut choice = rng.below(styles.iter().map(|style| style.weight).sum());
    let style = styles.iter().find(|style| {
        let chosen = choice < style.weight;
        choice = choice.saturating_sub(style.weight);
        chosen
    });
    let mut moved = |point: &[f32; 2]| point.map(|at| at + SHAKE * rng.normal());
    let strokes = style.map_or(&[][..], |style| style.strokes);
    strokes
        .iter()
        .map(|stroke| {
            let mut points: Path = Vec::with_capacity(stroke.len());
            for (at, point) in stroke.iter().enumerate() {
                let corner = at > 0 && stroke[at - 1] == *point;
                let next = if corner { points[at - 1] } else { moved(point) };
                points.push(next);
            }
            smooth(&points)
        })
        .collect()
}

/// A Catmull-Rom curve through `points`. Where a point stands twice the curve has a corner.
fn smooth(points: &[[f32; 2]]) -> Path {
    const STEPS: usize = 8;
    let last = points.len().saturating_sub(1);
    let mut path = Vec::with_capacity(last * STEPS + 1);
    for from in 0..last {
        let [before, a, b, after] =
            [from.saturating_sub(1), from, from + 1, (from + 2).min(last)].map(|i| points[i]);
        if a == b {
            continue;
        }
        path.extend((0..STEPS).map(|step| {
            let t = step as f32 / STEPS as f32;
            std::array::from_fn(|i| {
                let slope = [(b[i] - before[i]) / 2.0, (after[i] - a[i]) / 2.0];
                let bend = 3.0 * (b[i] - a[i]) - 2.0 * slope[0] - slope[1];
                let twist = slope[0] + slope[1] - 2.0 * (b[i] - a[i]);
                a[i] + t * (slope[0] + t * (bend + t * twist))
            })
        }));
    }
    path.extend(points.last());
    path
}

/// Squeezes, slants, turns and bends the whole digit.
fn distort(strokes: &mut [Path], rng: &mut Rng) {
    let squeeze = 0.72 + 0.14 * rng.normal().clamp(-2.2, 2.2);
    let slant = 0.16 + 0.2 * rng.normal().clamp(-2.5, 2.5);
    let (sin, cos) = (0.08 * rng.normal()).sin_cos();
    let bends = [0; 2].map(|_: u8| {
        let (strength, waves, phase) = (0.04 * rng.normal(), 0.5 + 0.8 * rng.uniform(), rng.uniform());
        move |at: f32| strength * (std::f32::consts::TAU * (waves * at + phase)).sin()
    });
    for point in strokes.iter_mut().flatten() {
        let [x, y] = [point[0] - 0.5, point[1] - 0.5];
        let (x, y) = (squeeze * x + bends[0](y), y + bends[1](x));
        let x = x - slant * y;
        *point = [cos * x - sin * y, sin * x + cos * y];
    }
}

/// Fits the strokes, with the ink that reaches `reach` pixels around them, into the middle [`FIT`] pixels of the grid.
fn fit(strokes: &mut [Path], reach: f32) {
    let mut low = [f32::INFINITY; 2];
    let mut high = [f32::NEG_INFINITY; 2];
    for point in strokes.iter().flatten() {
        for i in 0..2 {
            low[i] = low[i].min(point[i]);
            high[i] = high[i].max(point[i]);
        }
    }
    let longer = (high[0] - low[0]).max(high[1] - low[1]);
    let scale = (FIT - 2.0 * reach) / longer;
    let middle = (SIDE - 1) as f32 / 2.0;
    for point in strokes.iter_mut().flatten() {
        *point = std::array::from_fn(|i| middle + scale * (point[i] - (low[i] + high[i]) / 2.0));
    }
}

/// Moves the strokes so that the centre of mass of `grid`, which they were drawn on, comes into the middle, as far as
/// no ink leaves the grid: of the four free pixels on each side one always stays black.
fn centre(strokes: &mut [Path], grid: &[f32]) {
    let mut mass = 0.0;
    let mut moment = [0.0, 0.0];
    for (pixel, &ink) in grid.iter().enumerate() {
        mass += ink;
        moment[0] += ink * (pixel % SIDE) as f32;
        moment[1] += ink * (pixel / SIDE) as f32;
    }
    let middle = (SIDE - 1) as f32 / 2.0;
    let free = (SIDE as f32 - FIT) / 2.0 - 1.0;
    let shift = moment.map(|moment| (middle - moment / mass).clamp(-free, free));
    for point in strokes.iter_mut().flatten() {
        *point = [point[0] + shift[0], point[1] + shift[1]];
    }
}

/// What the digit is written with.
struct Pen {
    /// Mean radius in pixels.
    radius: f32,
    /// Pixels over which ink fades to black.
    edge: f32,
    /// Brightness of the ink, up to 1.
    ink: f32,
    /// Pressure along a stroke: how much the radius changes, how often, and where it begins.
    pressure: [f32; 3],
}

impl Pen {
    fn choose(rng: &mut Rng) -> Self {
        Self {
            radius: (1.15 + 0.3 * rng.normal()).clamp(0.65, 1.9),
            edge: 1.1 + 0.5 * rng.uniform(),
            ink: 0.94 + 0.06 * rng.uniform(),
            pressure: [0.18 * rng.uniform(), 0.5 + 1.5 * rng.uniform(), rng.uniform()],
        }
    }

    /// The most pixels that ink reaches from the path.
    fn reach(&self) -> f32 {
        self.radius * (1.0 + self.pressure[0]) + self.edge / 2.0
    }

    fn walk(&self, path: &[[f32; 2]]) -> Vec<Nib> {
        let [depth, waves, phase] = self.pressure;
        let nib = |(at, &[x, y]): (usize, &[f32; 2])| {
            let along = at as f32 / path.len() as f32;
            let change = depth * (std::f32::consts::TAU * (waves * along + phase)).sin();
            Nib { x, y, radius: self.radius * (1.0 + change) }
        };
        path.iter().enumerate().map(nib).collect()
    }
}
