//! Scoring: from the pixels of patches to their attention logits, without gradients.
//!
//! A patch's logits are `(e + p) · Uᵀ`: `e` its features from the encoder in evaluation mode, `p` its positional
//! encoding, `U (H·T, D)` the queries folded with the key projection. They depend on nothing but the patch, so they are
//! computed once, in chunks of any size.

use crate::{
    Device, DeviceKind, Precision, Tensor,
    cpu::{PackedEncoder, Patches, Pixels, Scratch},
    error::{Error, Result},
    nn::{FusedResNet, Pass, ResNet, Transformer},
    ops,
    select::Standardize,
};
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

const OP: &str = "score";

/// How scoring works, apart from the network itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScorerConfig {
    /// Whether positional encodings take part.
    pub use_position: bool,
    /// Encode each distinct constant patch once. Exact: equal patches have equal features in evaluation mode.
    pub elide_constant: bool,
}

/// Patches of bytes where they lie: in an image, or cut out of one.
#[derive(Clone, Debug)]
pub struct PatchPixels<'a> {
    pixels: &'a [u8],
    /// (C, ph, pw).
    patch: [usize; 3],
    /// From a channel, and from a row, to the next one.
    step: [usize; 2],
    /// Where each patch begins.
    corners: Cow<'a, [usize]>,
}

impl<'a> PatchPixels<'a> {
    /// Patches (P, C, ph, pw) one after the other; `patch` is (C, ph, pw).
    ///
    /// # Errors
    ///
    /// A shape error where `pixels` is not a whole number of patches.
    pub fn cut_out(pixels: &'a [u8], patch: [usize; 3]) -> Result<Self> {
        let bytes = patch.iter().try_fold(1_usize, |n, axis| n.checked_mul(*axis)).filter(|n| *n > 0);
        let Some(bytes) = bytes.filter(|bytes| pixels.len().is_multiple_of(*bytes)) else {
            let what =
                format!("{} bytes are not a whole number of patches (C, ph, pw) {patch:?}", pixels.len());
            return Err(Error::shape(OP, what));
        };
        let corners = (0..pixels.len()).step_by(bytes).collect();
        Ok(PatchPixels { pixels, patch, step: [patch[1] * patch[2], patch[2]], corners })
    }

    /// Patches of (ph, pw) = `patch` in an image of (C, H, W) = `dims`, each with its first row and column.
    ///
    /// # Errors
    ///
    /// A shape error where `pixels` is not the image, or a patch leaves it.
    pub fn in_image(
        pixels: &'a [u8],
        dims: [usize; 3],
        patch: [usize; 2],
        corners: impl Iterator<Item = [usize; 2]>,
    ) -> Result<Self> {
        let [c, h, w] = dims;
        let elements = dims.iter().try_fold(1_usize, |n, axis| n.checked_mul(*axis));
        let inside = |[r, q]: [usize; 2]| {
            let end = |start: usize, side: usize| start.checked_add(side);
            end(r, patch[0]).is_some_and(|end| end <= h) && end(q, patch[1]).is_some_and(|end| end <= w)
        };
        let corners: Option<Vec<usize>> =
            corners.map(|corner| inside(corner).then(|| corner[0] * w + corner[1])).collect();
        match corners {
            Some(corners) if elements == Some(pixels.len()) && !patch.contains(&0) && c > 0 => {
                let (patch, corners) = ([c, patch[0], patch[1]], corners.into());
                Ok(PatchPixels { pixels, patch, step: [h * w, w], corners })
            }
            _ => {
                let bytes = pixels.len();
                let what = format!(
                    "patches {patch:?} must lie inside an image of {dims:?}, of which {bytes} bytes are here"
                );
                Err(Error::shape(OP, what))
            }
        }
    }

    /// Patches, P.
    fn count(&self) -> usize {
        self.corners.len()
    }

