//! The patch encoder in evaluation mode, kept in the cache from pixels to features.
//!
//! The network is a residual one of basic blocks (He et al. 2016) with batch norm folded into its weights: a stem
//! (convolution, ReLU, 3×3 max pooling with stride 2), blocks of two 3×3 convolutions around a shortcut, the mean or
//! maximum over pixels, and perhaps a product with a matrix. Weights are packed once. A task takes a few patches through the whole
//! network in one thread: patches are read where they stand in the image, and what lies between layers never leaves the
//! task's scratch. Deeper stages, whose weights are larger and whose patches are smaller, take more patches at a time
//! than earlier ones, so that each passage of the weights through the cache serves enough pixels.
//!
//! A patch's result has the same bits whatever the other patches and the number of threads.

mod layer;
mod plane;
mod stem;
#[cfg(test)]
mod tests;

use crate::{
    cpu::{
        simd::{Level, level},
        vector,
        workers::{self, Shared},
    },
    error::{Error, Result},
    ops::{
        Conv2d, GlobalPool,
        conv2d::cpu::{
            form,
            gather::Gather,
            tile::even_part,
            weights::Packed,
            winograd::{Filters, Size},
            winograd_tiles::place,
        },
    },
};
use layer::{HeadJob, LayerJob, PLACES, Weights};
use plane::Plane;
use stem::{Stem, StemJob};

const OP: &str = "patch_encoder";
/// Floats of transformed tiles at once, and the fewest tiles that should share a passage of the weights.
const TRANSFORMED: usize = 160 << 10;
const FEW: usize = 14;

/// A convolution with batch norm folded in: `weight (O, C, k, k)`, k odd, padding k / 2, and `bias (O)`.
#[derive(Clone, Debug)]
pub struct FoldedConv {
    /// (O, C, k, k).
    pub weight: Vec<f32>,
    /// (O).
    pub bias: Vec<f32>,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Vertical and horizontal stride.
    pub stride: usize,
}

/// `relu(conv2(relu(conv1(x))) + shortcut(x))`.
#[derive(Clone, Debug)]
pub struct FoldedBlock {
    /// 3×3, stride 1 or 2.
    pub conv1: FoldedConv,
    /// 3×3, stride 1.
    pub conv2: FoldedConv,
    /// 1×1, of the first convolution's stride; without one the shortcut is the identity.
    pub shortcut: Option<FoldedConv>,
}

/// The weights of an encoder in evaluation mode.
#[derive(Clone, Debug)]
pub struct FoldedEncoder {
    /// The first convolution, any odd kernel and stride; ReLU and 3×3 max pooling with stride 2 and padding 1 follow.
    pub stem: FoldedConv,
    /// The residual blocks.
    pub blocks: Vec<FoldedBlock>,
    /// How the last block's pixels become the features.
    pub pool: GlobalPool,
    /// (R, D): the result is its product with the features instead of the features.
    pub matrix: Option<Vec<f32>>,
}

/// The image elements that patches are read from.
#[derive(Clone, Copy, Debug)]
pub enum Pixels<'a> {
    /// Bytes.
    U8(&'a [u8]),
    /// Floats.
    F32(&'a [f32]),
}

/// Patches of one image, or of several in one slice.
#[derive(Clone, Copy, Debug)]
pub struct Patches<'a> {
    /// All elements.
    pub pixels: Pixels<'a>,
    /// Elements from a channel to the next one.
    pub channel: usize,
    /// Elements from a row of pixels to the next one.
    pub row: usize,
    /// The element at which each patch begins: its top left pixel, first channel.
    pub corners: &'a [usize],
    /// Per channel: the network sees `pixel * scale + shift`.
    pub scale: &'a [f32],
    /// As above.
    pub shift: &'a [f32],
}

