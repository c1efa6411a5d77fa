use super::*;
use crate::{
    Grads, Tape,
    data::DenseImage,
    nn::{Activation, ConvLayer, ConvStackConfig, EncoderConfig, GlobalPool, Then},
    testing::*,
};
use std::collections::BTreeMap;

/// Three tiles of 9 × 8 in an image of 9 × 22, the last of which reaches beyond it; 2 × 2 positions in a tile.
fn small() -> ZoomInConfig {
    let attention = |channels| ConvStackConfig {
        channels,
        layers: vec![ConvLayer::same(3, 3, Then::Tanh), ConvLayer::same(1, 3, Then::Nothing)],
    };
    let encoder = ConvStackConfig {
        channels: 1,
        layers: vec![ConvLayer::valid(4, 3, Then::Relu), ConvLayer::valid(3, 3, Then::Nothing)],
    };
    ZoomInConfig {
        tile: [9, 8],
        tile_view: [2, 3],
        sub_view: [2, 2],
        patch: [7, 5],
        samples: 2,
        tiles: attention(1),
        sub_tiles: attention(1),
        encoder: EncoderConfig::Convs(encoder, GlobalPool::Mean),
        contrast: None,
        ..ZoomInConfig::colon_cancer()
    }
}

fn new(config: ZoomInConfig) -> ZoomIn {
    ZoomIn::new(config, &Device::Cpu, &mut Rng::new(4)).unwrap()
}

fn gray(seed: u64) -> DenseImage {
    let mut rng = Rng::new(seed);
    DenseImage::new([1, 9, 22], (0..9 * 22).map(|_| rng.below(256) as u8).collect()).unwrap()
}

fn refs(images: &[DenseImage]) -> Vec<&dyn PatchSource> {
    images.iter().map(|image| image as &dyn PatchSource).collect()
}

fn labels(of: &[i32]) -> Targets {
    Targets { tensors: vec![Tensor::from_slice(of, [of.len()], &Device::Cpu).unwrap()] }
}

type Sums = BTreeMap<String, Vec<f64>>;

fn add_gradients(net: &ZoomIn, grads: &Grads, sums: &mut Sums) {
    for parameter in net.parameters() {
        let Some(gradient) = grads.parameter(parameter) else { continue };
        let sum = sums.entry(parameter.name().into()).or_insert_with(|| vec![0.0; gradient.elements()]);
        sum.iter_mut().zip(gradient.to_vec::<f32>().unwrap()).for_each(|(sum, g)| *sum += f64::from(g));
    }
}

/// Attention B within the tiles `drawn`, with its pass.
fn within(net: &ZoomIn, images: &Images, drawn: &[DrawnTile], pass: &mut Pass) -> Tensor {
    let seen = net.tile_views(images, drawn, 3).unwrap();
    let logits = net.sub_tiles.forward(&seen, pass).unwrap();
    ops::softmax(&ops::reshape(&logits, [drawn.len(), 4]).unwrap(), -1).unwrap()
}

/// All orders in which the tiles drawn can be looked at: rows of `most` positions, and for each tile its own positions.
fn orders(draws: &Draws) -> Vec<Vec<i32>> {
    draws.tiles.iter().fold(vec![vec![]], |all, tile| {
        let own: Vec<Vec<i32>> = match tile.count {
            1 => (0..4).map(|c| vec![c]).collect(),
            _ => (0..16).map(|c| vec![c / 4, c % 4]).filter(|pair| pair[0] != pair[1]).collect(),
        };
        let joined = |before: &Vec<i32>| {
            own.iter().map(|own| [&before[..], &own[..]].concat()).collect::<Vec<Vec<i32>>>()
        };
        all.iter().flat_map(joined).collect()
    })
}

