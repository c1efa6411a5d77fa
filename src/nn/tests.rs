use super::*;
use crate::{
    DType, Device, DeviceKind, Dims, Error, Parameter, Rng, Tape, Tensor, device::Arms, ops, testing::*,
};
use std::collections::BTreeMap;

fn encoder(config: ResNetConfig) -> ResNet {
    ResNet::new("encoder", config, &Device::Cpu, &mut Rng::new(0)).unwrap()
}

#[test]
fn encoders_have_the_published_sizes() {
    assert_eq!(encoder(ResNetConfig::truncated(1)).size(), 676_800);
    assert_eq!(encoder(ResNetConfig::resnet18(3)).size(), 11_176_512);
    assert_eq!(2 * ResNetConfig::truncated(1).macs(50, 50), 105_140_352);
    assert_eq!(2 * ResNetConfig::resnet18(3).macs(100, 100), 882_525_696);
}

#[test]
fn transformers_have_the_published_sizes() {
    let size = |features, queries| {
        let config = TransformerConfig::new(features, queries);
        Transformer::new("transf", config, &Device::Cpu, &mut Rng::new(0)).unwrap().size()
    };
    assert_eq!(size(128, 4), 198_272);
    assert_eq!(size(512, 1), 3_150_848);
}

#[test]
fn names_are_those_of_the_published_network() {
    let net = encoder(ResNetConfig::truncated(1));
    let names: Vec<String> = net.state().into_keys().collect();
    for name in [
        "encoder.0.weight",
        "encoder.1.running_var",
        "encoder.4.0.conv1.weight",
        "encoder.4.1.bn2.bias",
        "encoder.5.0.downsample.0.weight",
        "encoder.5.0.downsample.1.running_mean",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} is not among {names:?}");
    }
    assert!(!names.iter().any(|n| n.contains("4.0.downsample")));
    assert_eq!(net.parameters().len(), 30);
}

#[test]
fn a_state_can_be_loaded_and_a_wrong_one_changes_nothing() {
    let (from, mut to) = (encoder(ResNetConfig::small(1)), encoder(ResNetConfig::small(1)));
    let mut state = from.state();
    state.insert("encoder.1.num_batches_tracked".into(), Tensor::zeros([1], &Device::Cpu).unwrap());
    to.load(&state).unwrap();
    assert!(from.state().iter().all(|(name, t)| bits(t) == bits(&to.state()[name])));
    let before = to.state();
    let wrong = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut state = encoder(ResNetConfig::small(1)).state();
        change(&mut state);
        state
    };
    let missing = wrong(&|s| drop(s.remove("encoder.0.weight")));
    let extra = wrong(&|s| drop(s.insert("encoder.9.weight".into(), random([1], 1))));
    let misshapen = wrong(&|s| drop(s.insert("encoder.1.bias".into(), random([3], 1))));
    for state in [missing, extra, misshapen] {
        assert!(matches!(to.load(&state), Err(Error::Shape { op: "load", .. })));
        assert!(before.iter().all(|(name, t)| bits(t) == bits(&to.state()[name])));
    }
}

#[test]
fn training_uses_batch_statistics_and_evaluation_running_ones() {
    let mut net =
        encoder(ResNetConfig { channels: 1, widths: vec![4, 6], blocks: 1, pool: GlobalPool::Mean });
    let x = random([3, 1, 20, 20], 1);
    let evaluated = net.forward(&x, &mut Pass::evaluation()).unwrap();
    let (tape, mut rng) = (Tape::new(), Rng::new(0));
    let mut pass = Pass::training(&tape, &mut rng);
    let trained = net.forward(&x, &mut pass).unwrap();
    assert_ne!(bits(&evaluated), bits(&trained));
    assert_eq!(trained.dims(), Dims::from([3, 6]));
    let before = net.state();
    net.set_statistics(pass.statistics()).unwrap();
    for (name, t) in net.state() {
        let changed = bits(&t) != bits(&before[&name]);
        assert_eq!(changed, name.contains("running_"), "{name}");
    }
}

