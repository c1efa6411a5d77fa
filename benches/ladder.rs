//! The rungs of the convolution's ladder, numbered: what each change is worth on the device at hand. A rung's sentence is in
//! `benches/README.md`; `cargo xtask bench conv2d --rung N` runs one.

use crate::{
    conv2d::{self, Layer},
    support::{Case, sizes::Sizes},
};
use foveate::{
    DeviceKind, Precision,
    ops::{Conv2d, conv2d::Algorithm},
};

/// Its name, what computes it, how operands are rounded, and whether bias, residual and ReLU are within it.
type Rung = (&'static str, Algorithm, Precision, bool);

const WGPU: &[Rung] = &[
    ("1-naive", Algorithm::Naive, Precision::F32, false),
    ("2-tiled", Algorithm::Tiled, Precision::F32, false),
    ("3-blocked", Algorithm::Blocked, Precision::F32, false),
    ("4-registers", Algorithm::Registers, Precision::F32, false),
    ("5-winograd", Algorithm::Winograd4, Precision::F32, false),
];

const CUDA: &[Rung] = &[
    ("1-naive", Algorithm::Naive, Precision::F32, false),
    ("2-tiled", Algorithm::Direct, Precision::F32, false),
    ("3-winograd", Algorithm::Winograd4, Precision::F32, false),
    ("4-tensor-cores-tf32", Algorithm::Direct, Precision::Tf32, false),
    ("4-tensor-cores-f16", Algorithm::Direct, Precision::F16, false),
    ("5-pipelined-tf32", Algorithm::Pipelined(None), Precision::Tf32, false),
    ("5-pipelined-f16", Algorithm::Pipelined(None), Precision::F16, false),
    ("6-fused-f32", Algorithm::Winograd4, Precision::F32, true),
    ("6-fused-f16", Algorithm::Pipelined(None), Precision::F16, true),
    ("6-apart-f32", Algorithm::Winograd4, Precision::F32, false),
    ("6-apart-f16", Algorithm::Pipelined(None), Precision::F16, false),
];

/// The forward passes of the encoder's commonest layers, of patches of 50²; through wgpu of the first alone.
pub(crate) fn cases(sizes: &Sizes, device: DeviceKind) -> Vec<Case> {
    let (rungs, layers): (_, &[&str]) = match device {
        DeviceKind::Wgpu => (WGPU, &["50-layer1"]),
        DeviceKind::Cuda => (CUDA, &["50-layer1", "50-layer2"]),
        _ => (&[][..], &[]),
    };
    let layers = conv2d::layers(sizes).filter(|(name, _)| layers.contains(name));
    layers.flat_map(|(name, layer)| rungs.iter().map(move |rung| case(name, layer, rung))).collect()
}

fn case(layer_name: &str, layer: Layer, &(rung, algorithm, precision, fused): &Rung) -> Case {
    let conv = Conv2d::new(layer.stride, layer.padding).by(algorithm);
    // wgpu has no other precision, not even by name.
    let conv = if precision == Precision::F32 { conv } else { conv.precision(precision) };
    let (name, what) = (format!("ladder/{rung}/{layer_name}"), layer.about("convolution"));
    let with_all = |how| format!("{what}, bias, residual and ReLU {how}");
    let case = match (rung.starts_with("6-"), fused) {
        (false, _) => Case::new(&name, &what, move || layer.forward(conv)),
        (true, true) => Case::new(&name, &with_all("in its epilogue"), move || layer.fused(conv)),
        (true, false) => Case::new(&name, &with_all("behind it"), move || layer.apart(conv)),
    };
    case.flops(layer.flops())
}