/// Expectations over all tiles and sub-tiles that could be drawn: Φ (D), and gradients of ⟨direction, Φ⟩.
fn enumerate(net: &ZoomIn, images: &Images, direction: &Tensor) -> (Vec<f64>, Sums) {
    let (mut phi, mut sums) = (vec![0.0; 3], Sums::new());
    for first in 0..9 {
        let draws = Draws::new(&[first / 3, first % 3], 2);
        for order in orders(&draws) {
            let tape = Tape::new();
            let mut pass = Pass::evaluation_on(&tape);
            let a = net.attend(images, &mut pass).unwrap();
            let b = within(net, images, &draws.tiles, &mut pass);
            let (of_tiles, of_positions) = (a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
            let draws = Draws::new(&[first / 3, first % 3], 2);
            let sample = Sample { tiles: a, within: b, draws, order };
            let pooled = net.look(images, &sample, &mut pass).unwrap().0;
            let (a, b, Sample { draws, order, .. }) = (of_tiles, of_positions, sample);
            let mut chance: f64 = draws.positions().iter().map(|&t| f64::from(a[t as usize])).product();
            for (tile, (own, b)) in draws.tiles.iter().zip(order.chunks(draws.most()).zip(b.chunks(4))) {
                let mut left = 1.0;
                for &c in &own[..tile.count] {
                    chance *= f64::from(b[c as usize]) / left;
                    left -= f64::from(b[c as usize]);
                }
            }
            let value = pooled.to_vec::<f32>().unwrap();
            phi.iter_mut().zip(value).for_each(|(phi, value)| *phi += chance * f64::from(value));
            let loss = ops::sum_all(&ops::mul(&pooled, direction).unwrap()).unwrap();
            let loss = ops::scale(&loss, chance, 0.0).unwrap();
            add_gradients(net, &tape.backward(&loss).unwrap(), &mut sums);
        }
    }
    (phi, sums)
}

fn distance(got: &[f64], want: &[f64]) -> f64 {
    got.iter().zip(want).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Over all tiles and all sub-tiles that could be drawn, the estimate is the expectation, and every gradient its gradient.
#[test]
fn two_stages_are_unbiased_together() {
    let (net, direction) = (new(small()), random([1, 3], 5));
    for seed in [1, 2] {
        let image = gray(seed);
        let images: [&dyn PatchSource; 1] = [&image];
        let (phi, sums) = enumerate(&net, &images, &direction);
        let tape = Tape::new();
        let mut pass = Pass::evaluation_on(&tape);
        let a = net.attend(&images, &mut pass).unwrap();
        let all: Vec<DrawnTile> = (0..3).map(|tile| DrawnTile { image: 0, tile, count: 4 }).collect();
        let draws = Draws { tiles: all, rows: vec![0, 1, 2] };
        let b = within(&net, &images, &draws.tiles, &mut pass);
        let corners = net.corners(&images, &draws, &[0, 1, 2, 3].repeat(3)).unwrap();
        let f = net.sub_tile_patches(&images, &draws, &corners).unwrap();
        let f = ops::l2_normalize(&net.encoder.forward(&f, &mut pass).unwrap()).unwrap();
        let weights = ops::mul(&b, &ops::reshape(&a, [3, 1]).unwrap()).unwrap();
        let f = ops::mul(&f, &ops::reshape(&weights, [12, 1]).unwrap()).unwrap();
        let exact = ops::sum(&f, &[0]).unwrap();
        let want: Vec<f64> = exact.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();
        assert!(distance(&phi, &want) < 1e-5, "{phi:?}, not {want:?}");
        let loss = ops::sum_all(&ops::mul(&exact, &direction).unwrap()).unwrap();
        let mut want = Sums::new();
        add_gradients(&net, &tape.backward(&loss).unwrap(), &mut want);
        assert_eq!(want.len(), 12, "all but the head");
        for (name, want) in &want {
            let size = distance(want, &vec![0.0; want.len()]);
            let off = distance(&sums[name], want);
            // A constant added to the logits changes nothing: that gradient is rounding alone.
            assert!(off < 3e-4 * size + 1e-6, "{name}: {off} off a gradient of {size}");
        }
    }
}

/// The published prefix sums, which include a draw's own share: the estimate is the same, but as derivatives of it by the
/// features they lack w_m a_m, so that in expectation each feature gets less than its probability.
#[test]
fn inclusive_prefix_sums_are_not_the_gradient() {
    let p = [0.1_f64, 0.2, 0.3, 0.4];
    let f = [1.0_f32, -1.0, 2.0, 0.0];
    let (mut ours, mut inclusive, mut estimate, mut with_inclusive) = ([0.0; 4], [0.0; 4], 0.0, 0.0);
    for (first, second) in (0..16).map(|at| (at / 4, at % 4)).filter(|(a, b)| a != b) {
        let order = [first, second];
        let chance = p[first] * p[second] / (1.0 - p[first]);
        let tape = Tape::new();
        let drawn = Tensor::from_slice(&order.map(|at| p[at] as f32), [1, 2], &Device::Cpu).unwrap();
        let own = Tensor::from_slice(&order.map(|at| f[at]), [1, 2, 1], &Device::Cpu).unwrap();
        let own = tape.watch(&own).unwrap();
        let pooled = ops::expectation(&drawn, &own, false, crate::ops::Estimator::Unbiased).unwrap();
        estimate += chance * f64::from(pooled.to_vec::<f32>().unwrap()[0]);
        let grads = tape.backward(&ops::sum_all(&pooled).unwrap()).unwrap();
        for (at, gradient) in order.iter().zip(grads.of(&own).unwrap().to_vec::<f32>().unwrap()) {
            ours[*at] += chance * f64::from(gradient);
        }
        let (mut before, mut mass) = (0.0, 0.0);
        for (m, &at) in order.iter().enumerate() {
            before += p[at] * f64::from(f[at]);
            mass += p[at];
            with_inclusive += chance * 0.5 * (before + (1.0 - mass) * f64::from(f[at]));
            let later = (order.len() - 1 - m) as f64;
            inclusive[at] += chance * 0.5 * ((1.0 - mass) + p[at] * later);
        }
    }
    assert!((estimate - 0.5).abs() < 1e-6 && (with_inclusive - 0.5).abs() < 1e-12);
    for at in 0..4 {
        assert!((ours[at] - p[at]).abs() < 1e-6, "{ours:?}");
        assert!(inclusive[at] < p[at] - 0.01, "{inclusive:?}");
    }
}

/// Tiles follow A, and sub-tiles follow B: noise is added to logarithms of probabilities.
#[test]
fn sub_tiles_are_drawn_by_both_attentions() {
    let net = new(ZoomInConfig { samples: 1, ..small() });
    let image = gray(3);
    let images: [&dyn PatchSource; 1] = [&image];
    let mut pass = Pass::evaluation();
    let a = net.attend(&images, &mut pass).unwrap().to_vec::<f32>().unwrap();
    let all: Vec<DrawnTile> = (0..3).map(|tile| DrawnTile { image: 0, tile, count: 4 }).collect();
    let b = within(&net, &images, &all, &mut pass).to_vec::<f32>().unwrap();
    let draws = Draws { tiles: all, rows: vec![] };
    let places = net.corners(&images, &draws, &[0, 1, 2, 3].repeat(3)).unwrap();
    let (mut seen, total) = ([0.0_f64; 12], 1500);
    for seed in 0..total {
        let looked = net.forward(&images, &mut Rng::new(seed), &mut pass).unwrap();
        seen[places.iter().position(|place| *place == looked.corners[0]).unwrap()] += 1.0;
    }
    let expected = |at: usize| f64::from(a[at / 4] * b[at]) * total as f64;
    let chi: f64 = (0..12).map(|at| (seen[at] - expected(at)).powi(2) / expected(at)).sum();
    assert!(chi < 31.3, "chi-squared {chi} with 11 degrees of freedom: {seen:?}");
}

/// What a batch shows is what its images show alone, drawn alike; a tile drawn twice is read once.
#[test]
fn tiles_are_read_once() {
    let net = new(ZoomInConfig { samples: 4, ..small() });
    let images = [gray(1), gray(2)];
    let looked = net.forward(&refs(&images), &mut Rng::new(3), &mut Pass::evaluation()).unwrap();
    let drawn: usize = looked.drawn.iter().map(|tile| tile.count).sum();
    assert_eq!((drawn, looked.corners.len()), (8, 8));
    assert_eq!(looked.sub_tiles.dims()[0], looked.drawn.len());
    assert!(looked.drawn.len() <= 6, "four draws of three tiles");
    let mut different: Vec<(usize, usize)> =
        looked.drawn.iter().map(|tile| (tile.image, tile.tile)).collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), looked.drawn.len());
    // Sub-tiles are centred on positions of their tile.
    let owners = looked.drawn.iter().flat_map(|tile| std::iter::repeat_n(tile.tile as i32, tile.count));
    for (tile, [row, column]) in owners.zip(&looked.corners) {
        let (y, x) = (f64::from(*row) + 3.5, f64::from(*column - 8 * tile) + 2.5);
        assert!((0.0..9.0).contains(&y) && (0.0..8.0).contains(&x), "{tile}: {row} {column}");
    }
}

