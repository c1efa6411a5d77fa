//! The patch encoder in one launch: `kernels/encoder/encoder.cu` takes a few patches through all layers in shared memory,
//! from bytes to features, or to the logits of a selection. Here are its parameters, the packing of its weights, and the
//! launch.

mod plan;
#[cfg(test)]
mod tests;

use super::{Argument, Block, Cuda, Cx, ENCODER_F16, ENCODER_PACK_F16, Grid};
use crate::{
    DType, Dims, Tensor,
    data::PatchGrid,
    error::{Error, Result},
    ops::{self, GlobalPool, position},
    tensor::Buffer,
};
use bytemuck::{NoUninit, Zeroable};
use plan::Plan;
use std::{fmt, sync::Arc};

const OP: &str = "patch_encoder";
/// No plane.
const NONE: u32 = u32::MAX;
/// Threads of a block of the kernels, and of a warp.
const THREADS: usize = 256;
const WARP: usize = 32;

#[repr(C)]
#[derive(Clone, Copy, Debug, NoUninit, Zeroable)]
struct Layer {
    clears: u32,
    rows: u32,
    source: u32,
    source_group: u32,
    source_patch: u32,
    source_pitch: u32,
    target: u32,
    target_group: u32,
    target_patch: u32,
    residual: u32,
    kernel: u32,
    in_steps: u32,
    out_channels: u32,
    pixels: u32,
    reads: u32,
    writes: u32,
    weights: u32,
    bias: u32,
    relu: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, NoUninit, Zeroable)]
struct EncoderParams {
    image_stride: u64,
    channel_stride: u64,
    row_stride: u64,
    patches: u32,
    group: u32,
    layers: u32,
    tables: u32,
    channels: u32,
    height: u32,
    width: u32,
    image_pitch: u32,
    image_rows: u32,
    pad: u32,
    planes: u32,
    stem_stride: u32,
    stem_height: u32,
    stem_width: u32,
    stem_steps: u32,
    stem_rows: u32,
    stem_pixels: u32,
    pool_mean: u32,
    features: u32,
    features_first: u32,
    features_group: u32,
    features_patch: u32,
    features_pixels: u32,
    features_table: u32,
    per_image: u32,
    columns: u32,
    stride_y: u32,
    stride_x: u32,
    numbers_stride: u32,
    results_stride: u32,
    queries: u32,
    fine: u32,
    position_size: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct PackParams {
    out_channels: u32,
    in_channels: u32,
    kernel_height: u32,
    kernel_width: u32,
    steps: u32,
    stem: u32,
    first: u32,
}

/// A convolution with batch norm folded in: weight (O, C, k, k) and bias (O).
#[derive(Clone, Copy)]
pub(crate) struct FoldedConv<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) bias: &'a Tensor,
    pub(crate) geometry: ops::Conv2d,
}

/// `relu(conv2(relu(conv1(x))) + shortcut(x))`.
pub(crate) struct FoldedBlock<'a> {
    pub(crate) conv1: FoldedConv<'a>,
    pub(crate) conv2: FoldedConv<'a>,
    pub(crate) shortcut: Option<FoldedConv<'a>>,
}

/// The network: stem, ReLU, 3×3 maxima with stride 2, blocks, and the mean or maximum over pixels.
pub(crate) struct FoldedNetwork<'a> {
    pub(crate) stem: FoldedConv<'a>,
    pub(crate) blocks: Vec<FoldedBlock<'a>>,
    pub(crate) pool: GlobalPool,
}

impl<'a> FoldedNetwork<'a> {
    /// Its convolutions in the order of the program.
    fn convs(&self) -> impl Iterator<Item = &FoldedConv<'a>> {
        [&self.stem].into_iter().chain(
            self.blocks
                .iter()
                .flat_map(|block| [&block.conv1].into_iter().chain(&block.shortcut).chain([&block.conv2])),
        )
    }
}

/// Where a launch finds its patches, which are as many of each image.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    /// The images (B, C, H, W), or the patches (B · P, C, h, w).
    pub(crate) pixels: Argument,
    /// The patches' numbers in the grids of their images, i32; of each image the first P after so many of the one before.
    pub(crate) numbers: Argument,
    pub(crate) numbers_stride: usize,
    pub(crate) images: usize,
    /// P.
    pub(crate) per_image: usize,
    /// Of images: (H, W), and the grid of patches over each.
    pub(crate) whole: Option<([usize; 2], PatchGrid)>,
}

/// What turns features into logits: the folded queries (R, D), and positional encodings if they take part. Its memory stays
/// the same when the queries change.
pub(crate) struct ScoringHead {
    queries: Block,
    rows: usize,
    positions: Option<Positions>,
}

