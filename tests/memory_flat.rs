//! Selection's memory does not grow with the image: measured by the allocator's own count, from 1,000² to 10,000².
//! One test in a process of its own, because the count is the process's.

#![allow(clippy::unwrap_used)]

use foveate::{
    Device, Result, Rng,
    data::{PatchSource, Window},
    nn::{GlobalPool, ResNetConfig, Task},
    select::{Ips, IpsConfig, Shuffle},
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

#[test]
fn selection_s_peak_memory_is_flat() {
    let encoder = ResNetConfig { channels: 1, widths: vec![4, 8], blocks: 1, pool: GlobalPool::Mean };
    let mut config = IpsConfig::with_encoder(encoder, [50, 50], 16, 16, Task::megapixel_mnist(), true);
    config.shuffle = Shuffle::None;
    let net = Ips::new(config, &Device::Cpu, &mut Rng::new(0)).unwrap();
    let peak = |side: usize| {
        let image = Computed { side };
        let images: [&dyn PatchSource; 1] = [&image];
        let before = Device::Cpu.memory().in_use;
        Device::Cpu.reset_peak();
        let chosen = net.select(&images, &mut Rng::new(0)).unwrap();
        assert_eq!(chosen[0].indices.len(), 16);
        Device::Cpu.memory().peak - before
    };
    let peaks: Vec<usize> = [1000, 2000, 5000, 10_000].map(peak).to_vec();
    println!("bytes beyond the image for 1,000², 2,000², 5,000² and 10,000²: {peaks:?}");
    let (least, most) = (*peaks.iter().min().unwrap(), *peaks.iter().max().unwrap());
    assert!(most <= least + least / 50, "{peaks:?}");
}
