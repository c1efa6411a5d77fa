//! The patch encoder in evaluation mode as a few fused operations: batch norm folded into the convolutions, residual and
//! ReLU done where a convolution writes. Made on the network's own device, from which nothing is read back.

#[cfg(feature = "cuda")]
use crate::{Device, cuda};
use crate::{
    Precision, Tensor,
    error::Result,
    nn::{BatchNorm, Conv2d},
    ops::{self, GlobalPool},
};
#[cfg(feature = "cuda")]
use std::sync::{Arc, Mutex, PoisonError};

/// A convolution with the batch norm behind it.
#[derive(Debug, Clone)]
struct FusedConv {
    weight: Tensor,
    bias: Tensor,
    geometry: ops::Conv2d,
}

impl FusedConv {
    /// γ / √(σ² + ε) goes into the weight, β − μ γ / √(σ² + ε) is the bias; inputs are `scale` times too large.
    fn new(conv: &Conv2d, bn: &BatchNorm, scale: f64) -> Result<Self> {
        let (factor, bias) = bn.scale_and_shift()?;
        let out = conv.weight().dims()[0];
        let weight = ops::mul(&conv.weight().detach(), &ops::reshape(&factor, [out, 1, 1, 1])?)?;
        let weight = if scale == 1.0 { weight } else { ops::scale(&weight, scale, 0.0)? };
        Ok(FusedConv { weight, bias, geometry: conv.geometry() })
    }

    fn set_precision(&mut self, precision: Precision) {
        self.geometry.precision = Some(precision);
    }

    #[cfg(feature = "cuda")]
    fn folded(&self) -> cuda::FoldedConv<'_> {
        cuda::FoldedConv { weight: &self.weight, bias: &self.bias, geometry: self.geometry }
    }

    fn forward(&self, x: &Tensor, residual: Option<&Tensor>, relu: bool) -> Result<Tensor> {
        ops::conv2d_fused(x, &self.weight, &self.bias, residual, self.geometry, relu)
    }
}

/// `relu(conv2(relu(conv1(x))) + shortcut(x))`.
#[derive(Debug, Clone)]
pub(super) struct FusedBlock {
    conv1: FusedConv,
    conv2: FusedConv,
    shortcut: Option<FusedConv>,
}

impl FusedBlock {
    pub(super) fn new(
        conv1: (&Conv2d, &BatchNorm),
        conv2: (&Conv2d, &BatchNorm),
        shortcut: Option<(&Conv2d, &BatchNorm)>,
    ) -> Result<Self> {
        let fused = |(conv, bn): (&Conv2d, &BatchNorm)| FusedConv::new(conv, bn, 1.0);
        Ok(FusedBlock {
            conv1: fused(conv1)?,
            conv2: fused(conv2)?,
            shortcut: shortcut.map(fused).transpose()?,
        })
    }

    #[cfg(feature = "cuda")]
    fn folded(&self) -> cuda::FoldedBlock<'_> {
        cuda::FoldedBlock {
            conv1: self.conv1.folded(),
            conv2: self.conv2.folded(),
            shortcut: self.shortcut.as_ref().map(FusedConv::folded),
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.conv1.forward(x, None, true)?;
        let projected = self.shortcut.as_ref().map(|conv| conv.forward(x, None, false)).transpose()?;
        self.conv2.forward(&y, Some(projected.as_ref().unwrap_or(x)), true)
    }
}

/// The encoder, from bytes of pixels to features.
#[derive(Debug, Clone)]
pub struct FusedResNet {
    stem: FusedConv,
    blocks: Vec<FusedBlock>,
    pool: GlobalPool,
    /// Whether layers are always run one by one.
    #[cfg(feature = "cuda")]
    by_layers: bool,
    #[cfg(feature = "cuda")]
    packed: PackedFor,
}

/// The network packed for patches of one size, or that it cannot be; made when the first of them come.
#[cfg(feature = "cuda")]
type PackedFor = Arc<Mutex<Option<([usize; 2], Option<Arc<cuda::PackedEncoder>>)>>>;

