use super::*;
use std::ops::ControlFlow;

use crate::{
    Device, Error, Result, Rng,
    data::DenseImage,
    device::Arms,
    nn::{Activation, GlobalPool, Module, ResNetConfig, Task},
    select::{Ips, IpsConfig},
    testing::{bits, on_each_device},
};

/// Images with a bright square in one of four corners of the middle: which one is the class.
pub(crate) struct Corners {
    pub(crate) len: usize,
}

impl Dataset for Corners {
    fn len(&self) -> usize {
        self.len
    }

    fn example(&self, index: usize) -> Result<Example> {
        let mut rng = Rng::stream(1, index as u64);
        let mut pixels: Vec<u8> = (0..40 * 40).map(|_| rng.below(40) as u8).collect();
        let class = rng.below(2);
        let value = if class == 0 { 250 } else { 130 };
        let (row, column) = (rng.below(30) as usize, rng.below(30) as usize);
        for r in row..row + 8 {
            pixels[r * 40 + column..r * 40 + column + 8].fill(value);
        }
        let image = Box::new(DenseImage::new([1, 40, 40], pixels)?);
        Ok(Example {
            image,
            targets: vec![Target::Class(class), Target::Classes(vec![class == 0, class == 1])],
        })
    }
}

fn trainer(examples: usize) -> Trainer {
    trainer_on(&Device::Cpu, examples, 3)
}

/// A trainer of a small network that selects 4 of 16 patches.
fn trainer_on(device: &Device, examples: usize, epochs: usize) -> Trainer {
    let tasks = vec![Task::new("which", 2, Activation::Softmax), Task::new("both", 2, Activation::Sigmoid)];
    let encoder = ResNetConfig { channels: 1, widths: vec![8, 16], blocks: 1, pool: GlobalPool::Mean };
    let net = IpsConfig::with_encoder(encoder, [10, 10], 4, 3, tasks, true);
    let net = Ips::new(net, device, &mut Rng::new(0)).unwrap();
    let config = TrainConfig {
        epochs,
        warmup_epochs: 1,
        batch: 8,
        learning_rate: 3e-3,
        seed: 5,
        ..TrainConfig::megapixel_mnist()
    };
    Trainer::new(net, config, &Corners { len: examples }).unwrap()
}

fn state(trainer: &Trainer) -> Vec<(String, Vec<u8>)> {
    trainer.checkpoint().unwrap().tensors.into_iter().map(|(name, t)| (name, bits(&t))).collect()
}

#[test]
fn resumed_training_equals_uninterrupted_training_bit_for_bit() {
    let data = Corners { len: 20 };
    let path = std::env::temp_dir().join(format!("foveate-resume-{}.safetensors", std::process::id()));
    let mut whole = trainer(data.len());
    let mut reports = Vec::new();
    for step in 0..whole.steps() {
        if step == 4 {
            whole.save(&path).unwrap();
        }
        reports.push(whole.step_on(&data).unwrap());
    }
    assert_eq!(reports.len(), 9);
    assert_eq!(reports[2].images, 4, "the last batch of an epoch is the rest");
    let mut resumed = trainer(data.len());
    resumed.resume(&path).unwrap();
    assert_eq!(resumed.steps_done(), 4);
    for report in &reports[4..] {
        assert_eq!(resumed.step_on(&data).unwrap(), *report);
    }
    assert_eq!(state(&whole), state(&resumed));
    std::fs::remove_file(path).unwrap();
}

/// The first loss is the same bits; later ones come of the stem's gradients, which are sums in another order.
#[test]
fn recomputing_changes_rounding_alone() {
    let data = Corners { len: 24 };
    let run = |recompute: bool| -> Vec<f32> {
        let mut trainer = trainer(data.len()).recomputing(recompute);
        (0..3).map(|_| trainer.step_on(&data).unwrap().loss).collect()
    };
    let (plain, recomputed) = (run(false), run(true));
    assert_eq!(plain[0].to_bits(), recomputed[0].to_bits());
    for (a, b) in plain.iter().zip(&recomputed) {
        assert!((a - b).abs() < 1e-4 * a.abs(), "{plain:?} and {recomputed:?}");
    }
    assert_eq!(recomputed, run(true));
}

