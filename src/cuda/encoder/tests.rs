//! Logits in one launch: those of features and queries, and the same bits wherever a patch stands.

use super::*;
use crate::{
    Device, Precision, Rng,
    nn::{GlobalPool, ResNet, ResNetConfig},
    testing::{cuda_of_its_own, random, rms},
};

const SIDES: [usize; 2] = [37, 44];
const PATCH: [usize; 2] = [9, 11];

/// A network of its own, on a device of its own.
struct Bench {
    device: Device,
    encoder: PackedEncoder,
    network: ResNet,
    queries: Tensor,
    grid: PatchGrid,
    /// Of two images (2, 3, H, W).
    images: Vec<u8>,
}

impl Bench {
    fn new() -> Option<Self> {
        let cuda = cuda_of_its_own()?;
        let device = Device::Cuda(cuda.clone());
        device.set_precision(Precision::F16).unwrap();
        let config = ResNetConfig { channels: 3, widths: vec![16, 32], blocks: 1, pool: GlobalPool::Max };
        let network = ResNet::new("encoder", config, &device, &mut Rng::new(0)).unwrap();
        let encoder = network.fused().unwrap().pack(PATCH, &cuda).unwrap().unwrap();
        let queries = random([5, 32], 1).to_device(&device).unwrap();
        let grid = PatchGrid::new(SIDES, PATCH, [7, 11]).unwrap();
        let mut rng = Rng::new(1);
        let images = (0..2 * 3 * SIDES[0] * SIDES[1]).map(|_| rng.below(256) as u8).collect();
        Some(Bench { device, encoder, network, queries, grid, images })
    }

    /// The patches `numbers` of both images, cut out: (B · P, C, h, w).
    fn cut(&self, numbers: &[i32]) -> Tensor {
        let mut pixels = Vec::new();
        for image in self.images.chunks(3 * SIDES[0] * SIDES[1]) {
            for &number in numbers {
                let [y, x] = self.grid.corner(number as usize).unwrap();
                for plane in image.chunks(SIDES[0] * SIDES[1]) {
                    (0..PATCH[0]).for_each(|r| {
                        pixels.extend_from_slice(&plane[(y + r) * SIDES[1] + x..][..PATCH[1]]);
                    });
                }
            }
        }
        let dims = [2 * numbers.len(), 3, PATCH[0], PATCH[1]];
        Tensor::from_slice(&pixels, dims, &self.device).unwrap()
    }

    /// Logits (2 · P, R) of patches of both images, cut out or in their images.
    fn logits(&self, numbers: &[i32], whole: bool, positions: bool) -> Vec<f32> {
        let Device::Cuda(cuda) = &self.device else { return Vec::new() };
        let both: Vec<i32> = [numbers, numbers].concat();
        let numbers_there = Tensor::from_slice(&both, [both.len()], &self.device).unwrap();
        let image = Tensor::from_slice(&self.images, [2, 3, SIDES[0], SIDES[1]], &self.device).unwrap();
        let pixels = if whole { image } else { self.cut(numbers) };
        let head = ScoringHead::new(cuda, &self.queries, positions.then(|| self.grid.count())).unwrap();
        let source = Source {
            pixels: Argument::at(address(&pixels).unwrap()),
            numbers: Argument::at(address(&numbers_there).unwrap()),
            numbers_stride: numbers.len(),
            images: 2,
            per_image: numbers.len(),
            whole: whole.then_some((SIDES, self.grid)),
        };
        let logits = Tensor::zeros([both.len(), head.rows()], &self.device).unwrap();
        let results = [
            Argument::at(address(&logits).unwrap()),
            Argument::at(address(self.encoder.overflow()).unwrap()),
        ];
        self.encoder.launch(&Cx::new(cuda, OP), &source, Some(&head), results).unwrap();
        assert_eq!(self.encoder.overflow().to_vec::<i32>().unwrap(), [0]);
        logits.to_vec().unwrap()
    }
}

#[test]
fn logits_are_the_products_of_features_and_positions_with_queries() {
    let Some(bench) = Bench::new() else { return };
    let all: Vec<i32> = (0..bench.grid.count() as i32).rev().collect();
    let features = bench.network.fused().unwrap().forward(&bench.cut(&all)).unwrap();
    let precise = ops::Linear { precision: Some(Precision::F32) };
    for positions in [false, true] {
        let mut x = features.clone();
        if positions {
            let numbers: Vec<u32> = all.iter().chain(&all).map(|&number| number as u32).collect();
            x = ops::add(&x, &ops::positional_encoding(&numbers, 32, &bench.device).unwrap()).unwrap();
        }
        let want = ops::linear_with(precise, &x, &bench.queries, None).unwrap().to_vec::<f32>().unwrap();
        let got = bench.logits(&all, true, positions);
        let error = rms(got.iter().zip(&want).map(|(a, b)| f64::from(a - b)));
        let size = rms(want.iter().map(|&v| f64::from(v)));
        assert!(error <= 1e-6 * size, "error {error:e} of {size:e}");
    }
}

#[test]
fn a_patch_has_the_same_bits_wherever_it_stands() {
    let Some(bench) = Bench::new() else { return };
    let all: Vec<i32> = (0..bench.grid.count() as i32).collect();
    let together = bench.logits(&all, true, true);
    assert_eq!(bench.logits(&all, false, true), together, "cut out, and in the image");
    let rows = 5;
    for run in [&all[..1], &all[3..10], &all[all.len() - 2..]] {
        let apart = bench.logits(run, false, true);
        for (at, logits) in apart.chunks(rows).enumerate() {
            let place = at / run.len() * all.len() + run[at % run.len()] as usize;
            assert_eq!(logits, &together[place * rows..][..rows], "patch {place}");
        }
    }
}

/// The tables give what the formula gives, to the rounding of their entries, up to the last number of a large grid.
#[test]
fn positions_of_large_grids_are_exact_enough() {
    let count = 360_000_usize;
    let features = 6;
    let fine = (usize::BITS - (count - 1).leading_zeros()).div_ceil(2);
    let row = |n: u32| position::encoded(&[n], features, features).unwrap();
    for n in [0_u32, 1, 599, 1024, 123_456, 359_999] {
        let (low, high, want) = (row(n & ((1 << fine) - 1)), row(n >> fine << fine), row(n));
        for d in (0..features).step_by(2) {
            let sine = high[d].mul_add(low[d + 1], high[d + 1] * low[d]);
            let cosine = high[d + 1].mul_add(low[d + 1], -(high[d] * low[d]));
            assert!((sine - want[d]).abs() < 3e-7 && (cosine - want[d + 1]).abs() < 3e-7, "{n}, {d}");
        }
    }
}