/// An encoder packed for patches of one size on this processor.
///
/// ```
/// use foveate::{cpu::{FoldedConv, FoldedEncoder, PackedEncoder, Patches, Pixels}, ops::GlobalPool};
/// # fn main() -> foveate::Result<()> {
/// // A stem alone: one channel, a 1×1 kernel that doubles, then ReLU, pooling, and the mean.
/// let stem = FoldedConv { weight: vec![2.0], bias: vec![0.0], kernel: 1, stride: 1 };
/// let encoder = PackedEncoder::new(&FoldedEncoder { stem, blocks: vec![], pool: GlobalPool::Mean, matrix: None }, 1, [2, 2])?;
/// let image = [0_u8, 255, 0, 0, 0, 51];
/// let patches = Patches {
///     pixels: Pixels::U8(&image),
///     channel: 6,
///     row: 3,
///     corners: &[0, 1],
///     scale: &[1.0 / 255.0],
///     shift: &[0.0],
/// };
/// let mut features = [0.0; 2];
/// encoder.encode(&patches, &mut features)?;
/// assert_eq!(features, [2.0, 2.0]);
/// # Ok(()) }
/// ```
pub struct PackedEncoder {
    level: Level,
    channels: usize,
    patch: [usize; 2],
    stem: Stem,
    blocks: Vec<Block>,
    stages: Vec<Stage>,
    pool: GlobalPool,
    matrix: Option<Vec<f32>>,
    outputs: usize,
    /// Floats of a thread's scratch: planes, then stem, transformed tiles, products, features.
    scratch: [usize; 5],
}

struct Block {
    conv1: Weights,
    conv2: Weights,
    shortcut: Option<Weights>,
}

/// Blocks of one plane. The first one of every stage but the first reads the plane before.
struct Stage {
    plane: Plane,
    blocks: std::ops::Range<usize>,
    /// Patches that it takes at a time, and where their two planes begin in the scratch: `x`, and `t` after it.
    group: usize,
    start: usize,
    /// Tiles taken at once.
    tiles: usize,
}

fn wrong(what: String) -> Error {
    Error::shape(OP, what)
}

impl FoldedConv {
    fn gather(&self, channels: usize, size: [usize; 2]) -> Result<Gather> {
        let out = self.bias.len();
        let conv = Conv2d::new(self.stride, self.kernel / 2);
        if self.kernel.is_multiple_of(2) || self.weight.len() != out * channels * self.kernel * self.kernel {
            return Err(wrong(format!(
                "{} weights are no ({out}, {channels}, k, k) with k = {}, which must be odd",
                self.weight.len(),
                self.kernel
            )));
        }
        let kernel = [out, channels, self.kernel, self.kernel];
        Ok(Gather::forward(&conv.shape(OP, [1, channels, size[0], size[1]], kernel)?))
    }

    fn check(&self, name: &str, kernel: usize, strides: &[usize]) -> Result<()> {
        if self.kernel != kernel || !strides.contains(&self.stride) || self.bias.is_empty() {
            return Err(wrong(format!(
                "{name} of a block is {} by {} with stride {}, must be {kernel} by {kernel} with a stride of {strides:?}",
                self.kernel, self.kernel, self.stride
            )));
        }
        Ok(())
    }

    /// Packs the weights for blocked planes, and says what plane they lead to.
    fn pack(&self, level: Level, from: Plane) -> Result<(Weights, Plane)> {
        let lanes = vector::lanes(level);
        let gather = self.gather(from.channels, from.size)?;
        let to = Plane { channels: self.bias.len(), size: gather.target };
        let (weight, bias) = (&self.weight[..], Some(&self.bias[..]));
        let conv = Conv2d::new(self.stride, self.kernel / 2);
        let shape = conv.shape(
            OP,
            [1, from.channels, from.size[0], from.size[1]],
            [to.channels, from.channels, self.kernel, self.kernel],
        )?;
        if form(conv.algorithm, &shape) == Some(Size::Four) {
            let filters = Filters::new(level, Size::Four, &gather, weight, bias, OP)?;
            return Ok((Weights::Winograd(filters), to));
        }
        let packed = Packed::new(level, &gather, lanes, weight, bias, OP)?;
        // A plane begins one pixel above and to the left of the patch.
        let row = from.surface(lanes).row;
        let inside = 1 - self.kernel / 2;
        let offsets = gather.offsets(row, lanes).concat();
        let offsets = offsets.into_iter().map(|offset| offset + inside * (row + lanes)).collect();
        Ok((Weights::Direct { packed, gather: Box::new(gather), offsets }, to))
    }
}

