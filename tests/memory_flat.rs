//! Selection's memory does not grow with the image: every byte of the heap counted, from 1,000² to 10,000², with the
//! published shuffling. One test in a process of its own, because the count is the process's.

#![allow(clippy::unwrap_used)]

use foveate::{
    Device, Result, Rng,
    data::{PatchSource, Window},
    nn::{GlobalPool, ResNetConfig, Task},
    select::{Ips, IpsConfig},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The system's allocator, and how many bytes it has given out.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
    let config = IpsConfig::with_encoder(encoder, [50, 50], 16, 16, Task::megapixel_mnist(), true);
    let net = Ips::new(config, &Device::Cpu, &mut Rng::new(0)).unwrap();
    let peak = |side: usize| {
        let image = Computed { side };
        let images: [&dyn PatchSource; 1] = [&image];
        Device::Cpu.release();
        let before = IN_USE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let chosen = net.select(&images, &mut Rng::new(0)).unwrap();
        assert_eq!(chosen[0].indices.len(), 16);
        PEAK.load(Ordering::Relaxed) - before
    };
    peak(1000); // threads start, tables are filled
    let peaks: Vec<usize> = [1000, 2000, 5000, 10_000].map(peak).to_vec();
    println!("bytes beyond the image for 1,000², 2,000², 5,000² and 10,000²: {peaks:?}");
    let (least, most) = (*peaks.iter().min().unwrap(), *peaks.iter().max().unwrap());
    assert!(least > 100_000, "nothing was counted: {peaks:?}");
    assert!(most <= least + least / 20, "{peaks:?}");
}
