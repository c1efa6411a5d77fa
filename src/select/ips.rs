//! Iterative Patch Selection (Bergner, Lippert, Mahendran, "Iterative Patch Selection for High-Resolution Image
//! Recognition", ICLR 2023).
//!
//! Selection walks over all N patches of an image without gradients and keeps the M that the cross-attention scores
//! highest: it starts with the first M, and for each next chunk of I patches scores kept and new ones together and keeps
//! the best M. The network then learns from those M alone. Scores are softmax-normalised over the candidates of the
//! moment, so the result depends on the chunks and their order: this is the published algorithm, not a top-M over all
//! patches. Only logits are carried from chunk to chunk; memory does not depend on the size of the image.
//!
//! ```text
//! image (C, H, W) ── grid of N patches, shuffled
//!   │                  │ I at a time, without gradient, evaluation mode
//!   │                encoder ── features ── cross-attention scores of M kept + I new ── the best M ─┐
//!   │                                               ▲───────────────────────────────────────────────┘
//!   │ the M chosen, read again                                                   (⌈(N − M) / I⌉ times)
//! patches (M, C, ph, pw) ── encoder, with gradient ── features (M, D) + positions
//!                                                       │ cross-attention, one query per task (T, D)
//!                                                     a linear layer per task ── probabilities
//! ```
//!
//! **What differs from the published code, and why.** Each patch is encoded once and its logits are kept, where the code encodes
//! and keeps embeddings and computes logits of kept patches again at every merge: the scores are the same. Equal
//! scores go to the candidate that stands earlier, which PyTorch leaves open. Constant patches may be encoded once each
//! ([`IpsConfig::elide_constant`]). A selection's indices are those of the grid; the code's are of the shuffled order.

mod config;
mod diversity;
#[cfg(feature = "cuda")]
mod on_cuda;
mod stkim;

pub use config::IpsConfig;
pub use stkim::Stkim;

use crate::{
    Device, Parameter, Precision, Rng, Tensor,
    data::{PatchGrid, PatchSource},
    error::{Error, Result},
    nn::{Head, Losses, Module, Pass, ResNet, Role, Targets, Task, Transformer, init},
    ops::{self, top_m_merge::TopMMerge},
    select::{PatchPixels, Scorer, ScorerConfig, Standardize, shuffle::Orders, system::regularise},
};
use stkim::Masks;

/// The patches that selection kept of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Indices in the grid, the best first (all patches in row-major order if there are at most M).
    pub indices: Vec<u32>,
}

/// How patches are scored. The same patches are chosen whatever it says, but for those whose scores differ by less than the
/// rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Scoring {
    /// How operands are rounded; `None`: as the device is set to. A network that trains in [`Precision::Bf16`] can so choose its
    /// patches in [`Precision::F16`].
    pub precision: Option<Precision>,
    /// Whether the encoder's layers are run one by one, and not, on a CUDA device in f16, all of them in one launch. That one
    /// launch is faster is so far a prediction: it stands until both were measured on a GPU (`cargo xtask bench f16/
    /// --device cuda`, the cases `selection-f16/one-launch` and `selection-f16/by-layers`; a bundle's `run.sh` has them).
    pub by_layers: bool,
    /// Whether a value that f16 cannot hold is [`Error::Overflow`]. Otherwise the selection is repeated with operands as they
    /// are, in f32, which `Cuda::overflows` counts and a warning tells of. Layers that are run one by one are not watched.
    pub strict: bool,
}

/// What the network says of a batch.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Probabilities (B, classes), one tensor per task.
    pub probabilities: Vec<Tensor>,
    /// Attention that each selected patch got, mean over heads and queries, (B, M), in the order of the selection.
    pub scores: Tensor,
}

/// What an overflow is.
const LARGE: &str = "a value of the patch encoder exceeds 65504, the largest number of f16";

/// Images of one size, and the patches they are made of.
type Images<'a> = [&'a dyn PatchSource];

