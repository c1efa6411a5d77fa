//! A regulariser that lets the heads of the cross-attention look at different things.
//!
//! Each head's output `o_h` (d_v), before the heads are joined, is a branch of its own. The term is three times the mean
//! cosine similarity of the outputs of two heads, plus a semantic loss: every branch alone is to solve the tasks, through one
//! linear map from d_v to D without bias that all heads share, and then the network's own perceptron and heads; the loss
//! is the mean over branches. Riffi-Aslett and Fell (arXiv 2412.11237) tried it as *diversity*, after the branches of Zhang et
//! al. ("Attention-Challenging Multiple Instance Learning for Whole Slide Image Classification", ECCV 2024). As there, the
//! branches are computed beside the network's own pass, with a dropout of their own.

use super::Ips;
use crate::{
    Parameter, Tensor,
    error::Result,
    nn::{Pass, Targets},
    ops,
    select::system::losses,
};

/// Name of the map that the heads share.
pub(super) const BRANCH: &str = "transf.branch.weight";

/// How much the similarity of heads counts beside their semantic loss.
const SIMILARITY: f64 = 3.0;

impl Ips {
    /// The term for patches x (B, M, D) with their positions.
    pub(super) fn diversity(
        &self,
        branch: &Parameter,
        x: &Tensor,
        targets: &Targets,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let outputs = self.transformer.head_outputs(x, pass)?;
        let similarity = ops::scale(&similarity(&outputs)?, SIMILARITY, 0.0)?;
        let [b, h, t, _] = [0, 1, 2, 3].map(|axis| outputs.dims()[axis]);
        let z = ops::linear(&outputs, &pass.parameter(branch)?, None)?;
        let d = self.config.transformer.features;
        // (T, H · B, D): the branches of all images, task by task.
        let z = ops::reshape(&ops::transpose(&z, &[2, 1, 0, 3])?, [t * h * b, d])?;
        let y = ops::reshape(&self.transformer.perceptron(&z, pass)?, [t, h * b, d])?;
        let probabilities = self.answers(&y, pass)?;
        let again = |target: &Tensor| ops::concat(&vec![target; h], 0);
        let targets = Targets { tensors: targets.tensors.iter().map(again).collect::<Result<_>>()? };
        ops::add(&similarity, &losses(&self.heads, &probabilities, &targets)?.total)
    }
}

/// The mean cosine of outputs (B, H, T, d_v) of two different heads: with unit vectors u, `(|Σ u_h|² − H) / (H (H − 1))`.
fn similarity(outputs: &Tensor) -> Result<Tensor> {
    let heads = outputs.dims()[1] as f64;
    let sum = ops::sum(&ops::l2_normalize(outputs)?, &[1])?;
    let squares = ops::mean_all(&ops::sum(&ops::square(&sum)?, &[-1])?)?;
    ops::scale(&squares, 1.0 / (heads * (heads - 1.0)), -1.0 / (heads - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Device, Rng, Tape,
        data::{DenseImage, PatchSource},
        device::Op,
        nn::{Activation, GlobalPool, Module, ResNetConfig, Task},
        select::{IpsConfig, Moment, System},
        testing::*,
    };

    #[test]
    fn similarity_is_the_mean_cosine_of_two_heads() {
        let outputs = random([2, 3, 2, 5], 1);
        let values = outputs.to_vec::<f32>().unwrap();
        let of = |b: usize, h: usize, t: usize| &values[((b * 3 + h) * 2 + t) * 5..][..5];
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum::<f64>();
        let mut cosines = Vec::new();
        for (b, t) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for (h, g) in [(0, 1), (0, 2), (1, 2)] {
                let (x, y) = (of(b, h, t), of(b, g, t));
                cosines.push(dot(x, y) / (dot(x, x) * dot(y, y)).sqrt());
            }
        }
        let want = cosines.iter().sum::<f64>() / 12.0;
        let got = f64::from(similarity(&outputs).unwrap().item::<f32>().unwrap());
        assert!((got - want).abs() < 1e-5, "{got}, not {want}");
    }

    fn config(weight: f64) -> IpsConfig {
        let encoder = ResNetConfig { channels: 1, widths: vec![8], blocks: 1, pool: GlobalPool::Mean };
        let tasks = vec![Task::new("a", 3, Activation::Softmax), Task::new("b", 2, Activation::Sigmoid)];
        let mut config = IpsConfig::with_encoder(encoder, [8, 8], 4, 4, tasks, true);
        (config.transformer.dropout, config.transformer.attention_dropout) = (0.0, 0.0);
        IpsConfig { diversity: weight, ..config }
    }

    /// The loss of a step, the terms of the regulariser in it, and the gradient of the branches' map.
    fn learned(weight: f64, device: &Device) -> (f32, f32, Option<Vec<f32>>) {
        let net = Ips::new(config(weight), device, &mut Rng::new(3)).unwrap();
        let pixels: Vec<u8> = (0..2 * 48 * 48).map(|at| (at * 37 % 251) as u8).collect();
        let images: Vec<DenseImage> =
            pixels.chunks(48 * 48).map(|p| DenseImage::new([1, 48, 48], p.to_vec()).unwrap()).collect();
        let images: Vec<&dyn PatchSource> = images.iter().map(|i| i as &dyn PatchSource).collect();
        let tensors = vec![
            Tensor::from_slice(&[2_i32, 0], [2], device).unwrap(),
            Tensor::from_slice(&[1.0_f32, 0.0, 1.0, 1.0], [2, 2], device).unwrap(),
        ];
        let (tape, mut rng) = (Tape::new(), Rng::new(5));
        let mut pass = Pass::training(&tape, &mut rng);
        let at = Moment { step: 0, steps: 1, epoch: 0 };
        let losses = net.learn(&images, &Targets { tensors }, at, &mut pass).unwrap().losses;
        let grads = tape.backward(&losses.total).unwrap();
        let branch = net.parameters().into_iter().find(|p| p.name() == BRANCH);
        let gradient = branch.map(|branch| grads.parameter(branch).unwrap().to_vec::<f32>().unwrap());
        let tasks = losses.tasks.iter().map(|loss| loss.item::<f32>().unwrap()).sum::<f32>() / 2.0;
        (losses.total.item().unwrap(), tasks, gradient)
    }

    /// The tasks' own losses stay, the term comes to them by its weight, every device has the same, and the map learns.
    #[test]
    fn the_term_comes_to_the_loss_by_its_weight() {
        let (plain, tasks, none) = learned(0.0, &Device::Cpu);
        assert!((plain - tasks).abs() < 1e-6 && none.is_none());
        let (half, same, _) = learned(0.5, &Device::Cpu);
        let (whole, _, gradient) = learned(1.0, &Device::Cpu);
        assert!((same - tasks).abs() < 1e-5 && (whole - plain - 2.0 * (half - plain)).abs() < 1e-5);
        // Like guessing, about (ln 3 + ln 2) / 2, and up to three for the similarity.
        assert!((-1.0..6.0).contains(&(whole - plain)) && (whole - plain).abs() > 0.1, "{whole}, {plain}");
        let gradient = gradient.unwrap();
        assert!(gradient.iter().any(|g| g.abs() > 1e-6));
        on_each_device(crate::ops::l2_normalize::L2Normalize::ARMS, |device| {
            let (loss, _, found) = learned(1.0, device);
            assert!((loss - whole).abs() < 1e-4, "{loss} on {device}, {whole} on the CPU");
            let off = found.unwrap().iter().zip(&gradient).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-4, "gradients on {device} are {off} off");
        });
    }
}