/// Of each patch of 50 by 50 in the truncated encoder: its pixels, the stem's maxima and where they are, and what each block
/// but the last gives; and the weights.
#[test]
fn a_recomputing_pass_keeps_what_blocks_give() {
    const PATCHES: usize = 10;
    const BYTES: usize = 4 * 50 * 50 + 13 * 13 * 64 + 4 * (3 * 13 * 13 * 64 + 7 * 7 * 128);
    let net = encoder(ResNetConfig::truncated(1));
    let x = random([PATCHES, 1, 50, 50], 1);
    let (tape, mut rng) = (Tape::new(), Rng::new(0));
    let y = net.forward(&x, &mut Pass::training(&tape, &mut rng).recomputing(true)).unwrap();
    let saved = tape.saved_bytes();
    drop(y);
    assert!(saved <= PATCHES * BYTES + 4 * 1_010 * 680, "{} bytes a patch", saved / PATCHES);
}

/// An encoder with both kinds of block, an odd number of patches of odd sizes, which make several runs, and what to multiply
/// its results by.
fn odd_encoder(device: &Device) -> (ResNet, Tensor, Tensor) {
    let config = ResNetConfig { channels: 2, widths: vec![4, 6], blocks: 2, pool: GlobalPool::Mean };
    let net = ResNet::new("encoder", config, device, &mut Rng::new(0)).unwrap();
    let on = |t: Tensor| t.to_device(device).unwrap();
    (net, on(random([17, 2, 19, 21], 1)), on(random([17, 6], 2)))
}

/// The results, the running statistics, and the gradients of the patches and of every parameter.
fn training_step(
    (net, x, dy): &(ResNet, Tensor, Tensor),
    set: impl Fn(Pass) -> Pass,
) -> (Vec<Vec<u8>>, Vec<(String, Tensor)>) {
    let (tape, mut rng) = (Tape::new(), Rng::new(0));
    let x = tape.watch(x).unwrap();
    let mut pass = set(Pass::training(&tape, &mut rng));
    let y = net.forward(&x, &mut pass).unwrap();
    let mut results = vec![bits(&y)];
    let statistics = pass.statistics();
    net.visit(&mut |_, p| results.extend(statistics.of(p).map(bits)));
    let grads = tape.backward(&ops::sum_all(&ops::mul(&y, dy).unwrap()).unwrap()).unwrap();
    let mut all = vec![("patches".to_owned(), grads.of(&x).unwrap().clone())];
    for p in net.parameters() {
        all.push((p.name().to_owned(), grads.parameter(p).unwrap().clone()));
    }
    (results, all)
}

/// Results and the gradients of blocks are the same bits; of the stem, which adds in another order, within rounding.
#[test]
fn a_recomputing_pass_gives_the_gradients_of_one_that_keeps() {
    on_each_device(Arms { wgpu: true, cuda: true }, |device| {
        let encoder = odd_encoder(device);
        let (plain, recomputed) =
            (training_step(&encoder, |pass| pass), training_step(&encoder, |pass| pass.recomputing(true)));
        assert_eq!(plain.0.len(), 1 + 2 * 10);
        assert_eq!(plain.0, recomputed.0, "{device}");
        assert_eq!(plain.1.len(), recomputed.1.len());
        for ((name, want), (_, got)) in plain.1.iter().zip(&recomputed.1) {
            if name.starts_with("encoder.4") || name.starts_with("encoder.5") {
                assert_eq!(bits(got), bits(want), "{name} on {device}");
                continue;
            }
            assert!(apart(got, want) <= 3e-6, "{name} on {device}: {}", apart(got, want));
        }
    });
}

/// The size of the difference beside that of what was wanted.
fn apart(got: &Tensor, want: &Tensor) -> f64 {
    let (got, want) = (got.to_vec::<f32>().unwrap(), want.to_vec::<f32>().unwrap());
    let off = rms(got.iter().zip(&want).map(|(a, b)| f64::from(a - b)));
    off / rms(want.iter().map(|b| f64::from(*b)))
}

