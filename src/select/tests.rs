use super::*;
use crate::{
    Device, Error, Rng, Tensor,
    data::{DenseImage, PatchSource},
    device::Arms,
    nn::{Activation, GlobalPool, Module, Pass, ResNetConfig, Task},
    ops,
    testing::{bits, on_each_device},
};

fn config(memory: usize, iteration: usize) -> IpsConfig {
    let tasks = vec![Task::new("a", 3, Activation::Softmax), Task::new("b", 2, Activation::Sigmoid)];
    let encoder = ResNetConfig { channels: 1, widths: vec![4, 8], blocks: 1, pool: GlobalPool::Mean };
    let mut config = IpsConfig::with_encoder(encoder, [10, 12], memory, iteration, tasks, true);
    config.stride = [8, 12];
    config.shuffle = Shuffle::None;
    config
}

fn net(config: IpsConfig) -> Ips {
    Ips::new(config, &Device::Cpu, &mut Rng::new(3)).unwrap()
}

/// An image with blank areas and noise.
fn image(height: usize, width: usize, seed: u64) -> DenseImage {
    let mut rng = Rng::new(seed);
    let blank = |r: usize, q: usize| !(r / 16 + q / 16).is_multiple_of(3);
    let pixels =
        (0..height * width).map(|at| if blank(at / width, at % width) { 0 } else { rng.below(256) as u8 });
    DenseImage::new([1, height, width], pixels.collect()).unwrap()
}

fn refs(images: &[DenseImage]) -> Vec<&dyn PatchSource> {
    images.iter().map(|i| i as &dyn PatchSource).collect()
}

#[test]
fn merges_are_as_many_as_published() {
    let mnist = |side| IpsConfig::megapixel_mnist().merges([side; 2]).unwrap();
    assert_eq!([1500, 3000, 10_000].map(mnist), [8, 35, 399]);
    let signs = |patch| {
        let config = IpsConfig { patch: [patch; 2], stride: [patch; 2], ..IpsConfig::traffic_signs() };
        config.merges([1200, 1600]).unwrap()
    };
    assert_eq!([100, 75, 50, 25].map(signs), [6, 11, 24, 96]);
}

#[test]
fn few_patches_are_all_kept_in_order() {
    let images = [image(30, 40, 1)];
    let chosen = net(config(20, 5)).select(&refs(&images), &mut Rng::new(0)).unwrap();
    assert_eq!(chosen[0].indices, (0..9).collect::<Vec<u32>>());
}

/// With one head and one query the published loop is a top-M over all patches, whatever the order.
#[test]
fn a_single_score_row_selects_the_global_best() {
    let mut config = config(6, 4);
    config.tasks.truncate(1);
    (config.transformer.queries, config.transformer.heads) = (1, 1);
    config.elide_constant = false;
    let net = net(config);
    let images = [image(90, 100, 2)];
    let images = refs(&images);
    let grid = net.grid(&images).unwrap();
    let all: Vec<u32> = (0..grid.count() as u32).collect();
    let logits = net.logits(&images, &grid, &all).unwrap().to_vec::<f32>().unwrap();
    let mut best = all.clone();
    best.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
    let chosen = net.select(&images, &mut Rng::new(0)).unwrap();
    assert_eq!(chosen[0].indices, best[..6]);
}

#[test]
fn logits_do_not_depend_on_the_chunk() {
    let net = net(config(6, 4));
    let images = [image(90, 100, 3)];
    let images = refs(&images);
    let grid = net.grid(&images).unwrap();
    let all: Vec<u32> = (0..grid.count() as u32).collect();
    let together = net.logits(&images, &grid, &all).unwrap();
    for size in [1, 7, 31] {
        for chunk in all.chunks(size) {
            let apart = net.logits(&images, &grid, chunk).unwrap();
            let first = chunk[0] as usize;
            assert_eq!(bits(&apart), bits(&ops::slice(&together, first..first + chunk.len()).unwrap()));
        }
    }
}

