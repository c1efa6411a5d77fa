//! Operations whose operands are larger than a binding may be run in parts, and give the same bits as in one piece.

use crate::{
    DType, Device, Rng, Tensor,
    device::{Op, run},
    ops::{
        blend_patches::{BlendPatches, BlendPatchesGradImage, BlendPatchesGradIndicators, IndicatorGradient},
        conv2d::{Conv2d, Conv2dGradInput, Conv2dGradWeight},
        convert::Convert,
        cross_attention::{CrossAttention, CrossAttentionGrad},
        dropout::Dropout,
        elementwise::{Add, Binary},
        expectation::{Estimator, Expectation, ExpectationGradAttention, ExpectationGradFeatures},
        fold_queries::FoldQueries,
        gated_attention::{GatedAttention, GatedAttentionGrad},
        linear::Linear,
        matmul::MatMul,
        perturbed_top_k::{Noise, PerturbedTopK, PerturbedTopKGrad},
        sampling::{GumbelMax, GumbelTopK},
        unfold::Grid,
    },
    testing::{bits, half, random, rms},
    wgpu::{Options, Wgpu},
};

/// Two devices of one adapter: with usual limits, and with bindings and grids much smaller than the work.
fn devices() -> Option<[Device; 2]> {
    let usual = ::wgpu::Limits::defaults();
    let small = ::wgpu::Limits {
        max_storage_buffer_binding_size: 64 << 10,
        max_compute_workgroups_per_dimension: 50,
        ..usual.clone()
    };
    let open = |limits| Wgpu::open(&Options { limits: Some(limits), ..Options::default() }).map(Device::Wgpu);
    Some([open(usual).ok()?, open(small).ok()?])
}

/// The results of the operation on the first device, if the second one gives the same bits.
fn same<O: Op>(devices: &[Device; 2], op: &O, ins: &[&Tensor]) -> Vec<Tensor> {
    let largest = ins.iter().map(|t| t.elements() * t.dtype().size()).max().unwrap_or(0);
    assert!(largest > 64 << 10, "{op:?} of {ins:?} needs no cut");
    let [mut whole, cut] = devices.each_ref().map(|device| {
        let moved: Vec<Tensor> = ins.iter().map(|t| t.to_device(device).unwrap()).collect();
        let outs = run(op, &moved.iter().collect::<Vec<_>>());
        outs.unwrap_or_else(|e| panic!("{op:?} of {ins:?} on {device}: {e}")).into_vec()
    });
    for (at, (a, b)) in whole.iter().zip(&cut).enumerate() {
        assert!(bits(a) == bits(b), "{op:?} of {ins:?}: result {at} has other bits in parts");
    }
    whole.iter_mut().for_each(|out| *out = out.to_device(&Device::Cpu).unwrap());
    whole
}

#[test]
fn samples() {
    let Some(devices) = devices() else { return };
    let words = Rng::new(3).reserve(1 << 22);
    for (dims, k) in [([90, 300], 7), ([8, 3000], 20), ([5, 6000], 900)] {
        let logits = random(dims, 1);
        same(&devices, &GumbelTopK { k, words }, &[&logits]);
        same(&devices, &GumbelMax { draws: 3, words }, &[&logits]);
    }
    let (scores, noise) = (random([4, 100], 1), random([4, 70, 100], 2));
    let (sigma, given) = (0.4, Noise::Given);
    let outs = same(&devices, &PerturbedTopK { k: 60, sigma, noise: given }, &[&scores, &noise]);
    let dy = random([4, 60, 100], 3);
    same(&devices, &PerturbedTopKGrad { sigma, noise: given }, &[&dy, &outs[1], &noise]);
    same(
        &devices,
        &PerturbedTopKGrad { sigma, noise: Noise::Drawn { samples: 70, words } },
        &[&dy, &outs[1]],
    );
    let long = random([40, 500], 4);
    same(&devices, &PerturbedTopK { k: 20, sigma, noise: Noise::Drawn { samples: 6, words } }, &[&long]);
}

#[test]
fn attention() {
    let Some(devices) = devices() else { return };
    let (b, n, d, heads, queries, values, outputs) = (30, 50, 16, 4, 2, 12, 9);
    let (x, u) = (random([b, n, d], 1), random([heads * queries, d], 2));
    let (wv, wo) = (random([values, d], 3), random([outputs, values], 4));
    let (dy, dscores) = (random([b, queries, outputs], 5), random([b, n], 6));
    for dropout in [None, Some(Dropout { p: 0.3, words: Rng::new(5).reserve(1 << 20) })] {
        same(&devices, &CrossAttention { heads, dropout, keep: false, precision: None }, &[&x, &u, &wv, &wo]);
        let attention = CrossAttention { heads, dropout, keep: true, precision: None };
        let outs = same(&devices, &attention, &[&x, &u, &wv, &wo]);
        let op = CrossAttentionGrad { attention, wants: [true; 4] };
        same(&devices, &op, &[&x, &u, &wv, &wo, &outs[2], &outs[3], &dy, &dscores]);
    }
    let fold = FoldQueries { heads: 5 };
    let (q, wq, wk) = (random([3, 100], 1), random([200, 100], 2), random([200, 100], 3));
    same(&devices, &fold, &[&q, &wq, &wk]);
}

