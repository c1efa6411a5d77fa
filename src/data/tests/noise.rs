//! Rasteriser, curves, patterns and scaling.

use super::{
    super::{
        noise::{NoisePool, bezier},
        raster::{Nib, Point, pen, polyline},
        resize,
    },
    fnv,
};
use crate::{
    Error, Rng,
    data::{NoiseKind, Thickness},
};

/// The pixels that a segment from the origin to `step` sets, sorted.
fn mask(step: Point, thickness: u32) -> Vec<Point> {
    const MIDDLE: i32 = 10;
    let mut grid = vec![0.0; 21 * 21];
    let ends = [[MIDDLE, MIDDLE], [MIDDLE + step[0], MIDDLE + step[1]]];
    polyline(&ends, thickness, 21, &mut grid).unwrap();
    let pixels = (0..21 * 21).filter(|&pixel| grid[pixel as usize] == 1.0);
    let mut pixels: Vec<Point> = pixels.map(|pixel| [pixel % 21 - MIDDLE, pixel / 21 - MIDDLE]).collect();
    pixels.sort();
    pixels
}

#[test]
fn thin_segments_are_those_of_opencv() {
    assert_eq!(mask([2, 1], 1), [[0, 0], [1, 0], [2, 1]]);
    assert_eq!(mask([1, 2], 1), [[0, 0], [0, 1], [1, 2]]);
    // Walked from the lower column, so that the step aside comes late seen from there.
    assert_eq!(mask([-2, 1], 1), [[-2, 1], [-1, 1], [0, 0]]);
    assert_eq!(mask([-1, 2], 1), [[-1, 1], [-1, 2], [0, 0]]);
    assert_eq!(mask([0, 2], 1), [[0, 0], [0, 1], [0, 2]]);
    assert_eq!(mask([0, 0], 1), [[0, 0]]);
    assert_eq!(mask([7, 3], 1).len(), 8);
}

#[test]
fn thick_segments_are_those_of_opencv() {
    let unit =
        [[-1, 0], [-1, 1], [0, -1], [0, 0], [0, 1], [0, 2], [1, -1], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1]];
    assert_eq!(mask([1, 1], 2), unit);
    let knight = [[-1, 0], [0, -1], [0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2], [3, 1]];
    assert_eq!(mask([2, 1], 2), knight);
    let counts =
        |thickness| [[0, 0], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2]].map(|step| mask(step, thickness).len());
    assert_eq!(counts(2), [5, 8, 12, 11, 10, 17]);
    assert_eq!(counts(3), [13, 18, 18, 23, 26, 23]);
}

#[test]
fn thick_segments_have_the_symmetries_of_the_square() {
    let moved = |step, thickness, map: fn(Point) -> Point| {
        let mut pixels: Vec<Point> = mask(step, thickness).into_iter().map(map).collect();
        pixels.sort();
        pixels
    };
    for thickness in [2, 3] {
        for (dx, dy) in (-2..3).flat_map(|dx| (-2..3).map(move |dy| (dx, dy))) {
            assert_eq!(mask([-dx, dy], thickness), moved([dx, dy], thickness, |[x, y]| [-x, y]));
            assert_eq!(mask([dy, dx], thickness), moved([dx, dy], thickness, |[x, y]| [y, x]));
        }
    }
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let mut grid = vec![0.0; 28 * 28];
    let far = [[3, 3], [6, 3]];
    assert!(matches!(polyline(&far, 2, 28, &mut grid), Err(Error::Argument { .. })));
    assert!(matches!(polyline(&far, 4, 28, &mut grid), Err(Error::Argument { .. })));
    assert!(polyline(&far, 1, 28, &mut grid).is_ok());
}

/// Control points that any program can draw again: Knuth's 64-bit linear congruential generator.
fn knuth_curves(count: usize) -> Vec<Vec<[f64; 2]>> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let mut curve = || {
        let points = [4, 6, 8][next() % 3];
        (0..points).map(|_| [0; 2].map(|_: u8| (next() % 28) as f64)).collect()
    };
    (0..count).map(|_| curve()).collect()
}

