//! What holds of every system in training: it learns, it resumes to the same bits, its first steps agree between devices.

use super::{Accuracy, Dataset, Example, Target, TrainConfig, Trainer, evaluate, tests::Corners};
use crate::{
    Device, Result, Rng,
    data::DenseImage,
    device::Arms,
    nn::{Activation, ConvLayer, ConvStackConfig, EncoderConfig, GlobalPool, NystromConfig, Task, Then},
    select::{
        AggregatorConfig, Ats, AtsConfig, Cnn, CnnConfig, Dps, DpsConfig, Mil, MilConfig, System, ZoomIn,
        ZoomInConfig,
    },
    testing::{bits, on_each_device, only_small},
};

fn tasks() -> Vec<Task> {
    vec![Task::new("which", 2, Activation::Softmax), Task::new("both", 2, Activation::Sigmoid)]
}

fn encoder() -> EncoderConfig {
    let layers = vec![ConvLayer::valid(8, 3, Then::Relu), ConvLayer::valid(8, 3, Then::Relu)];
    EncoderConfig::Convs(ConvStackConfig { channels: 1, layers }, GlobalPool::Max)
}

fn ats(device: &Device) -> Ats {
    let config = AtsConfig {
        view: [20, 20],
        patch: [10, 10],
        samples: 4,
        encoder: encoder(),
        tasks: tasks(),
        ..AtsConfig::megapixel_mnist()
    };
    Ats::new(config, device, &mut Rng::new(0)).unwrap()
}

fn uniform(device: &Device) -> Ats {
    let config = AtsConfig { samples: 6, ..ats(device).config().clone() }.uniform();
    Ats::new(config, device, &mut Rng::new(0)).unwrap()
}

fn mil(aggregator: AggregatorConfig, device: &Device) -> Mil {
    let config =
        MilConfig { patch: [10, 10], stride: [10, 10], encoder: encoder(), aggregator, tasks: tasks() };
    Mil::new(config, device, &mut Rng::new(0)).unwrap()
}

fn deep_mil(device: &Device) -> Mil {
    mil(AggregatorConfig::Gated(16), device)
}

fn trans_mil(device: &Device) -> Mil {
    let attention = NystromConfig { heads: 2, landmarks: 4, kernel: 5, ..NystromConfig::new(8) };
    mil(AggregatorConfig::TransMil(attention), device)
}

fn dps(device: &Device) -> Dps {
    let config = DpsConfig {
        view: [20, 20],
        scorer: ConvStackConfig {
            channels: 1,
            layers: vec![
                ConvLayer::same(8, 3, Then::Relu),
                ConvLayer::same(1, 3, Then::Nothing),
                ConvLayer::MaxPool(2),
            ],
        },
        patch: [12, 12],
        patches: 2,
        draws: 100,
        encoder: encoder(),
        hidden: 8,
        tasks: tasks(),
        ..DpsConfig::speed_limits()
    };
    Dps::new(config, device, &mut Rng::new(0)).unwrap()
}

/// The two classes of the first task, of which the first counts as nothing to find.
fn zoom_in(device: &Device) -> ZoomIn {
    let attention = ConvStackConfig::ats_attention(1);
    let config = ZoomInConfig {
        tile: [20, 20],
        tile_view: [5, 5],
        sub_view: [10, 10],
        patch: [10, 10],
        samples: 4,
        tiles: attention.clone(),
        sub_tiles: attention,
        encoder: encoder(),
        tasks: tasks()[..1].to_vec(),
        contrast: Some(1),
        ..ZoomInConfig::colon_cancer()
    };
    ZoomIn::new(config, device, &mut Rng::new(0)).unwrap()
}

fn cnn(device: &Device) -> Cnn {
    let config = CnnConfig { view: None, encoder: encoder(), tasks: tasks() };
    Cnn::new(config, device, &mut Rng::new(0)).unwrap()
}

fn config(epochs: usize) -> TrainConfig {
    TrainConfig { epochs, batch: 8, learning_rate: 1e-2, seed: 5, ..TrainConfig::attention_sampling() }
}

/// Dark and bright noise: every place tells the class.
struct Shades {
    len: usize,
}

impl Dataset for Shades {
    fn len(&self) -> usize {
        self.len
    }

    fn example(&self, index: usize) -> Result<Example> {
        let mut rng = Rng::stream(2, index as u64);
        let class = rng.below(2);
        let pixels = (0..40 * 40).map(|_| (rng.below(60) + 100 * class) as u8).collect();
        let targets = vec![Target::Class(class), Target::Classes(vec![class == 0, class == 1])];
        Ok(Example { image: Box::new(DenseImage::new([1, 40, 40], pixels)?), targets })
    }
}