/// The same bits where the two are computed one after the other, and within rounding where convolutions keep statistics.
#[test]
fn a_pass_that_fuses_statistics_gives_the_same_gradients() {
    on_each_device(Arms { wgpu: true, cuda: true }, |device| {
        let encoder = odd_encoder(device);
        let (plain, fused) = (
            training_step(&encoder, |pass| pass),
            training_step(&encoder, |pass| pass.fusing_statistics(true)),
        );
        if device.kind() != DeviceKind::Cuda {
            assert_eq!(plain.0, fused.0, "{device}");
        }
        for ((name, want), (_, got)) in plain.1.iter().zip(&fused.1) {
            assert!(apart(got, want) <= 2e-5, "{name} on {device}: {}", apart(got, want));
        }
    });
}

/// One for each of its ten convolutions.
#[cfg(feature = "cuda")]
#[test]
fn a_step_that_fuses_statistics_takes_fewer_launches() {
    let Some(cuda) = cuda_of_its_own() else { return };
    let encoder = odd_encoder(&Device::Cuda(cuda.clone()));
    let launches = |fuse: bool| {
        let before = cuda.launches();
        training_step(&encoder, |pass| pass.fusing_statistics(fuse));
        cuda.launches() - before
    };
    let (plain, fused) = (launches(false), launches(true));
    assert_eq!(plain - fused, 10, "{plain} launches, and {fused}");
}

/// Along the gradients of the patches and of all parameters together the central difference is their length: along another
/// direction what the ReLUs' kinks add would not be small beside it.
#[test]
fn gradients_of_a_recomputing_pass_agree_with_differences() {
    let encoder = odd_encoder(&Device::Cpu);
    let directions: BTreeMap<String, Tensor> =
        training_step(&encoder, |pass| pass.recomputing(true)).1.into_iter().collect();
    let squares =
        |t: &Tensor| t.to_vec::<f32>().unwrap().into_iter().map(|g| f64::from(g).powi(2)).sum::<f64>();
    let length = directions.values().map(squares).sum::<f64>().sqrt();
    let moved = |by: f64| {
        let (mut net, x, dy) = encoder.clone();
        let to = |t: &Tensor, d: &Tensor| ops::add(t, &ops::scale(d, by, 0.0).unwrap()).unwrap();
        for p in net.parameters_mut() {
            p.set(to(p.tensor(), &directions[p.name()])).unwrap();
        }
        let (tape, mut rng) = (Tape::new(), Rng::new(0));
        let mut pass = Pass::training(&tape, &mut rng).recomputing(true);
        let y = net.forward(&to(&x, &directions["patches"]), &mut pass).unwrap();
        let products = ops::mul(&y, &dy).unwrap().to_vec::<f32>().unwrap();
        products.into_iter().map(f64::from).sum::<f64>()
    };
    let step = 2e-4 / length;
    let difference = (moved(step) - moved(-step)) / (2.0 * step * length);
    assert!((difference - length).abs() < 0.02 * length, "{difference} and {length}");
}

