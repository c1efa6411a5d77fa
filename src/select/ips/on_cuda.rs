//! Selection on a CUDA device in f16: the whole of it in one graph where the images fit on the device, in strips where they do
//! not. The network is packed, and the graph recorded, when the first batch of its shape comes; after that only what has
//! changed is done again.

#[cfg(test)]
mod tests;

use super::{Images, Ips, Orders};
use crate::{
    Device, Precision,
    cuda::{Chosen, Cuda, Layout, ScoringHead, Selector},
    data::PatchGrid,
    error::Result,
    nn::Module,
    ops::top_m_merge::TopMMerge,
};
use rayon::prelude::*;
use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// Patches that a thread of the host cuts out at a time.
const TOGETHER: usize = 16;

/// Identity and version of every parameter: the same twice means the same weights.
type Generation = Vec<(u64, u64)>;

/// A network prepared to select from batches of one shape.
struct Prepared {
    layout: Layout,
    generation: Generation,
    device: Arc<Cuda>,
    /// None: the encoder does not fit in one launch.
    selector: Option<Selector>,
}

/// What a network keeps for its next selection. A copy of the network starts without.
#[derive(Default)]
pub(super) struct Cache(Mutex<Option<Prepared>>);

impl Clone for Cache {
    fn clone(&self) -> Self {
        Cache::default()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("what is kept for the next selection")
    }
}

impl Cache {
    /// Forgets it.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Ips {
    /// Selects in one launch per run of patches. None: the device is another one or set to another precision, or the network
    /// or its settings want another way.
    pub(super) fn select_on_cuda(
        &self,
        images: &Images,
        grid: &PatchGrid,
        orders: &Orders,
    ) -> Result<Option<Chosen>> {
        let Device::Cuda(device) = self.device() else { return Ok(None) };
        let other_way =
            self.config.elide_constant || self.scoring.by_layers || self.config.standardize.is_some();
        let precision = self.scoring.precision.unwrap_or_else(|| device.precision());
        if other_way || precision != Precision::F16 {
            return Ok(None);
        }
        let (n, m) = (grid.count(), self.config.memory);
        let layout = Layout {
            images: images.len(),
            image: [self.config.encoder.channels, images[0].height(), images[0].width()],
            grid: *grid,
            merge: TopMMerge { keep: m, chunk: self.config.iteration.min(n) },
        };
        let mut cache = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(selector) = self.prepared(&mut cache, layout, &device)? else { return Ok(None) };
        let in_memory: Option<Vec<&[u8]>> = images.iter().map(|image| image.in_memory()).collect();
        if let Some(pixels) = in_memory
            && selector.holds_images()?
        {
            let order: Vec<i32> = (0..images.len())
                .flat_map(|b| (0..n).map(move |at| (b, at)))
                .map(|(b, at)| orders.patch(b, at) as i32)
                .collect();
            return selector.select_resident(&pixels, &order).map(Some);
        }
        let mut fill = |run: Range<usize>, numbers: &mut [i32], pixels: &mut [u8]| {
            let own = numbers.chunks_mut(run.len()).zip(pixels.chunks_mut(run.len() * self.patch_bytes()));
            for (b, (numbers, pixels)) in own.enumerate() {
                numbers.iter_mut().zip(run.clone()).for_each(|(to, at)| *to = orders.patch(b, at) as i32);
                self.cut(images, b, grid, numbers, pixels)?;
            }
            Ok(())
        };
        selector.select_in_strips(&mut fill).map(Some)
    }

    fn patch_bytes(&self) -> usize {
        self.patch_shape().iter().product()
    }

    /// The pixels of the patches `numbers` of image `b`, cut out by all threads.
    fn cut(
        &self,
        images: &Images,
        b: usize,
        grid: &PatchGrid,
        numbers: &[i32],
        pixels: &mut [u8],
    ) -> Result<()> {
        let parts = pixels.par_chunks_mut(TOGETHER * self.patch_bytes());
        numbers.par_chunks(TOGETHER).zip(parts).try_for_each(|(numbers, pixels)| {
            let numbers: Vec<u32> = numbers.iter().map(|&number| number as u32).collect();
            images[b].read_patches(grid, &numbers, pixels)
        })
    }

    /// The selector for such batches, with the present weights.
    fn prepared<'c>(
        &self,
        cache: &'c mut Option<Prepared>,
        layout: Layout,
        device: &Arc<Cuda>,
    ) -> Result<Option<&'c mut Selector>> {
        let mut generation = Vec::new();
        self.visit(&mut |_, parameter| generation.push((parameter.id(), parameter.version())));
        let fits = |kept: &Prepared| kept.layout == layout && Arc::ptr_eq(&kept.device, device);
        if !cache.as_ref().is_some_and(fits) {
            // What was there before is let go first: both may not fit.
            *cache = None;
            let selector = self.selector(&layout, device)?;
            *cache = Some(Prepared { layout, generation, device: device.clone(), selector });
            return Ok(cache.as_mut().and_then(|kept| kept.selector.as_mut()));
        }
        let Some(kept) = cache else { return Ok(None) };
        if let Some(selector) = kept.selector.as_ref().filter(|_| kept.generation != generation) {
            let (encoder, head) = selector.network();
            encoder.pack(&self.encoder.fused()?.folded())?;
            head.set_queries(&self.transformer.folded_queries()?)?;
        }
        kept.generation = generation;
        Ok(kept.selector.as_mut())
    }

    fn selector(&self, layout: &Layout, device: &Arc<Cuda>) -> Result<Option<Selector>> {
        let Some(encoder) = self.encoder.fused()?.pack(self.config.patch, device)? else { return Ok(None) };
        let positions = self.config.use_position.then(|| layout.grid.count());
        let head = ScoringHead::new(device, &self.transformer.folded_queries()?, positions)?;
        Selector::new(layout.clone(), encoder, head, device).map(Some)
    }
}
