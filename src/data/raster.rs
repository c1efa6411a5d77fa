//! Drawing curves on a small square grid: exactly as OpenCV's `line` does for integer thickness, or anti-aliased for any.
//!
//! Integer thickness draws every segment of a curve by itself. The curves here have 100 points and at most 8 control
//! points on a 28 × 28 grid, so that |B'(t)| ≤ 7 · 27 = 189 and no segment is longer than ⌈189/99⌉ = 2 pixels along an
//! axis; the shapes of such short thick segments are stated one by one, as OpenCV 4.10 and 5.0 draw them. One thing is left
//! out: next to the grid's edge OpenCV clips the outline of a segment before it rounds, which sets one more pixel on the
//! edge for some diagonal segments of thickness 3 and knight's moves of thickness 2.

use crate::{Error, Result};

/// A point or offset in pixels, (column, row).
pub(super) type Point = [i32; 2];

/// Thicknesses whose shapes are known.
pub(super) const MAX_THICKNESS: u32 = 3;

/// A dot of thickness 2 and of thickness 3.
const PLUS: &[Point] = &[[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]];
const DIAMOND: &[Point] = &[
    [0, 0],
    [-1, 0],
    [1, 0],
    [0, -1],
    [0, 1],
    [-2, 0],
    [2, 0],
    [0, -2],
    [0, 2],
    [-1, -1],
    [-1, 1],
    [1, -1],
    [1, 1],
];

/// A thick segment from (0, 0) to `step`, 0 ≤ step.1 ≤ step.0 ≤ 2: a dot at each of `dots`, and `more` single pixels.
/// The seven other octants mirror it.
struct Segment {
    step: Point,
    dots: &'static [Point],
    more: &'static [Point],
}

const THICKNESS_2: [Segment; 6] = [
    Segment { step: [0, 0], dots: &[[0, 0]], more: &[] },
    Segment { step: [1, 0], dots: &[[0, 0], [1, 0]], more: &[] },
    Segment { step: [1, 1], dots: &[[0, 0], [1, 0], [0, 1], [1, 1]], more: &[] },
    Segment { step: [2, 0], dots: &[[0, 0], [1, 0], [2, 0]], more: &[] },
    Segment { step: [2, 1], dots: &[[0, 0], [2, 1]], more: &[] },
    Segment { step: [2, 2], dots: &[[0, 0], [1, 0], [0, 1], [1, 1], [2, 1], [1, 2], [2, 2]], more: &[] },
];

const THICKNESS_3: [Segment; 6] = [
    Segment { step: [0, 0], dots: &[[0, 0]], more: &[] },
    Segment { step: [1, 0], dots: &[[0, 0], [1, 0]], more: &[] },
    Segment { step: [1, 1], dots: &[[0, 0], [1, 1]], more: &[] },
    Segment { step: [2, 0], dots: &[[0, 0], [1, 0], [2, 0]], more: &[] },
    Segment { step: [2, 1], dots: &[[0, 0], [2, 1]], more: &[[-1, 2], [1, -2], [1, 3], [3, -1]] },
    Segment { step: [2, 2], dots: &[[0, 0], [2, 2]], more: &[] },
];

/// Draws the segments between consecutive `points` with value 1 on `grid` (side, side), clipped at its borders.
///
/// # Errors
/// [`Error::Argument`] if `thickness` is not 1 to 3, or if a thick segment is longer than 2 pixels along an axis.
pub(super) fn polyline(points: &[Point], thickness: u32, side: usize, grid: &mut [f32]) -> Result<()> {
    let mut set = |[x, y]: Point| {
        if (0..side as i32).contains(&x) && (0..side as i32).contains(&y) {
            grid[y as usize * side + x as usize] = 1.0;
        }
    };
    for ends in points.windows(2) {
        let (from, to) = (ends[0], ends[1]);
        match thickness {
            1 => thin(from, to, &mut set),
            2 => thick(from, to, &THICKNESS_2, PLUS, &mut set)?,
            3 => thick(from, to, &THICKNESS_3, DIAMOND, &mut set)?,
            _ => {
                let what = format!("thickness {thickness} is not 1 to {MAX_THICKNESS}");
                return Err(Error::argument("polyline", what));
            }
        }
    }
    Ok(())
}