impl PackedEncoder {
    /// Packs `encoder` for patches of `channels` channels and `patch` rows and columns.
    ///
    /// # Errors
    /// A shape error when weights do not fit each other or the patch, out of memory.
    pub fn new(encoder: &FoldedEncoder, channels: usize, patch: [usize; 2]) -> Result<Self> {
        Self::at(level(), encoder, channels, patch)
    }

    fn at(level: Level, encoder: &FoldedEncoder, channels: usize, patch: [usize; 2]) -> Result<Self> {
        let lanes = vector::lanes(level);
        let gather = encoder.stem.gather(channels, patch)?;
        let weights = Packed::new(level, &gather, 1, &encoder.stem.weight, Some(&encoder.stem.bias), OP)?;
        let offsets = gather.offsets(gather.window(0, gather.target[0]).size[1], 1).concat();
        let mut plane = Plane { channels: gather.out, size: gather.target.map(|pixels| pixels.div_ceil(2)) };
        let stem = Stem { gather, weights, offsets };
        let (mut blocks, mut stages): (Vec<Block>, Vec<Stage>) =
            (Vec::new(), vec![Stage::new(plane, 0, lanes)]);
        for folded in &encoder.blocks {
            folded.conv1.check("conv1", 3, &[1, 2])?;
            folded.conv2.check("conv2", 3, &[1])?;
            let (conv1, to) = folded.conv1.pack(level, plane)?;
            let (conv2, end) = folded.conv2.pack(level, to)?;
            let shortcut = folded.shortcut.as_ref().map(|conv| {
                conv.check("the shortcut", 1, &[folded.conv1.stride])?;
                conv.pack(level, plane)
            });
            let shortcut = shortcut.transpose()?;
            let beside = shortcut.as_ref().map_or(plane, |(_, plane)| *plane);
            if end != to || beside != to {
                return Err(wrong(format!(
                    "a block leads from {plane:?} to {end:?}, its shortcut to {beside:?}"
                )));
            }
            if shortcut.is_some() {
                stages.push(Stage::new(to, blocks.len(), lanes));
            }
            plane = to;
            blocks.push(Block { conv1, conv2, shortcut: shortcut.map(|(weights, _)| weights) });
            if let Some(stage) = stages.last_mut() {
                stage.blocks.end = blocks.len();
            }
        }
        let scratch = scratch(&mut stages, &stem, lanes);
        let outputs = match &encoder.matrix {
            None => plane.channels,
            Some(matrix) if matrix.len().is_multiple_of(plane.channels) => matrix.len() / plane.channels,
            Some(matrix) => {
                return Err(wrong(format!("{} values are no (R, {}) matrix", matrix.len(), plane.channels)));
            }
        };
        let (pool, matrix) = (encoder.pool, encoder.matrix.clone());
        Ok(PackedEncoder { level, channels, patch, stem, blocks, stages, pool, matrix, outputs, scratch })
    }

    /// Values per patch: R with a matrix, else the features D.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Encodes all patches to `to`, (patches, [`PackedEncoder::outputs`]).
    ///
    /// # Errors
    /// A shape error when a patch reaches beyond the pixels or `to` has another size, out of memory.
    pub fn encode(&self, patches: &Patches, to: &mut [f32]) -> Result<()> {
        self.check(patches, to.len())?;
        let count = patches.corners.len();
        if to.is_empty() {
            return Ok(());
        }
        let group = self.stages.last().map_or(1, |stage| stage.group);
        let tasks = count.div_ceil(group).next_multiple_of(rayon::current_num_threads()).min(count);
        let to = Shared::new(to);
        let clear = |scratch: &mut [f32]| scratch[..self.scratch[0]].fill(0.0);
        workers::each_after(clear, tasks, self.scratch.iter().sum(), OP, |at, scratch| {
            let (first, count) = even_part(count, tasks, at);
            // SAFETY: every task writes the results of patches of its own.
            let to = unsafe { to.part(first * self.outputs, count * self.outputs) };
            let mut task = Task::new(self, patches, scratch);
            task.stage(self.stages.len() - 1, first, count);
            task.head(count, to);
        })
    }

