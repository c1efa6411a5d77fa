//! Iterative patch selection of one image, from u8 pixels to the places of the patches kept.

use crate::{
    encoder::FLOPS,
    support::{Call, Case, dense_image, device, fill, one, sizes::Sizes, sparse_image},
};
use foveate::{
    Device, Precision, Result, Rng, Tensor,
    data::{DenseImage, PatchSource, Window},
    select::{Ips, IpsConfig, Scoring},
};

const PATCH: usize = 50;
/// The peer's shuffle is the permutation of this seed.
const SEED: u64 = 0;

/// Which encodes every patch, or of constant ones one for each of their values.
fn network(keep: usize, elide_constant: bool) -> Result<Ips> {
    let config = IpsConfig { memory: keep, iteration: keep, elide_constant, ..IpsConfig::megapixel_mnist() };
    let mut network = Ips::new(config, &device(), &mut Rng::new(0))?;
    fill(&mut network)?;
    Ok(network)
}

fn places(network: &Ips, images: &[&dyn PatchSource]) -> Result<Tensor> {
    let chosen = network.select(images, &mut Rng::new(SEED))?;
    let places: Vec<i32> =
        chosen.iter().flat_map(|selection| &selection.indices).map(|&place| place as i32).collect();
    Tensor::from_slice(&places, [places.len()], &Device::Cpu)
}

fn select(image: Result<DenseImage>, keep: usize) -> Result<Call> {
    let (image, network) = (image?, network(keep, false)?);
    one(move || places(&network, &[&image]))
}

/// An image that is read where it is asked for: a selection gets it in strips.
struct Elsewhere(DenseImage);

impl PatchSource for Elsewhere {
    fn channels(&self) -> usize {
        self.0.channels()
    }
    fn height(&self) -> usize {
        self.0.height()
    }
    fn width(&self) -> usize {
        self.0.width()
    }
    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        self.0.read(window, out)
    }
}

/// How a selection in f16 goes about it.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Graph,
    Strips,
    Layers,
}

/// So many images at once, in f16.
fn in_f16(way: Way, count: usize, side: usize, keep: usize) -> Result<Call> {
    let images = (0..count).map(|_| dense_image(side, 0)).collect::<Result<Vec<DenseImage>>>()?;
    let images: Vec<Box<dyn PatchSource>> = images
        .into_iter()
        .map(|image| -> Box<dyn PatchSource> {
            if way == Way::Strips { Box::new(Elsewhere(image)) } else { Box::new(image) }
        })
        .collect();
    let mut network = network(keep, false)?;
    let by_layers = way == Way::Layers;
    network.set_scoring(Scoring { precision: Some(Precision::F16), by_layers, ..Scoring::default() });
    one(move || {
        let images: Vec<&dyn PatchSource> = images.iter().map(|image| &**image).collect();
        places(&network, &images)
    })
}

/// The ways of a selection in f16 against each other, on CUDA.
pub(crate) fn in_f16_cases(sizes: &Sizes) -> Vec<Case> {
    let (side, keep) = (sizes.image, sizes.keep);
    let count = (side / PATCH).pow(2);
    let case = |name: &str, way: Way, images: usize, how: &str| {
        let about =
            format!("{count} patches of each of {images} images of {side}x{side}, keep {keep}, f16, {how}");
        Case::new(name, &about, move || in_f16(way, images, side, keep)).flops(images * count * FLOPS)
    };
    vec![
        case("selection-f16/one-launch", Way::Graph, 1, "a graph with the encoder in one launch"),
        case("selection-f16/strips", Way::Strips, 1, "patches cut out by the host, in strips"),
        case("selection-f16/by-layers", Way::Layers, 1, "the encoder's layers one by one"),
        case("selection-f16/batch", Way::Graph, 16, "a graph with the encoder in one launch"),
    ]
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
        Case::new("selection/dense", &dense, move || select(dense_image(side, 0), keep)).flops(count * FLOPS),
        Case::new("selection/sparse", &sparse, move || select(sparse_image(side, 0), keep))
            .flops(count * FLOPS),
    ]
}

/// Images of independent pixels, or nearly empty ones.
type Images = fn(usize, usize) -> Result<DenseImage>;

/// Selections of a batch at the device's precision, every constant patch encoded or one for each of their values. Calls take
/// different batches in turn, so that none finds its images in a cache.
fn batch(images: Images, [count, side, sets]: [usize; 3], keep: usize, skip: bool) -> Result<Call> {
    let images = (0..count * sets).map(|at| images(side, at)).collect::<Result<Vec<DenseImage>>>()?;
    let (network, mut turn) = (network(keep, skip)?, 0);
    one(move || {
        let batch = &images[turn % sets * count..][..count];
        turn += 1;
        places(&network, &batch.iter().map(|image| image as &dyn PatchSource).collect::<Vec<_>>())
    })
}

/// Batches of images, at the precision that the device is set to.
pub(crate) fn batches(sizes: &Sizes) -> Vec<Case> {
    let mut made = Vec::new();
    for &(count, side, sets) in sizes.batches {
        let kinds: [(&str, Images, bool); 3] = [
            ("dense", dense_image, false),
            ("sparse", sparse_image, false),
            ("sparse-skipping", sparse_image, true),
        ];
        for (kind, images, skip) in kinds {
            let patches = (side / PATCH).pow(2);
            let what = if kind == "dense" { "random pixels" } else { "55 squares of 28x28 on black" };
            let how = if skip { "one constant patch of each value encoded" } else { "every patch encoded" };
            let about = format!(
                "{patches} patches of each of {count} images of {side}x{side}, keep {}; {what}, {how}",
                sizes.keep
            );
            let keep = sizes.keep;
            let case = Case::new(&format!("selection/{kind}-{count}x{side}"), &about, move || {
                batch(images, [count, side, sets], keep, skip)
            });
            // What is skipped is not arithmetic that was done.
            let flops = if skip { 0 } else { count * patches * FLOPS };
            made.push(case.flops(flops).bytes(count * side * side));
        }
    }
    made
}