#[test]
fn the_contrastive_loss_is_its_formula() {
    let net = new(ZoomInConfig { contrast: Some(2), entropy: 0.0, ..small() });
    let images = [gray(1), gray(2), gray(3)];
    let images = refs(&images);
    let learn = |of: &[i32], epoch: usize| {
        let (tape, mut rng) = (Tape::new(), Rng::new(9));
        let at = Moment { step: 0, steps: 1, epoch };
        let learned =
            net.learn(&images[..of.len()], &labels(of), at, &mut Pass::training(&tape, &mut rng)).unwrap();
        let total = f64::from(learned.losses.total.item::<f32>().unwrap());
        (
            learned.probabilities[0].to_vec::<f32>().unwrap(),
            total,
            tape.backward(&learned.losses.total).unwrap(),
        )
    };
    let loss = |p: f32| -f64::from(p + 1e-6).ln();
    let (p, before, _) = learn(&[1, 0, 1], 1);
    let mean = (loss(p[1]) + loss(p[2]) + loss(p[5])) / 3.0;
    assert!((before - mean).abs() < 1e-6, "before it begins: {before}, not {mean}");
    // Without images of class 1, or of class 0, nothing is contrasted.
    let (p, none, _) = learn(&[0, 0], 2);
    assert!((none - (loss(p[0]) + loss(p[2])) / 2.0).abs() < 1e-6);
    let (p, only, _) = learn(&[1, 1], 2);
    assert!((only - (loss(p[1]) + loss(p[3])) / 2.0).abs() < 1e-6);
    // With w = 2/3: w L₁ + (1 − w)² L₀ leaves (1 − w) w L_con, a loss of class 0.
    let (p, all, grads) = learn(&[1, 0, 1], 2);
    let known = 2.0 / 3.0 * (loss(p[1]) + loss(p[5])) / 2.0 + loss(p[2]) / 9.0;
    let contrast = (all - known) * 4.5;
    assert!((0.2..2.0).contains(&contrast), "{contrast}");
    for parameter in net.parameters() {
        let gradient = grads.parameter(parameter).unwrap_or_else(|| panic!("{}", parameter.name()));
        assert!(gradient.to_vec::<f32>().unwrap().iter().all(|v| v.is_finite()), "{}", parameter.name());
    }
    let one_tile = new(ZoomInConfig { contrast: Some(0), tile: [9, 30], ..small() });
    let (tape, mut rng) = (Tape::new(), Rng::new(9));
    let at = Moment { step: 0, steps: 1, epoch: 0 };
    let refused = one_tile.learn(&images, &labels(&[1, 0, 1]), at, &mut Pass::training(&tape, &mut rng));
    assert!(refused.unwrap_err().to_string().contains("two tiles"));
}