    fn check(&self, patches: &Patches, to: usize) -> Result<()> {
        let &Patches { pixels, channel, row, corners, scale, shift } = patches;
        let len = match pixels {
            Pixels::U8(x) => x.len(),
            Pixels::F32(x) => x.len(),
        };
        let ([height, width], channels) = (self.patch, self.channels);
        let last = (channels - 1)
            .checked_mul(channel)
            .zip((height - 1).checked_mul(row))
            .and_then(|(c, r)| c.checked_add(r)?.checked_add(width));
        let fits =
            |&corner: &usize| last.and_then(|last| corner.checked_add(last)).is_some_and(|end| end <= len);
        if let Some(corner) = corners.iter().find(|corner| !fits(corner)) {
            let what = format!(
                "a patch of ({channels}, {height}, {width}) at element {corner} leaves the {len} pixels"
            );
            return Err(wrong(what));
        }
        if scale.len() != channels || shift.len() != channels {
            let what = format!("{} scales and {} shifts for {channels} channels", scale.len(), shift.len());
            return Err(wrong(what));
        }
        let want = corners.len() * self.outputs;
        if to != want {
            return Err(wrong(format!("{} patches have {want} results, not {to}", corners.len())));
        }
        Ok(())
    }
}

impl Stage {
    fn new(plane: Plane, first: usize, lanes: usize) -> Self {
        let tiles = (TRANSFORMED / (PLACES * plane.channels.next_multiple_of(lanes))).max(FEW);
        let [down, across] = plane.tiles();
        let group = (tiles / (down * across)).max(1);
        Stage { plane, blocks: first..first, group, start: 0, tiles: tiles.max(across) }
    }
}

/// Lays the stages' planes out and gives the floats of a thread's scratch.
fn scratch(stages: &mut [Stage], stem: &Stem, lanes: usize) -> [usize; 5] {
    let (mut planes, mut data, mut products, mut features, mut group) = (0, 0, 0, 0, 1);
    for stage in stages {
        // A stage's first convolution reads the plane before, which may have more channels.
        let before = features;
        group = stage.group.max(group);
        stage.group = group;
        stage.start = planes;
        planes += 2 * group * stage.plane.surface(lanes).unit;
        let channels = stage.plane.channels.next_multiple_of(lanes);
        data = data.max(PLACES * place(stage.tiles * channels.max(before), lanes));
        products = products.max(PLACES * place(stage.tiles * 2 * lanes, lanes));
        features = channels;
    }
    [planes, stem.parts(lanes).iter().sum(), data, products, features]
}

/// Some patches on their way through the network, in one thread.
struct Task<'a> {
    encoder: &'a PackedEncoder,
    patches: &'a Patches<'a>,
    lanes: usize,
    /// The stages' planes, exclusively this task's; a pointer, since several are in use at once.
    planes: *mut f32,
    stem: &'a mut [f32],
    data: &'a mut [f32],
    products: &'a mut [f32],
    features: &'a mut [f32],
}

impl<'a> Task<'a> {
    fn new(encoder: &'a PackedEncoder, patches: &'a Patches<'a>, scratch: &'a mut [f32]) -> Self {
        let [planes, stem, data, products, _] = encoder.scratch;
        let (planes, rest) = scratch.split_at_mut(planes);
        let (stem, rest) = rest.split_at_mut(stem);
        let (data, rest) = rest.split_at_mut(data);
        let (products, features) = rest.split_at_mut(products);
        let (lanes, planes) = (vector::lanes(encoder.level), planes.as_mut_ptr());
        Task { encoder, patches, lanes, planes, stem, data, products, features }
    }

