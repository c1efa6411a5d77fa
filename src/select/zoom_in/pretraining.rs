//! Training of a Zoom-In network's parts as classifiers, from masks of what is to be found, before it is trained as a whole.

use super::{DrawnTile, Draws, OP, ZoomIn, masks};
use crate::{
    Device, Rng, Tensor,
    data::{PatchSource, Window},
    error::{Error, Result},
    nn::{Linear, Losses, Pass, Targets, Task, module},
    ops::{self, Reduction},
    select::{
        images::Images,
        system::{Learned, Moment, System},
    },
};

/// A Zoom-In network whose three parts learn, each by itself, to tell whether what they see holds any of what is to be found
/// (Kong and Henao, arXiv 2106.02694, pre-training on annotated pixels): network a from a tile's first view, network b
/// from its second, both by the mean of their maps, and the encoder from a sub-tile, by a linear layer that is dropped afterwards. The
/// loss is the mean of their binary cross-entropies.
///
/// All tiles are shown to a; as many as the network draws, half of them with something to find as far as there are such, to b; and a
/// sub-tile in each of these to the encoder, at something to find if its tile has it. Every image needs a mask
/// ([`Masked`](crate::data::Masked)). An image is predicted to hold something as surely as the tile that is surest.
///
/// ```
/// use foveate::{
///     Device, Result, Rng,
///     data::{DenseImage, Masked},
///     select::{ZoomIn, ZoomInConfig, ZoomInPretraining},
///     train::{Dataset, Example, Target, TrainConfig, Trainer},
/// };
///
/// /// Dark images, of which every other has a bright square.
/// struct Squares;
/// impl Dataset for Squares {
///     fn len(&self) -> usize {
///         4
///     }
///     fn example(&self, index: usize) -> Result<Example> {
///         let bright = |at: usize| index % 2 == 1 && at / 60 < 20 && at % 60 < 20;
///         let image = (0..3 * 60 * 60).map(|at| if bright(at % 3600) { 250 } else { 30 }).collect();
///         let mask = (0..60 * 60).map(|at| u8::from(bright(at))).collect();
///         let mask = Box::new(DenseImage::new([1, 60, 60], mask)?);
///         let image = Box::new(Masked::new(Box::new(DenseImage::new([3, 60, 60], image)?), mask)?);
///         Ok(Example { image, targets: vec![Target::Class(index as u32 % 2)] })
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let sizes = ZoomInConfig { tile: [30, 30], tile_view: [3, 3], sub_view: [6, 6], samples: 2, ..ZoomInConfig::colon_cancer() };
/// let mut rng = Rng::new(0);
/// let net = ZoomIn::new(sizes, &Device::Cpu, &mut rng)?;
/// let config = TrainConfig { epochs: 2, batch: 2, ..TrainConfig::attention_sampling() };
/// let mut trainer = Trainer::new(ZoomInPretraining::new(net, &mut rng)?, config.clone(), &Squares)?;
/// while trainer.steps_done() < trainer.steps() {
///     trainer.step_on(&Squares)?;
/// }
/// let net = trainer.into_net().into_net(); // to be trained as a whole
/// let trainer = Trainer::new(net, config, &Squares)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct ZoomInPretraining {
    net: ZoomIn,
    classifier: Linear,
}

module!(ZoomInPretraining {; net, classifier });

/// What b and the encoder are shown: tiles, the corners of a sub-tile in each, and whether they hold something.
struct Shown {
    tiles: Vec<DrawnTile>,
    with: Vec<f32>,
    corners: Vec<[i32; 2]>,
}

impl ZoomInPretraining {
    /// The training of `net`.
    ///
    /// # Errors
    ///
    /// A network of other tasks than a single one of two softmax classes, of which 0 means that there is nothing to find; out
    /// of memory.
    pub fn new(net: ZoomIn, rng: &mut Rng) -> Result<Self> {
        let two = |task: &Task| (task.activation, task.classes) == (crate::nn::Activation::Softmax, 2);
        if !matches!(net.config().tasks.as_slice(), [task] if two(task)) {
            return Err(Error::argument(OP, "pre-training needs a single softmax task of two classes"));
        }
        let features = net.config().encoder.features();
        let classifier = Linear::new("pretraining", features, 1, &net.device(), rng)?;
        Ok(ZoomInPretraining { net, classifier })
    }

    /// The network.
    pub fn net(&self) -> &ZoomIn {
        &self.net
    }

    /// The network, without the layer that only this training had.
    pub fn into_net(self) -> ZoomIn {
        self.net
    }

    /// Which of the tiles of each mask hold something, (B · T).
    fn marked(&self, masks: &Images) -> Result<Vec<bool>> {
        let grid = self.grid(masks);
        Ok(self.net.covering(masks, grid, grid)?.to_vec::<f32>()?.iter().map(|v| *v > 0.0).collect())
    }

    fn grid(&self, images: &Images) -> [usize; 2] {
        images.first().map_or([0; 2], |image| self.net.config.grid([image.height(), image.width()]))
    }

    /// N tiles of each image, half of them with something to find if there are so many, else all of those.
    fn tiles(&self, marked: &[bool], tiles: usize, rng: &mut Rng) -> Vec<DrawnTile> {
        let mut shown = Vec::new();
        for (image, marked) in marked.chunks(tiles.max(1)).enumerate() {
            let order = rng.permutation(marked.len() as u32).into_iter().map(|tile| tile as usize);
            let (with, without): (Vec<usize>, Vec<usize>) = order.partition(|&tile| marked[tile]);
            let most = self.net.config.samples.min(marked.len());
            let half = with.len().min((most / 2).max(most.saturating_sub(without.len())).max(1));
            let own = with[..half].iter().chain(&without[..without.len().min(most - half)]);
            shown.extend(own.map(|&tile| DrawnTile { image, tile, count: 1 }));
        }
        shown
    }