/// Of unseen images, half of them of each class, after `epochs` of 160.
fn trained<S: System>(net: S, epochs: usize, [train, test]: [&dyn Dataset; 2]) -> Accuracy {
    let mut trainer = Trainer::new(net, config(epochs), train).unwrap();
    while trainer.steps_done() < trainer.steps() {
        trainer.step_on(train).unwrap();
    }
    evaluate(trainer.net(), test, 16, 0, |_| true).unwrap()
}

/// Where the class shows is for the network to find.
fn finds<S: System>(net: S) {
    let accuracy = trained(net, 6, [&Corners { len: 160 }, &Corners { len: 96 }]);
    assert!(accuracy.of(0) > 0.8, "{accuracy:?}");
}

/// The class shows everywhere.
fn sees<S: System>(net: S) {
    let accuracy = trained(net, 4, [&Shades { len: 48 }, &Shades { len: 96 }]);
    assert!(accuracy.of(0) > 0.9, "{accuracy:?}");
}

#[test]
fn attention_sampling_learns_where_to_look() {
    finds(ats(&Device::Cpu));
}

#[test]
fn zoom_in_learns_where_to_look() {
    let config = ZoomInConfig { contrast: None, ..zoom_in(&Device::Cpu).config().clone() };
    finds(ZoomIn::new(config, &Device::Cpu, &mut Rng::new(0)).unwrap());
}

#[test]
fn differentiable_patch_selection_learns_where_to_look() {
    finds(dps(&Device::Cpu));
}

#[test]
fn deep_mil_learns() {
    finds(deep_mil(&Device::Cpu));
}

#[test]
fn trans_mil_learns() {
    sees(trans_mil(&Device::Cpu));
}

#[test]
fn uniform_sampling_learns() {
    sees(uniform(&Device::Cpu));
}

#[test]
fn a_plain_network_learns() {
    sees(cnn(&Device::Cpu));
}

fn resumes<S: System>(name: &str, make: impl Fn() -> S) {
    let data = Corners { len: 20 };
    let path = std::env::temp_dir().join(format!("foveate-{name}-{}.safetensors", std::process::id()));
    let fresh = || Trainer::new(make(), config(2), &data).unwrap();
    let (mut whole, mut resumed, mut reports) = (fresh(), fresh(), Vec::new());
    for step in 0..whole.steps() {
        if step == 2 {
            whole.save(&path).unwrap();
        }
        reports.push(whole.step_on(&data).unwrap());
    }
    resumed.resume(&path).unwrap();
    for report in &reports[2..] {
        assert_eq!(resumed.step_on(&data).unwrap(), *report, "{name}");
    }
    let state = |trainer: &Trainer<S>| trainer.checkpoint().unwrap().tensors;
    let (whole, resumed) = (state(&whole), state(&resumed));
    assert_eq!(whole.len(), resumed.len());
    assert!(whole.iter().all(|(tensor, value)| bits(value) == bits(&resumed[tensor])), "{name}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn every_system_resumes_to_the_same_bits() {
    resumes("ats", || ats(&Device::Cpu));
    resumes("uniform", || uniform(&Device::Cpu));
    resumes("zoom_in", || zoom_in(&Device::Cpu));
    resumes("cnn", || cnn(&Device::Cpu));
    resumes("trans_mil", || trans_mil(&Device::Cpu));
    resumes("deep_mil", || deep_mil(&Device::Cpu));
    resumes("dps", || dps(&Device::Cpu));
}

fn first_steps_agree<S: System>(name: &str, make: impl Fn(&Device) -> S) {
    let data = Corners { len: 24 };
    let losses = |device: &Device| -> Vec<f32> {
        let mut trainer = Trainer::new(make(device), config(3), &data).unwrap();
        (0..3).map(|_| trainer.step_on(&data).unwrap().loss).collect()
    };
    let want = losses(&Device::Cpu);
    on_each_device(Arms { wgpu: true, cuda: true }, |device| {
        let got = losses(device);
        let near = got.iter().zip(&want).all(|(got, want)| (got - want).abs() <= 1e-4 * want.abs());
        assert!(near, "{name} on {device}: {got:?}, the CPU's are {want:?}");
    });
}

#[test]
fn the_first_three_steps_of_every_system_agree_between_devices() {
    first_steps_agree("ats", ats);
    // Where every access is checked, one of them takes long enough.
    if only_small() {
        return;
    }
    first_steps_agree("uniform", uniform);
    first_steps_agree("zoom_in", zoom_in);
    first_steps_agree("cnn", cnn);
    first_steps_agree("trans_mil", trans_mil);
    first_steps_agree("deep_mil", deep_mil);
    first_steps_agree("dps", dps);
}
