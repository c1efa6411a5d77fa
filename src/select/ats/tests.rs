use super::*;
use crate::{
    Tape,
    data::{DenseImage, PatchSource},
    nn::{Activation, ConvLayer, ConvStackConfig, EncoderConfig, GlobalPool, PreActivationConfig, Then},
    ops::Estimator,
    testing::*,
};
use std::collections::BTreeMap;

fn gray(height: usize, width: usize, seed: u64) -> DenseImage {
    let mut rng = Rng::new(seed);
    DenseImage::new([1, height, width], (0..height * width).map(|_| rng.below(256) as u8).collect()).unwrap()
}

fn refs(images: &[DenseImage]) -> Vec<&dyn PatchSource> {
    images.iter().map(|image| image as &dyn PatchSource).collect()
}

/// Small and odd: a map of 1 × 5 over a view of 3 × 5, patches of 9 × 7 in images of 23 × 31.
fn small() -> AtsConfig {
    let attention = ConvStackConfig {
        channels: 1,
        layers: vec![ConvLayer::same(3, 3, Then::Tanh), ConvLayer::same(1, 3, Then::Nothing)],
    };
    let encoder = ConvStackConfig {
        channels: 1,
        layers: vec![ConvLayer::valid(4, 3, Then::Relu), ConvLayer::valid(3, 3, Then::Nothing)],
    };
    AtsConfig {
        view: [1, 5],
        patch: [9, 7],
        samples: 3,
        attention,
        encoder: EncoderConfig::Convs(encoder, GlobalPool::Mean),
        tasks: vec![Task::new("a", 3, Activation::Softmax), Task::new("b", 2, Activation::Sigmoid)],
        smoothing: 1e-3,
        ..AtsConfig::megapixel_mnist()
    }
}

fn new(config: AtsConfig) -> Ats {
    Ats::new(config, &Device::Cpu, &mut Rng::new(4)).unwrap()
}

/// All ways to draw n of K positions in order.
fn orders(k: usize, n: usize, replace: bool) -> Vec<Vec<i32>> {
    (0..n).fold(vec![vec![]], |all, _| {
        let longer = |order: Vec<i32>| {
            let next: Vec<i32> = (0..k as i32).filter(|q| replace || !order.contains(q)).collect();
            next.into_iter().map(move |q| order.iter().copied().chain([q]).collect::<Vec<i32>>())
        };
        all.into_iter().flat_map(longer).collect()
    })
}

/// The probability of drawing `order` from the attention a (K).
fn likelihood(a: &[f32], order: &[i32], replace: bool) -> f64 {
    let mut left = 1.0;
    order.iter().fold(1.0, |likelihood, &q| {
        let here = f64::from(a[q as usize]);
        let now = likelihood * here / left;
        left -= if replace { 0.0 } else { here };
        now
    })
}

/// Exact expectations over everything that could be drawn, for all images of a batch at once: of the pooled features (B, D),
/// and of the gradient of `⟨direction, pooled⟩` with respect to every parameter.
fn enumerate(net: &Ats, images: &Images, direction: &Tensor) -> (Vec<f64>, BTreeMap<String, Vec<f64>>) {
    let (b, n) = (images.len(), net.config.samples);
    let mut pooled = vec![0.0; direction.elements()];
    let mut grads: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let attention = net.attend(images, &mut Pass::evaluation()).unwrap();
    let k = attention.dims()[1];
    let attention = attention.to_vec::<f32>().unwrap();
    for order in orders(k, n, net.config.replace) {
        let chances: Vec<f64> =
            attention.chunks(k).map(|a| likelihood(a, &order, net.config.replace)).collect();
        let tape = Tape::new();
        let mut pass = Pass::evaluation_on(&tape);
        let a = net.attend(images, &mut pass).unwrap();
        let positions = Tensor::from_slice(&order.repeat(b), [b, n], &Device::Cpu).unwrap();
        let looked = net.look(images, &a, &positions, &mut pass).unwrap();
        let d = looked.pooled.dims()[1];
        for (at, value) in looked.pooled.to_vec::<f32>().unwrap().iter().enumerate() {
            pooled[at] += chances[at / d] * f64::from(*value);
        }
        let weights: Vec<f32> = chances.iter().map(|&p| p as f32).collect();
        let weights = Tensor::from_slice(&weights, [b, 1], &Device::Cpu).unwrap();
        let loss = ops::mul(&ops::mul(&looked.pooled, direction).unwrap(), &weights).unwrap();
        add_gradients(net, &tape.backward(&ops::sum_all(&loss).unwrap()).unwrap(), &mut grads);
    }
    (pooled, grads)
}