    /// A sub-tile in each tile: at a position with something to find if there is one, else anywhere.
    fn shown(&self, [images, masks]: [&Images; 2], marked: &[bool], rng: &mut Rng) -> Result<Shown> {
        let [rows, columns] = self.grid(masks);
        let [h, w] = self.net.config.sub_view;
        let draws = Draws { tiles: self.tiles(marked, rows * columns, rng), rows: Vec::new() };
        let seen = self.net.tile_views(masks, &draws.tiles, columns)?.to_vec::<f32>()?;
        let position = |view: &[f32]| {
            let with: Vec<i32> = (0..).zip(view).filter(|(_, v)| **v > 0.0).map(|(at, _)| at).collect();
            let any = rng.below(if with.is_empty() { (h * w) as u32 } else { with.len() as u32 });
            with.get(any as usize).copied().unwrap_or(any as i32)
        };
        let positions: Vec<i32> = seen.chunks_exact(h * w).map(position).collect();
        let with =
            seen.chunks_exact(h * w).map(|view| f32::from(u8::from(view.iter().any(|v| *v > 0.0)))).collect();
        let corners = self.net.corners(images, &draws, &positions)?;
        Ok(Shown { tiles: draws.tiles, with, corners })
    }

    /// Whether a sub-tile of each mask holds any annotated pixel.
    fn holding(&self, masks: &Images, shown: &Shown) -> Result<Vec<f32>> {
        let [h, w] = self.net.config.patch;
        let mut pixels = vec![0; h * w];
        let mut holds = |(tile, corner): (&DrawnTile, &[i32; 2])| {
            let window = Window::new(corner[0] as isize, corner[1] as isize, h, w);
            masks[tile.image].read(window, &mut pixels)?;
            Ok(f32::from(u8::from(pixels.iter().any(|pixel| *pixel != 0))))
        };
        shown.tiles.iter().zip(&shown.corners).map(&mut holds).collect()
    }

    /// Logits of the second views and of the sub-tiles shown, a number for each.
    fn look(&self, images: &Images, shown: &Shown, pass: &mut Pass) -> Result<[Tensor; 2]> {
        let (net, count) = (&self.net, shown.tiles.len());
        let views = net.tile_views(images, &shown.tiles, self.grid(images)[1])?;
        let within = ops::global_avg_pool(&net.sub_tiles.forward(&views, pass)?)?;
        let draws = Draws { tiles: shown.tiles.clone(), rows: Vec::new() };
        let patches = net.sub_tile_patches(images, &draws, &shown.corners)?;
        let mut features = net.encoder.forward(&patches, pass)?;
        if net.config.normalize {
            features = ops::l2_normalize(&features)?;
        }
        let of_patches = self.classifier.forward(&features, pass)?;
        Ok([ops::reshape(&within, [count])?, ops::reshape(&of_patches, [count])?])
    }

    /// Probabilities (B, 2) from what network a says of each tile, (B, T).
    fn probabilities(&self, logits: &Tensor) -> Result<Tensor> {
        let most = ops::max(&logits.detach(), &[-1])?;
        let two: Vec<f32> =
            ops::sigmoid(&most)?.to_vec::<f32>()?.iter().flat_map(|p| [1.0 - p, *p]).collect();
        Tensor::from_slice(&two, [two.len() / 2, 2], &self.net.device())
    }
}

impl System for ZoomInPretraining {
    fn tasks(&self) -> &[Task] {
        self.net.tasks()
    }

    fn device(&self) -> Device {
        self.net.device()
    }

    fn description(&self) -> String {
        format!("pre-training of {}", self.net.description())
    }

    /// Network a on all tiles.
    fn macs(&self, size: [usize; 2]) -> Result<u64> {
        let [rows, columns] = self.net.config.grid(size);
        Ok((rows * columns) as u64 * self.net.config.tiles.macs(self.net.config.tile_view)?)
    }

    fn predict(&self, images: &Images, _rng: &mut Rng) -> Result<Vec<Tensor>> {
        let logits = self.net.tile_logits(images, &mut Pass::evaluation())?;
        Ok(vec![self.probabilities(&logits)?])
    }

    fn learn(&self, images: &Images, _targets: &Targets, _at: Moment, pass: &mut Pass) -> Result<Learned> {
        let mut rng = pass.rng()?.fork();
        let masks: Vec<&dyn PatchSource> = masks(images)?;
        let logits = self.net.tile_logits(images, pass)?;
        let marked = self.marked(&masks)?;
        let shown = self.shown([images, &masks], &marked, &mut rng)?;
        let [within, of_patches] = self.look(images, &shown, pass)?;
        let loss = |logits: &Tensor, holds: &[f32]| {
            let holds = Tensor::from_slice(holds, logits.dims(), &self.net.device())?;
            ops::bce_with_logits(logits, &holds, Reduction::Mean)
        };
        let marked: Vec<f32> = marked.iter().map(|&marked| f32::from(u8::from(marked))).collect();
        let of_tiles = loss(&logits, &marked)?;
        let within = loss(&within, &shown.with)?;
        let of_patches = loss(&of_patches, &self.holding(&masks, &shown)?)?;
        let total = ops::add(&ops::add(&of_tiles, &within)?, &of_patches)?;
        let total = ops::scale(&total, 1.0 / 3.0, 0.0)?;
        let probabilities = vec![self.probabilities(&logits)?];
        Ok(Learned { probabilities, losses: Losses { tasks: vec![total.clone()], total } })
    }
}
