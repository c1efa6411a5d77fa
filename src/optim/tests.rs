use super::{clip::ClipValues, *};
use crate::{
    Device, Error, Tape,
    device::{Op, run_in_place},
    ops,
    testing::{bits, judge, on_each_device, random},
};

fn grads_of(parameters: &[&Parameter], gradients: &[Tensor]) -> Grads {
    let tape = Tape::new();
    let mut total: Option<Tensor> = None;
    for (parameter, gradient) in parameters.iter().zip(gradients) {
        let watched = tape.watch(*parameter).unwrap();
        let part = ops::sum_all(&ops::mul(&watched, gradient).unwrap()).unwrap();
        total = Some(total.map_or(part.clone(), |t| ops::add(&t, &part).unwrap()));
    }
    tape.backward(&total.unwrap()).unwrap()
}

#[test]
fn steps_match_their_specifications() {
    let gradient = random([3000, 7], 1);
    let start = [
        random([3000, 7], 2),
        random([3000, 7], 3),
        ops::mul(&random([3000, 7], 4), &random([3000, 7], 4)).unwrap(),
    ];
    let op = AdamStep {
        learning_rate: 0.01,
        betas: [0.9, 0.99],
        eps: 1e-6,
        weight_decay: 0.1,
        decoupled: true,
        step: 3,
    };
    in_place_matches(&AdamStep { decoupled: true, ..op }, &gradient, &start);
    in_place_matches(&AdamStep { decoupled: false, ..op }, &gradient, &start);
    let op = SgdStep { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.05 };
    in_place_matches(&op, &gradient, &start[..2]);
}

/// Two launches' worth of tensors of all sizes, one of them empty.
#[test]
fn many_parameters_take_a_step_as_each_does_alone() {
    let op = AdamStep {
        learning_rate: 0.01,
        betas: [0.9, 0.99],
        eps: 1e-6,
        weight_decay: 0.1,
        decoupled: true,
        step: 2,
    };
    on_each_device(AdamStep::ARMS, |device| {
        let on = |t: Tensor| t.to_device(device).unwrap();
        let dims = |i: usize| [(i * 37) % 1100 + usize::from(i != 0), 1 + i % 3];
        let gradients: Vec<Tensor> = (0..70).map(|i| on(random(dims(i), i as u64))).collect();
        let start = |i: usize| {
            [0, 1, 2].map(|part| {
                let x = random(dims(i), 100 + part + i as u64);
                on(ops::mul(&x, &x).unwrap())
            })
        };
        let mut together: Vec<Tensor> = (0..70).flat_map(start).collect();
        let mut refs: Vec<&mut Tensor> = together.iter_mut().collect();
        run_in_place(&op, &mut refs, &gradients.iter().collect::<Vec<_>>()).unwrap();
        for (i, together) in together.chunks(3).enumerate() {
            let mut alone = start(i);
            let before = bits(&alone[0]);
            run_in_place(&op, &mut alone.each_mut(), &[&gradients[i]]).unwrap();
            assert_eq!(
                alone.each_ref().map(bits),
                [0, 1, 2].map(|part| bits(&together[part])),
                "{device} {i}"
            );
            assert!(before.is_empty() || before != bits(&alone[0]));
        }
    });
}

/// Holds one step to its specification in `f64`, on a tensor of several parts.
fn in_place_matches<O: Op>(op: &O, gradient: &Tensor, start: &[Tensor]) {
    let run = |take: &dyn Fn(&Tensor) -> Tensor| -> Vec<Vec<f64>> {
        let mut state: Vec<Tensor> = start.iter().map(take).collect();
        let mut refs: Vec<&mut Tensor> = state.iter_mut().collect();
        run_in_place(op, &mut refs, &[&take(gradient)]).unwrap();
        let home = |t: &Tensor| crate::check::to_f64(&t.to_device(&Device::Cpu).unwrap()).unwrap();
        state.iter().map(|t| home(t).to_vec::<f64>().unwrap()).collect()
    };
    let truth = run(&|t| crate::check::to_f64(t).unwrap());
    on_each_device(O::ARMS, |device| {
        let got = run(&|t| t.to_device(device).unwrap());
        for (a, b) in truth.iter().flatten().zip(got.iter().flatten()) {
            assert!((a - b).abs() <= 3e-7 * (1.0 + a.abs()), "{op:?} on {device}: {a} {b}");
        }
    });
}

#[test]
fn settings_out_of_range_are_typed_errors() {
    let gradient = random([3], 1);
    let mut w = Parameter::new("w", random([3], 2));
    let before = bits(w.tensor());
    let mut refused = |mut optimizer: Box<dyn Optimizer>| {
        let grads = grads_of(&[&w], std::slice::from_ref(&gradient));
        let refused = optimizer.step(&mut [&mut w], &grads);
        assert!(matches!(refused, Err(Error::Argument { .. })), "{refused:?}");
    };
    refused(Box::new(AdamW::new(f64::NAN, 0.0)));
    refused(Box::new(AdamW::new(0.1, -1.0)));
    refused(Box::new(AdamW::new(0.1, 0.0).with_betas(0.9, 1.0)));
    refused(Box::new(AdamW::new(0.1, 0.0).with_eps(f64::INFINITY)));
    refused(Box::new(Sgd::new(-0.1, 0.9, 0.0)));
    refused(Box::new(Sgd::new(0.1, f64::NAN, 0.0)));
    assert_eq!(bits(w.tensor()), before);
    let mut grads = grads_of(&[&w], std::slice::from_ref(&gradient));
    assert!(clip_norm(&mut grads, -1.0).is_err() && clip_norm(&mut grads, f64::NAN).is_err());
    assert!(clip_values(&mut grads, -1.0).is_err());
}