    /// The rows of pixels of one patch, channel after channel.
    fn rows(&self, corner: usize) -> impl Iterator<Item = &'a [u8]> {
        let ([c, h, w], [channel, row], pixels) = (self.patch, self.step, self.pixels);
        (0..c)
            .flat_map(move |i| (0..h).map(move |r| corner + i * channel + r * row))
            .map(move |at| &pixels[at..at + w])
    }

    /// The value of all pixels of a patch, if it is one.
    fn constant(&self, corner: usize) -> Option<u8> {
        let value = self.pixels[corner];
        self.rows(corner).all(|row| row.iter().all(|v| *v == value)).then_some(value)
    }

    /// Some of the patches.
    fn only<'b>(&self, corners: &'b [usize]) -> PatchPixels<'b>
    where
        'a: 'b,
    {
        PatchPixels { pixels: self.pixels, patch: self.patch, step: self.step, corners: corners.into() }
    }
}

/// The network as scoring needs it: a snapshot of the weights it was made from.
pub struct Scorer<'a> {
    encoder: &'a ResNet,
    /// (R, D) with R = heads · queries.
    folded: Tensor,
    config: ScorerConfig,
    /// How operands of products are rounded, if not as the device is set to.
    precision: Option<Precision>,
    /// What pixels become before the encoder, if not numbers between 0 and 1.
    standardize: Option<Standardize>,
    /// On a GPU: the encoder in fused operations.
    fused: Option<FusedResNet>,
    /// On the CPU: the encoder and the folded queries, packed for patches of one shape when the first of them comes.
    packed: Mutex<Option<([usize; 3], Arc<PackedEncoder>)>>,
}

/// Patches whose activations are in memory at once, where they are not kept in the cache.
const CHUNK: usize = 64;

impl<'a> Scorer<'a> {
    /// A scorer of the network's present weights.
    pub fn new(encoder: &'a ResNet, transformer: &Transformer, config: ScorerConfig) -> Result<Self> {
        let folded = transformer.folded_queries()?;
        let fused = (folded.device().kind() != DeviceKind::Cpu).then(|| encoder.fused()).transpose()?;
        Ok(Scorer {
            encoder,
            folded,
            config,
            precision: None,
            standardize: None,
            fused,
            packed: Mutex::default(),
        })
    }

    /// The same with the encoder's layers one by one, also where one launch could do for all.
    pub fn by_layers(self) -> Self {
        Scorer { fused: self.fused.map(FusedResNet::by_layers), ..self }
    }

    /// The same with pixels brought to a mean and deviation; on a GPU the encoder then takes its layers one by one, since the
    /// fused ones read bytes as numbers between 0 and 1.
    ///
    /// # Errors
    ///
    /// Constants for other channels than the encoder's.
    pub fn standardized(self, standardize: Standardize) -> Result<Self> {
        standardize.check(self.encoder.config().channels)?;
        Ok(Scorer { standardize: Some(standardize), fused: None, ..self })
    }

    /// The same with operands that are rounded to `precision`, whatever the device is set to.
    pub fn with_precision(self, precision: Precision) -> Self {
        let fused = self.fused.map(|fused| fused.with_precision(precision));
        Scorer { precision: Some(precision), fused, ..self }
    }

    /// Where a patch is scored in one launch, in f16: not zero once a value was too large for that, (1), i32. The logits then
    /// mean nothing.
    pub(super) fn overflow(&self) -> Option<Tensor> {
        #[cfg(feature = "cuda")]
        return self.fused.as_ref().and_then(FusedResNet::overflow);
        #[cfg(not(feature = "cuda"))]
        None
    }

    /// Number of logits per patch, R.
    pub fn rows(&self) -> usize {
        self.folded.dims()[0]
    }