#[test]
fn masks_supervise_both_attentions() {
    let net = new(small());
    let images = [gray(1), gray(2)];
    let tape = Tape::new();
    let looked = net.forward(&refs(&images), &mut Rng::new(3), &mut Pass::evaluation_on(&tape)).unwrap();
    // One pixel each: in tile 1, upper left quarter; in tile 2, lower right quarter.
    let mask = |at: usize| {
        let mut pixels = vec![0; 9 * 22];
        pixels[at] = 1;
        DenseImage::new([1, 9, 22], pixels).unwrap()
    };
    let masks = [mask(2 * 22 + 9), mask(8 * 22 + 21)];
    let loss = net.supervision(&looked, &refs(&masks)).unwrap();
    let (a, b) = (looked.tiles.to_vec::<f32>().unwrap(), looked.sub_tiles.to_vec::<f32>().unwrap());
    let error = |p: &[f32], marked: &dyn Fn(usize) -> bool| -> f64 {
        let each =
            p.iter().enumerate().map(|(at, p)| (f64::from(*p) - f64::from(u8::from(marked(at)))).powi(2));
        each.sum::<f64>() / p.len() as f64
    };
    let tiles = error(&a, &|at| at == 1 || at == 5);
    let within = error(&b, &|at| {
        let tile = looked.drawn[at / 4];
        (tile.image, tile.tile, at % 4) == (0, 1, 0) || (tile.image, tile.tile, at % 4) == (1, 2, 3)
    });
    let loss_value = f64::from(loss.item::<f32>().unwrap());
    assert!((loss_value - tiles - within).abs() < 1e-6, "{loss_value}, not {tiles} + {within}");
    let grads = tape.backward(&loss).unwrap();
    assert!(net.tiles.parameters().iter().all(|p| grads.parameter(p).is_some()));
    assert!(net.sub_tiles.parameters().iter().all(|p| grads.parameter(p).is_some()));
    assert!(net.supervision(&looked, &refs(&masks)[..1]).is_err());
}