/// An 8-connected Bresenham line, always walked from the lower to the higher column.
fn thin(from: Point, to: Point, set: &mut impl FnMut(Point)) {
    let (from, to) = if from[0] <= to[0] { (from, to) } else { (to, from) };
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let down = dy.signum();
    let steep = dy.abs() > dx;
    let (major, minor) = if steep { (dy.abs(), dx) } else { (dx, dy.abs()) };
    let mut point = from;
    let mut error = major - 2 * minor;
    set(point);
    for _ in 0..major {
        let aside = error < 0;
        error += if aside { 2 * major - 2 * minor } else { -2 * minor };
        if steep || aside {
            point[1] += down;
        }
        if !steep || aside {
            point[0] += 1;
        }
        set(point);
    }
}

/// A segment out of `table`, mirrored into its octant.
fn thick(
    from: Point,
    to: Point,
    table: &[Segment],
    dot: &[Point],
    set: &mut impl FnMut(Point),
) -> Result<()> {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let swap = dy.abs() > dx.abs();
    let step = [dx.abs().max(dy.abs()), dx.abs().min(dy.abs())];
    let Some(segment) = table.iter().find(|segment| segment.step == step) else {
        let what = format!("a thick segment of {dx} columns and {dy} rows; at most 2 of each can be drawn");
        return Err(Error::argument("polyline", what));
    };
    let sign = |length: i32| if length < 0 { -1 } else { 1 };
    let mut place = |[along, across]: Point| {
        let [x, y] = if swap { [across, along] } else { [along, across] };
        set([from[0] + sign(dx) * x, from[1] + sign(dy) * y]);
    };
    for centre in segment.dots {
        dot.iter().for_each(|offset| place([centre[0] + offset[0], centre[1] + offset[1]]));
    }
    segment.more.iter().for_each(|&pixel| place(pixel));
    Ok(())
}

/// A point of a pen's path: where, in pixels (0, 0 is the centre of the first pixel), and how wide the pen is there.
#[derive(Clone, Copy)]
pub(super) struct Nib {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) radius: f32,
}

/// Draws a pen's path anti-aliased on `grid` (side, side): a pixel at distance d from the path gets the larger of what it
/// has and `0.5 + (radius − d)/edge`, cut to [0, 1]. `edge`, in pixels, is the width over which ink fades to black.
pub(super) fn pen(path: &[Nib], edge: f32, side: usize, grid: &mut [f32]) {
    for ends in path.windows(2) {
        let (a, b) = (ends[0], ends[1]);
        let reach = a.radius.max(b.radius) + edge;
        let range = |low: f32, high: f32| {
            let first = (low - reach).ceil().max(0.0) as usize;
            let last = (high + reach).floor().min(side as f32 - 1.0);
            first..if last < 0.0 { first } else { last as usize + 1 }
        };
        let (dx, dy) = (b.x - a.x, b.y - a.y);
        let length = dx * dx + dy * dy;
        for row in range(a.y.min(b.y), a.y.max(b.y)) {
            for column in range(a.x.min(b.x), a.x.max(b.x)) {
                let (px, py) = (column as f32 - a.x, row as f32 - a.y);
                let along = if length > 0.0 { ((px * dx + py * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
                let (ex, ey) = (px - along * dx, py - along * dy);
                let radius = a.radius + along * (b.radius - a.radius);
                let ink = 0.5 + (radius - (ex * ex + ey * ey).sqrt()) / edge;
                let pixel = &mut grid[row * side + column];
                *pixel = pixel.max(ink.clamp(0.0, 1.0));
            }
        }
    }
}
