//! The rungs of the convolution, from a thread for each result to Winograd's tiles: what each change is worth on the
//! adapter at hand.

use crate::{
    conv2d::{self, Layer},
    support::{Case, sizes::Sizes},
};
use foveate::ops::{Conv2d, conv2d::Algorithm};

const RUNGS: [Algorithm; 5] =
    [Algorithm::Naive, Algorithm::Tiled, Algorithm::Blocked, Algorithm::Registers, Algorithm::Winograd4];

/// The forward pass of the encoder's commonest layer.
pub(crate) fn cases(sizes: &Sizes) -> Vec<Case> {
    let layers = conv2d::layers(sizes).filter(|(name, _)| *name == "50-layer1");
    let rungs = layers.flat_map(|(_, layer)| RUNGS.map(|rung| (layer, rung)));
    let case = |(layer, rung): (Layer, Algorithm)| {
        let name = format!("ladder/{}", format!("{rung:?}").to_lowercase());
        let conv = Conv2d::new(layer.stride, layer.padding).by(rung);
        Case::new(&name, &layer.about("convolution"), move || layer.forward(conv)).flops(layer.flops())
    };
    rungs.map(case).collect()
}
