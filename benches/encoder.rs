//! The truncated ResNet-18 on patches of 1×50×50: evaluation, by the packed encoder on the CPU and layer by layer on a
//! GPU, and one training step on a tape.

use crate::support::{Call, Case, between, byte_tensor, device, fill, many, one};
use foveate::{
    Device, DeviceKind, Precision, Result, Rng, Tape, Tensor,
    cpu::{PackedEncoder, Patches, Pixels},
    nn::{Module, Pass, ResNet, ResNetConfig},
    ops,
    optim::{AdamW, Optimizer},
};

const SIDE: usize = 50;
/// Forward, one patch.
pub(crate) const FLOPS: usize = 105_140_352;

/// Pixels in [0, 1).
fn patches(count: usize) -> Result<Tensor> {
    between("patches", [count, 1, SIDE, SIDE], 0.0, 1.0)
}

fn network() -> Result<ResNet> {
    let mut network = ResNet::new("encoder", ResNetConfig::truncated(1), &device(), &mut Rng::new(0))?;
    fill(&mut network)?;
    Ok(network)
}

/// Patches to features, with running statistics.
fn evaluation(count: usize) -> Result<Call> {
    match device() {
        Device::Cpu => packed(count),
        _ => {
            let (x, network) = (patches(count)?, network()?);
            one(move || network.forward(&x, &mut Pass::evaluation()))
        }
    }
}

/// The same from bytes, with all that follows a convolution done in it: what selection runs on a GPU.
fn fused(count: usize) -> Result<Call> {
    let (x, network) = (byte_tensor("patches", [count, 1, SIDE, SIDE])?, network()?.fused()?);
    one(move || network.forward(&x))
}

/// The same in f16: all layers in one launch, or one by one.
fn in_f16(count: usize, by_layers: bool) -> Result<Call> {
    let x = byte_tensor("patches", [count, 1, SIDE, SIDE])?;
    let network = network()?.fused()?.with_precision(Precision::F16);
    let network = if by_layers { network.by_layers() } else { network };
    one(move || network.forward(&x))
}

/// Both ways against each other, on CUDA.
pub(crate) fn in_f16_cases(count: usize) -> Vec<Case> {
    let about = |how: &str| format!("ResNet-18 to layer 2 from bytes, {count}x1x50x50, f16, {how}");
    let case = |name: &str, how: &str, by_layers: bool| {
        Case::new(name, &about(how), move || in_f16(count, by_layers)).flops(count * FLOPS)
    };
    vec![
        case("encoder-f16/one-launch", "all layers in one launch", false),
        case("encoder-f16/by-layers", "layers one by one", true),
    ]
}

/// Running statistics folded into the weights, which are packed once.
fn packed(count: usize) -> Result<Call> {
    let pixels = patches(count)?.to_vec::<f32>()?;
    let encoder = PackedEncoder::new(&network()?.folded(None)?, 1, [SIDE, SIDE])?;
    let corners: Vec<usize> = (0..count).map(|at| at * SIDE * SIDE).collect();
    let mut features = vec![0.0; count * encoder.outputs()];
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
        Tensor::from_slice(&features, [count, encoder.outputs()], &Device::Cpu)
    })
}

/// Forward with batch statistics, mean of all embeddings as loss, backward, AdamW; gives the loss and all gradients.
///
/// The learning rate is tiny, so that thousands of steps leave weights and activations at their usual magnitude.
///
/// With `fuse`, convolutions compute the statistics of batch norms.
fn training(count: usize, fuse: bool) -> Result<Call> {
    let (x, mut network) = (patches(count)?, network()?);
    let mut optimizer = AdamW::new(1e-7, 0.1);
    let mut rng = Rng::new(0);
    many(move || {
        let tape = Tape::new();
        let mut pass = Pass::training(&tape, &mut rng).fusing_statistics(fuse);
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

/// For so many patches.
pub(crate) fn cases(count: usize) -> Vec<Case> {
    let encoder = format!("ResNet-18 to layer 2, {count}x1x50x50 -> {count}x128");
    let step = format!("forward with batch statistics, mean as loss, backward, AdamW; {count}x1x50x50");
    let mut cases = vec![
        Case::new("encoder/evaluation", &encoder, move || evaluation(count)).flops(count * FLOPS),
        // Three times the forward pass, less the gradient of the pixels.
        Case::new("encoder/training", &step, move || training(count, false))
            .flops(2 * count * (3 * FLOPS / 2 - 64 * 625 * 49)),
    ];
    if device().kind() == DeviceKind::Cuda {
        let fused = format!("{step}; statistics by the convolutions");
        cases.push(
            Case::new("encoder/training-statistics", &fused, move || training(count, true))
                .flops(2 * count * (3 * FLOPS / 2 - 64 * 625 * 49)),
        );
    }
    if !matches!(device(), Device::Cpu) {
        let about = format!("the same from bytes, which are 255 times as large as their pixels; {encoder}");
        cases.push(Case::new("encoder/fused", &about, move || fused(count)).flops(count * FLOPS));
    }
    cases
}
