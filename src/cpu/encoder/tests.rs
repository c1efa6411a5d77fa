//! The packed encoder against its layers as plain sums in f64, at every vector width of this machine.

use super::*;
use crate::{Rng, testing::rms};

fn levels() -> impl Iterator<Item = Level> {
    [Level::Baseline, Level::Avx2, Level::Avx512].into_iter().filter(|&l| l <= level())
}

fn conv(out: usize, channels: usize, kernel: usize, stride: usize, rng: &mut Rng) -> FoldedConv {
    let n = channels * kernel * kernel;
    let deviation = (2.0 / n as f32).sqrt();
    let mut normal = |n: usize, deviation: f32| (0..n).map(|_| rng.normal() * deviation).collect();
    FoldedConv { weight: normal(out * n, deviation), bias: normal(out, 0.1), kernel, stride }
}

/// A network of `blocks` blocks for each width, every stage but the first halving the resolution.
fn network(
    channels: usize,
    widths: &[usize],
    blocks: usize,
    rows: Option<usize>,
    rng: &mut Rng,
) -> FoldedEncoder {
    let stem = conv(widths[0], channels, 7, 2, rng);
    let (mut from, mut all) = (widths[0], Vec::new());
    for (stage, &width) in widths.iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let projected = stride > 1 || from != width;
            all.push(FoldedBlock {
                conv1: conv(width, from, 3, stride, rng),
                conv2: conv(width, width, 3, 1, rng),
                shortcut: projected.then(|| conv(width, from, 1, stride, rng)),
            });
            from = width;
        }
    }
    let matrix = rows.map(|rows| (0..rows * from).map(|_| rng.normal()).collect());
    FoldedEncoder { stem, blocks: all, pool: GlobalPool::Mean, matrix }
}

/// Channels of rows of columns.
type Image = Vec<Vec<Vec<f64>>>;

/// The plain sums of a convolution.
fn convolve(x: &Image, conv: &FoldedConv) -> Image {
    let (k, s, channels) = (conv.kernel, conv.stride, x.len());
    let [h, w] = [x[0].len(), x[0][0].len()];
    let out = |n: usize| (n + 2 * (k / 2) - k) / s + 1;
    let pixel = |o: usize, r: usize, q: usize| {
        let mut sum = f64::from(conv.bias[o]);
        for (c, i, j) in (0..channels).flat_map(|c| (0..k * k).map(move |t| (c, t / k, t % k))) {
            let (Some(r), Some(q)) = ((r * s + i).checked_sub(k / 2), (q * s + j).checked_sub(k / 2)) else {
                continue;
            };
            if r < h && q < w {
                sum += x[c][r][q] * f64::from(conv.weight[((o * channels + c) * k + i) * k + j]);
            }
        }
        sum
    };
    (0..conv.bias.len())
        .map(|o| (0..out(h)).map(|r| (0..out(w)).map(|q| pixel(o, r, q)).collect()).collect())
        .collect()
}

fn each(x: Image, f: impl Fn(usize, usize, usize, f64) -> f64) -> Image {
    let line =
        |c: usize, r: usize, row: Vec<f64>| row.into_iter().enumerate().map(|(q, v)| f(c, r, q, v)).collect();
    let plane =
        |c: usize, p: Vec<Vec<f64>>| p.into_iter().enumerate().map(|(r, row)| line(c, r, row)).collect();
    x.into_iter().enumerate().map(|(c, p)| plane(c, p)).collect()
}

fn relu(x: Image) -> Image {
    each(x, |_, _, _, v| v.max(0.0))
}

fn pool(x: &Image) -> Image {
    let most = |p: &Vec<Vec<f64>>, r: usize, q: usize| {
        let mut most = f64::NEG_INFINITY;
        for row in p.iter().take(2 * r + 2).skip((2 * r).saturating_sub(1)) {
            for v in row.iter().take(2 * q + 2).skip((2 * q).saturating_sub(1)) {
                most = most.max(*v);
            }
        }
        most
    };
    let plane = |p: &Vec<Vec<f64>>| -> Vec<Vec<f64>> {
        let [h, w] = [p.len().div_ceil(2), p[0].len().div_ceil(2)];
        (0..h).map(|r| (0..w).map(|q| most(p, r, q)).collect()).collect()
    };
    x.iter().map(plane).collect()
}