/// Tables of sines and cosines of which `kernels/encoder/encoder.cu` makes the encoding of any number below a bound: for n
/// numbers they have about 2√n rows.
struct Positions {
    tables: Block,
    /// log2 of the rows of the first table.
    fine: u32,
    /// Numbers in a row.
    size: usize,
}

impl Positions {
    /// For the numbers below `count`.
    fn new(device: &Arc<Cuda>, count: usize, features: usize) -> Result<Self> {
        let fine = (usize::BITS - count.saturating_sub(1).leading_zeros()).div_ceil(2);
        let coarse = 0..=(count.saturating_sub(1) >> fine) as u32;
        let numbers: Vec<u32> = (0..1 << fine).chain(coarse.map(|row| row << fine)).collect();
        let size = features.next_multiple_of(2);
        let tables = position::encoded(&numbers, features, size)?;
        Ok(Positions { tables: Block::upload(device, bytemuck::cast_slice(&tables))?, fine, size })
    }
}

impl ScoringHead {
    /// For queries (R, D) and grids of `count` patches.
    pub(crate) fn new(device: &Arc<Cuda>, queries: &Tensor, count: Option<usize>) -> Result<Self> {
        let &[rows, features] = &*queries.dims() else {
            return Err(Error::shape(OP, format!("{queries:?}: queries are (R, D)")));
        };
        let positions = count.map(|count| Positions::new(device, count, features)).transpose()?;
        let head = ScoringHead { queries: Block::new(device, 4 * rows * features, OP)?, rows, positions };
        head.set_queries(queries)?;
        Ok(head)
    }

    /// Copies other queries of the same number over those it has.
    pub(crate) fn set_queries(&self, queries: &Tensor) -> Result<()> {
        self.queries.overwrite(address(queries)?, 4 * queries.elements(), OP)
    }

    /// R.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}

/// A network packed for patches of one size. Its memory stays the same when the weights change.
pub(crate) struct PackedEncoder {
    device: Arc<Cuda>,
    params: EncoderParams,
    shared: u32,
    /// The layers that have weights.
    convs: Vec<Layer>,
    layers: Block,
    tables: Block,
    weights: Block,
    /// All layers' biases, one after another.
    bias: Block,
    /// One word, not zero once a value was too large for f16 in [`PackedEncoder::encode`].
    overflow: Tensor,
}

impl fmt::Debug for PackedEncoder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an encoder of {} layers, {} patches a block", self.params.layers, self.params.group)
    }
}

impl PackedEncoder {
    /// Packs `network`, whose tensors are on `device`, for patches of that many rows and columns. None: the kernel does
    /// not have what the network needs, or a patch does not fit in shared memory.
    pub(crate) fn new(
        network: &FoldedNetwork,
        patch: [usize; 2],
        device: &Arc<Cuda>,
    ) -> Result<Option<Self>> {
        let Some(plan) = Plan::largest(network, patch, device.shared() as usize) else { return Ok(None) };
        let biases: usize = network.convs().map(|conv| conv.bias.elements()).sum();
        let encoder = PackedEncoder {
            device: device.clone(),
            params: plan.params,
            shared: plan.bytes() as u32,
            convs: plan.layers.iter().filter(|layer| layer.clears == 0).copied().collect(),
            layers: Block::upload(device, bytemuck::cast_slice(&plan.layers))?,
            tables: Block::upload(device, bytemuck::cast_slice(&plan.tables))?,
            weights: Block::new(device, 16 * plan.quads, OP)?,
            bias: Block::new(device, 4 * biases, OP)?,
            overflow: Tensor::from_slice(&[0_i32], [1], &crate::Device::Cuda(device.clone()))?,
        };
        encoder.pack(network)?;
        Ok(Some(encoder))
    }

    /// Packs other weights of the same network over those it has.
    pub(crate) fn pack(&self, network: &FoldedNetwork) -> Result<()> {
        let cx = Cx::new(&self.device, OP);
        let mut biases = Vec::new();
        for (conv, layer) in network.convs().zip(&self.convs) {
            pack(&cx, conv, layer, &self.params, &self.weights)?;
            biases.push(conv.bias);
        }
        let biases = ops::concat(&biases, 0)?;
        self.bias.overwrite(address(&biases)?, 4 * biases.elements(), OP)
    }

    /// Whether a value was too large for f16 since the encoder was made: (1), i32, not zero if one was.
    pub(crate) fn overflow(&self) -> &Tensor {
        &self.overflow
    }