/// Scoring goes its own way to the logits; it must lead where the network in evaluation mode leads.
#[test]
fn logits_are_those_of_the_network_in_evaluation_mode() {
    for pool in [GlobalPool::Mean, GlobalPool::Max] {
        let mut config = config(6, 4);
        config.use_position = false;
        config.encoder.pool = pool;
        let net = net(config);
        let images = [image(50, 60, 2)];
        let images = refs(&images);
        let grid = net.grid(&images).unwrap();
        let all: Vec<u32> = (0..grid.count() as u32).collect();
        let mut pixels = vec![0; all.len() * 10 * 12];
        images[0].read_patches(&grid, &all, &mut pixels).unwrap();
        let patches = Tensor::from_slice(&pixels, [all.len(), 1, 10, 12], &Device::Cpu).unwrap();
        let patches = ops::to_unit(&patches).unwrap();
        let features = net.encoder().forward(&patches, &mut Pass::evaluation()).unwrap();
        let queries = net.transformer().folded_queries().unwrap();
        let wanted = ops::linear(&features, &queries, None).unwrap().to_vec::<f32>().unwrap();
        let got = net.logits(&images, &grid, &all).unwrap().to_vec::<f32>().unwrap();
        let size = wanted.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
        for (got, wanted) in got.iter().zip(&wanted) {
            assert!((got - wanted).abs() <= 1e-5 * size, "{pool:?}: {got} for {wanted}");
        }
    }
}

/// Standardised pixels: the same network whose first convolution sees them, in scoring, constant patches and training alike.
#[test]
fn pixels_are_standardised_before_the_encoder() {
    let standardize = Standardize { mean: vec![0.3], deviation: vec![0.25] };
    let config = |elide_constant| IpsConfig {
        standardize: Some(standardize.clone()),
        elide_constant,
        use_position: false,
        ..config(6, 4)
    };
    let images = [image(50, 60, 2)];
    let images = refs(&images);
    on_each_device(Arms { wgpu: true, cuda: true }, |device| {
        let net = Ips::new(config(false), device, &mut Rng::new(3)).unwrap();
        let grid = net.grid(&images).unwrap();
        let all: Vec<u32> = (0..grid.count() as u32).collect();
        let mut pixels = vec![0; all.len() * 10 * 12];
        images[0].read_patches(&grid, &all, &mut pixels).unwrap();
        let unit: Vec<f32> = pixels.iter().map(|v| (f32::from(*v) / 255.0 - 0.3) / 0.25).collect();
        let x = Tensor::from_slice(&unit, [all.len(), 1, 10, 12], device).unwrap();
        let features = net.encoder().forward(&x, &mut Pass::evaluation()).unwrap();
        let queries = net.transformer().folded_queries().unwrap();
        let wanted = ops::linear(&features, &queries, None).unwrap().to_vec::<f32>().unwrap();
        let size = wanted.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
        for elide_constant in [false, true] {
            let net = Ips::new(config(elide_constant), device, &mut Rng::new(3)).unwrap();
            let got = net.logits(&images, &grid, &all).unwrap().to_vec::<f32>().unwrap();
            let near = got.iter().zip(&wanted).all(|(got, want)| (got - want).abs() <= 1e-5 * size);
            assert!(near, "{device}: {got:?}, not {wanted:?}");
        }
        // The network itself: a patch's prediction is that of a network with the standardisation in its pixels' stead.
        let chosen = [Selection { indices: vec![0, 3, 5] }];
        let plain =
            Ips::new(IpsConfig { standardize: None, ..config(false) }, device, &mut Rng::new(3)).unwrap();
        let predict = |net: &Ips| {
            let prediction = net.classify(&images, &chosen, &mut Pass::evaluation()).unwrap();
            prediction.probabilities[0].to_vec::<f32>().unwrap()
        };
        assert_ne!(predict(&net), predict(&plain));
        assert_eq!(net.select(&images, &mut Rng::new(0)).unwrap()[0].indices.len(), 6);
    });
    let wrong = Standardize { mean: vec![0.3, 0.3], deviation: vec![0.25, 0.25] };
    let wrong = IpsConfig { standardize: Some(wrong), ..config(false) };
    assert!(Ips::new(wrong, &Device::Cpu, &mut Rng::new(3)).is_err());
}

