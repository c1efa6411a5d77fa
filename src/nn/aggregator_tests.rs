//! Tests of what brings instances together: Nyström attention and TransMIL's aggregator.

use super::*;
use crate::{
    DType, Device, Parameter, Result, Rng, Tape, Tensor,
    check::to_f64,
    ops::{self, MatMul},
    testing::*,
};

fn config(features: usize, landmarks: usize) -> NystromConfig {
    NystromConfig { heads: 2, landmarks, kernel: 5, dropout: 0.0, ..NystromConfig::new(features) }
}

fn nystrom(config: NystromConfig) -> Nystrom {
    Nystrom::new("n", config, &Device::Cpu, &mut Rng::new(1)).unwrap()
}

fn aggregator(features: usize, attention: NystromConfig) -> TransMil {
    TransMil::new("t", features, attention, &Device::Cpu, &mut Rng::new(2)).unwrap()
}

/// The same network with parameters in the reference precision.
fn wide<M: Module>(mut net: M) -> M {
    net.visit_mut(&mut |_, parameter| {
        *parameter = Parameter::new(parameter.name().to_owned(), to_f64(parameter.tensor()).unwrap());
    });
    net
}

/// As many landmarks as tokens: each token is one, the inverse cancels, and exact attention is left.
#[test]
fn with_every_token_a_landmark_attention_is_exact() {
    let (b, n, d) = (2, 6, 8);
    let net = wide(nystrom(NystromConfig { iterations: 20, ..config(d, n) }));
    let x = to_f64(&random([b, n, d], 3)).unwrap();
    let got = net.forward(&x, &mut Pass::evaluation()).unwrap();
    let state = net.state();
    let linear = |x: &Tensor, name: &str| ops::linear(x, &state[name], None).unwrap();
    let qkv = linear(&x, "n.to_qkv.weight");
    let qkv = ops::transpose(&ops::reshape(&qkv, [b, n, 3, 2, 4]).unwrap(), &[2, 0, 3, 1, 4]).unwrap();
    let part = |at: usize| ops::reshape(&ops::slice(&qkv, at..at + 1).unwrap(), [b, 2, n, 4]).unwrap();
    let flags = MatMul { transpose_b: true, ..Default::default() };
    let logits = ops::scale(&ops::matmul_with(flags, &part(0), &part(1)).unwrap(), 0.5, 0.0).unwrap();
    let y = ops::matmul(&ops::softmax(&logits, -1).unwrap(), &part(2)).unwrap();
    let along = ops::Conv2d { padding: [2, 2, 0, 0], groups: 2, ..ops::Conv2d::new(1, 0) };
    let residual = ops::conv2d(&part(2), &state["n.res_conv.weight"], None, along).unwrap();
    let y = ops::transpose(&ops::add(&y, &residual).unwrap(), &[0, 2, 1, 3]).unwrap();
    let y = linear(&ops::reshape(&y, [b, n, d]).unwrap(), "n.to_out.0.weight");
    let want = ops::add(&y, &state["n.to_out.0.bias"]).unwrap();
    let (got, want) = (got.to_vec::<f64>().unwrap(), want.to_vec::<f64>().unwrap());
    assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-9), "{got:?}\n{want:?}");
}

#[test]
fn the_inverse_is_one() {
    let a = ops::softmax(&to_f64(&random([2, 3, 5, 5], 4)).unwrap(), -1).unwrap();
    let z = super::nystrom::inverse(&a, 25).unwrap();
    let az = ops::matmul(&a, &z).unwrap().to_vec::<f64>().unwrap();
    let unit = |at: usize| f64::from(u8::from(at % 25 / 5 == at % 5));
    assert!(az.iter().enumerate().all(|(at, v)| (v - unit(at)).abs() < 1e-9), "{az:?}");
}

/// Odd lengths, with zeros in front and without.
#[test]
fn gradients_are_derivatives() {
    for (n, landmarks) in [(7, 3), (6, 3), (1, 2)] {
        let net = nystrom(config(4, landmarks));
        judge_composed(|x, net: &Nystrom, pass| net.forward(x, pass), &net, &random([2, n, 4], 5));
    }
    for n in [1, 2, 3, 5, 9] {
        let net = aggregator(3, config(4, 3));
        judge_composed(|x, net: &TransMil, pass| net.forward(x, pass), &net, &random([2, n, 3], 6));
    }
}

