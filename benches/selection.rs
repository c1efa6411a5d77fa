//! Iterative patch selection of one image, from u8 pixels to the places of the patches kept.

use crate::{
    encoder::FLOPS,
    support::{Call, Case, dense_image, device, fill, one, sizes::Sizes, sparse_image},
};
use foveate::{
    Device, Result, Rng, Tensor,
    data::DenseImage,
    select::{Ips, IpsConfig},
};

const PATCH: usize = 50;
/// The peer's shuffle is the permutation of this seed.
const SEED: u64 = 0;

fn select(image: Result<DenseImage>, keep: usize) -> Result<Call> {
    let image = image?;
    let config = IpsConfig { memory: keep, iteration: keep, ..IpsConfig::megapixel_mnist() };
    let mut network = Ips::new(config, &device(), &mut Rng::new(0))?;
    fill(&mut network)?;
    one(move || {
        let chosen = network.select(&[&image], &mut Rng::new(SEED))?;
        let places: Vec<i32> =
            chosen.iter().flat_map(|selection| &selection.indices).map(|&place| place as i32).collect();
        Tensor::from_slice(&places, [places.len()], &Device::Cpu)
    })
}

pub(crate) fn cases(sizes: &Sizes) -> Vec<Case> {
    let (side, keep) = (sizes.image, sizes.keep);
    let count = (side / PATCH).pow(2);
    let about = format!(
        "{count} patches of 50x50 from 1x1x{side}x{side}, keep {keep}, chunks of {keep}, 4 tokens, 8 heads"
    );
    let (dense, sparse) =
        (format!("{about}; random pixels"), format!("{about}; 55 squares of 28x28 on black"));
    vec![
        Case::new("selection/dense", &dense, move || select(dense_image(side), keep)).flops(count * FLOPS),
        Case::new("selection/sparse", &sparse, move || select(sparse_image(side), keep)).flops(count * FLOPS),
    ]
}