fn add_gradients(net: &Ats, grads: &crate::Grads, sums: &mut BTreeMap<String, Vec<f64>>) {
    for parameter in net.parameters() {
        let Some(gradient) = grads.parameter(parameter) else { continue };
        let sum = sums.entry(parameter.name().into()).or_insert_with(|| vec![0.0; gradient.elements()]);
        sum.iter_mut().zip(gradient.to_vec::<f32>().unwrap()).for_each(|(sum, g)| *sum += f64::from(g));
    }
}

fn close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    let near = got.iter().zip(want).all(|(a, b)| (a - b).abs() <= tolerance);
    assert!(got.len() == want.len() && near, "{what}: {got:?}, not {want:?}");
}

fn distance(got: &[f64], want: &[f64]) -> f64 {
    got.iter().zip(want).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// The pixels of an image of 2 × 2, in which patches of one pixel have the features 1, −1, 2, 0 of the published example.
const PIXELS: [u8; 4] = [170, 0, 255, 85];

/// The published example as a whole network: attention (.1, .2, .3, .4) and features (1, −1, 2, 0) are made of pixels.
///
/// The attention network is a piecewise linear function of a pixel x in [0, 1] with its corners at 1/3 and 2/3: hidden
/// units x, relu(x − 1/3), relu(x − 2/3). The feature is 3 x − 1.
fn published(estimator: Estimator) -> (Ats, DenseImage) {
    let (point, nothing) = (|filters, then| ConvLayer::valid(filters, 1, then), Then::Nothing);
    let config = AtsConfig {
        view: [2, 2],
        patch: [1, 1],
        samples: 2,
        attention: ConvStackConfig { channels: 1, layers: vec![point(3, Then::Relu), point(1, nothing)] },
        encoder: EncoderConfig::Convs(
            ConvStackConfig { channels: 1, layers: vec![point(1, nothing)] },
            GlobalPool::Mean,
        ),
        normalize: false,
        smoothing: 0.0,
        estimator,
        ..AtsConfig::megapixel_mnist()
    };
    let mut net = new(config);
    // log a at x = 0, 1/3, 2/3, 1, and from them the slope at first and its changes.
    let logits = [0.2_f32, 0.4, 0.1, 0.3].map(f32::ln);
    let slopes = [0, 1, 2].map(|at| 3.0 * (logits[at + 1] - logits[at]));
    let mut state = net.state();
    let mut set = |name: &str, values: &[f32]| {
        let dims = state[name].dims();
        state.insert(name.into(), Tensor::from_slice(values, dims, &Device::Cpu).unwrap());
    };
    set("attention.0.weight", &[1.0; 3]);
    set("attention.0.bias", &[0.0, -1.0 / 3.0, -2.0 / 3.0]);
    set("attention.1.weight", &[slopes[0], slopes[1] - slopes[0], slopes[2] - slopes[1]]);
    set("attention.1.bias", &logits[..1]);
    set("feature.0.weight", &[3.0]);
    set("feature.0.bias", &[-1.0]);
    net.load(&state).unwrap();
    (net, DenseImage::new([1, 2, 2], PIXELS.to_vec()).unwrap())
}

/// What the gradient of the logits (dlogit) makes of the weights of the last attention layer: its sum over the positions with
/// the hidden units there.
fn through_hidden_units(dlogit: [f64; 4]) -> [f64; 3] {
    [0.0, 1.0 / 3.0, 2.0 / 3.0].map(|corner| {
        let hidden = PIXELS.map(|pixel| (f64::from(pixel) / 255.0 - corner).max(0.0));
        hidden.iter().zip(dlogit).map(|(h, d)| h * d).sum()
    })
}

#[test]
fn the_published_example_as_a_whole_system() {
    for (estimator, dlogit) in [
        (Estimator::Unbiased, [0.05, -0.3, 0.45, -0.2]),
        (Estimator::Official, [0.041458, -0.176210, 0.216696, -0.081944]),
    ] {
        let (net, image) = published(estimator);
        let images: [&dyn PatchSource; 1] = [&image];
        let attention = net.attend(&images, &mut Pass::evaluation()).unwrap().to_vec::<f32>().unwrap();
        close(&attention.map_f64(), &[0.1, 0.2, 0.3, 0.4], 1e-6, "attention");
        let one = Tensor::full(1.0_f32, [1, 1], &Device::Cpu).unwrap();
        let (pooled, grads) = enumerate(&net, &images, &one);
        close(&pooled, &[0.5], 1e-6, "Φ");
        // Σ a x and Σ a: the gradient of each feature is its attention, whichever the estimator.
        close(&grads["feature.0.weight"], &[0.5], 1e-6, "feature weight");
        close(&grads["feature.0.bias"], &[1.0], 1e-6, "feature bias");
        close(&grads["attention.1.weight"], &through_hidden_units(dlogit), 2e-6, "attention");
    }
}

trait ToF64 {
    fn map_f64(&self) -> Vec<f64>;
}

impl ToF64 for Vec<f32> {
    fn map_f64(&self) -> Vec<f64> {
        self.iter().map(|&v| v.into()).collect()
    }
}

/// Over everything that could be drawn, estimate and gradients of the network are those of the expectation over all
/// positions; with the official estimator the attention's are not.
#[test]
fn estimates_and_gradients_of_the_network_are_unbiased() {
    let images = [gray(23, 31, 1), gray(23, 31, 2)];
    let images = refs(&images);
    let direction = random([2, 3], 5);
    for (replace, estimator, unbiased) in [
        (false, Estimator::Unbiased, true),
        (true, Estimator::Unbiased, true),
        (false, Estimator::Official, false),
    ] {
        let net = new(AtsConfig { replace, estimator, ..small() });
        let (pooled, grads) = enumerate(&net, &images, &direction);
        let tape = Tape::new();
        let mut pass = Pass::evaluation_on(&tape);
        let a = net.attend(&images, &mut pass).unwrap();
        let all = Tensor::from_slice(&(0..5).cycle().take(10).collect::<Vec<i32>>(), [2, 5], &Device::Cpu);
        let corners = net.config.corners([23, 31]).unwrap().offsets(all.as_ref().unwrap()).unwrap();
        let corners: Vec<[i32; 2]> =
            corners.to_vec::<i32>().unwrap().chunks(2).map(|c| [c[0], c[1]]).collect();
        let patches = patches(&images, &corners, [9, 7], &Device::Cpu).unwrap();
        let f = ops::l2_normalize(&net.encoder.forward(&patches, &mut pass).unwrap()).unwrap();
        let f = ops::reshape(&f, [2, 5, 3]).unwrap();
        let phi = ops::sum(&ops::mul(&f, &ops::reshape(&a, [2, 5, 1]).unwrap()).unwrap(), &[1]).unwrap();
        close(&pooled, &phi.to_vec::<f32>().unwrap().map_f64(), 1e-5, "Φ");
        let loss = ops::sum_all(&ops::mul(&phi, &direction).unwrap()).unwrap();
        let mut want = BTreeMap::new();
        add_gradients(&net, &tape.backward(&loss).unwrap(), &mut want);
        assert_eq!(want.len(), 8, "all but the heads");
        for (name, want) in &want {
            let off = distance(&grads[name], want) / distance(want, &vec![0.0; want.len()]);
            // A constant added to all logits changes nothing: both gradients are zero up to rounding.
            let constant = name == "attention.1.bias";
            let right = if constant { distance(&grads[name], want) < 1e-5 } else { off < 2e-4 };
            let biased = !unbiased && name.starts_with("attention") && !constant;
            assert!(if biased { off > 0.05 } else { right }, "{name}: {off} off, {estimator:?} {replace}");
        }
    }
}

/// Every gradient of the loss with the features is a derivative; checked by differences of the loss in a few parameters.
#[test]
fn gradients_of_encoder_and_heads_are_derivatives() {
    let images = [gray(23, 31, 1), gray(23, 31, 2)];
    let images = refs(&images);
    let mut net = new(small());
    let targets = Targets {
        tensors: vec![
            Tensor::from_slice(&[2_i32, 0], [2], &Device::Cpu).unwrap(),
            Tensor::from_slice(&[1.0_f32, 0.0, 1.0, 1.0], [2, 2], &Device::Cpu).unwrap(),
        ],
    };
    let positions = Tensor::from_slice(&[4_i32, 0, 2, 1, 3, 2], [2, 3], &Device::Cpu).unwrap();
    let loss = |net: &Ats, pass: &mut Pass| {
        let a = net.attend(&images, pass).unwrap().detach();
        let looked = net.look(&images, &a, &positions, pass).unwrap();
        net.losses(&looked, &targets, pass).unwrap().total
    };
    let tape = Tape::new();
    let value = loss(&net, &mut Pass::evaluation_on(&tape));
    let mut grads = BTreeMap::new();
    add_gradients(&net, &tape.backward(&value).unwrap(), &mut grads);
    let state = net.state();
    for (name, gradient) in grads.iter().filter(|(name, _)| !name.starts_with("attention")) {
        for at in [0, gradient.len() / 2, gradient.len() - 1] {
            let mut shifted = |by: f32| {
                let mut values = state[name].to_vec::<f32>().unwrap();
                values[at] += by;
                let mut state = state.clone();
                let moved = Tensor::from_slice(&values, state[name].dims(), &Device::Cpu).unwrap();
                state.insert(name.clone(), moved);
                net.load(&state).unwrap();
                f64::from(loss(&net, &mut Pass::evaluation()).item::<f32>().unwrap())
            };
            let difference = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            let error = (difference - gradient[at]).abs();
            assert!(
                error < 2e-3 * (1.0 + difference.abs()),
                "{name}[{at}]: {difference}, not {}",
                gradient[at]
            );
        }
    }
}

/// What is read from a source is what the operation cuts out of the image, also beyond its borders.
#[test]
fn patches_are_those_of_extract_patches() {
    let images = [gray(23, 31, 1), gray(23, 31, 2)];
    let net = new(AtsConfig { patch: [15, 12], ..small() });
    let looked = net.forward(&refs(&images), &mut Rng::new(1), &mut Pass::evaluation()).unwrap();
    let corners: Vec<i32> = looked.corners.iter().flatten().copied().collect();
    let offsets = Tensor::from_slice(&corners, [2, 3, 2], &Device::Cpu).unwrap();
    let want = net.config.corners([23, 31]).unwrap().offsets(&looked.positions).unwrap();
    assert_eq!(bits(&offsets), bits(&want));
    let whole: Vec<u8> = images.iter().flat_map(|image| image.pixels().to_vec()).collect();
    let whole = Tensor::from_slice(&whole, [2, 1, 23, 31], &Device::Cpu).unwrap();
    let cut = ops::to_unit(&ops::extract_patches(&whole, &offsets, [15, 12]).unwrap()).unwrap();
    let read = patches(&refs(&images), &looked.corners, [15, 12], &Device::Cpu).unwrap();
    assert_eq!(bits(&read), bits(&cut));
    assert!(corners.iter().any(|&c| c < 0), "none beyond the border");
}

#[test]
fn uniform_sampling_is_the_same_system_without_attention() {
    let images = [gray(23, 31, 1), gray(23, 31, 2)];
    let net = new(small().uniform());
    assert!(net.parameters().iter().all(|p| !p.name().starts_with("attention")));
    let looked = net.forward(&refs(&images), &mut Rng::new(2), &mut Pass::evaluation()).unwrap();
    assert!(looked.attention.to_vec::<f32>().unwrap().iter().all(|&a| a == 0.2));
    let mut drawn = [0_usize; 5];
    for seed in 0..400 {
        for position in net.draw(&looked.attention, &mut Rng::new(seed)).unwrap().to_vec::<i32>().unwrap() {
            drawn[position as usize] += 1;
        }
    }
    // 2400 draws, 480 of each position.
    assert!(drawn.iter().all(|&n| n.abs_diff(480) < 70), "{drawn:?}");
}

/// The sizes of the published networks, and the multiply-adds that the papers call FLOPs: 497 and 1033 (5 patches) or 1397
/// (10 patches) million; 244 million for colon cancer.
#[test]
fn published_networks_have_the_published_costs() {
    let macs = |config: AtsConfig| new(config).macs([0, 0]).unwrap() as f64 / 1e6;
    let near = |got: f64, want: f64| assert!((got - want).abs() < 0.5, "{got}, not {want}");
    near(macs(AtsConfig::megapixel_mnist()), 496.8);
    near(macs(AtsConfig::speed_limits()), 1033.1);
    near(macs(AtsConfig { samples: 10, ..AtsConfig::speed_limits() }), 1396.7);
    let colon = AtsConfig {
        view: [100, 100],
        patch: [27, 27],
        attention: ConvStackConfig::ats_attention(3),
        encoder: EncoderConfig::Convs(ConvStackConfig::zoom_in_encoder(3), GlobalPool::Mean),
        ..AtsConfig::megapixel_mnist()
    };
    near(macs(colon), 244.5);
    assert_eq!(AtsConfig::megapixel_mnist().map().unwrap(), [180, 180]);
    assert_eq!(AtsConfig::speed_limits().map().unwrap(), [35, 47]);
    // One strided convolution of an odd side with padding below and to the right, as TensorFlow has it.
    let config = PreActivationConfig { channels: 2, width: 3, strides: vec![2, 1, 2] };
    let net = crate::nn::PreActivation::new("f", config, &Device::Cpu, &mut Rng::new(0)).unwrap();
    let y = net.forward(&random([2, 2, 13, 10], 1), &mut Pass::evaluation()).unwrap();
    assert_eq!(*y.dims(), [2, 3, 4, 3]);
}

/// Features of norm 1 make drawing in proportion to the attention the best there is: drawing each position in proportion
/// to `a · (½ or 2)` instead, with the weights that keep the estimate unbiased, has more variance.
#[test]
fn attention_is_the_distribution_of_least_variance() {
    let a = [0.1_f64, 0.2, 0.3, 0.4];
    let features: Vec<[f64; 2]> = [0.3_f64, 1.9, 4.0, 2.2].iter().map(|t| [t.cos(), t.sin()]).collect();
    // Exact variance of the estimate a_i f_i / p_i of Σ a f, i drawn from p.
    let variance = |p: &[f64; 4]| {
        let mean = [0, 1].map(|d| (0..4).map(|i| a[i] * features[i][d]).sum::<f64>());
        let second: f64 = (0..4).map(|i| a[i] * a[i] / p[i]).sum();
        second - mean.iter().map(|m| m * m).sum::<f64>()
    };
    let least = variance(&a);
    for tilt in [[0.5, 1.0, 1.0, 1.0], [1.0, 2.0, 1.0, 0.5], [2.0, 1.0, 1.0, 2.0], [2.5, 1.25, 0.83, 0.62]] {
        let tilted = [0, 1, 2, 3].map(|i| a[i] * tilt[i]);
        let total: f64 = tilted.iter().sum();
        assert!(variance(&tilted.map(|p| p / total)) > least * 1.01, "{tilt:?}");
    }
    // And the network's draws have that variance, within what 4,000 of them show.
    let drawn = {
        let rows = Tensor::from_slice(&a.map(|a| a as f32).repeat(4000), [4000, 4], &Device::Cpu).unwrap();
        let net = new(AtsConfig { replace: true, samples: 1, ..small() });
        net.draw(&rows, &mut Rng::new(3)).unwrap().to_vec::<i32>().unwrap()
    };
    let mean = [0, 1].map(|d| (0..4).map(|i| a[i] * features[i][d]).sum::<f64>());
    let seen =
        drawn.iter().map(|&i| (0..2).map(|d| (features[i as usize][d] - mean[d]).powi(2)).sum::<f64>());
    let seen = seen.sum::<f64>() / 4000.0;
    assert!((seen - least).abs() < 0.05 * least, "{seen}, not {least}");
}

#[test]
fn regularisers_are_part_of_the_loss() {
    let images = [gray(23, 31, 1), gray(23, 31, 2)];
    let total = |entropy: f64, penalty: f64| {
        let net = new(AtsConfig { entropy, penalty, ..small() });
        let mut pass = Pass::evaluation();
        let looked = net.forward(&refs(&images), &mut Rng::new(1), &mut pass).unwrap();
        let targets = Targets {
            tensors: vec![
                Tensor::from_slice(&[2_i32, 0], [2], &Device::Cpu).unwrap(),
                Tensor::zeros([2, 2], &Device::Cpu).unwrap(),
            ],
        };
        let a = looked.attention.to_vec::<f32>().unwrap().map_f64();
        let minus_entropy = a.iter().map(|a| a * (a + 1e-6).ln()).sum::<f64>() / 2.0;
        let weights =
            net.state().into_iter().filter(|(n, _)| n.starts_with("attention") && n.ends_with("weight"));
        let squares =
            weights.map(|(_, w)| w.to_vec::<f32>().unwrap().iter().map(|w| f64::from(w * w)).sum::<f64>());
        let total = net.losses(&looked, &targets, &mut pass).unwrap().total.item::<f32>().unwrap();
        (f64::from(total), minus_entropy, squares.sum::<f64>())
    };
    let (plain, minus_entropy, squares) = total(0.0, 0.0);
    assert!((total(0.5, 0.0).0 - plain - 0.5 * minus_entropy).abs() < 1e-5);
    assert!((total(0.0, 0.1).0 - plain - 0.1 * squares).abs() < 1e-5);
}

#[test]
fn misuse_is_a_typed_error() {
    let refused = |config: AtsConfig| Ats::new(config, &Device::Cpu, &mut Rng::new(0)).unwrap_err();
    for config in [
        AtsConfig { samples: 0, ..small() },
        AtsConfig { samples: 6, ..small() },
        AtsConfig { tasks: vec![], ..small() },
        AtsConfig { attention: ConvStackConfig::ats_encoder(1), view: [30, 30], ..small() },
        AtsConfig { attention: ConvStackConfig::ats_attention(3), ..small() },
        AtsConfig { patch: [2, 2], ..small() },
        AtsConfig { smoothing: 1.5, ..small() },
        AtsConfig { entropy: f64::NAN, ..small() },
    ] {
        assert!(matches!(refused(config), Error::Argument { .. }));
    }
    assert!(
        Ats::new(AtsConfig { samples: 6, replace: true, ..small() }, &Device::Cpu, &mut Rng::new(0)).is_ok()
    );
    let net = new(small());
    let (one, other) = (gray(23, 31, 1), gray(24, 31, 1));
    let mixed: [&dyn PatchSource; 2] = [&one, &other];
    assert!(net.predict(&mixed, &mut Rng::new(0)).is_err());
    assert!(net.predict(&[], &mut Rng::new(0)).is_err());
    let a = net.attend(&mixed[..1], &mut Pass::evaluation()).unwrap();
    let beyond = Tensor::from_slice(&[5_i32], [1, 1], &Device::Cpu).unwrap();
    assert!(net.look(&mixed[..1], &a, &beyond, &mut Pass::evaluation()).is_err());
    let few = Tensor::from_slice(&[1_i32, 2], [2, 1], &Device::Cpu).unwrap();
    assert!(matches!(
        net.look(&mixed[..1], &a, &few, &mut Pass::evaluation()),
        Err(Error::Shape { op: "ats", .. })
    ));
}