/// An IPS network.
///
/// ```
/// use foveate::{
///     Device, Rng,
///     data::{DenseImage, PatchSource},
///     nn::{Activation, GlobalPool, Pass, ResNetConfig, Task},
///     select::{Ips, IpsConfig},
/// };
/// # fn main() -> foveate::Result<()> {
/// let encoder = ResNetConfig { channels: 1, widths: vec![8], blocks: 1, pool: GlobalPool::Mean };
/// let tasks = vec![Task::new("which", 3, Activation::Softmax)];
/// // Patches of 16 × 16; keep M = 4, see I = 8 at a time; with positional encodings.
/// let config = IpsConfig::with_encoder(encoder, [16, 16], 4, 8, tasks, true);
/// let mut rng = Rng::new(0);
/// let net = Ips::new(config, &Device::Cpu, &mut rng)?;
/// let image = DenseImage::new([1, 96, 96], (0..96 * 96).map(|i| (i % 251) as u8).collect())?;
/// let images: [&dyn PatchSource; 1] = [&image];
/// let chosen = net.select(&images, &mut rng)?;
/// assert_eq!(chosen[0].indices.len(), 4); // of the 36 patches
/// let prediction = net.classify(&images, &chosen, &mut Pass::evaluation())?;
/// assert_eq!(*prediction.probabilities[0].dims(), [1, 3]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Ips {
    config: IpsConfig,
    encoder: ResNet,
    transformer: Transformer,
    heads: Vec<Head>,
    /// (D, D / H): what every head's output alone is mapped by, where heads are to differ.
    branch: Option<Parameter>,
    scoring: Scoring,
    #[cfg(feature = "cuda")]
    cache: on_cuda::Cache,
}

impl Module for Ips {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Role, &'a Parameter)) {
        self.encoder.visit(f);
        self.transformer.visit(f);
        self.heads.visit(f);
        self.branch.iter().for_each(|branch| f(Role::Trained, branch));
    }

    fn visit_mut<'a>(&'a mut self, f: &mut dyn FnMut(Role, &'a mut Parameter)) {
        self.encoder.visit_mut(f);
        self.transformer.visit_mut(f);
        self.heads.visit_mut(f);
        self.branch.iter_mut().for_each(|branch| f(Role::Trained, branch));
    }
}

impl Ips {
    /// A network with fresh parameters on `device`, named as in the published PyTorch implementation.
    ///
    /// # Errors
    ///
    /// As [`IpsConfig::check`]; sizes that the layers refuse; out of memory.
    pub fn new(config: IpsConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        config.check()?;
        let encoder = ResNet::new("encoder", config.encoder.clone(), device, rng)?;
        let transformer = Transformer::new("transf", config.transformer.clone(), device, rng)?;
        let features = config.encoder.features();
        let heads = config
            .tasks
            .iter()
            .map(|task| Head::new(task.clone(), features, device, rng))
            .collect::<Result<_>>()?;
        let branch = (config.diversity > 0.0)
            .then(|| {
                let weight =
                    init::default_uniform([features, features / config.transformer.heads], device, rng)?;
                Result::Ok(Parameter::new(diversity::BRANCH, weight))
            })
            .transpose()?;
        Ok(Ips {
            config,
            encoder,
            transformer,
            heads,
            branch,
            scoring: Scoring::default(),
            #[cfg(feature = "cuda")]
            cache: on_cuda::Cache::default(),
        })
    }

    /// How patches are scored, [`Scoring::default`] if this was never called.
    pub fn set_scoring(&mut self, scoring: Scoring) {
        self.scoring = scoring;
    }

    /// Gives back what selection keeps on a CUDA device for the next batch of the same shape: packed weights, and memory for
    /// the images of a batch or for strips of them. The next selection makes it anew; a copy of the network has none.
    pub fn release(&self) {
        #[cfg(feature = "cuda")]
        self.cache.clear();
    }

    /// Its configuration.
    pub fn config(&self) -> &IpsConfig {
        &self.config
    }

    /// Its patch encoder.
    pub fn encoder(&self) -> &ResNet {
        &self.encoder
    }

    /// Its cross-attention transformer.
    pub fn transformer(&self) -> &Transformer {
        &self.transformer
    }

    /// The device that holds the network.
    pub fn device(&self) -> Device {
        self.encoder.parameters().first().map_or(Device::Cpu, |p| p.tensor().device())
    }

    /// The grid of patches over the images of a batch, which must agree in size and channels.
    pub fn grid(&self, images: &Images) -> Result<PatchGrid> {
        let Some(first) = images.first() else {
            return Err(Error::argument("ips", "a batch without images"));
        };
        let size = |image: &dyn PatchSource| [image.channels(), image.height(), image.width()];
        let want = size(*first);
        if want[0] != self.config.encoder.channels {
            let what =
                format!("images of {} channels, the encoder takes {}", want[0], self.config.encoder.channels);
            return Err(Error::shape("ips", what));
        }
        if let Some(other) = images.iter().map(|image| size(*image)).find(|size| *size != want) {
            let what =
                format!("images of (C, H, W) {want:?} and {other:?} in one batch: batch images of one size");
            return Err(Error::shape("ips", what));
        }
        first.grid(self.config.patch, self.config.stride)
    }