#[test]
fn tensors_of_16_bits() {
    let Some(devices) =
        devices().filter(|[device, _]| matches!(device, Device::Wgpu(device) if device.has_f16()))
    else {
        return;
    };
    let (a, b) = (random([301, 333], 1), random([301, 333], 2));
    for to in [DType::F16, DType::BF16] {
        let short = same(&devices, &Convert { to }, &[&a]).remove(0);
        same(&devices, &Convert { to: DType::F32 }, &[&short]);
    }
    let [a, b] = [half(&a), half(&b)];
    same(&devices, &Binary::<Add>::default(), &[&a, &b]);
    let batch = [[31, 41, 33], [31, 33, 29]].map(|dims| half(&random(dims, 3)));
    same(&devices, &MatMul::default(), &batch.each_ref());
    same(&devices, &Linear::default(), &[&a, &half(&random([9, 333], 3)), &half(&random([9], 4))]);
    let (b, n, d, heads, queries, values, outputs) = (71, 49, 17, 4, 2, 12, 9);
    let (x, u) = (random([b, n, d], 1), random([heads * queries, d], 2));
    let (wv, wo) = (random([values, d], 3), random([outputs, values], 4));
    let [x, u, wv, wo] = [x, u, wv, wo].map(|t| half(&t));
    let attention = CrossAttention { heads, dropout: None, keep: true, precision: None };
    let outs = same(&devices, &attention, &[&x, &u, &wv, &wo]);
    let (dy, dscores) = (half(&random([b, queries, outputs], 5)), half(&random([b, n], 6)));
    let op = CrossAttentionGrad { attention, wants: [true; 4] };
    same(&devices, &op, &[&x, &u, &wv, &wo, &outs[2], &outs[3], &dy, &dscores]);
}

#[test]
fn convolutions_of_16_bits() {
    let Some(devices) =
        devices().filter(|[device, _]| matches!(device, Device::Wgpu(device) if device.has_f16()))
    else {
        return;
    };
    let conv = Conv2d::new(2, 1);
    let (x, weight) = (half(&random([65, 8, 17, 17], 1)), half(&random([5, 8, 3, 3], 2)));
    let y = same(&devices, &conv, &[&x, &weight]).remove(0);
    let dy = half(&random(y.dims(), 3));
    same(&devices, &Conv2dGradInput { conv, image: [17, 17] }, &[&half(&random([131, 5, 9, 9], 4)), &weight]);
    // What is added up over the parts of a batch has other bits than in one piece, but is rounded once all the same.
    let op = Conv2dGradWeight { conv, kernel: [3, 3] };
    let reference = [&x, &dy].map(|t| crate::check::to_f64(t).unwrap());
    let want = run(&op, &reference.each_ref()).unwrap()[0].to_vec::<f64>().unwrap();
    let moved = [&x, &dy].map(|t| t.to_device(&devices[1]).unwrap());
    let got = run(&op, &moved.each_ref()).unwrap()[0].to_vec::<::half::f16>().unwrap();
    let error = rms(got.iter().zip(&want).map(|(got, want)| got.to_f64() - want));
    let rounding = rms(want.iter().map(|want| ::half::f16::from_f64(*want).to_f64() - want));
    assert!(error <= 1.1 * rounding, "{error:e}, one rounding makes {rounding:e}");
}

#[test]
fn pooling() {
    let Some(devices) = devices() else { return };
    let (b, n, d, hidden) = (3, 500, 16, 12);
    let (h, v, u) = (random([b, n, d], 1), random([hidden, d], 2), random([hidden, d], 3));
    let [bv, bu, w] = [4, 5, 6].map(|seed| random([hidden], seed));
    same(&devices, &GatedAttention { keep: false, precision: None }, &[&h, &v, &bv, &u, &bu, &w]);
    let outs = same(&devices, &GatedAttention { keep: true, precision: None }, &[&h, &v, &bv, &u, &bu, &w]);
    let op = GatedAttentionGrad { wants: [true; 6], precision: None };
    let (dy, da) = (random([b, d], 7), random([b, n], 8));
    same(&devices, &op, &[&h, &v, &u, &w, &outs[1], &outs[2], &outs[3], &dy, &da]);
}

#[test]
fn expectations() {
    let Some(devices) = devices() else { return };
    let (a, f, dy) = (random([700, 40], 1), random([700, 40, 5], 2), random([700, 5], 3));
    let a = crate::ops::softmax(&a, -1).unwrap();
    same(&devices, &Expectation { replace: false }, &[&a, &f]);
    same(&devices, &ExpectationGradFeatures { replace: false }, &[&a, &dy]);
    let estimator = Estimator::Unbiased;
    same(&devices, &ExpectationGradAttention { replace: false, estimator }, &[&a, &f, &dy]);
}

#[test]
fn blended_windows() {
    let Some(devices) = devices() else { return };
    let grid = Grid { patch: [20, 11], stride: [8, 7], counts: [11, 8] };
    let (x, w) = (random([3, 2, 100, 60], 1), random([3, 4, 88], 2));
    same(&devices, &BlendPatches { grid }, &[&x, &w]);
    let dy = random([3, 4, 2, 20, 11], 3);
    let op = BlendPatchesGradIndicators { grid, gradient: IndicatorGradient::Full };
    same(&devices, &op, &[&x, &w, &dy]);
    let wide = Grid { patch: [30, 31], stride: [8, 7], counts: [9, 5] };
    let (w, dy) = (random([6, 4, 45], 2), random([6, 4, 2, 30, 31], 3));
    same(&devices, &BlendPatchesGradImage { grid: wide, image: [100, 60] }, &[&w, &dy]);
}
