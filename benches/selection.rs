//! Iterative patch selection of one image, from u8 pixels to the places of the patches kept.

use crate::{
    encoder::FLOPS,
    support::{Call, Case, dense_image, device, fill, one, sparse_image},
};
use foveate::{
    Device, Result, Rng, Tensor,
    data::DenseImage,
    select::{Ips, IpsConfig},
};

const SIDE: usize = 1500;
/// The peer's shuffle is the permutation of this seed.
const SEED: u64 = 0;

fn select(image: Result<DenseImage>) -> Result<Call> {
    let image = image?;
    let mut network = Ips::new(IpsConfig::megapixel_mnist(), &device(), &mut Rng::new(0))?;
    fill(&mut network)?;
    one(move || {
        let chosen = network.select(&[&image], &mut Rng::new(SEED))?;
        let places: Vec<i32> =
            chosen.iter().flat_map(|selection| &selection.indices).map(|&place| place as i32).collect();
        Tensor::from_slice(&places, [places.len()], &Device::Cpu)
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let flops = (SIDE / 50).pow(2) * FLOPS;
    let about = "900 patches of 50x50 from 1x1x1500x1500, keep 100, chunks of 100, 4 tokens, 8 heads";
    vec![
        Case::new("selection/dense", &format!("{about}; random pixels"), || select(dense_image(SIDE)))
            .flops(flops),
        Case::new("selection/sparse", &format!("{about}; 55 squares of 28x28 on black"), || {
            select(sparse_image(SIDE))
        })
        .flops(flops),
    ]
}