    /// Selects M patches of each image. Records nothing; memory does not grow with the images.
    ///
    /// On a CUDA device in [`Precision::F16`], where patches fit in one launch of the encoder, the whole of it is one graph: of images whose pixels are in memory and fit into half of the device's, which are copied there. Of others,
    /// the patches come in strips. What it needs is kept for the next batch, until [`Ips::release`].
    ///
    /// # Errors
    ///
    /// An empty batch, images of different sizes, of other channels than the encoder's or smaller than a patch, pixels
    /// that cannot be read, out of memory.
    pub fn select(&self, images: &Images, rng: &mut Rng) -> Result<Vec<Selection>> {
        crate::cpu::in_pool(|| self.select_here(images, rng, false))
    }

    /// As [`Ips::select`], with the masking that is for training alone ([`Stkim`]).
    ///
    /// # Errors
    ///
    /// As [`Ips::select`].
    pub fn select_in_training(&self, images: &Images, rng: &mut Rng) -> Result<Vec<Selection>> {
        crate::cpu::in_pool(|| self.select_here(images, rng, true))
    }

    fn select_here(&self, images: &Images, rng: &mut Rng, training: bool) -> Result<Vec<Selection>> {
        let grid = self.grid(images)?;
        let (n, m) = (grid.count(), self.config.memory);
        if n <= m {
            return Ok(images.iter().map(|_| Selection { indices: (0..n as u32).collect() }).collect());
        }
        let orders = Orders::new(self.config.shuffle, images.len(), n, rng);
        let merges = (n - m).div_ceil(self.config.iteration);
        let stkim = self.config.stkim.filter(|stkim| training || stkim.in_evaluation);
        let masks = stkim.map(|stkim| Masks::new(stkim, images.len(), merges, rng));
        #[cfg(feature = "cuda")]
        let answer = match masks {
            // What is recorded there has no masks.
            Some(_) => None,
            None => self.select_on_cuda(images, &grid, &orders)?,
        };
        #[cfg(feature = "cuda")]
        let answer = answer.map(|chosen| (chosen.numbers, chosen.overflowed));
        #[cfg(not(feature = "cuda"))]
        let answer = None;
        let (mut numbers, overflowed) = match answer {
            Some(answer) => answer,
            None => self.select_with(&self.scorer()?, images, &grid, &orders, masks)?,
        };
        if overflowed {
            self.refuse_overflow()?;
            let precise = self.scorer()?.with_precision(Precision::F32);
            numbers = self.select_with(&precise, images, &grid, &orders, masks)?.0;
        }
        let chosen = |row: &[i32]| Selection { indices: row.iter().map(|v| *v as u32).collect() };
        Ok(numbers.chunks(m).map(chosen).collect())
    }

    /// Counts and tells that a value was too large for f16, or makes it an error.
    fn refuse_overflow(&self) -> Result<()> {
        let device = self.device();
        #[cfg(feature = "cuda")]
        if let Device::Cuda(cuda) = &device {
            cuda.count_overflow();
        }
        if self.scoring.strict {
            return Err(Error::Overflow {
                op: "ips",
                what: format!("{LARGE} on {device}: choose patches in f32, or allow that it be repeated"),
            });
        }
        #[cfg(feature = "cuda")]
        tracing::warn!("{LARGE} on {device}: patches are chosen again in f32");
        Ok(())
    }