/// Differences in f64 judge the gradient of `x`; those of f32 that of one element of each parameter.
fn judge_composed<M: Module + Clone>(
    f: impl Fn(&Tensor, &M, &mut Pass) -> Result<Tensor>,
    net: &M,
    x: &Tensor,
) {
    let exact = wide(net.clone());
    let of_x = |ins: &[Tensor]| {
        let net = if ins[0].dtype() == DType::F64 { &exact } else { net };
        Ok(vec![f(&ins[0], net, &mut Pass::evaluation())?])
    };
    crate::check::gradients(of_x, std::slice::from_ref(x), 1e-5, 1e-6).unwrap();
    let x = to_f64(x).unwrap();
    let value = |net: &M, pass: &mut Pass| {
        let y = f(&x, net, pass).unwrap();
        let direction = to_f64(&random(y.dims(), 9)).unwrap();
        ops::sum_all(&ops::mul(&y, &direction).unwrap()).unwrap()
    };
    let tape = Tape::new();
    let grads = tape.backward(&value(&exact, &mut Pass::evaluation_on(&tape))).unwrap();
    for parameter in exact.parameters() {
        let name = parameter.name();
        let gradient =
            grads.parameter(parameter).unwrap_or_else(|| panic!("{name}")).to_vec::<f64>().unwrap();
        let at = gradient.len() / 2;
        let shifted = |by: f64| {
            let mut state = exact.state();
            let mut values = state[name].to_vec::<f64>().unwrap();
            values[at] += by;
            let moved = Tensor::from_slice(&values, state[name].dims(), &Device::Cpu).unwrap();
            state.insert(name.to_owned(), moved);
            let mut net = exact.clone();
            net.load(&state).unwrap();
            value(&net, &mut Pass::evaluation()).item::<f64>().unwrap()
        };
        let difference = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
        assert!((difference - gradient[at]).abs() < 1e-6 * (1.0 + difference.abs()), "{name}: {difference}");
    }
}

/// What a bag gives does not depend on what else is in the batch.
#[test]
fn bags_are_alone_in_a_batch() {
    let net = aggregator(3, config(4, 3));
    let x = random([2, 7, 3], 7);
    let both = net.forward(&x, &mut Pass::evaluation()).unwrap();
    for b in 0..2 {
        let alone = net.forward(&ops::slice(&x, b..b + 1).unwrap(), &mut Pass::evaluation()).unwrap();
        assert_eq!(bits(&alone), bits(&ops::slice(&both, b..b + 1).unwrap()));
    }
}

/// Parameters of the published network: 512 wide, features of 1024; without its classifier.
#[test]
fn it_has_the_published_size() {
    let net = aggregator(1024, NystromConfig::new(512));
    let layer = 2 * 512 + 3 * 512 * 512 + 512 * 512 + 512 + 8 * 33;
    let convs = 512 * (49 + 25 + 9 + 3);
    assert_eq!(net.size(), 1024 * 512 + 512 + 512 + 2 * layer + convs + 2 * 512);
}

#[test]
fn misuse_is_refused() {
    let new = |config| Nystrom::new("n", config, &Device::Cpu, &mut Rng::new(1));
    for bad in [
        config(5, 2),
        NystromConfig { landmarks: 0, ..config(4, 2) },
        NystromConfig { kernel: 4, ..config(4, 2) },
        NystromConfig { iterations: 0, ..config(4, 2) },
    ] {
        assert!(new(bad).is_err());
    }
    let net = nystrom(config(4, 2));
    assert!(net.forward(&random([2, 3, 5], 1), &mut Pass::evaluation()).is_err());
    assert!(net.forward(&random([2, 0, 4], 1), &mut Pass::evaluation()).is_err());
    assert!(aggregator(3, config(4, 2)).forward(&random([2, 0, 3], 1), &mut Pass::evaluation()).is_err());
    assert!(GatedAttention::new("g", 0, 4, &Device::Cpu, &mut Rng::new(1)).is_err());
}