    /// The two planes of patch `patch` of a stage's group.
    fn plane(&self, stage: usize, patch: usize) -> [*mut f32; 2] {
        let stage = &self.encoder.stages[stage];
        let unit = stage.plane.surface(self.lanes).unit;
        debug_assert!(patch < stage.group);
        // SAFETY: the planes hold two of `unit` floats for every patch of the stage's group.
        [0, 1].map(|which| unsafe { self.planes.add(stage.start + (which * stage.group + patch) * unit) })
    }

    /// Fills the first `count` planes `x` of a stage, at most its group, with its result for patches `first ..`.
    fn stage(&mut self, at: usize, first: usize, count: usize) {
        let stage = &self.encoder.stages[at];
        let mut blocks = stage.blocks.clone();
        if at == 0 {
            (0..count).for_each(|patch| self.pixels(first + patch, patch));
        } else {
            let (before, group) = (self.encoder.stages[at - 1].plane, self.encoder.stages[at - 1].group);
            for done in (0..count).step_by(group) {
                let some = group.min(count - done);
                self.stage(at - 1, first + done, some);
                let ([from, _], [x, t]) = (self.plane(at - 1, 0), self.plane(at, done));
                if let Some(Block { conv1, shortcut: Some(shortcut), .. }) =
                    blocks.clone().next().map(|block| &self.encoder.blocks[block])
                {
                    self.layer(conv1, (before, from), (stage.plane, t), some, [false, true], stage.tiles);
                    self.layer(shortcut, (before, from), (stage.plane, x), some, [false, false], stage.tiles);
                }
            }
            if let Some(block) = blocks.next() {
                let ([x, t], conv2) = (self.plane(at, 0), &self.encoder.blocks[block].conv2);
                self.layer(conv2, (stage.plane, t), (stage.plane, x), count, [true, true], stage.tiles);
            }
        }
        let [x, t] = self.plane(at, 0);
        for block in blocks {
            let Block { conv1, conv2, .. } = &self.encoder.blocks[block];
            self.layer(conv1, (stage.plane, x), (stage.plane, t), count, [false, true], stage.tiles);
            self.layer(conv2, (stage.plane, t), (stage.plane, x), count, [true, true], stage.tiles);
        }
    }

    /// The stem of one patch, into plane `to` of the first stage.
    fn pixels(&mut self, patch: usize, to: usize) {
        let ([to, _], plane) = (self.plane(0, to), self.encoder.stages[0].plane);
        let (stem, patches) = (&self.encoder.stem, self.patches);
        let job = StemJob { stem, patches, patch, plane, to, scratch: &mut *self.stem };
        // SAFETY: the patch lies inside the pixels (checked), the plane and the scratch have the stem's sizes.
        unsafe { vector::run(self.encoder.level, job) }
    }

    /// A convolution of `count` patches; `[residual, relu]`.
    fn layer(
        &mut self,
        weights: &Weights,
        (from, x): (Plane, *const f32),
        (to, y): (Plane, *mut f32),
        count: usize,
        [residual, relu]: [bool; 2],
        tiles: usize,
    ) {
        let scratch = [&mut *self.data, &mut *self.products];
        let job = LayerJob { weights, from, x, to, y, count, residual, relu, scratch, tiles };
        // SAFETY: `x` and `y` are planes of this task of the shapes given, with zeros in their margins; `count` is at
        // most the group of either stage.
        unsafe { vector::run(self.encoder.level, job) }
    }

    /// The results of `count` patches, from the last stage's planes.
    fn head(&mut self, count: usize, to: &mut [f32]) {
        let last = self.encoder.stages.len() - 1;
        for (patch, to) in to.chunks_exact_mut(self.encoder.outputs).take(count).enumerate() {
            let [x, _] = self.plane(last, patch);
            let (from, matrix) = (self.encoder.stages[last].plane, self.encoder.matrix.as_deref());
            let job = HeadJob { from, x, pool: self.encoder.pool, matrix, features: &mut *self.features, to };
            // SAFETY: the plane is that of the last stage, and `features` holds all its channels.
            unsafe { vector::run(self.encoder.level, job) }
        }
    }
}