    /// Patches (P, C, h, w) of bytes to features (P, D), f32.
    pub(crate) fn encode(&self, pixels: &Tensor) -> Result<Tensor> {
        let p = &self.params;
        let want = [p.channels as usize, p.height as usize, p.width as usize];
        let (&[patches, channels, height, width], DType::U8) = (&*pixels.dims(), pixels.dtype()) else {
            return Err(Error::shape(OP, format!("{pixels:?}: patches are bytes of shape (P, C, h, w)")));
        };
        if [channels, height, width] != want {
            let what = format!("patches of {:?}, packed for {want:?}", [channels, height, width]);
            return Err(Error::shape(OP, what));
        }
        let dims = Dims::from([patches, p.features as usize]);
        let features = Block::new(&self.device, 4 * dims.elements(), OP)?;
        let source = Source {
            pixels: Argument::at(address(pixels)?),
            numbers: Argument::NONE,
            numbers_stride: 0,
            images: 1,
            per_image: patches,
            whole: None,
        };
        let results = [features.argument(), Argument::at(address(&self.overflow)?)];
        self.launch(&Cx::new(&self.device, OP), &source, None, results)?;
        let buffer = Buffer::Cuda(Arc::new(features));
        Ok(Tensor { buffer, offset: 0, dims, dtype: DType::F32, node: None })
    }

    /// Features (B · P, D) of the patches, or with a head their logits (B · P, R), and the word that an overflow sets.
    pub(crate) fn launch(
        &self,
        cx: &Cx,
        source: &Source,
        head: Option<&ScoringHead>,
        [results, overflow]: [Argument; 2],
    ) -> Result<()> {
        let patches = source.images * source.per_image;
        let positions = head.and_then(|head| head.positions.as_ref());
        let params = EncoderParams {
            patches: cx.u32(patches)?,
            per_image: cx.u32(source.per_image)?,
            numbers_stride: cx.u32(source.numbers_stride)?,
            results_stride: cx.u32(source.per_image)?,
            queries: cx.u32(head.map_or(0, |head| head.rows))?,
            fine: positions.map_or(0, |positions| positions.fine),
            position_size: cx.u32(positions.map_or(0, |positions| positions.size))?,
            ..self.reading(cx, source)?
        };
        let pointers = [
            source.pixels,
            self.layers.argument(),
            self.tables.argument(),
            self.weights.argument(),
            self.bias.argument(),
            source.numbers,
            head.map_or(Argument::NONE, |head| head.queries.argument()),
            positions.map_or(Argument::NONE, |positions| positions.tables.argument()),
            results,
            overflow,
        ];
        let grid = Grid::over(patches, params.group as usize).shared(self.shared);
        cx.launch(ENCODER_F16, grid, &pointers, &params)
    }

    /// The parameters, with where pixels are to be read.
    fn reading(&self, cx: &Cx, source: &Source) -> Result<EncoderParams> {
        let p = self.params;
        let Some(([height, width], grid)) = source.whole else {
            let (row, channel) = (u64::from(p.width), u64::from(p.height) * u64::from(p.width));
            return Ok(EncoderParams { row_stride: row, channel_stride: channel, ..p });
        };
        let [stride_y, stride_x] = grid.stride();
        let channel = height as u64 * width as u64;
        Ok(EncoderParams {
            image_stride: u64::from(p.channels) * channel,
            channel_stride: channel,
            row_stride: width as u64,
            columns: cx.u32(grid.columns())?,
            stride_y: cx.u32(stride_y)?,
            stride_x: cx.u32(stride_x)?,
            ..p
        })
    }
}

/// The address of a tensor's first element.
fn address(t: &Tensor) -> Result<u64> {
    match &t.buffer {
        Buffer::Cuda(block) => Ok(block.pointer() + (t.offset * t.dtype.size()) as u64),
        other => {
            let what = format!("a tensor on {}: move it with to_device", other.device());
            Err(Error::DeviceMismatch { op: OP, what })
        }
    }
}

/// Packs one layer's weights.
fn pack(cx: &Cx, conv: &FoldedConv, layer: &Layer, p: &EncoderParams, to: &Block) -> Result<()> {
    let [out, channels, height, width] = <[usize; 4]>::try_from(&*conv.weight.dims())
        .map_err(|_| Error::shape(OP, "a weight needs four axes".to_owned()))?;
    let stem = layer.source == NONE;
    let steps = if stem { p.stem_steps as usize } else { height * width * channels / 16 };
    let params = PackParams {
        out_channels: cx.u32(out)?,
        in_channels: cx.u32(channels)?,
        kernel_height: cx.u32(height)?,
        kernel_width: cx.u32(width)?,
        steps: cx.u32(steps)?,
        stem: stem.into(),
        first: layer.weights,
    };
    let grid = Grid::over(out.div_ceil(32) * 2 * steps * WARP, THREADS);
    cx.launch(ENCODER_PACK_F16, grid, &[Argument::at(address(conv.weight)?), to.argument()], &params)
}