/// Noise of the image's own size, with a bright square in every other image, and its mask.
struct Squares {
    masked: bool,
}

impl crate::train::Dataset for Squares {
    fn len(&self) -> usize {
        32
    }

    fn example(&self, index: usize) -> Result<crate::train::Example> {
        let mut rng = Rng::stream(3, index as u64);
        let (class, row, column) = (index % 2, rng.below(20) as usize, rng.below(20) as usize);
        let bright = |at: usize| {
            class == 1 && at / 32 >= row && at / 32 < row + 12 && at % 32 >= column && at % 32 < column + 12
        };
        let pixels = (0..1024).map(|at| rng.below(60) as u8 + 180 * u8::from(bright(at))).collect();
        let image: Box<dyn PatchSource> = Box::new(DenseImage::new([1, 32, 32], pixels)?);
        let mask = DenseImage::new([1, 32, 32], (0..1024).map(|at| u8::from(bright(at))).collect())?;
        let image =
            if self.masked { Box::new(crate::data::Masked::new(image, Box::new(mask))?) } else { image };
        Ok(crate::train::Example { image, targets: vec![crate::train::Target::Class(class as u32)] })
    }
}

fn of_squares(supervision: f64) -> ZoomIn {
    let sizes = ZoomInConfig { tile: [8, 8], tile_view: [4, 4], sub_view: [4, 4], patch: [6, 6], ..small() };
    new(ZoomInConfig { samples: 4, supervision, ..sizes })
}

fn of_training(epochs: usize) -> crate::train::TrainConfig {
    let base = crate::train::TrainConfig::attention_sampling();
    crate::train::TrainConfig { epochs, batch: 8, learning_rate: 1e-2, ..base }
}

/// Mean attention of the tiles that hold something, over that of all, in images that have it.
fn attention_on_squares(net: &ZoomIn) -> f64 {
    let (mut on, mut count) = (0.0, 0.0);
    for index in (1..32).step_by(2) {
        let image = crate::train::Dataset::example(&Squares { masked: true }, index).unwrap().image;
        let a = net.attend(&[&*image], &mut Pass::evaluation()).unwrap().to_vec::<f32>().unwrap();
        let mask = net.covering(&[image.mask().unwrap()], [4, 4], [4, 4]).unwrap().to_vec::<f32>().unwrap();
        for (a, _) in a.iter().zip(mask).filter(|(_, mask)| *mask > 0.0) {
            (on, count) = (on + f64::from(*a) * 16.0, count + 1.0);
        }
    }
    on / count
}

