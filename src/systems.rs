//! Tests of whole systems on each kind of GPU: selection never waits for the host, and neither selection nor training takes
//! more memory the longer it goes on.
#![cfg(any(feature = "cuda", feature = "wgpu"))]

use crate::{
    DType, Device, Result, Rng, Tape, Tensor,
    data::{PatchSource, Window},
    device::{Memory, run},
    nn::{Activation, GlobalPool, Pass, ResNet, ResNetConfig, Task},
    ops::{self, sampling::GumbelTopK},
    select::{Ips, IpsConfig},
    testing::{on_each_gpu_alone, random},
    train::{TrainConfig, Trainer, tests::Corners},
};

/// An image that is computed where it is read, so that it takes no memory itself.
struct Computed {
    side: usize,
}

impl PatchSource for Computed {
    fn channels(&self) -> usize {
        1
    }
    fn height(&self) -> usize {
        self.side
    }
    fn width(&self) -> usize {
        self.side
    }
    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        for (at, to) in out.iter_mut().enumerate() {
            let (r, q) =
                (window.row as usize + at / window.width, window.column as usize + at % window.width);
            *to = ((r * 31 + q * 17) ^ (r * q / 64)) as u8;
        }
        Ok(())
    }
}

/// A small network for patches of so many pixels, at such a distance.
fn net(patch: usize, stride: usize, device: &Device) -> Ips {
    let encoder = ResNetConfig { channels: 1, widths: vec![4, 8], blocks: 1, pool: GlobalPool::Mean };
    let mut config = IpsConfig::with_encoder(encoder, [patch; 2], 16, 16, Task::megapixel_mnist(), true);
    config.stride = [stride; 2];
    Ips::new(config, device, &mut Rng::new(0)).unwrap()
}

fn read_backs(device: &Device) -> u64 {
    match device {
        Device::Cpu => 0,
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => cuda.read_backs(),
        #[cfg(feature = "wgpu")]
        Device::Wgpu(wgpu) => wgpu.counts().read_backs,
    }
}

/// What `work` takes of the device's memory beyond what is there before.
fn peak_of<T>(device: &Device, work: impl FnOnce() -> T) -> (T, usize) {
    device.synchronize().unwrap();
    device.release();
    device.reset_peak();
    let before = device.memory().in_use;
    let result = work();
    (result, device.memory().peak - before)
}

/// The indices selected of one image, how often the host waited, and the peak of device memory beyond what was there.
fn select(net: &Ips, side: usize) -> (Vec<u32>, u64, usize) {
    let image = Computed { side };
    let images: [&dyn PatchSource; 1] = [&image];
    let (device, mut rng) = (net.device(), Rng::new(0));
    let before = read_backs(&device);
    let (mut chosen, peak) = peak_of(&device, || net.select(&images, &mut rng).unwrap());
    (chosen.remove(0).indices, read_backs(&device) - before, peak)
}

#[test]
fn selection_reads_back_once_and_selects_what_the_cpu_does() {
    let want = select(&net(25, 25, &Device::Cpu), 500).0;
    on_each_gpu_alone(|device| {
        let (indices, waited, _) = select(&net(25, 25, device), 500);
        assert_eq!(waited, 1, "the indices at the end are all that the host waits for");
        assert_eq!(indices, want, "{device}");
    });
}

/// A hundred patches, and ten thousand of them: what lies between them is not looked at, which saves the emulator's time.
#[test]
fn the_peak_of_selection_is_flat_from_a_thousand_pixels_to_ten_thousand() {
    on_each_gpu_alone(|device| {
        let net = net(25, 100, device);
        let (small, large) = (select(&net, 1_000), select(&net, 10_000));
        assert_eq!((small.1, large.1), (1, 1));
        assert!(
            large.2 <= small.2 + small.2 / 20,
            "{} bytes at 1,000 pixels a side, {} at 10,000, on {device}",
            small.2,
            large.2
        );
    });
}

/// The peak of device memory in a selection of about 1,500 patches of 32 pixels, in f16, of an image of so many pixels a
/// side, beyond the network.
#[cfg(feature = "cuda")]
fn peak_in_strips(side: usize, stride: usize) -> Option<usize> {
    let cuda = crate::testing::cuda_of_its_own()?;
    let device = Device::Cuda(cuda.clone());
    device.set_precision(crate::Precision::F16).unwrap();
    let encoder = ResNetConfig { channels: 1, widths: vec![16], blocks: 1, pool: GlobalPool::Mean };
    let mut config = IpsConfig::with_encoder(encoder, [32; 2], 16, 16, Task::megapixel_mnist(), true);
    config.stride = [stride; 2];
    let net = Ips::new(config, &device, &mut Rng::new(0)).unwrap();
    // An image of 30,000² has 900 MB: a sixteenth of this is a strip.
    cuda.set_memory_limit(device.memory().in_use + (4 << 20));
    cuda.trace(true);
    let (indices, waited, peak) = select(&net, side);
    assert_eq!((indices.len(), waited), (16, 1));
    assert!(cuda.timeline().unwrap().0.len() > 3, "several strips");
    Some(peak)
}