impl FusedResNet {
    pub(super) fn new(
        (stem, bn): (&Conv2d, &BatchNorm),
        blocks: Vec<FusedBlock>,
        pool: GlobalPool,
    ) -> Result<Self> {
        Ok(FusedResNet {
            stem: FusedConv::new(stem, bn, 1.0 / 255.0)?,
            blocks,
            pool,
            #[cfg(feature = "cuda")]
            by_layers: false,
            #[cfg(feature = "cuda")]
            packed: PackedFor::default(),
        })
    }

    /// The same with its layers one by one, also where one launch could do for all.
    pub fn by_layers(self) -> Self {
        #[cfg(feature = "cuda")]
        return FusedResNet { by_layers: true, ..self };
        #[cfg(not(feature = "cuda"))]
        self
    }

    /// The same with operands that are rounded to `precision`, whatever the device is set to.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.stem.set_precision(precision);
        for block in &mut self.blocks {
            [Some(&mut block.conv1), Some(&mut block.conv2), block.shortcut.as_mut()]
                .into_iter()
                .flatten()
                .for_each(|conv| conv.set_precision(precision));
        }
        self
    }

    /// Patches (P, C, ph, pw) of bytes, u8, to features (P, D), f32. Bytes are read by the first convolution itself.
    ///
    /// On a CUDA device in [`Precision::F16`](crate::Precision), all layers are one launch if a patch fits into a block's
    /// shared memory between them; results are within the same rounding of those of the layers one by one.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Some(packed) = self.packed(pixels)? {
            return packed.encode(pixels);
        }
        self.one_by_one(pixels)
    }

    /// Where the network is one launch: not zero once a value was too large for f16, (1), i32.
    #[cfg(feature = "cuda")]
    pub(crate) fn overflow(&self) -> Option<Tensor> {
        let packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        packed.as_ref().and_then(|(_, packed)| packed.as_ref()).map(|packed| packed.overflow().clone())
    }

    /// The network packed for one launch over patches of that many rows and columns; none: there is no such kernel.
    #[cfg(feature = "cuda")]
    pub(crate) fn pack(
        &self,
        patch: [usize; 2],
        device: &Arc<cuda::Cuda>,
    ) -> Result<Option<cuda::PackedEncoder>> {
        cuda::PackedEncoder::new(&self.folded(), patch, device)
    }

    /// The weights, as they are packed.
    #[cfg(feature = "cuda")]
    pub(crate) fn folded(&self) -> cuda::FoldedNetwork<'_> {
        cuda::FoldedNetwork {
            stem: self.stem.folded(),
            blocks: self.blocks.iter().map(FusedBlock::folded).collect(),
            pool: self.pool,
        }
    }

    /// The network in one launch, where that is asked for and possible.
    #[cfg(feature = "cuda")]
    fn packed(&self, pixels: &Tensor) -> Result<Option<Arc<cuda::PackedEncoder>>> {
        let (Device::Cuda(device), &[_, _, height, width]) = (&pixels.device(), &*pixels.dims()) else {
            return Ok(None);
        };
        let precision = self.stem.geometry.precision.unwrap_or_else(|| device.precision());
        if self.by_layers || precision != Precision::F16 {
            return Ok(None);
        }
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, packed)) = packed.as_ref().filter(|(patch, _)| *patch == [height, width]) {
            return Ok(packed.clone());
        }
        let new = self.pack([height, width], device)?.map(Arc::new);
        *packed = Some(([height, width], new.clone()));
        Ok(new)
    }

    fn one_by_one(&self, pixels: &Tensor) -> Result<Tensor> {
        let x = self.stem.forward(pixels, None, true)?;
        let mut x = ops::max_pool2d(&x, [3, 3], [2, 2], [1, 1])?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        ops::global_pool(&x, self.pool)
    }
}