#[test]
fn eliding_constant_patches_is_exact() {
    for use_position in [false, true] {
        let dense = net(IpsConfig { use_position, ..config(5, 7) });
        let elided = net(IpsConfig { use_position, elide_constant: true, ..config(5, 7) });
        let images = [image(90, 100, 4), image(90, 100, 5)];
        let images = refs(&images);
        let grid = dense.grid(&images).unwrap();
        let all: Vec<u32> = (0..2 * grid.count() as u32).map(|i| i % grid.count() as u32).collect();
        let logits = |net: &Ips| bits(&net.logits(&images, &grid, &all).unwrap());
        assert_eq!(logits(&dense), logits(&elided));
        let chosen = |net: &Ips| net.select(&images, &mut Rng::new(0)).unwrap();
        assert_eq!(chosen(&dense), chosen(&elided));
    }
}

/// Patches are read where they stand in an image in memory, and cut out of any other source: the same bits.
#[test]
fn where_pixels_are_read_makes_no_difference() {
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
        fn read(&self, window: crate::data::Window, out: &mut [u8]) -> crate::Result<()> {
            self.0.read(window, out)
        }
    }
    for elide_constant in [false, true] {
        let net = net(IpsConfig { elide_constant, ..config(5, 7) });
        let images = [image(90, 100, 4), image(90, 100, 5)];
        let elsewhere = images.clone().map(Elsewhere);
        let elsewhere: Vec<&dyn PatchSource> = elsewhere.iter().map(|i| i as &dyn PatchSource).collect();
        let images = refs(&images);
        let grid = net.grid(&images).unwrap();
        let all: Vec<u32> = (0..2 * grid.count() as u32).map(|i| i % grid.count() as u32).collect();
        let logits = |images: &[&dyn PatchSource]| bits(&net.logits(images, &grid, &all).unwrap());
        assert_eq!(logits(&images), logits(&elsewhere));
    }
}

#[test]
fn an_iteration_longer_than_the_image_sees_all_of_it() {
    let images = [image(90, 100, 4)];
    let chosen = |iteration| net(config(5, iteration)).select(&refs(&images), &mut Rng::new(0)).unwrap();
    assert_eq!(chosen(1000), chosen(usize::MAX));
    assert_ne!(chosen(usize::MAX)[0].indices, [0, 1, 2, 3, 4]);
}

#[test]
fn pixels_that_are_not_their_patches_are_refused() {
    let image = [0; 60];
    assert!(PatchPixels::cut_out(&image, [1, 5, 7]).is_err());
    assert!(PatchPixels::cut_out(&image, [1, 0, 7]).is_err());
    assert!(PatchPixels::cut_out(&image, [2, usize::MAX, 2]).is_err());
    let at = |corner| PatchPixels::in_image(&image, [1, 6, 10], [3, 4], [corner].into_iter());
    assert!(at([3, 6]).is_ok());
    assert!(at([4, 6]).is_err() && at([3, 7]).is_err() && at([usize::MAX, 0]).is_err());
    assert!(PatchPixels::in_image(&image, [1, 6, 11], [3, 4], [[0, 0]].into_iter()).is_err());
    let net = net(config(5, 7));
    let scorer = ScorerConfig { use_position: false, elide_constant: false };
    let scorer = Scorer::new(net.encoder(), net.transformer(), scorer).unwrap();
    let patches = PatchPixels::cut_out(&[0; 240], [1, 10, 12]).unwrap();
    assert!(scorer.logits(&patches, &[0, 1]).is_ok());
    assert!(scorer.logits(&patches, &[0, 1, 2]).is_err());
}

#[test]
fn shuffling_is_reproducible_and_gives_original_indices() {
    for shuffle in [Shuffle::Batch, Shuffle::Instance] {
        let net = net(IpsConfig { shuffle, ..config(5, 7) });
        let images = [image(90, 100, 4), image(90, 100, 5)];
        let images = refs(&images);
        let n = net.grid(&images).unwrap().count() as u32;
        let once = net.select(&images, &mut Rng::new(8)).unwrap();
        assert_eq!(once, net.select(&images, &mut Rng::new(8)).unwrap());
        for selection in &once {
            let mut indices = selection.indices.clone();
            indices.sort_unstable();
            indices.dedup();
            assert!(indices.len() == 5 && indices.iter().all(|i| *i < n));
        }
    }
}

