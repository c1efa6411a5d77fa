//! Whole systems on a device: selection never waits for the host, and neither selection nor training takes more memory
//! the longer it goes on.

use super::{Options, Wgpu, open};
use crate::{
    Device, Result, Rng, Tape, Tensor,
    data::{PatchSource, Window},
    nn::{GlobalPool, ResNetConfig, Task},
    ops,
    select::{Ips, IpsConfig},
    testing::{bits, floats, random, wgpu_of_its_own},
    train::tests::{Corners, trainer_on},
    wgpu::AdapterKind,
};
use std::sync::Arc;

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

/// A small network for patches of so many pixels.
fn net(patch: usize, device: &Device) -> Ips {
    let encoder = ResNetConfig { channels: 1, widths: vec![4, 8], blocks: 1, pool: GlobalPool::Mean };
    let config = IpsConfig::with_encoder(encoder, [patch; 2], 16, 16, Task::megapixel_mnist(), true);
    Ips::new(config, device, &mut Rng::new(0)).unwrap()
}

/// The indices selected of one image, how often the host waited, and the peak of device memory beyond what was there.
fn select(net: &Ips, side: usize, wgpu: &Arc<Wgpu>) -> (Vec<u32>, u64, usize) {
    let image = Computed { side };
    let images: [&dyn PatchSource; 1] = [&image];
    wgpu.synchronize().unwrap();
    wgpu.release();
    wgpu.reset_peak();
    let (counts, before) = (wgpu.counts(), wgpu.memory().in_use);
    let mut chosen = net.select(&images, &mut Rng::new(0)).unwrap();
    let waited = wgpu.counts().read_backs - counts.read_backs;
    (chosen.remove(0).indices, waited, wgpu.memory().peak - before)
}

/// Whatever part of a tile a thread has, an element is one chain of the same products.
#[test]
fn what_a_gpu_would_be_given_has_the_same_bits() {
    let Some(mut wgpu) = wgpu_of_its_own(&Options::default()) else { return };
    let run = |device: &Device| -> Vec<Vec<u8>> {
        let mut results = Vec::new();
        for (out, &dtype) in
            [3, 12, 30, 70].iter().flat_map(|&out| floats(device).iter().map(move |f| (out, f)))
        {
            let to = |t: Tensor| ops::convert(&t, dtype).unwrap().to_device(device).unwrap();
            let (x, weight) = (to(random([2, 5, 13, 11], 1)), to(random([out, 5, 3, 3], 2)));
            let tape = Tape::new();
            let (x, weight) = (tape.watch(&x).unwrap(), tape.watch(&weight).unwrap());
            let y = ops::conv2d(&x, &weight, None, ops::Conv2d::new(1, 1)).unwrap();
            let flat = ops::reshape(&y, [2 * out, 13 * 11]).unwrap();
            let square = ops::matmul(&flat, &ops::transpose(&flat, &[1, 0]).unwrap()).unwrap();
            let grads = tape.backward(&ops::sum_all(&square).unwrap()).unwrap();
            results.extend([&y, &square, grads.of(&x).unwrap(), grads.of(&weight).unwrap()].map(bits));
        }
        results
    };
    let want = run(&Device::Wgpu(wgpu.clone()));
    wgpu.pretend(AdapterKind::Discrete);
    assert_eq!(wgpu.adapter().kind, AdapterKind::Discrete, "nobody else holds the device");
    assert!(run(&Device::Wgpu(wgpu)) == want);
}

#[test]
fn selection_reads_back_once_and_selects_what_the_cpu_does() {
    let Some((device, wgpu)) = open(&Options::default()) else { return };
    let (indices, waited, _) = select(&net(25, &device), 500, &wgpu);
    assert_eq!(waited, 1, "the indices at the end are all that the host waits for");
    let image = Computed { side: 500 };
    let images: [&dyn PatchSource; 1] = [&image];
    let want = net(25, &Device::Cpu).select(&images, &mut Rng::new(0)).unwrap();
    assert_eq!(indices, want[0].indices);
}

#[test]
fn the_peak_of_selection_is_flat_from_a_thousand_pixels_to_ten_thousand() {
    let Some((device, wgpu)) = open(&Options::default()) else { return };
    let net = net(100, &device);
    let (small, large) = (select(&net, 1_000, &wgpu), select(&net, 10_000, &wgpu));
    assert_eq!((small.1, large.1), (1, 1));
    assert!(
        large.2 <= small.2 + small.2 / 20,
        "{} bytes at 1,000 pixels a side, {} at 10,000",
        small.2,
        large.2
    );
}

#[test]
fn three_hundred_training_steps_hold_no_more_memory_than_three() {
    let Some((device, wgpu)) = open(&Options::default()) else { return };
    let data = Corners { len: 16 };
    let mut trainer = trainer_on(&device, 16, 150);
    let mut step = || {
        trainer.step_on(&data).unwrap();
        wgpu.synchronize().unwrap();
        (wgpu.memory().in_use, wgpu.memory().peak)
    };
    (0..3).for_each(|_| _ = step());
    let after_three = step();
    (4..299).for_each(|_| _ = step());
    assert_eq!(step(), after_three);
}