    /// The numbers (B, M) of the patches that a scorer chooses, and whether a value was too large for its precision.
    fn select_with(
        &self,
        scorer: &Scorer,
        images: &Images,
        grid: &PatchGrid,
        orders: &Orders,
        masks: Option<Masks>,
    ) -> Result<(Vec<i32>, bool)> {
        let (n, m) = (grid.count(), self.config.memory);
        let i = self.config.iteration.min(n);
        let (mut logits, mut kept) = self.score(scorer, images, grid, orders, 0..m)?;
        // Encoding runs in chunks of several iterations; the merge replays the iterations one by one.
        let chunk = i * (128 / i).max(1);
        for start in (m..n).step_by(chunk) {
            let (new_logits, new) =
                self.score(scorer, images, grid, orders, start..(start + chunk).min(n))?;
            let candidates = ops::concat(&[&logits, &new_logits], 1)?;
            let best = match &masks {
                Some(masks) => masks.merge(TopMMerge { keep: m, chunk: i }, &candidates, (start - m) / i)?,
                None => ops::top_m_merge(&candidates, m, i)?,
            };
            logits = ops::gather(&candidates, &best)?;
            kept = ops::gather(&ops::concat(&[&kept, &new], 1)?, &best)?;
        }
        let Some(overflow) = scorer.overflow() else { return Ok((kept.to_vec()?, false)) };
        // Read together: the host waits once.
        let kept = ops::reshape(&kept, [kept.elements()])?;
        let mut numbers = ops::concat(&[&kept, &overflow], 0)?.to_vec::<i32>()?;
        let overflowed = numbers.pop().is_some_and(|word| word != 0);
        Ok((numbers, overflowed))
    }

    /// Attention logits (B · P, R) of the patches `indices`, of which each of the B images has P, without gradients. A
    /// patch's logits are the same bits whatever it is scored together with.
    pub fn logits(&self, images: &Images, grid: &PatchGrid, indices: &[u32]) -> Result<Tensor> {
        if images.is_empty() || indices.is_empty() || !indices.len().is_multiple_of(images.len()) {
            let what =
                format!("{} indices for {} images: each needs the same number", indices.len(), images.len());
            return Err(Error::argument("ips", what));
        }
        self.score_patches(&self.scorer()?, images, grid, indices)
    }