/// The hash of 2000 curves, of each the pixels at least `border` away from the edge.
fn hash_of_curves(thickness: u32, border: usize) -> u64 {
    let mut pixels = Vec::new();
    for control in knuth_curves(2000) {
        let points: Vec<Point> = bezier(&control).iter().map(|at| at.map(|at| at as i32)).collect();
        let mut grid = vec![0.0_f32; 28 * 28];
        polyline(&points, thickness, 28, &mut grid).unwrap();
        for line in grid.chunks(28).skip(border).take(28 - 2 * border) {
            pixels.extend(line[border..28 - border].iter().map(|&ink| ink as u8));
        }
    }
    fnv(&pixels)
}

#[test]
fn two_thousand_curves_are_bit_identical_to_opencv() {
    assert_eq!(hash_of_curves(1, 0), 0x7b59415cf83b4c3d);
    assert_eq!(hash_of_curves(2, 0), 0xd8457ff66eb087dd);
    // OpenCV's clipping sets a further pixel on the edge itself in 106 of these.
    assert_eq!(hash_of_curves(3, 1), 0x716a3920afb8d7f7);
}

#[test]
fn the_longest_step_of_a_curve_is_two_pixels() {
    // The fastest curve there can be: all of its points but the first in the opposite corner.
    for points in [4, 6, 8] {
        let mut control = vec![[27.0, 27.0]; points];
        control[0] = [0.0, 0.0];
        let curve: Vec<Point> = bezier(&control).iter().map(|at| at.map(|at| at as i32)).collect();
        assert!(curve.windows(2).all(|ends| (0..2).all(|i| ends[0][i].abs_diff(ends[1][i]) <= 2)));
    }
}

#[test]
fn mean_ink_grows_with_whole_thickness_only() {
    let ink = |thickness: Thickness| {
        let pool = NoisePool::draw(NoiseKind::Bezier { thickness }, 4000, 28, &mut Rng::new(8)).unwrap();
        pool.patterns().flatten().map(|&value| f64::from(value) / 255.0).sum::<f64>() / 4000.0
    };
    // The standard error of a mean over 4000 curves is at most 0.5 pixels.
    for (thickness, mean) in [(1.925, 31.8), (2.0, 87.8), (3.9, 130.8)] {
        let found = ink(Thickness::Truncated(thickness));
        assert!((found - mean).abs() < 2.0, "thickness {thickness}: {found} pixels of ink, expected {mean}");
    }
    assert_eq!(ink(Thickness::Truncated(1.4)), ink(Thickness::Truncated(1.925)));
    let exact = [1.0, 1.4, 1.925, 2.6].map(|thickness| ink(Thickness::Exact(thickness)));
    assert!(exact.is_sorted_by(|thinner, thicker| *thicker > thinner + 5.0), "{exact:?}");
}

#[test]
fn impossible_thickness_is_an_error() {
    for thickness in [0.99, 4.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(NoiseKind::bezier(thickness).check().is_err(), "{thickness}");
    }
    for thickness in [0.0, 28.5, f32::NAN] {
        assert!(NoiseKind::Bezier { thickness: Thickness::Exact(thickness) }.check().is_err(), "{thickness}");
    }
    assert!(NoiseKind::bezier(3.99).check().is_ok());
}

