//! Scoring: from the pixels of patches to their attention logits, without gradients.
//!
//! A patch's logits are `(e + p) · Uᵀ`: `e` its features from the encoder in evaluation mode, `p` its positional
//! encoding, `U (H·T, D)` the queries folded with the key projection. They depend on nothing but the patch, so they are
//! computed once, in chunks of any size.

use crate::{
    Device, Tensor,
    cpu::{PackedEncoder, Patches, Pixels},
    error::Result,
    nn::{Pass, ResNet, Transformer},
    ops,
};
use std::sync::{Arc, Mutex, PoisonError};

/// How scoring works, apart from the network itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScorerConfig {
    /// Whether positional encodings take part.
    pub use_position: bool,
    /// Encode each distinct constant patch once. Exact: equal patches have equal features in evaluation mode.
    pub elide_constant: bool,
}

/// The network as scoring needs it: a snapshot of the weights it was made from.
pub struct Scorer<'a> {
    encoder: &'a ResNet,
    /// (R, D) with R = heads · queries.
    folded: Tensor,
    config: ScorerConfig,
    /// On the CPU: the encoder and the folded queries, packed for patches of one shape when the first of them comes.
    packed: Mutex<Option<([usize; 3], Arc<PackedEncoder>)>>,
}

/// Patches whose activations are in memory at once.
const CHUNK: usize = 64;

impl<'a> Scorer<'a> {
    /// A scorer of the network's present weights.
    pub fn new(encoder: &'a ResNet, transformer: &Transformer, config: ScorerConfig) -> Result<Self> {
        Ok(Scorer { encoder, folded: transformer.folded_queries()?, config, packed: Mutex::default() })
    }

    /// Number of logits per patch, R.
    pub fn rows(&self) -> usize {
        self.folded.dims()[0]
    }

    /// Logits (P, R) of `pixels`, P patches of (C, ph, pw) bytes one after the other, at grid positions `indices` (P).
    pub fn logits(&self, pixels: &[u8], patch: [usize; 3], indices: &[u32]) -> Result<Tensor> {
        let device = self.folded.device();
        let bytes = patch.iter().product::<usize>();
        let content = match self.config.elide_constant {
            true => self.distinct(pixels, patch, &device)?,
            false => self.encoded(pixels, patch, &device)?,
        };
        debug_assert_eq!(pixels.len(), bytes * indices.len());
        if !self.config.use_position {
            return Ok(content);
        }
        let position = ops::positional_encoding(indices, self.folded.dims()[1], &device)?;
        ops::add(&content, &ops::linear(&position, &self.folded, None)?)
    }

    /// Logits of every patch's content.
    fn encoded(&self, pixels: &[u8], [c, h, w]: [usize; 3], device: &Device) -> Result<Tensor> {
        if matches!(device, Device::Cpu) {
            return self.packed(pixels, [c, h, w]);
        }
        let mut parts = Vec::new();
        for pixels in pixels.chunks(CHUNK * c * h * w) {
            let patches = Tensor::from_slice(pixels, [pixels.len() / (c * h * w), c, h, w], device)?;
            let features = self.encoder.forward(&ops::to_unit(&patches)?, &mut Pass::evaluation())?;
            parts.push(ops::linear(&features, &self.folded, None)?);
        }
        match parts.as_slice() {
            [one] => Ok(one.clone()),
            _ => ops::concat(&parts.iter().collect::<Vec<_>>(), 0),
        }
    }

    /// As [`Scorer::encoded`], with batch norm folded and patches kept in the cache from pixels to logits.
    fn packed(&self, pixels: &[u8], patch: [usize; 3]) -> Result<Tensor> {
        let [c, h, w] = patch;
        let encoder = {
            let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
            match &*packed {
                Some((of, encoder)) if *of == patch => encoder.clone(),
                _ => {
                    let folded = self.encoder.folded(Some(&self.folded))?;
                    let encoder = Arc::new(PackedEncoder::new(&folded, c, [h, w])?);
                    *packed = Some((patch, encoder.clone()));
                    encoder
                }
            }
        };
        let count = pixels.len() / (c * h * w);
        let corners: Vec<usize> = (0..count).map(|at| at * c * h * w).collect();
        let (scale, shift) = (vec![1.0 / 255.0; c], vec![0.0; c]);
        let pixels = Pixels::U8(pixels);
        let patches =
            Patches { pixels, channel: h * w, row: w, corners: &corners, scale: &scale, shift: &shift };
        let mut logits = vec![0.0; count * encoder.outputs()];
        encoder.encode(&patches, &mut logits)?;
        Tensor::from_slice(&logits, [count, encoder.outputs()], &Device::Cpu)
    }

    /// As [`Scorer::encoded`], encoding one patch for each value that a constant patch has.
    fn distinct(&self, pixels: &[u8], patch: [usize; 3], device: &Device) -> Result<Tensor> {
        let bytes = patch.iter().product::<usize>();
        let mut first = [None::<i32>; 256];
        let mut kept = Vec::new();
        let mut rows = Vec::with_capacity(pixels.len() / bytes);
        for patch in pixels.chunks(bytes) {
            let next = (kept.len() / bytes) as i32;
            let constant = patch.iter().all(|v| *v == patch[0]);
            let row = if constant { *first[patch[0] as usize].get_or_insert(next) } else { next };
            if row == next {
                kept.extend_from_slice(patch);
            }
            rows.push(row);
        }
        let logits = self.encoded(&kept, patch, device)?;
        let rows = Tensor::from_slice(&rows, [rows.len()], device)?;
        ops::gather(&logits, &rows)
    }
}