/// What is kept in half of the bytes changes no result, and gradients by its rounding: a mean over pixels gives them all one
/// gradient, of which batch norms leave differences.
#[test]
fn activations_can_be_kept_in_half_the_bytes() {
    let net = encoder(ResNetConfig { channels: 1, widths: vec![4, 6], blocks: 2, pool: GlobalPool::Mean });
    let (x, dy) = (random([6, 1, 27, 25], 1), random([6, 6], 2));
    let run = |dtype: DType, recompute: bool| {
        let (tape, mut rng) = (Tape::keeping(dtype).unwrap(), Rng::new(0));
        let mut pass = Pass::training(&tape, &mut rng).recomputing(recompute);
        let y = net.forward(&x, &mut pass).unwrap();
        let (bytes, results) = (tape.saved_bytes(), bits(&y));
        let grads = tape.backward(&ops::sum_all(&ops::mul(&y, &dy).unwrap()).unwrap()).unwrap();
        let of = |p: &Parameter| grads.parameter(p).unwrap().to_vec::<f32>().unwrap();
        (bytes, results, net.parameters().into_iter().map(of).collect::<Vec<_>>())
    };
    // A recomputing pass keeps little beside the patches and the places of maxima, which stay as they are.
    for (recompute, share) in [(false, 0.8), (true, 0.85)] {
        let whole = run(DType::F32, recompute);
        for (dtype, most) in [(DType::BF16, 0.3), (DType::F16, 0.04)] {
            let (bytes, results, grads) = run(dtype, recompute);
            assert_eq!(results, whole.1);
            let less = (bytes as f64) < share * whole.0 as f64;
            assert!(less, "{bytes} bytes as {dtype}, {} as f32", whole.0);
            let [mut off, mut all] = [0.0_f64; 2];
            for (a, b) in grads.iter().flatten().zip(whole.2.iter().flatten()) {
                off += f64::from(a - b).powi(2);
                all += f64::from(*b).powi(2);
            }
            let error = (off / all).sqrt();
            assert!(error > 0.0 && error < most, "{dtype}: {error}");
        }
    }
    assert!(matches!(Tape::keeping(DType::U8), Err(Error::DType { .. })));
}

#[test]
fn every_parameter_gets_a_gradient() {
    let config = TransformerConfig { heads: 2, ..TransformerConfig::new(6, 3) };
    let transformer = Transformer::new("transf", config, &Device::Cpu, &mut Rng::new(0)).unwrap();
    let net = encoder(ResNetConfig { channels: 2, widths: vec![4, 6], blocks: 2, pool: GlobalPool::Mean });
    let (tape, mut rng) = (Tape::new(), Rng::new(0));
    let mut pass = Pass::training(&tape, &mut rng);
    let features = net.forward(&random([8, 2, 15, 17], 1), &mut pass).unwrap();
    let x = ops::reshape(&features, [2, 4, 6]).unwrap();
    let (y, scores) = transformer.forward(&x, &mut pass).unwrap();
    let loss = ops::sum_all(&ops::mul(&y, &random(y.dims(), 3)).unwrap()).unwrap();
    let loss = ops::add(&loss, &ops::sum_all(&ops::mul(&scores, &scores).unwrap()).unwrap()).unwrap();
    let grads = tape.backward(&loss).unwrap();
    for parameter in net.parameters().into_iter().chain(transformer.parameters()) {
        let gradient = grads.parameter(parameter).unwrap_or_else(|| panic!("{} has none", parameter.name()));
        assert!(gradient.to_vec::<f32>().unwrap().iter().any(|v| *v != 0.0), "{}", parameter.name());
    }
}