#[test]
fn clones_never_change_and_state_survives_a_round_trip() {
    let mut w = Parameter::new("w", random([5, 3], 1));
    let copy = w.tensor().clone();
    let before = bits(&copy);
    let mut optimizer = AdamW::new(0.1, 0.1);
    let gradient = random([5, 3], 2);
    let grads = grads_of(&[&w], std::slice::from_ref(&gradient));
    optimizer.step(&mut [&mut w], &grads).unwrap();
    assert_eq!(bits(&copy), before);
    assert_ne!(bits(w.tensor()), before);
    assert_eq!(w.version(), 1);
    let mut other = AdamW::new(0.1, 0.1);
    other.load_state(&[&w], optimizer.state()).unwrap();
    let mut twin = w.clone();
    let twin_grads = grads_of(&[&twin], std::slice::from_ref(&gradient));
    let grads = grads_of(&[&w], &[gradient]);
    optimizer.step(&mut [&mut w], &grads).unwrap();
    other.step(&mut [&mut twin], &twin_grads).unwrap();
    assert_eq!(bits(w.tensor()), bits(twin.tensor()));
}

#[test]
fn a_parameter_without_gradient_is_left_alone() {
    let (mut used, mut unused) = (Parameter::new("a", random([3], 1)), Parameter::new("b", random([3], 2)));
    let before = bits(unused.tensor());
    let grads = grads_of(&[&used], &[random([3], 3)]);
    AdamW::new(0.1, 0.5).step(&mut [&mut used, &mut unused], &grads).unwrap();
    assert_eq!((bits(unused.tensor()), unused.version()), (before, 0));
}

#[test]
fn momentum_accumulates() {
    let mut w = Parameter::new("w", Tensor::full(0.0_f32, [1], &Device::Cpu).unwrap());
    let mut optimizer = Sgd::new(0.5, 0.5, 0.0);
    for _ in 0..2 {
        let grads = grads_of(&[&w], &[Tensor::full(1.0_f32, [1], &Device::Cpu).unwrap()]);
        optimizer.step(&mut [&mut w], &grads).unwrap();
    }
    assert_eq!(w.tensor().to_vec::<f32>().unwrap(), [-0.5 - 0.75]);
    let mut other = Sgd::new(0.5, 0.5, 0.0);
    other.load_state(&[&w], optimizer.state()).unwrap();
    assert_eq!(other.state().len(), 1);
}

#[test]
fn a_state_of_another_network_is_refused() {
    let w = Parameter::new("w", random([2], 1));
    let mut optimizer = AdamW::new(0.1, 0.0);
    let foreign = [("first_moment.v".to_owned(), random([2], 1))].into();
    assert!(matches!(optimizer.load_state(&[&w], foreign), Err(Error::Argument { op: "load_state", .. })));
    let partial = [("first_moment.w".to_owned(), random([2], 1))].into();
    assert!(optimizer.load_state(&[&w], partial).is_err());
    let misshapen = [("first_moment.w".to_owned(), random([3], 1))].into();
    assert!(matches!(optimizer.load_state(&[&w], misshapen), Err(Error::Shape { .. })));
}

#[test]
fn clipping() {
    judge(&ClipValues { most: 0.5 }, &[&random([1003], 3)]);
    let w = Parameter::new("w", random([2], 1));
    let gradient = |v: [f32; 2]| Tensor::from_slice(&v, [2], &Device::Cpu).unwrap();
    let mut grads = grads_of(&[&w], &[gradient([3.0, -4.0])]);
    assert_eq!(clip_norm(&mut grads, 10.0).unwrap(), 5.0);
    assert_eq!(clip_norm(&mut grads, 1.0).unwrap(), 5.0);
    assert!((global_norm(&grads).unwrap() - 1.0).abs() < 1e-6);
    let mut grads = grads_of(&[&w], &[gradient([3.0, -0.25])]);
    clip_values(&mut grads, 0.5).unwrap();
    assert_eq!(grads.parameter(&w).unwrap().to_vec::<f32>().unwrap(), [0.5, -0.25]);
    let mut grads = grads_of(&[&w], &[gradient([1e-12, f32::NAN])]);
    clip_values(&mut grads, 0.5).unwrap();
    let kept = grads.parameter(&w).unwrap().to_vec::<f32>().unwrap();
    assert!(kept[0] == 1e-12 && kept[1].is_nan(), "small gradients keep all their bits: {kept:?}");
    assert!(matches!(clip_values(&mut grads, f32::NAN), Err(Error::Argument { op: "clip_values", .. })));
    let mut grads = grads_of(&[&w], &[gradient([f32::NAN, 1.0])]);
    assert!(matches!(clip_norm(&mut grads, 1.0), Err(Error::Argument { op: "clip_norm", .. })));
}

#[test]
fn schedules() {
    let cosine = WarmupCosine { peak: 1.0, steps_per_epoch: 10, warmup_epochs: 2, epochs: 12 };
    assert_eq!(cosine.at(5), 0.25);
    assert_eq!(cosine.at(20), 1.0);
    assert!((cosine.at(70) - 0.5005).abs() < 1e-12);
    let decay = StepDecay { start: 1.0, every: 30, factor: 0.9 };
    assert_eq!((decay.at(29), decay.at(30)), (1.0, 0.9));
}