#[test]
fn masking_is_of_training_unless_told_otherwise() {
    let images = [image(90, 100, 8), image(90, 100, 9)];
    let images = refs(&images);
    let masked = |stkim| net(IpsConfig { stkim: Some(stkim), ..config(5, 7) });
    let chosen = |net: &Ips, training| match training {
        true => net.select_in_training(&images, &mut Rng::new(6)).unwrap(),
        false => net.select(&images, &mut Rng::new(6)).unwrap(),
    };
    let plain = chosen(&net(config(5, 7)), true);
    assert_eq!(chosen(&masked(Stkim::new(3, 0.0)), true), plain);
    let always = masked(Stkim::new(3, 1.0));
    let without_the_best = chosen(&always, true);
    assert_eq!(chosen(&always, true), without_the_best);
    assert!(without_the_best.iter().zip(&plain).all(|(masked, plain)| masked != plain));
    assert_eq!(chosen(&always, false), plain);
    let official = masked(Stkim { in_evaluation: true, ..Stkim::new(3, 1.0) });
    assert_eq!(chosen(&official, false), without_the_best);
    for stkim in [Stkim::new(0, 0.1), Stkim::new(3, 1.5), Stkim::new(3, f32::NAN)] {
        let refused = IpsConfig { stkim: Some(stkim), ..config(5, 7) }.check();
        assert!(matches!(refused, Err(Error::Argument { op: "ips", .. })), "{stkim:?}");
    }
    for diversity in [-0.1, f64::NAN] {
        assert!(IpsConfig { diversity, ..config(5, 7) }.check().is_err());
    }
}

#[test]
fn a_batch_predicts_what_its_images_predict_alone() {
    let net = net(config(5, 7));
    let images = [image(90, 100, 4), image(90, 100, 5)];
    let all = refs(&images);
    let chosen = net.select(&all, &mut Rng::new(0)).unwrap();
    let together = net.classify(&all, &chosen, &mut Pass::evaluation()).unwrap();
    for b in 0..2 {
        let alone = net.classify(&all[b..=b], &chosen[b..=b], &mut Pass::evaluation()).unwrap();
        for (one, many) in alone.probabilities.iter().zip(&together.probabilities) {
            let many = ops::slice(many, b..b + 1).unwrap().to_vec::<f32>().unwrap();
            let one = one.to_vec::<f32>().unwrap();
            assert!(one.iter().zip(&many).all(|(a, b)| (a - b).abs() < 1e-6), "{one:?} {many:?}");
        }
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let new = |config| Ips::new(config, &Device::Cpu, &mut Rng::new(0));
    assert!(matches!(new(IpsConfig { memory: 0, ..config(1, 1) }), Err(Error::Argument { op: "ips", .. })));
    assert!(new(IpsConfig { tasks: vec![], ..config(1, 1) }).is_err());
    let net = net(config(5, 7));
    let (small, large) = (image(90, 100, 1), image(90, 101, 1));
    let mixed: [&dyn PatchSource; 2] = [&small, &large];
    assert!(matches!(net.select(&mixed, &mut Rng::new(0)), Err(Error::Shape { op: "ips", .. })));
    assert!(net.select(&[], &mut Rng::new(0)).is_err());
    assert!(net.classify(&mixed[..1], &[], &mut Pass::evaluation()).is_err());
    let twins = vec![Task::new("a", 3, Activation::Softmax), Task::new("a", 2, Activation::Sigmoid)];
    assert!(new(IpsConfig { tasks: twins, ..config(1, 1) }).is_err());
    let none = vec![Task::new("a", 0, Activation::Softmax), Task::new("b", 2, Activation::Sigmoid)];
    assert!(new(IpsConfig { tasks: none, ..config(1, 1) }).is_err());
    assert!(new(IpsConfig { stride: [0, 1], ..config(1, 1) }).is_err());
    let tiny = image(5, 5, 1);
    assert!(net.select(&[&tiny], &mut Rng::new(0)).is_err());
    assert!(net.size() > 0);
}