    /// Logits (P, R) of P patches at grid positions `indices` (P).
    ///
    /// # Errors
    ///
    /// Another number of indices than of patches, channels that the encoder does not take, out of memory.
    pub fn logits(&self, patches: &PatchPixels, indices: &[u32]) -> Result<Tensor> {
        if patches.count() != indices.len() {
            let what = format!("{} patches at {} positions", patches.count(), indices.len());
            return Err(Error::shape(OP, what));
        }
        let device = self.folded.device();
        let content = match self.config.elide_constant {
            true => self.distinct(patches, &device)?,
            false => self.encoded(patches, &device)?,
        };
        if !self.config.use_position {
            return Ok(content);
        }
        let position = ops::positional_encoding(indices, self.folded.dims()[1], &device)?;
        ops::add(&content, &self.product(&position)?)
    }

    /// The logits of features, (P, R).
    fn product(&self, features: &Tensor) -> Result<Tensor> {
        ops::linear_with(ops::Linear { precision: self.precision }, features, &self.folded, None)
    }

    /// Logits of every patch's content.
    fn encoded(&self, patches: &PatchPixels, device: &Device) -> Result<Tensor> {
        if matches!(device, Device::Cpu) {
            return self.packed(patches);
        }
        let [c, h, w] = patches.patch;
        let mut parts = Vec::new();
        let mut pixels = Scratch::<u8>::new(CHUNK.min(patches.count()) * c * h * w, OP)?;
        for corners in patches.corners.chunks(CHUNK) {
            let rows = corners.iter().flat_map(|corner| patches.rows(*corner));
            pixels.chunks_exact_mut(w).zip(rows).for_each(|(to, row)| to.copy_from_slice(row));
            let cut =
                Tensor::from_slice(&pixels[..corners.len() * c * h * w], [corners.len(), c, h, w], device)?;
            let features = match &self.fused {
                Some(fused) => fused.forward(&cut)?,
                None => {
                    let pixels = Standardize::apply(self.standardize.as_ref(), &cut)?;
                    self.encoder.forward(&pixels, &mut Pass::evaluation())?
                }
            };
            parts.push(self.product(&features)?);
        }
        match parts.as_slice() {
            [] => Tensor::zeros([0, self.rows()], device),
            [one] => Ok(one.clone()),
            _ => ops::concat(&parts.iter().collect::<Vec<_>>(), 0),
        }
    }

    /// As [`Scorer::encoded`], with batch norm folded and patches kept in the cache from pixels to logits.
    fn packed(&self, patches: &PatchPixels) -> Result<Tensor> {
        let [c, h, w] = patches.patch;
        let encoder = {
            let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
            match &*packed {
                Some((of, encoder)) if *of == patches.patch => encoder.clone(),
                _ => {
                    let folded = self.encoder.folded(Some(&self.folded))?;
                    let encoder = Arc::new(PackedEncoder::new(&folded, c, [h, w])?);
                    *packed = Some((patches.patch, encoder.clone()));
                    encoder
                }
            }
        };
        let [scale, shift] = Standardize::constants(self.standardize.as_ref(), c);
        let [channel, row] = patches.step;
        let pixels = Pixels::U8(patches.pixels);
        let given = Patches { pixels, channel, row, corners: &patches.corners, scale: &scale, shift: &shift };
        let mut logits = Scratch::<f32>::new(patches.count() * encoder.outputs(), OP)?;
        encoder.encode(&given, &mut logits)?;
        Tensor::from_slice(&logits, [patches.count(), encoder.outputs()], &Device::Cpu)
    }

    /// As [`Scorer::encoded`], encoding one patch for each value that a constant patch has.
    fn distinct(&self, patches: &PatchPixels, device: &Device) -> Result<Tensor> {
        let mut first = [None::<i32>; 256];
        let mut kept = Vec::new();
        let mut rows = Vec::with_capacity(patches.count());
        for &corner in patches.corners.iter() {
            let next = kept.len() as i32;
            let row =
                patches.constant(corner).map_or(next, |value| *first[value as usize].get_or_insert(next));
            if row == next {
                kept.push(corner);
            }
            rows.push(row);
        }
        let logits = self.encoded(&patches.only(&kept), device)?;
        let rows = Tensor::from_slice(&rows, [rows.len()], device)?;
        ops::gather(&logits, &rows)
    }
}