#[test]
fn masks_draw_attention_in_training() {
    let trained = |supervision: f64| {
        let data = Squares { masked: true };
        let mut trainer = crate::train::Trainer::new(of_squares(supervision), of_training(6), &data).unwrap();
        while trainer.steps_done() < trainer.steps() {
            trainer.step_on(&data).unwrap();
        }
        attention_on_squares(trainer.net())
    };
    let (with, without) = (trained(30.0), attention_on_squares(&of_squares(0.0)));
    assert!(with > 1.5 && with > without + 0.4, "{with} times the mean, at first {without}");
    let data = Squares { masked: false };
    let mut trainer = crate::train::Trainer::new(of_squares(1.0), of_training(1), &data).unwrap();
    assert!(trainer.step_on(&data).unwrap_err().to_string().contains("data::Masked"));
}

#[test]
fn parts_learn_from_masks_before_the_whole() {
    let data = Squares { masked: true };
    let first = ZoomInPretraining::new(of_squares(0.0), &mut Rng::new(1)).unwrap();
    let mut trainer = crate::train::Trainer::new(first, of_training(12), &data).unwrap();
    let mut losses = Vec::new();
    while trainer.steps_done() < trainer.steps() {
        losses.push(trainer.step_on(&data).unwrap().loss);
    }
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (begun, ended) = (mean(&losses[..4]), mean(&losses[losses.len() - 4..]));
    assert!(ended < 0.6 * begun, "{begun} at first, {ended} at last");
    let accuracy = crate::train::evaluate(trainer.net(), &data, 8, 0, |_| true).unwrap();
    assert!(accuracy.of(0) > 0.9, "{}", accuracy.of(0));
    let net = trainer.into_net().into_net();
    assert_eq!(net.parameters().len(), of_squares(0.0).parameters().len());
    assert!(attention_on_squares(&net) > 1.5);
    let tasks = vec![Task::new("a", 3, Activation::Softmax)];
    let other = new(ZoomInConfig { tasks, ..of_squares(0.0).config().clone() });
    assert!(ZoomInPretraining::new(other, &mut Rng::new(1)).is_err());
}

/// Ten sub-tiles through the LeNet set are 236 million multiply-adds, nearly all of the 0.24 billion of the paper.
#[test]
fn published_networks_have_the_published_costs() {
    let colon = ZoomInConfig::colon_cancer();
    let encoder = 10.0 * colon.encoder.macs([27, 27]).unwrap() as f64 / 1e6;
    assert!((encoder - 235.8).abs() < 0.1, "{encoder}");
    let all = new(colon.clone()).macs([500, 500]).unwrap() as f64 / 1e6;
    assert!((encoder / all - 0.96).abs() < 0.01, "{all}");
    assert!(new(colon.with_resnet_set()).macs([500, 500]).unwrap() > 0);
}

#[test]
fn misuse_is_a_typed_error() {
    let refused = |config| ZoomIn::new(config, &Device::Cpu, &mut Rng::new(0)).unwrap_err();
    let task = |classes| vec![Task::new("a", classes, Activation::Softmax)];
    for config in [
        ZoomInConfig { samples: 0, ..small() },
        ZoomInConfig { samples: 5, ..small() },
        ZoomInConfig { tile: [0, 4], ..small() },
        ZoomInConfig { patch: [2, 2], ..small() },
        ZoomInConfig { sub_tiles: ConvStackConfig::ats_speed_limits(1), sub_view: [30, 30], ..small() },
        ZoomInConfig { tiles: ConvStackConfig::ats_attention(3), ..small() },
        ZoomInConfig { contrast: Some(0), tasks: task(3), ..small() },
        ZoomInConfig { tasks: vec![], ..small() },
        ZoomInConfig { entropy: f64::INFINITY, ..small() },
        ZoomInConfig { supervision: f64::NAN, ..small() },
    ] {
        assert!(matches!(refused(config), Error::Argument { .. }));
    }
    assert!(new(small()).predict(&[], &mut Rng::new(0)).is_err());
}