#[test]
fn lines_are_bright_start_in_a_corner_and_never_turn_upside_down() {
    let pool = NoisePool::draw(NoiseKind::Lines, 2000, 28, &mut Rng::new(4)).unwrap();
    let inked: Vec<u8> = pool.patterns().flatten().copied().filter(|&value| value > 0).collect();
    assert!(inked.iter().all(|&value| value >= 204));
    let mean = inked.iter().map(|&value| f64::from(value)).sum::<f64>() / inked.len() as f64;
    // 255 · 0.9 less half a step for truncation.
    assert!((mean - 229.0).abs() < 0.5, "{mean}");
    assert!(pool.patterns().all(|pattern| pattern[0] > 0), "the first copy is never flipped");
    // 2 · 0.33 · 0.67 of the second copies are mirrored and begin at the top right.
    let mirrored = pool.patterns().filter(|pattern| pattern[27] > 0).count();
    assert!((mirrored as f64 / 2000.0 - 0.4422).abs() < 0.04, "{mirrored}");
    // From a top corner, at most 72° steep: a line that leaves at the side reaches down to row 27/tan(72°) = 8 at least.
    assert!(pool.patterns().all(|pattern| pattern[28 * 8..28 * 9].iter().any(|&value| value > 0)));
}

#[test]
fn whole_factors_repeat_pixels() {
    let mut rng = Rng::new(2);
    let pixels: Vec<u8> = (0..28 * 28).map(|_| rng.below(256) as u8).collect();
    for factor in [2, 3, 4] {
        let side = 28 * factor;
        let scaled = resize::area_u8(&pixels, 28, side).unwrap();
        for (at, &value) in scaled.iter().enumerate() {
            assert_eq!(value, pixels[at / side / factor * 28 + at % side / factor]);
        }
    }
}

#[test]
fn every_scale_is_that_of_opencv() {
    let pixels: Vec<u8> = (0..28 * 28).map(|pixel| (pixel * 37 % 256) as u8).collect();
    let goldens = [
        (7, 0xbd2b773023097dd0),
        (14, 0x08aace6f01d08d35),
        (21, 0x10be26d1f741de8e),
        (25, 0x65e906d0c31f4e50),
        (30, 0x3244d72ce962f65a),
        (46, 0x99a3b36d89daafdd),
        (56, 0x9e107750096464e5),
        (64, 0x3c4eeda064239fd0),
        (84, 0x80e21db371f01075),
        (98, 0x88877d37a00eb0cd),
        (112, 0x68886a3ffe6057e5),
    ];
    let wrong: Vec<usize> = goldens
        .iter()
        .filter(|(side, golden)| fnv(&resize::area_u8(&pixels, 28, *side).unwrap()) != *golden)
        .map(|&(side, _)| side)
        .collect();
    assert!(wrong.is_empty(), "sizes that differ: {wrong:?}");
}

#[test]
fn scaling_down_keeps_the_mean() {
    let pixels: Vec<f32> = (0..28 * 28).map(|pixel| (pixel * 37 % 256) as f32).collect();
    let mean = pixels.iter().sum::<f32>() / 784.0;
    for side in [1, 3, 13, 21, 27] {
        let scaled = resize::area(&pixels, 28, side).unwrap();
        assert!((scaled.iter().sum::<f32>() / (side * side) as f32 - mean).abs() < 1e-2, "{side}");
    }
    assert!(resize::area(&pixels, 28, 0).is_err() && resize::area(&pixels, 27, 14).is_err());
}

#[test]
fn a_pen_inks_as_much_as_its_path_is_long_and_wide() {
    let mut grid = vec![0.0; 40 * 40];
    let nib = |x| Nib { x, y: 20.3, radius: 1.5 };
    pen(&[nib(9.0), nib(15.0), nib(29.0)], 1.0, 40, &mut grid);
    let ink: f32 = grid.iter().sum();
    let (length, radius) = (20.0, 1.5_f32);
    let expected = length * 2.0 * radius + std::f32::consts::PI * radius * radius;
    assert!((ink - expected).abs() < 0.03 * expected, "{ink} against {expected}");
    // Off the grid nothing is inked and nothing fails.
    pen(
        &[Nib { x: -90.0, y: -50.0, radius: 2.0 }, Nib { x: -80.0, y: 70.0, radius: 2.0 }],
        1.0,
        40,
        &mut grid,
    );
    assert_eq!(grid.iter().sum::<f32>(), ink);
}
