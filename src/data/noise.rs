//! The patterns that clutter a canvas: straight lines (Katharopoulos and Fleuret, ICML 2019) and Bézier curves
//! (Riffi-Aslett and Fell, arXiv 2412.11237, algorithm 1), each drawn on 28 × 28 pixels and then scaled.

use super::{
    DIGIT_SIDE,
    draw::Draw,
    raster::{self, MAX_THICKNESS, Nib},
    resize,
};
use crate::{Error, Result, host};

const SIDE: usize = DIGIT_SIDE;
const AREA: usize = SIDE * SIDE;

/// How the thickness of a Bézier curve, in pixels of the 28 × 28 pattern, is understood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Thickness {
    /// Cut to a whole number, 1 to 3, as the published script does: all of 1.4, 1.6 and 1.925 draw 1 pixel, all of 2.0
    /// to 2.6 draw 2. Pixels are black or white, the same ones that OpenCV's `line` sets, but for a pixel at the very edge
    /// of one pattern in twenty of thickness 3.
    Truncated(f32),
    /// The width meant: an anti-aliased stroke of any width above 0 and up to 28 pixels.
    Exact(f32),
}

/// What the noise patterns of an image look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoiseKind {
    /// One or two straight lines from a corner, 0° to 72° steep, each pixel of a random brightness from 0.8 to 1.
    Lines,
    /// A white Bézier curve through a random 4, 6 or 8 control points.
    Bezier {
        /// Thickness of the curve.
        thickness: Thickness,
    },
}

impl NoiseKind {
    /// Bézier curves of the published thickness rule, [`Thickness::Truncated`].
    pub fn bezier(thickness: f32) -> Self {
        NoiseKind::Bezier { thickness: Thickness::Truncated(thickness) }
    }

    /// Checks that the thickness can be drawn.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the range.
    pub fn check(self) -> Result<()> {
        let NoiseKind::Bezier { thickness } = self else { return Ok(()) };
        let (fits, what) = match thickness {
            Thickness::Truncated(t) => {
                ((1.0..MAX_THICKNESS as f32 + 1.0).contains(&t), format!("truncated thickness {t}"))
            }
            Thickness::Exact(t) => (t > 0.0 && t <= SIDE as f32, format!("exact thickness {t}")),
        };
        if fits {
            return Ok(());
        }
        let remedy = "truncated thickness is 1 or more and below 4, exact thickness above 0 and at most 28";
        Err(Error::argument("noise", format!("{what}: {remedy}")))
    }
}

/// The patterns of one split, ready to be pasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoisePool {
    side: usize,
    /// (count, side, side)
    pixels: Vec<u8>,
}

impl NoisePool {
    /// Draws `count` patterns and scales each to `side` × `side` pixels.
    pub(super) fn draw(kind: NoiseKind, count: usize, side: usize, draw: &mut impl Draw) -> Result<Self> {
        let patterns = match kind {
            NoiseKind::Lines => lines(count, draw),
            NoiseKind::Bezier { thickness } => beziers(count, thickness, draw)?,
        };
        let bytes = count.saturating_mul(side).saturating_mul(side);
        let mut pixels = host::reserved(bytes, "noise patterns: make fewer or smaller ones")?;
        for pattern in patterns.chunks_exact(AREA) {
            pixels.extend(resize::area(pattern, SIDE, side)?.into_iter().map(resize::to_byte));
        }
        Ok(Self { side, pixels })
    }

    /// Side of a pattern in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// The patterns in order, each (side, side).
    pub fn patterns(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.side * self.side)
    }

    /// Pattern `index`, (side, side). `index` is below the count.
    pub(super) fn pattern(&self, index: usize) -> &[u8] {
        let area = self.side * self.side;
        &self.pixels[index * area..(index + 1) * area]
    }
}

