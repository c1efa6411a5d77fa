//! Every way to compute the encoder's layers on CUDA, for `cargo xtask tune conv2d`. The name of a case is
//! `tune/CHANNELS-OUTS-KERNEL-STRIDE-PADDING-SIDE/PRECISION/WAY`, and WAY is a constructor of the table that the tuner writes.

use crate::{
    conv2d::{self, Layer},
    support::{Case, sizes::Sizes},
};
use foveate::{
    Precision,
    ops::{Conv2d, conv2d::Algorithm},
};

/// The ways of rounded operands, and those of others.
const ROUNDED: [(&str, Algorithm); 4] = [
    ("Direct", Algorithm::Direct),
    ("Pipelined(0)", Algorithm::Pipelined(Some(32))),
    ("Pipelined(1)", Algorithm::Pipelined(Some(64))),
    ("Pipelined(2)", Algorithm::Pipelined(Some(128))),
];
const EXACT: [(&str, Algorithm); 2] = [("Direct", Algorithm::Direct), ("Winograd", Algorithm::Winograd4)];

pub(crate) fn cases(sizes: &Sizes) -> Vec<Case> {
    let each = |(_, layer): (&'static str, Layer)| {
        Precision::ALL.into_iter().flat_map(move |precision| {
            let exact = precision == Precision::F32;
            // Winograd's form is for 3 by 3 kernels with stride 1.
            let count = 1 + usize::from(layer.kernel == 3 && layer.stride == 1);
            let ways = if exact { &EXACT[..count] } else { &ROUNDED };
            ways.iter().map(move |&(way, algorithm)| case(layer, precision, way, algorithm))
        })
    };
    conv2d::layers(sizes).flat_map(each).collect()
}

fn case(layer: Layer, precision: Precision, way: &str, algorithm: Algorithm) -> Case {
    let Layer { inputs, outputs, kernel, stride, padding, side, .. } = layer;
    let name = format!("tune/{inputs}-{outputs}-{kernel}-{stride}-{padding}-{side}/{precision}/{way}");
    let conv = Conv2d::new(stride, padding).by(algorithm).precision(precision);
    Case::new(&name, &layer.about("convolution"), move || layer.forward(conv)).flops(layer.flops())
}
