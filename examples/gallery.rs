//! Writes pictures of the data that the crate can make: digits, noise patterns, whole canvases.
//!
//! `cargo run --release --example gallery -- [OUT] [MNIST]`: into the folder OUT (default `gallery`), with
//! the built-in digits or, when its folder is named, with those of MNIST.

use std::{path::Path, time::Instant};

use foveate::{
    Result,
    data::{
        Digits, MegapixelConfig, MegapixelMnist, Mnist, NoiseKind, PatchSource, Split, Thickness, picture,
        strokes,
    },
};

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().unwrap_or_else(|| "gallery".into());
    let out = Path::new(&out);
    std::fs::create_dir_all(out)
        .map_err(|why| foveate::Error::File { path: out.into(), what: why.to_string() })?;
    let start = Instant::now();
    let digits = match arguments.next() {
        Some(folder) => Mnist::open(folder)?.train,
        None => strokes::digits(0, Split::Train, 10_000)?,
    };
    println!("{} digits in {:.0} ms", digits.len(), start.elapsed().as_secs_f64() * 1e3);
    let by_class: Vec<&[u8]> = (0..200).map(|cell| digit(&digits, cell / 20, cell % 20)).collect();
    sheet(&out.join("digits.png"), &by_class, 20, 28)?;

    let exact = NoiseKind::Bezier { thickness: Thickness::Exact(1.925) };
    for (name, noise) in [
        ("lines", NoiseKind::Lines),
        ("bezier_1", NoiseKind::bezier(1.925)),
        ("bezier_2", NoiseKind::bezier(2.0)),
        ("bezier_exact", exact),
    ] {
        let config = MegapixelConfig { noise, ..MegapixelConfig::bezier([1500, 1500], 28, 1.0) };
        let small = MegapixelConfig { canvas: [300, 300], noise_count: 32, ..config.clone() };
        for config in [small, config] {
            let set = MegapixelMnist::new(config, Split::Train, digits.clone(), 100)?;
            let side = set.config().canvas[0];
            let start = Instant::now();
            let samples = (0..100).map(|index| set.sample(index)).collect::<Result<Vec<_>>>()?;
            println!(
                "{name:12} {side:4} × {side}: {:.3} ms and {} bytes an image ({} pixels inked)",
                start.elapsed().as_secs_f64() * 10.0,
                samples.iter().map(|sample| sample.image.bytes()).sum::<usize>() / 100,
                samples.iter().map(|sample| sample.image.nonzero()).sum::<usize>() / 100,
            );
            let mut pixels = vec![0; side * side];
            samples[0].image.to_dense(&mut pixels)?;
            picture::save_grey(out.join(format!("{name}_{side}.png")), [samples[0].height(), side], &pixels)?;
            let patterns: Vec<&[u8]> = set.noise_pool().patterns().take(32).collect();
            sheet(&out.join(format!("{name}_patterns.png")), &patterns, 16, set.noise_pool().side())?;
        }
    }
    println!("pictures are in {}", out.display());
    Ok(())
}

/// The `at`-th digit of a class.
fn digit(digits: &Digits, class: usize, at: usize) -> &[u8] {
    let index = digits.of_class(class as u8).get(at).copied().unwrap_or_default();
    digits.get(index as usize).map_or(&[], |(pixels, _)| pixels)
}

/// Squares of `side` pixels, `columns` beside each other, each pixel shown as 3 × 3.
fn sheet(path: &Path, squares: &[&[u8]], columns: usize, side: usize) -> Result<()> {
    const ZOOM: usize = 3;
    let (cell, rows) = ((side + 1) * ZOOM, squares.len().div_ceil(columns));
    let mut pixels = vec![60; rows * cell * columns * cell];
    for (at, square) in squares.iter().enumerate() {
        let corner = [at / columns * cell, at % columns * cell];
        for (pixel, &value) in square.iter().enumerate() {
            let first = [corner[0] + pixel / side * ZOOM, corner[1] + pixel % side * ZOOM];
            for row in first[0]..first[0] + ZOOM {
                let from = row * columns * cell + first[1];
                pixels[from..from + ZOOM].fill(value);
            }
        }
    }
    picture::save_grey(path, [rows * cell, columns * cell], &pixels)
}