fn specification(net: &FoldedEncoder, patch: Image) -> Vec<f64> {
    let mut x = pool(&relu(convolve(&patch, &net.stem)));
    for block in &net.blocks {
        let y = convolve(&relu(convolve(&x, &block.conv1)), &block.conv2);
        let beside = block.shortcut.as_ref().map_or_else(|| x.clone(), |conv| convolve(&x, conv));
        x = relu(each(y, |c, r, q, v| v + beside[c][r][q]));
    }
    let pooled = |p: &Vec<Vec<f64>>| match net.pool {
        GlobalPool::Mean => p.iter().flatten().sum::<f64>() / (p.len() * p[0].len()) as f64,
        GlobalPool::Max => p.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    let features: Vec<f64> = x.iter().map(pooled).collect();
    let product = |row: &[f32]| row.iter().zip(&features).map(|(w, f)| f64::from(*w) * f).sum();
    match &net.matrix {
        None => features,
        Some(matrix) => matrix.chunks(features.len()).map(product).collect(),
    }
}

/// Bytes of an image (channels, side, side), and corners of patches in it.
fn image(
    channels: usize,
    side: usize,
    patch: [usize; 2],
    count: usize,
    rng: &mut Rng,
) -> (Vec<u8>, Vec<usize>) {
    let bytes = (0..channels * side * side).map(|_| rng.below(256) as u8).collect();
    let mut at = |size: usize| rng.below((side - size + 1) as u32) as usize;
    let corners = (0..count).map(|_| at(patch[0]) * side + at(patch[1])).collect();
    (bytes, corners)
}

const SCALE: [f32; 3] = [1.0 / 255.0, 0.01, 0.002];
const SHIFT: [f32; 3] = [0.0, -0.4, 0.3];

fn judge(
    channels: usize,
    widths: &[usize],
    blocks: usize,
    rows: Option<usize>,
    patch: [usize; 2],
    count: usize,
) {
    for pool in [GlobalPool::Mean, GlobalPool::Max] {
        let net = FoldedEncoder { pool, ..network(channels, widths, blocks, rows, &mut Rng::new(7)) };
        judge_network(&net, channels, patch, count);
    }
}

fn judge_network(net: &FoldedEncoder, channels: usize, patch: [usize; 2], count: usize) {
    let rng = &mut Rng::new(8);
    let side = patch[0].max(patch[1]) + 9;
    let (bytes, corners) = image(channels, side, patch, count, rng);
    let floats: Vec<f32> = bytes.iter().map(|&b| f32::from(b)).collect();
    let pixel = |corner: usize, c: usize, r: usize, q: usize| {
        f64::from(floats[corner + c * side * side + r * side + q] * SCALE[c] + SHIFT[c])
    };
    let truth: Vec<f64> = corners
        .iter()
        .flat_map(|&corner| {
            let row = |c: usize, r: usize| (0..patch[1]).map(|q| pixel(corner, c, r, q)).collect();
            let x = (0..channels).map(|c| (0..patch[0]).map(|r| row(c, r)).collect()).collect();
            specification(net, x)
        })
        .collect();
    for level in levels() {
        let encoder = PackedEncoder::at(level, net, channels, patch).unwrap();
        for pixels in [Pixels::U8(&bytes), Pixels::F32(&floats)] {
            let (scale, shift) = (&SCALE[..channels], &SHIFT[..channels]);
            let patches =
                Patches { pixels, channel: side * side, row: side, corners: &corners, scale, shift };
            let mut got = vec![f32::NAN; truth.len()];
            encoder.encode(&patches, &mut got).unwrap();
            let error = rms(got.iter().zip(&truth).map(|(a, b)| f64::from(*a) - b));
            let size = rms(truth.iter().copied());
            assert!(error <= 1e-5 * size, "{level:?} {:?} of {patch:?}: {error:e} of {size:e}", net.pool);
        }
    }
}

#[test]
fn encoders_of_many_shapes() {
    judge(1, &[64, 128], 2, Some(32), [50, 50], 2);
    judge(1, &[16, 32, 64], 1, None, [50, 50], 9);
    judge(3, &[16, 32, 48, 64], 2, Some(5), [33, 41], 3);
    judge(2, &[8, 20], 2, Some(1), [25, 17], 30);
    judge(3, &[16], 1, None, [9, 130], 2);
    judge(1, &[3, 5], 1, None, [7, 8], 5);
    judge(1, &[16, 16], 1, Some(3), [1, 1], 4);
}

#[test]
fn a_patch_has_the_same_bits_wherever_it_stands() {
    let rng = &mut Rng::new(3);
    let (net, side) = (network(1, &[16, 32], 2, Some(4), rng), 70);
    let (bytes, corners) = image(1, side, [50, 50], 23, rng);
    let encoder = PackedEncoder::new(&net, 1, [50, 50]).unwrap();
    let encode = |corners: &[usize]| {
        let pixels = Pixels::U8(&bytes);
        let patches =
            Patches { pixels, channel: 0, row: side, corners, scale: &SCALE[..1], shift: &SHIFT[..1] };
        let mut to = vec![0.0; 4 * corners.len()];
        encoder.encode(&patches, &mut to).unwrap();
        to.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let all = encode(&corners);
    for (at, corner) in corners.iter().enumerate() {
        assert_eq!(encode(&[*corner]), all[4 * at..4 * at + 4], "patch {at}");
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| encode(&corners)), all, "{threads} threads");
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let rng = &mut Rng::new(3);
    let net = network(1, &[16, 32], 1, Some(4), rng);
    let new = |net: &FoldedEncoder, channels: usize| PackedEncoder::new(net, channels, [20, 20]);
    let refused =
        |net: &FoldedEncoder, channels: usize| matches!(new(net, channels), Err(Error::Shape { .. }));
    assert!(refused(&net, 2));
    assert!(refused(&FoldedEncoder { matrix: Some(vec![0.0; 33]), ..net.clone() }, 1));
    let mut other = net.clone();
    other.blocks[1].shortcut = None;
    assert!(refused(&other, 1));
    other.blocks[1].shortcut = Some(conv(32, 16, 3, 2, rng));
    assert!(refused(&other, 1));
    let encoder = new(&net, 1).unwrap();
    let image = vec![0_u8; 400];
    let encode = |corners: &[usize], scale: &[f32], n: usize| {
        let pixels = Pixels::U8(&image);
        let patches = Patches { pixels, channel: 400, row: 20, corners, scale, shift: &[0.0] };
        encoder.encode(&patches, &mut vec![0.0; n])
    };
    assert!(encode(&[0], &[1.0], 4).is_ok());
    assert!(encode(&[], &[1.0], 0).is_ok());
    for (corners, scale, n) in
        [(&[1][..], &[1.0][..], 4), (&[0], &[1.0], 5), (&[0], &[], 4), (&[usize::MAX], &[1.0], 4)]
    {
        assert!(matches!(encode(corners, scale, n), Err(Error::Shape { .. })));
    }
}
