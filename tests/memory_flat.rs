//! Memory does not grow with the image: that of Iterative Patch Selection, with the published shuffling, of a training step of
//! Attention Sampling, and, beyond its tiny view of everything, of the Zoom-In network. Every byte of the heap is counted.
//! One test in a process of its own, because the count is the process's.

#![allow(clippy::unwrap_used)]

use foveate::{
    Device, Result, Rng,
    data::{PatchSource, Window},
    nn::{ConvStackConfig, EncoderConfig, GlobalPool, ResNetConfig, Task},
    select::{Ats, AtsConfig, Ips, IpsConfig, System as Network, ZoomIn, ZoomInConfig},
    train::{Dataset, Example, Target, TrainConfig, Trainer},
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
            let row = window.row + (at / window.width) as isize;
            let column = window.column + (at % window.width) as isize;
            let inside = |at: isize| (0..self.side as isize).contains(&at);
            let (r, q) = (row as usize, column as usize);
            *to = if inside(row) && inside(column) { ((r * 31 + q * 17) ^ (r * q / 64)) as u8 } else { 0 };
        }
        Ok(())
    }
}

#[test]
fn peak_memory_is_flat() {
    selection_is_flat();
    attention_sampling_is_flat();
    zoom_in_takes_what_it_draws();
}

/// What `work` takes at its peak beyond what is there before.
fn peak_of(work: impl FnOnce()) -> usize {
    Device::Cpu.release();
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    work();
    PEAK.load(Ordering::Relaxed) - before
}

fn encoder() -> ResNetConfig {
    ResNetConfig { channels: 1, widths: vec![4, 8], blocks: 1, pool: GlobalPool::Mean }
}

fn selection_is_flat() {
    let config = IpsConfig::with_encoder(encoder(), [50, 50], 16, 16, Task::megapixel_mnist(), true);
    let net = Ips::new(config, &Device::Cpu, &mut Rng::new(0)).unwrap();
    let peak = |side: usize| {
        let image = Computed { side };
        let images: [&dyn PatchSource; 1] = [&image];
        peak_of(|| {
            let chosen = net.select(&images, &mut Rng::new(0)).unwrap();
            assert_eq!(chosen[0].indices.len(), 16);
        })
    };
    peak(1000); // threads start, tables are filled
    let peaks: Vec<usize> = [1000, 2000, 5000, 10_000].map(peak).to_vec();
    println!("bytes beyond the image for 1,000², 2,000², 5,000² and 10,000²: {peaks:?}");
    let (least, most) = (*peaks.iter().min().unwrap(), *peaks.iter().max().unwrap());
    assert!(least > 100_000, "nothing was counted: {peaks:?}");
    assert!(most <= least + least / 20, "{peaks:?}");
}

/// Images of one class.
struct Images {
    side: usize,
}

impl Dataset for Images {
    fn len(&self) -> usize {
        1
    }
    fn example(&self, _index: usize) -> Result<Example> {
        Ok(Example { image: Box::new(Computed { side: self.side }), targets: vec![Target::Class(1)] })
    }
}

/// The peak of a training step on an image of so many pixels a side.
fn step<S: Network>(net: S, side: usize) -> usize {
    let config = TrainConfig { batch: 1, ..TrainConfig::attention_sampling() };
    let data = Images { side };
    let mut trainer = Trainer::new(net, config, &data).unwrap();
    trainer.step_on(&data).unwrap(); // the optimiser's state
    peak_of(|| drop(trainer.step_on(&data).unwrap()))
}

fn attention_sampling_is_flat() {
    let config = AtsConfig { view: [50, 50], ..AtsConfig::megapixel_mnist() };
    let net = Ats::new(config, &Device::Cpu, &mut Rng::new(0)).unwrap();
    let peaks = [1000, 5000].map(|side| step(net.clone(), side));
    println!("bytes of a step of Attention Sampling for 1,000² and 5,000²: {peaks:?}");
    assert!(peaks[0].abs_diff(peaks[1]) <= peaks[0] / 10, "{peaks:?}");
}

/// Each pixel of a view makes 17 numbers in three layers and their gradients; a few hundred bytes.
const A_PIXEL: usize = 400;

fn zoom_in_takes_what_it_draws() {
    let attention = ConvStackConfig::ats_attention(1);
    let config = ZoomInConfig {
        tile_view: [5, 5],
        sub_view: [10, 10],
        tiles: attention.clone(),
        sub_tiles: attention,
        encoder: EncoderConfig::ResNet(encoder()),
        contrast: None,
        ..ZoomInConfig::colon_cancer()
    };
    let net = ZoomIn::new(config.clone(), &Device::Cpu, &mut Rng::new(0)).unwrap();
    let peaks = [1000, 6000].map(|side| step(net.clone(), side));
    println!("bytes of a step of the Zoom-In network for 1,000² and 6,000²: {peaks:?}");
    // The first view grows from 20² to 120²; up to N more tiles may be drawn, since there are more.
    let first = 120 * 120 - 20 * 20;
    let second = config.samples * 10 * 10;
    assert!(peaks[1] <= peaks[0] + A_PIXEL * (first + second), "{peaks:?}");
    assert!(
        peaks[1] - peaks[0] < (6000 * 6000 - 1000 * 1000) / 5,
        "as much as a fifth of the pixels: {peaks:?}"
    );
}