#[test]
fn batches_made_ahead_change_no_bit_and_a_run_can_be_ended_and_gone_on_with() {
    let data = Corners { len: 20 };
    let mut one_by_one = trainer(data.len());
    let want: Vec<StepReport> = (0..9).map(|_| one_by_one.step_on(&data).unwrap()).collect();
    let mut ahead = trainer(data.len());
    let mut got = Vec::new();
    let pace = ahead
        .run(&data, 9, |trainer, report| {
            got.push(report.clone());
            assert_eq!(trainer.steps_done(), got.len());
            Ok(if got.len() == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .unwrap();
    assert_eq!((pace.steps, got.len()), (4, 4));
    assert!(pace.waiting <= pace.time && pace.steps_per_second() > 0.0 && pace.waiting_share() <= 1.0);
    ahead
        .run(&data, usize::MAX, |_, report| {
            Ok({
                got.push(report.clone());
                ControlFlow::Continue(())
            })
        })
        .unwrap();
    assert_eq!(got, want);
    assert_eq!(state(&ahead), state(&one_by_one));
    assert_eq!(ahead.run(&data, usize::MAX, |_, _| unreachable!()).unwrap(), Pace::default());
}

/// An example that cannot be had ends the run with its error, after the steps before it.
#[test]
fn a_run_says_which_example_it_could_not_make() {
    struct Torn(Corners);
    impl Dataset for Torn {
        fn len(&self) -> usize {
            self.0.len
        }
        fn example(&self, index: usize) -> Result<Example> {
            if index == 3 { Err(Error::argument("torn", "example 3 is torn")) } else { self.0.example(index) }
        }
    }
    let data = Torn(Corners { len: 24 });
    let mut trainer = trainer(data.len());
    let mut order = trainer.order();
    let step = (0..3).find(|&step| order.of_step(step).contains(&3)).unwrap();
    let error = trainer.run(&data, 3, |_, _| Ok(ControlFlow::Continue(()))).unwrap_err();
    assert!(error.to_string().contains("example 3 is torn"), "{error}");
    assert_eq!(trainer.steps_done(), step);
    // What `each` reports ends it too.
    let whole = Corners { len: 24 };
    let error = trainer.run(&whole, 3, |_, _| Err(Error::argument("disk", "is full"))).unwrap_err();
    assert!(error.to_string().contains("is full"));
}

/// After some more steps rounding errors may choose other patches, and nothing is promised.
#[test]
fn the_first_three_steps_agree_between_devices() {
    let data = Corners { len: 24 };
    let losses = |device: &Device| -> Vec<f32> {
        let mut trainer = trainer_on(device, data.len(), 3);
        (0..3).map(|_| trainer.step_on(&data).unwrap().loss).collect()
    };
    let want = losses(&Device::Cpu);
    on_each_device(Arms { wgpu: true, cuda: true }, |device| {
        let got = losses(device);
        let near = got.iter().zip(&want).all(|(got, want)| (got - want).abs() <= 1e-4 * want.abs());
        assert!(near, "{device}: {got:?}, the CPU's are {want:?}");
    });
}

#[test]
fn training_learns_and_evaluation_sees_it() {
    let (data, test) = (Corners { len: 160 }, Corners { len: 64 });
    let mut trainer = trainer(data.len());
    let first = trainer.step_on(&data).unwrap().loss;
    while trainer.steps_done() < trainer.steps() {
        trainer.step_on(&data).unwrap();
    }
    let accuracy = evaluate(trainer.net(), &test, 16, 0, |_| true).unwrap();
    assert_eq!(accuracy.images, 64);
    assert!(accuracy.of(0) > 0.8, "accuracy {accuracy:?} after a loss of {first} at the start");
    let stopped = evaluate(trainer.net(), &test, 16, 0, |done| done < 32).unwrap();
    assert_eq!(stopped.images, 32);
}

/// As in f32: 60 steps, products and activations rounded to bf16, scoring in f16 and as the device is set.
#[cfg(feature = "cuda")]
#[test]
fn training_in_bf16_learns_what_training_in_f32_does() {
    if crate::testing::only_small() {
        return;
    }
    let Some(cuda) = crate::testing::cuda_of_its_own() else { return };
    let device = Device::Cuda(cuda);
    device.set_precision(crate::Precision::Bf16).unwrap();
    let (data, test) = (Corners { len: 160 }, Corners { len: 64 });
    let mut trainer = trainer_on(&device, data.len(), 3).keeping_activations(crate::DType::BF16).unwrap();
    trainer.run(&data, usize::MAX, |_, _| Ok(ControlFlow::Continue(()))).unwrap();
    let accuracy = evaluate(trainer.net(), &test, 16, 0, |_| true).unwrap();
    assert!(accuracy.of(0) > 0.8, "accuracy {accuracy:?}");
}

#[test]
fn another_configuration_s_checkpoint_is_refused() {
    let path = std::env::temp_dir().join(format!("foveate-other-{}.safetensors", std::process::id()));
    trainer(20).save(&path).unwrap();
    let mut other = trainer(21);
    let before = state(&other);
    let error = other.resume(&path).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert!(error.to_string().ends_with("another data: `20 examples` then, `21 examples` now"), "{error}");
    assert_eq!(before, state(&other));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn impossible_settings_are_refused() {
    let with = |config| Trainer::new(trainer(1).into_net(), config, &Corners { len: 1 });
    let good = TrainConfig::megapixel_mnist();
    assert!(with(good.clone()).is_ok());
    for bad in [
        TrainConfig { batch: 0, ..good.clone() },
        TrainConfig { epochs: 0, ..good.clone() },
        TrainConfig { learning_rate: f64::NAN, ..good.clone() },
        TrainConfig { learning_rate: -1.0, ..good.clone() },
        TrainConfig { weight_decay: f64::INFINITY, ..good.clone() },
    ] {
        assert!(matches!(with(bad), Err(Error::Argument { op: "train", .. })));
    }
    let forever = TrainConfig { epochs: usize::MAX, batch: 1, ..good.clone() };
    assert!(Trainer::new(trainer(1).into_net(), forever, &Corners { len: 2 }).is_err());
    assert!(Trainer::new(trainer(1).into_net(), good, &Corners { len: 0 }).is_err());
}

/// Every item of a checkpoint that is wrong leaves the training as it was.
#[test]
fn a_checkpoint_that_does_not_fit_changes_nothing() {
    let path = std::env::temp_dir().join(format!("foveate-unfit-{}.safetensors", std::process::id()));
    let mut trained = trainer(20);
    trained.step_on(&Corners { len: 20 }).unwrap();
    let good = trained.checkpoint().unwrap();
    for spoil in 0..4 {
        let mut bad = good.clone();
        let last = bad.tensors.keys().rfind(|name| !name.starts_with('~')).unwrap().clone();
        match spoil {
            0 => drop(bad.tensors.remove(&last)),
            1 => drop(bad.tensors.insert(last.clone(), crate::check::to_f64(&bad.tensors[&last]).unwrap())),
            2 => drop(bad.tensors.pop_last()),
            _ => drop(bad.metadata.remove("step")),
        }
        bad.save(&path).unwrap();
        let mut fresh = trainer(20);
        let before = state(&fresh);
        let error = fresh.resume(&path).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
        assert_eq!((before, 0), (state(&fresh), fresh.steps_done()), "{error}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_loss_that_is_not_finite_is_an_error_and_writes_nothing() {
    let data = Corners { len: 20 };
    let mut trainer = trainer(20);
    let mut state = trainer.checkpoint().unwrap().tensors;
    let name = "transf.crs_attn.q".to_owned();
    let poisoned = crate::ops::full_like(&state[&name], f64::NAN).unwrap();
    state.insert(name, poisoned);
    trainer.net_mut().load(&state).unwrap();
    let before = self::state(&trainer);
    let error = trainer.step_on(&data).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
    assert_eq!((before, 0), (self::state(&trainer), trainer.steps_done()));
}

#[test]
fn targets_must_fit_their_tasks() {
    let example = Corners { len: 1 }.example(0).unwrap();
    let task = |classes| vec![Task::new("which", classes, Activation::Softmax)];
    assert!(batch_targets(&task(2), std::slice::from_ref(&example), &Device::Cpu).is_ok());
    assert!(batch_targets(&task(0), std::slice::from_ref(&example), &Device::Cpu).is_err());
    let sigmoid = [Task::new("which", 2, Activation::Sigmoid)];
    assert!(batch_targets(&sigmoid, &[example], &Device::Cpu).is_err());
    assert!(trainer(1).net().size() > 0);
}

/// Before it has learned anything, a network is about as unsure as guessing: ln 10 for one class of ten, ln 2 for each of ten
/// that may be present.
#[cfg(feature = "data")]
#[test]
fn the_loss_begins_at_that_of_guessing() {
    use crate::data::{MegapixelConfig, MegapixelMnist, Split, strokes};
    let config = MegapixelConfig { canvas: [200, 200], noise_count: 5, ..MegapixelConfig::ips() };
    let digits = strokes::digits(0, Split::Train, 200).unwrap();
    let data = MegapixelMnist::new(config, Split::Train, digits, 32).unwrap();
    let tasks = Task::megapixel_mnist();
    let net = IpsConfig::with_encoder(ResNetConfig::small(1), [50, 50], 8, 8, tasks, true);
    let net = Ips::new(net, &Device::Cpu, &mut Rng::new(0)).unwrap();
    let config = TrainConfig { batch: 32, ..TrainConfig::megapixel_mnist() };
    let losses = Trainer::new(net, config, &data).unwrap().step_on(&data).unwrap().task_losses;
    assert!(losses[..3].iter().all(|loss| (loss - 10.0_f32.ln()).abs() < 0.8), "{losses:?}");
    assert!((losses[3] - 2.0_f32.ln()).abs() < 0.15, "{losses:?}");
}