/// `count` line patterns (count, 28, 28). A second copy of all lines is shuffled, flipped and laid over the first.
fn lines(count: usize, draw: &mut impl Draw) -> Vec<f32> {
    let slopes: Vec<f64> = (0..count).map(|_| (draw.uniform() * std::f64::consts::PI / 2.5).tan()).collect();
    let mut ink = vec![false; count * AREA];
    for (grid, &slope) in ink.chunks_exact_mut(AREA).zip(&slopes) {
        line(slope, grid);
    }
    let mut order: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        order.swap(i, draw.below(i as u32 + 1) as usize);
    }
    // Both of the published flips mirror columns, hence a pattern is mirrored when exactly one of them is drawn.
    let mut mirrored: Vec<bool> = (0..count).map(|_| draw.uniform() < 0.33).collect();
    mirrored.iter_mut().for_each(|flip| *flip ^= draw.uniform() < 0.33);

    let mut patterns = Vec::with_capacity(count * AREA);
    for pattern in 0..count {
        for pixel in 0..AREA {
            let (row, column) = (pixel / SIDE, pixel % SIDE);
            let column = if mirrored[pattern] { SIDE - 1 - column } else { column };
            let inked = ink[pattern * AREA + pixel] || ink[order[pattern] * AREA + row * SIDE + column];
            let brightness = draw.uniform() * 0.2 + 0.8;
            patterns.push(if inked { brightness as f32 } else { 0.0 });
        }
    }
    patterns
}

/// A line from the first pixel at 56 points, `slope` columns for every row, until it leaves the grid.
fn line(slope: f64, grid: &mut [bool]) {
    const POINTS: usize = 56;
    let end = (27.49 / slope).min(27.49);
    for point in 0..POINTS {
        let x = if point + 1 == POINTS { end } else { point as f64 * (end / (POINTS - 1) as f64) };
        let (row, column) = (x.round_ties_even() as usize, (slope * x).round_ties_even() as usize);
        grid[row * SIDE + column] = true;
    }
}

/// `count` Bézier patterns (count, 28, 28).
fn beziers(count: usize, thickness: Thickness, draw: &mut impl Draw) -> Result<Vec<f32>> {
    let mut patterns = vec![0.0; count * AREA];
    for grid in patterns.chunks_exact_mut(AREA) {
        let control = control_points(draw);
        let curve = bezier(&control);
        match thickness {
            Thickness::Truncated(thickness) => {
                let points: Vec<_> = curve.iter().map(|&[x, y]| [x as i32, y as i32]).collect();
                raster::polyline(&points, thickness as u32, SIDE, grid)?;
            }
            Thickness::Exact(thickness) => {
                let nib = |&[x, y]: &[f64; 2]| Nib { x: x as f32, y: y as f32, radius: thickness / 2.0 };
                raster::pen(&curve.iter().map(nib).collect::<Vec<_>>(), 1.0, SIDE, grid);
            }
        }
    }
    Ok(patterns)
}

/// 4, 6 or 8 control points with chances 3/9, 5/9 and 1/9, each (column, row) on the pixel grid.
fn control_points(draw: &mut impl Draw) -> Vec<[f64; 2]> {
    let chance = draw.uniform();
    let count = [(3.0 / 9.0, 4), (3.0 / 9.0 + 5.0 / 9.0, 6)].iter().find(|(below, _)| chance < *below);
    (0..count.map_or(8, |&(_, count)| count))
        .map(|_| [0; 2].map(|_: u8| f64::from(draw.scaled(SIDE as u32))))
        .collect()
}

/// The Bézier curve B(t) = Σᵢ C(n, i) (1 − t)ⁿ⁻ⁱ tⁱ Pᵢ of the n + 1 `control` points at 100 values of t from 0 to 1.
pub(super) fn bezier(control: &[[f64; 2]]) -> Vec<[f64; 2]> {
    const POINTS: usize = 100;
    let degree = control.len().saturating_sub(1);
    let curve = (0..POINTS).map(|point| {
        let t = if point + 1 == POINTS { 1.0 } else { point as f64 * (1.0 / (POINTS - 1) as f64) };
        let mut binomial = 1.0;
        let mut sum = [0.0, 0.0];
        for (i, at) in control.iter().enumerate() {
            let weight = binomial * f64::powf(1.0 - t, (degree - i) as f64) * f64::powf(t, i as f64);
            sum = [sum[0] + weight * at[0], sum[1] + weight * at[1]];
            binomial = binomial * (degree - i) as f64 / (i + 1) as f64;
        }
        sum
    });
    curve.collect()
}
