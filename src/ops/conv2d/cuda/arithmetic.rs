//! Which kernels should be fastest for a convolution on CUDA, from operations and bytes: what stands in the table until it is
//! measured, and what decides for shapes that are not in it.
//!
//! Rates are predictions for one H200 (67 Tflop/s in f32, 790 on tensor cores in 16 bits and half of that in TF32, 4.3 TB/s):
//! the tiles in f32 reach 40 % of them, with operands gathered on the way to tensor cores 33 % in 16 bits and 55 % in TF32, from
//! packed operands 60 %. Only their ratios count.

use super::choices::{Layer, Way, rows_for};
use crate::Precision;

const BYTES: f64 = 4.3e12;
const F32: f64 = 0.4 * 67e12;
const TF32: [f64; 2] = [0.55 * 395e12, 0.6 * 395e12];
const SHORT: [f64; 2] = [0.33 * 790e12, 0.6 * 790e12];

/// The way of least predicted time for a convolution of one group.
pub(super) fn fastest(layer: &Layer, precision: Precision) -> Way {
    let pixels = |axes: [usize; 2]| (axes[0] * axes[1]) as f64;
    let [channels, outs] = layer.channels.map(|n| n as f64);
    let products = channels * outs * pixels(layer.kernel) * pixels(layer.output);
    let [gathered, packed] = match precision {
        Precision::F32 => return if winograd_pays(layer, products) { Way::Winograd } else { Way::Direct },
        Precision::Tf32 => TF32,
        Precision::F16 | Precision::Bf16 => SHORT,
    };
    // An image is read in f32 and written in words of the precision; channels fill whole runs of 16 bytes.
    let [word, run] = if precision == Precision::Tf32 { [4.0, 4.0] } else { [2.0, 8.0] };
    let pack = pixels(layer.image) * (4.0 * channels + word * (channels / run).ceil() * run) / BYTES;
    let filled = (channels / run).ceil() * run / channels;
    let pipelined = 2.0 * products * filled / packed + pack;
    if pipelined < 2.0 * products / gathered {
        Way::Pipelined(rows_for(layer.channels[1]))
    } else {
        Way::Direct
    }
}

/// Whether the transforms, which pass over memory twice, cost less than the products that they save.
fn winograd_pays(layer: &Layer, products: f64) -> bool {
    if layer.kernel != [3, 3] || layer.stride != [1, 1] {
        return false;
    }
    let tiles = (layer.output[0].div_ceil(4) * layer.output[1].div_ceil(4)) as f64;
    let [channels, outs] = layer.channels.map(|n| n as f64);
    let planes = channels * (layer.image[0] * layer.image[1]) as f64
        + outs * (layer.output[0] * layer.output[1]) as f64;
    let bytes = 4.0 * (planes + 2.0 * 36.0 * tiles * (channels + outs));
    2.0 * 36.0 * tiles * channels * outs / F32 + bytes / BYTES < 2.0 * products / F32
}
