//! The truncated ResNet-18 on 100 patches of 1×50×50: evaluation by the packed encoder, and one training step on a tape.

use crate::support::{Call, Case, between, fill, many, one};
use foveate::{
    Device, Result, Rng, Tape, Tensor,
    cpu::{PackedEncoder, Patches, Pixels},
    nn::{Module, Pass, ResNet, ResNetConfig},
    ops,
    optim::{AdamW, Optimizer},
};

const PATCHES: usize = 100;
const SIDE: usize = 50;
/// Forward, one patch.
pub(crate) const FLOPS: usize = 105_140_352;

/// Pixels in [0, 1).
fn patches() -> Result<Tensor> {
    between("patches", [PATCHES, 1, SIDE, SIDE], 0.0, 1.0)
}

fn network() -> Result<ResNet> {
    let mut network = ResNet::new("encoder", ResNetConfig::truncated(1), &Device::Cpu, &mut Rng::new(0))?;
    fill(&mut network)?;
    Ok(network)
}

/// Running statistics folded into the weights, which are packed once; patches to features.
fn evaluation() -> Result<Call> {
    let pixels = patches()?.to_vec::<f32>()?;
    let encoder = PackedEncoder::new(&network()?.folded(None)?, 1, [SIDE, SIDE])?;
    let corners: Vec<usize> = (0..PATCHES).map(|at| at * SIDE * SIDE).collect();
    let mut features = vec![0.0; PATCHES * encoder.outputs()];
    one(move || {
        let patches = Patches {
            pixels: Pixels::F32(&pixels),
            channel: SIDE * SIDE,
            row: SIDE,
            corners: &corners,
            scale: &[1.0],
            shift: &[0.0],
        };
        encoder.encode(&patches, &mut features)?;
        Tensor::from_slice(&features, [PATCHES, encoder.outputs()], &Device::Cpu)
    })
}

/// Forward with batch statistics, mean of all embeddings as loss, backward, AdamW; gives the loss and all gradients.
///
/// The learning rate is tiny, so that thousands of steps leave weights and activations at their usual magnitude.
fn training() -> Result<Call> {
    let (x, mut network) = (patches()?, network()?);
    let mut optimizer = AdamW::new(1e-7, 0.1);
    let mut rng = Rng::new(0);
    many(move || {
        let tape = Tape::new();
        let mut pass = Pass::training(&tape, &mut rng);
        let loss = ops::mean_all(&network.forward(&x, &mut pass)?)?;
        let statistics = pass.statistics();
        let grads = tape.backward(&loss)?;
        optimizer.step(&mut network.parameters_mut(), &grads)?;
        network.set_statistics(statistics)?;
        let mut results = vec![loss.detach()];
        results.extend(grads.parameters().cloned());
        Ok(results)
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let about = "forward with batch statistics, mean as loss, backward, AdamW; 100x1x50x50";
    vec![
        Case::new("encoder/evaluation", "ResNet-18 to layer 2, 100x1x50x50 -> 100x128", evaluation)
            .flops(PATCHES * FLOPS),
        // Three times the forward pass, less the gradient of the pixels.
        Case::new("encoder/training", about, training).flops(2 * PATCHES * (3 * FLOPS / 2 - 64 * 625 * 49)),
    ]
}
