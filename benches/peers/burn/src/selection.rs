//! Iterative patch selection of one image, as published: all patches materialised, embeddings kept, every set re-scored.

use crate::{
    attention::{HEADS, TOKENS, WIDTH, projection, queries, weights},
    encoder::{Encoder, FLOPS},
    support::{Case, dense_pixels, device, int},
};
use burn::tensor::{Int, Tensor, TensorData};

const SIDE: usize = 1500;
const PATCH: usize = 50;
/// Patches kept, and patches of a chunk.
const MEMORY: usize = 100;

/// The scoring part of the network.
struct Scorer {
    encoder: Encoder,
    queries: Tensor<2>,
    projections: [Tensor<2>; 2],
}

impl Scorer {
    /// Places of the survivors in the unshuffled image, best first; image (1, 1, h, w), positions (n, 128), order (n).
    fn select(&self, image: Tensor<4>, positions: &Tensor<2>, order: &Tensor<1, Int>) -> Tensor<1, Int> {
        let grid = SIDE / PATCH;
        let count = grid * grid;
        let blocks = image.reshape([grid, PATCH, grid, PATCH]).swap_dims(1, 2);
        let patches = blocks.reshape([count, 1, PATCH, PATCH]).select(0, order.clone());
        let positions = positions.clone().select(0, order.clone());
        let embed = |start: usize| self.encoder.forward(patches.clone().narrow(0, start, MEMORY));
        let place = |start: usize| order.clone().narrow(0, start, MEMORY);
        let mut kept = embed(0);
        let (mut kept_positions, mut places) = (positions.clone().narrow(0, 0, MEMORY), place(0));
        for start in (MEMORY..count).step_by(MEMORY) {
            let chunk = positions.clone().narrow(0, start, MEMORY);
            let embeddings = Tensor::cat(vec![kept, embed(start)], 0);
            let positions = Tensor::cat(vec![kept_positions, chunk], 0);
            let all = Tensor::cat(vec![places, place(start)], 0);
            let scores = weights(
                embeddings.clone() + positions.clone(),
                self.queries.clone(),
                self.projections.clone(),
            );
            let scores = scores.reshape([HEADS * TOKENS, 2 * MEMORY]).mean_dim(0).reshape([2 * MEMORY]);
            let best = scores.topk_with_indices(MEMORY, 0).1;
            kept = embeddings.select(0, best.clone());
            kept_positions = positions.select(0, best.clone());
            places = all.select(0, best);
        }
        places
    }
}

/// The image is already f32 and on the device: its conversion is not timed.
pub(crate) fn cases() -> Vec<Case> {
    let count = (SIDE / PATCH).pow(2);
    let about =
        "900 patches of 50x50 from 1x1x1500x1500, keep 100, chunks of 100, 4 tokens, 8 heads; random pixels";
    let case = Case::new("selection/dense", about, count * FLOPS).form("burn", move || {
        let pixels: Vec<f32> = dense_pixels(SIDE, 0).iter().map(|pixel| f32::from(*pixel) / 255.0).collect();
        let image: Tensor<4> = Tensor::from_data(TensorData::new(pixels, [1, 1, SIDE, SIDE]), &device());
        let positions =
            Tensor::from_data(TensorData::new(positional_encoding(count), [count, WIDTH]), &device());
        let order = Tensor::from_data(TensorData::new(permutation(0, count), [count]), &device());
        let scorer = Scorer {
            encoder: Encoder::new(&device()),
            queries: queries(),
            projections: [projection("q_w"), projection("k_w")],
        };
        move || vec![int(scorer.select(image.clone(), &positions, &order))]
    });
    vec![case]
}

/// Sinusoid over the row-major patch index: sin in even columns, cos in odd ones, (count, 128).
fn positional_encoding(count: usize) -> Vec<f32> {
    let angle = |at: usize, column: usize| {
        at as f64 * (-((column / 2 * 2) as f64) * 10_000f64.ln() / WIDTH as f64).exp()
    };
    let value = |at, column| {
        let angle: f64 = angle(at, column);
        if column % 2 == 0 { angle.sin() } else { angle.cos() }
    };
    (0..count).flat_map(|at| (0..WIDTH).map(move |column| value(at, column) as f32)).collect()
}

/// One block of Philox4x32-10 (Salmon et al., SC 2011): four 32-bit words.
fn philox(counter: u64, key: u64) -> [u32; 4] {
    let mut c = [counter as u32, (counter >> 32) as u32, 0, 0];
    let (mut low, mut high) = (key as u32, (key >> 32) as u32);
    for _ in 0..10 {
        let (p, q) = (0xD251_1F53 * u64::from(c[0]), 0xCD9E_8D57 * u64::from(c[2]));
        c = [(q >> 32) as u32 ^ c[1] ^ low, q as u32, (p >> 32) as u32 ^ c[3] ^ high, p as u32];
        (low, high) = (low.wrapping_add(0x9E37_79B9), high.wrapping_add(0xBB67_AE85));
    }
    c
}

/// The order in which a selection with this seed sees `count` patches: Fisher and Yates from the last place on, with
/// Lemire's unbiased draws from the Philox stream.
fn permutation(seed: u64, count: usize) -> Vec<i32> {
    let mut stream = (0..).flat_map(|block| philox(block, seed));
    let mut below = |n: u32| loop {
        let product = u64::from(stream.next().unwrap_or_default()) * u64::from(n);
        if product as u32 >= n.wrapping_neg() % n {
            return (product >> 32) as usize;
        }
    };
    let mut order: Vec<i32> = (0..count as i32).collect();
    for i in (1..count).rev() {
        let j = below(i as u32 + 1);
        order.swap(i, j);
    }
    order
}