#[test]
fn folded_queries_give_the_attention_logits() {
    let config = TransformerConfig { heads: 4, ..TransformerConfig::new(16, 3) };
    let transformer = Transformer::new("transf", config, &Device::Cpu, &mut Rng::new(5)).unwrap();
    let x = random([2, 7, 16], 1);
    let (_, scores) = transformer.forward(&x, &mut Pass::evaluation()).unwrap();
    let logits = ops::linear(&x, &transformer.folded_queries().unwrap(), None).unwrap();
    let probabilities = ops::softmax(&logits, 1).unwrap().to_vec::<f32>().unwrap();
    let mean: Vec<f32> = probabilities.chunks(12).map(|row| row.iter().sum::<f32>() / 12.0).collect();
    for (a, b) in scores.to_vec::<f32>().unwrap().iter().zip(mean) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn impossible_sizes_are_refused() {
    let resnet = |config| ResNet::new("e", config, &Device::Cpu, &mut Rng::new(0));
    assert!(resnet(ResNetConfig { channels: 1, widths: vec![], blocks: 1, pool: GlobalPool::Mean }).is_err());
    assert!(
        resnet(ResNetConfig { channels: 0, widths: vec![8], blocks: 1, pool: GlobalPool::Mean }).is_err()
    );
    let config = TransformerConfig { heads: 3, ..TransformerConfig::new(16, 1) };
    assert!(Transformer::new("t", config, &Device::Cpu, &mut Rng::new(0)).is_err());
}

#[test]
fn a_convolution_of_16_bits_has_gradients_of_16_bits() {
    let layer = Conv2d::new("conv", half(&random([4, 2, 3, 3], 1)), ops::Conv2d::new(1, 1));
    let layer = layer.with_bias(half(&random([4], 2)));
    let tape = Tape::new();
    let mut rng = Rng::new(0);
    let mut pass = Pass::training(&tape, &mut rng);
    let y = layer.forward(&half(&random([2, 2, 5, 5], 3)), &mut pass).unwrap();
    assert_eq!(y.dtype(), crate::DType::F16);
    let grads = tape.backward(&ops::mean_all(&y).unwrap()).unwrap();
    assert!(layer.parameters().iter().all(|p| grads.parameter(p).unwrap().dtype() == crate::DType::F16));
}

/// The network in one launch against its layers one by one on the CPU.
#[cfg(feature = "cuda")]
#[test]
fn one_launch_gives_what_the_layers_give() {
    let Some(cuda) = cuda_of_its_own() else { return };
    let on_gpu = Device::Cuda(cuda.clone());
    on_gpu.set_precision(crate::Precision::F16).unwrap();
    let deep = ResNetConfig { channels: 3, widths: vec![32, 48, 64], blocks: 2, pool: GlobalPool::Mean };
    for (config, [height, width]) in [(ResNetConfig::small(1), [20, 18]), (deep, [17, 23])] {
        let mut on_cpu = encoder(config.clone());
        on_cpu.load(&with_norms_moved(on_cpu.state())).unwrap();
        let mut moved = ResNet::new("encoder", config.clone(), &on_gpu, &mut Rng::new(0)).unwrap();
        let to_gpu = |(name, t): (String, Tensor)| (name, t.to_device(&on_gpu).unwrap());
        moved.load(&on_cpu.state().into_iter().map(to_gpu).collect()).unwrap();
        let dims = Dims::from([11, config.channels, height, width]);
        let mut rng = Rng::new(1);
        let bytes: Vec<u8> = (0..dims.elements()).map(|_| rng.below(256) as u8).collect();
        let pixels = Tensor::from_slice(&bytes, dims, &Device::Cpu).unwrap();
        let want = on_cpu.fused().unwrap().forward(&pixels).unwrap().to_vec::<f32>().unwrap();

        let (fused, pixels) = (moved.fused().unwrap(), pixels.to_device(&on_gpu).unwrap());
        fused.forward(&pixels).unwrap();
        let before = cuda.launches();
        let got = fused.forward(&pixels).unwrap();
        assert_eq!(cuda.launches() - before, 1, "packed once, then one launch");
        let values = got.to_vec::<f32>().unwrap();
        let error = rms(values.iter().zip(&want).map(|(a, b)| f64::from(a - b)));
        let size = rms(want.iter().map(|&v| f64::from(v)));
        assert!(error > 0.0 && error < 2e-3 * size, "{config:?}: error {error:e} of {size:e}");
        for run in [0..1, 3..8, 10..11] {
            let part = fused.forward(&pixels.rows(run.clone()).unwrap()).unwrap();
            assert_eq!(bits(&part), bits(&got.rows(run).unwrap()), "a patch's bits depend on its place");
        }
    }
}

/// A state whose batch norms have other scales, shifts and statistics than new ones have.
#[cfg(feature = "cuda")]
fn with_norms_moved(state: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let moved = |(seed, (name, t)): (usize, (String, Tensor))| {
        if t.dims().rank() != 1 {
            return (name, t);
        }
        let noise = ops::scale(&random(t.dims(), seed as u64), 0.1, 0.0).unwrap();
        (name, ops::add(&t, &ops::relu(&noise).unwrap()).unwrap())
    };
    state.into_iter().enumerate().map(moved).collect()
}