/// 30,000² bytes do not fit in a limit of 4 MB, and what is there of them at once does not depend on their number.
#[cfg(feature = "cuda")]
#[test]
fn an_image_of_thirty_thousand_pixels_passes_through_little_memory() {
    if crate::testing::is_small() {
        return;
    }
    let Some(small) = peak_in_strips(1_000, 25) else { return };
    let Some(large) = peak_in_strips(30_000, 750) else { return };
    assert!(large <= small + small / 20, "{small} bytes at 1,000 pixels a side, {large} at 30,000");
    assert!(large < 4 << 20);
}

/// A trainer whose steps learn from eight patches, four of the sixteen of each of two images.
fn trainer(device: &Device, data: &Corners) -> Trainer {
    let encoder = ResNetConfig { channels: 1, widths: vec![8], blocks: 1, pool: GlobalPool::Mean };
    let tasks = vec![Task::new("which", 2, Activation::Softmax), Task::new("both", 2, Activation::Sigmoid)];
    let config = IpsConfig::with_encoder(encoder, [10, 10], 4, 12, tasks, true);
    let net = Ips::new(config, device, &mut Rng::new(0)).unwrap();
    let config = TrainConfig {
        epochs: 40,
        warmup_epochs: 1,
        batch: 2,
        learning_rate: 3e-3,
        seed: 5,
        ..TrainConfig::megapixel_mnist()
    };
    Trainer::new(net, config, data).unwrap()
}

#[test]
fn three_hundred_training_steps_hold_no_more_memory_than_three() {
    on_each_gpu_alone(|device| {
        let data = Corners { len: 16 };
        let mut trainer = trainer(device, &data);
        let mut step = || -> Memory {
            trainer.step_on(&data).unwrap();
            device.synchronize().unwrap();
            device.memory()
        };
        (0..2).for_each(|_| _ = step());
        let after_three = step();
        assert!(after_three.in_use > 0);
        (3..299).for_each(|_| _ = step());
        assert_eq!(step(), after_three, "{device}");
    });
}

/// The noise of a million locations would be 4 MB.
#[test]
fn sampling_takes_no_memory_for_noise() {
    const LOCATIONS: usize = 1_000_000;
    on_each_gpu_alone(|device| {
        let logits = random([1, LOCATIONS], 1).to_device(device).unwrap();
        let op = GumbelTopK { k: 100, words: Rng::new(2).reserve(LOCATIONS as u64) };
        let (drawn, peak) = peak_of(device, || run(&op, &[&logits]).unwrap());
        assert_eq!(*drawn[0].dims(), [1, 100]);
        assert!(peak < LOCATIONS, "{peak} bytes on {device}");
        let of_cpu = |t: &Tensor| t.to_vec::<i32>().unwrap();
        let want = run(&op, &[&logits.to_device(&Device::Cpu).unwrap()]).unwrap();
        assert_eq!(of_cpu(&drawn[0]), of_cpu(&want[0]), "{device}");
    });
}

/// Bytes at the peak of a step that trains the truncated encoder on patches of 50 by 50, for each patch more.
fn step_peak(device: &Device, dtype: DType, recompute: bool, [few, many]: [usize; 2]) -> usize {
    let net = ResNet::new("encoder", ResNetConfig::truncated(1), device, &mut Rng::new(0)).unwrap();
    let peak = |patches: usize| {
        let x = random([patches, 1, 50, 50], 1).to_device(device).unwrap();
        let step = || {
            let (tape, mut rng) = (Tape::keeping(dtype).unwrap(), Rng::new(0));
            let mut pass = Pass::training(&tape, &mut rng).recomputing(recompute);
            let y = net.forward(&x, &mut pass).unwrap();
            tape.backward(&ops::mean_all(&y).unwrap()).unwrap()
        };
        peak_of(device, step).1
    };
    (peak(many) - peak(few)) / (many - few)
}

/// Bytes that grow with a few patches and not with many: Winograd's tiles of one, of which many have 64 MB.
const SCRATCH: usize = 36 * 2 * 64 * 16 * 4;

/// A step of the published configuration has 1,600 patches (16 images, 100 of each): 0.9 GB for what grows with them, with
/// activations in half the bytes, and 0.5 GB where they are recomputed.
#[test]
fn a_step_that_recomputes_takes_half_a_gigabyte_and_one_with_half_the_bytes_less_than_a_whole() {
    on_each_gpu_alone(|device| {
        let half = step_peak(device, DType::BF16, false, [2, 6]);
        assert!(1600 * half < 900_000_000, "{device}: {half} bytes a patch");
        // Of the sizes of buffers that the devices' pools hand out, those of so many patches waste little.
        let recomputed = step_peak(device, DType::F32, true, [3, 6]);
        println!("{device}: {half} bytes a patch as bf16; recomputed {recomputed}");
        assert!(recomputed <= 312_000 + SCRATCH, "{device}: {recomputed} bytes a patch, recomputed");
    });
}