    fn scorer(&self) -> Result<Scorer<'_>> {
        let config = ScorerConfig {
            use_position: self.config.use_position,
            elide_constant: self.config.elide_constant,
        };
        let scorer = Scorer::new(&self.encoder, &self.transformer, config)?;
        let scorer = match &self.config.standardize {
            Some(standardize) => scorer.standardized(standardize.clone())?,
            None => scorer,
        };
        let scorer = match self.scoring.precision {
            Some(precision) => {
                precision.check("ips", &self.device())?;
                scorer.with_precision(precision)
            }
            None => scorer,
        };
        Ok(if self.scoring.by_layers { scorer.by_layers() } else { scorer })
    }

    /// Logits (B, P, R) and grid indices (B, P), i32, of the patches at positions `range` of each image's order.
    fn score(
        &self,
        scorer: &Scorer,
        images: &Images,
        grid: &PatchGrid,
        orders: &Orders,
        range: std::ops::Range<usize>,
    ) -> Result<(Tensor, Tensor)> {
        let indices: Vec<u32> = (0..images.len())
            .flat_map(|b| range.clone().map(move |at| (b, at)))
            .map(|(b, at)| orders.patch(b, at))
            .collect();
        let logits = self.score_patches(scorer, images, grid, &indices)?;
        let logits = ops::reshape(&logits, [images.len(), range.len(), scorer.rows()])?;
        let indices: Vec<i32> = indices.iter().map(|v| *v as i32).collect();
        Ok((logits, Tensor::from_slice(&indices, [images.len(), range.len()], &self.device())?))
    }

    fn score_patches(
        &self,
        scorer: &Scorer,
        images: &Images,
        grid: &PatchGrid,
        indices: &[u32],
    ) -> Result<Tensor> {
        let in_memory: Option<Vec<&[u8]>> = images.iter().map(|image| image.in_memory()).collect();
        let Some(in_memory) = in_memory else {
            let pixels = self.pixels(images, grid, indices)?;
            return scorer.logits(&PatchPixels::cut_out(&pixels, self.patch_shape())?, indices);
        };
        let mut parts = Vec::with_capacity(images.len());
        let own = indices.chunks(indices.len() / images.len());
        for ((image, pixels), indices) in images.iter().zip(in_memory).zip(own) {
            let dims = [image.channels(), image.height(), image.width()];
            let corners = indices.iter().map(|&at| grid.corner(at as usize)).collect::<Result<Vec<_>>>()?;
            let patches = PatchPixels::in_image(pixels, dims, grid.patch(), corners.into_iter())?;
            parts.push(scorer.logits(&patches, indices)?);
        }
        match parts.as_slice() {
            [one] => Ok(one.clone()),
            _ => ops::concat(&parts.iter().collect::<Vec<_>>(), 0),
        }
    }

    /// The pixels of the patches `indices`, (B · P, C, ph, pw), where each image has P of the indices.
    fn pixels(&self, images: &Images, grid: &PatchGrid, indices: &[u32]) -> Result<crate::cpu::Scratch<u8>> {
        let bytes = self.patch_shape().iter().product::<usize>();
        let mut pixels = crate::cpu::Scratch::<u8>::new(bytes * indices.len(), "ips")?;
        let per_image = indices.len() / images.len();
        for (b, image) in images.iter().enumerate() {
            let mine = b * per_image..(b + 1) * per_image;
            image.read_patches(
                grid,
                &indices[mine.clone()],
                &mut pixels[mine.start * bytes..mine.end * bytes],
            )?;
        }
        Ok(pixels)
    }

    fn patch_shape(&self) -> [usize; 3] {
        [self.config.encoder.channels, self.config.patch[0], self.config.patch[1]]
    }

    /// Predicts from the selected patches: the pass decides whether this trains.
    ///
    /// # Errors
    ///
    /// As [`Ips::select`]; selections that are not one per image and of one length; indices outside the grid.
    pub fn classify(&self, images: &Images, chosen: &[Selection], pass: &mut Pass) -> Result<Prediction> {
        let x = self.embed(images, chosen, pass)?;
        self.look(&x, pass)
    }

    /// Predicts in a training pass and compares with the targets: the prediction, and the losses with what regularises.
    pub(super) fn learn_from(
        &self,
        images: &Images,
        chosen: &[Selection],
        targets: &Targets,
        pass: &mut Pass,
    ) -> Result<(Prediction, Losses)> {
        let x = self.embed(images, chosen, pass)?;
        let prediction = self.look(&x, pass)?;
        let mut losses = self.losses(&prediction, targets)?;
        if let Some(branch) = &self.branch {
            let term = self.diversity(branch, &x, targets, pass)?;
            regularise(&mut losses, &term, self.config.diversity)?;
        }
        Ok((prediction, losses))
    }

    /// Features of the selected patches with their positions, (B, M, D).
    fn embed(&self, images: &Images, chosen: &[Selection], pass: &mut Pass) -> Result<Tensor> {
        let grid = self.grid(images)?;
        let m = chosen.first().map_or(0, |s| s.indices.len());
        if chosen.len() != images.len() || m == 0 || chosen.iter().any(|s| s.indices.len() != m) {
            let what = format!(
                "{} selections for {} images: each needs one, all of one length",
                chosen.len(),
                images.len()
            );
            return Err(Error::argument("ips", what));
        }
        let indices: Vec<u32> = chosen.iter().flat_map(|s| s.indices.iter().copied()).collect();
        let pixels = self.pixels(images, &grid, &indices)?;
        let [c, h, w] = self.patch_shape();
        let (b, d) = (images.len(), self.config.encoder.features());
        let patches = Tensor::from_slice(&pixels, [b * m, c, h, w], &self.device())?;
        let features =
            self.encoder.forward(&Standardize::apply(self.config.standardize.as_ref(), &patches)?, pass)?;
        let mut x = ops::reshape(&features, [b, m, d])?;
        if self.config.use_position {
            let position = ops::positional_encoding(&indices, d, &self.device())?;
            x = ops::add(&x, &ops::reshape(&position, [b, m, d])?)?;
        }
        Ok(x)
    }

    /// What the transformer and the heads make of patches x (B, M, D).
    fn look(&self, x: &Tensor, pass: &mut Pass) -> Result<Prediction> {
        let (y, scores) = self.transformer.forward(x, pass)?;
        let probabilities = self.answers(&ops::transpose(&y, &[1, 0, 2])?, pass)?;
        Ok(Prediction { probabilities, scores })
    }

    /// What each task's head makes of its own rows of y (T, R, D): probabilities (R, classes).
    fn answers(&self, y: &Tensor, pass: &mut Pass) -> Result<Vec<Tensor>> {
        let [rows, d] = [y.dims()[1], y.dims()[2]];
        let own = |task: usize| ops::reshape(&ops::slice(y, task..task + 1)?, [rows, d]);
        self.heads.iter().enumerate().map(|(task, head)| head.forward(&own(task)?, pass)).collect()
    }

    /// The losses of a prediction: the mean over tasks, and each task's own.
    pub fn losses(&self, prediction: &Prediction, labels: &Targets) -> Result<Losses> {
        let tasks: Vec<&Task> = self.heads.iter().map(Head::task).collect();
        Losses::new(&tasks, &prediction.probabilities, labels)
    }
}
