//! The Zoom-In network (Kong and Henao, "Efficient classification of very large images with tiny objects", arXiv
//! 2106.02694): Attention Sampling in two stages, so that not even a view of the whole image needs to be fine.
//!
//! ```text
//! image (C, H, W) ── first view, scale s1, all of it
//!   │                  │ network a per tile, mean over its pixels, softmax over tiles
//!   │                attention A (T) ── N tiles drawn with replacement, U different ones
//!   │ the tiles drawn ◄──────────────────┘
//! second view, scale s2, of each of U tiles
//!   │ network b, softmax over the tile's positions
//! attention B (U, K) ── n_t sub-tiles of tile t drawn without replacement, n_t the times it was drawn
//!   │ at full resolution
//! sub-tiles (N, C, h, w) ── encoder ── features f ── E_t: estimate of Σ B f within each tile ── Σ_t n_t/N E_t
//!                                                                                  │ a linear layer per task
//!                                                                            probabilities
//! ```
//!
//! Every estimate is [`expectation`](mod@ops::expectation): without replacement within a tile, with replacement over tiles.
//! Both attentions get unbiased gradients. A tile that was drawn twice is read, and seen by b, once. A step's memory is
//! that of the first view and of the U tiles; no tensor has the size of the image.
//!
//! **The contrastive objective**, for images of class 1: tiles and sub-tiles drawn in proportion to 1 − A and 1 − B, that is
//! where attention is not, must be of class 0. With the share w of images of class 1 the loss is `w L₁ + (1 − w) ((1 − w) L₀
//! + w L_con)`, each term a mean over its images.
//!
//! **Pixel-level supervision.** Where masks of what is to be found are known ([`Masked`](crate::data::Masked)), both attentions may be
//! drawn towards them ([`ZoomInConfig::supervision`]), and all three networks may be trained first to tell tiles, second views and
//! sub-tiles that hold some of it from those that do not ([`ZoomInPretraining`]).
//!
//! **What differs from the published code, and why.** It adds Gumbel noise to probabilities instead of their logarithms, so
//! that its sub-tiles are drawn almost uniformly: here they follow B. Its estimator's prefix sums are inclusive, which
//! leaves the forward pass as it is and makes the gradients wrong. In evaluation it takes the best sub-tiles and tiles from
//! a distribution cut at a quantile; here both are drawn as in training. It drops the last row and column of an image and
//! places sub-tiles without the shift by half a cell; here tiles cover the image, and a sub-tile is centred on its position.
//! Its networks differ from the paper's, whose two sets are
//! [`colon_cancer`](ZoomInConfig::colon_cancer) and [`with_resnet_set`](ZoomInConfig::with_resnet_set). The entropy terms are
//! sums over all images of a batch, where the code keeps the last image's alone.

mod config;
mod contrast;
mod draws;
mod pretraining;
#[cfg(test)]
mod tests;

pub use config::ZoomInConfig;
pub use draws::DrawnTile;
pub use pretraining::ZoomInPretraining;

use crate::{
    Device, Rng, Tensor,
    data::{PatchSource, Region, Window},
    error::{Error, Result},
    nn::{ConvStack, Encoder, Head, Module, Pass, Targets, Task, module},
    ops,
    select::{
        images::{Images, common_size, patches, views},
        system::{Learned, Moment, System, classify, heads, regularise},
    },
};
use draws::Draws;

/// What the network says of a batch, and where it looked.
#[derive(Clone, Debug)]
pub struct ZoomInPrediction {
    /// Probabilities (B, classes), one tensor per task.
    pub probabilities: Vec<Tensor>,
    /// The estimated expectation of the features, (B, D).
    pub pooled: Tensor,
    /// The attention A over tiles, (B, T), row-major over [`ZoomInConfig::grid`].
    pub tiles: Tensor,
    /// The U different tiles that were drawn.
    pub drawn: Vec<DrawnTile>,
    /// The attention B within each of them, (U, K), row-major over the second view.
    pub sub_tiles: Tensor,
    /// The sub-tiles' corners in the image, row and column: those of the first tile drawn, in the order of their draws,
    /// then those of the second, and so on.
    pub corners: Vec<[i32; 2]>,
}

/// A Zoom-In network. See [the module](self) for what it computes.
///
/// ```
/// use foveate::{Device, Rng, data::DenseImage, nn::Pass, select::{ZoomIn, ZoomInConfig}};
/// # fn main() -> foveate::Result<()> {
/// let config = ZoomInConfig { tile: [50, 50], tile_view: [5, 5], sub_view: [10, 10], ..ZoomInConfig::colon_cancer() };
/// let mut rng = Rng::new(0);
/// let net = ZoomIn::new(config, &Device::Cpu, &mut rng)?;
/// let image = DenseImage::new([3, 120, 100], vec![7; 3 * 120 * 100])?;
/// let prediction = net.forward(&[&image], &mut rng, &mut Pass::evaluation())?;
/// assert_eq!(*prediction.tiles.dims(), [1, 6]);
/// assert_eq!(prediction.corners.len(), 10);
/// assert_eq!(*prediction.probabilities[0].dims(), [1, 2]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct ZoomIn {
    config: ZoomInConfig,
    tiles: ConvStack,
    sub_tiles: ConvStack,
    encoder: Encoder,
    heads: Vec<Head>,
}

module!(ZoomIn {; tiles, sub_tiles, encoder, heads });

const OP: &str = "zoom_in";

/// What was drawn for a batch, and from which distributions.
struct Sample {
    /// That of tiles, (B, T).
    tiles: Tensor,
    /// That of positions within each tile drawn, (U, K).
    within: Tensor,
    draws: Draws,
    /// Positions (U, most) in the order of their draws, of which each tile has as many as it was drawn.
    order: Vec<i32>,
}

/// Where a look goes: where attention is, or where it is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Toward {
    Attention,
    TheRest,
}

impl Toward {
    /// The distribution to draw from, for attention p (rows, N): p, or (1 − p) / (N − 1).
    fn distribution(self, attention: &Tensor) -> Result<Tensor> {
        let others = attention.dims()[1] as f64 - 1.0;
        match self {
            Toward::Attention => Ok(attention.clone()),
            Toward::TheRest if others > 0.0 => ops::scale(attention, -1.0 / others, 1.0 / others),
            Toward::TheRest => {
                let what = "the contrastive objective needs at least two tiles and two positions in a tile";
                Err(Error::argument(OP, what))
            }
        }
    }
}

impl ZoomIn {
    /// A network with fresh parameters on `device`.
    ///
    /// # Errors
    ///
    /// As [`ZoomInConfig::check`]; out of memory.
    pub fn new(config: ZoomInConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        config.check()?;
        Ok(ZoomIn {
            tiles: ConvStack::new("tiles", config.tiles.clone(), device, rng)?,
            sub_tiles: ConvStack::new("sub_tiles", config.sub_tiles.clone(), device, rng)?,
            encoder: Encoder::new("feature", config.encoder.clone(), device, rng)?,
            heads: heads(&config.tasks, config.encoder.features(), device, rng)?,
            config,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &ZoomInConfig {
        &self.config
    }

    /// Looks at tiles, then into those it draws, and predicts from the sub-tiles drawn there: the pass decides whether this
    /// trains.
    ///
    /// # Errors
    ///
    /// An empty batch, images of different sizes or of other channels than the network's, pixels that cannot be read, out
    /// of memory.
    pub fn forward(&self, images: &Images, draws: &mut Rng, pass: &mut Pass) -> Result<ZoomInPrediction> {
        let tiles = self.attend(images, pass)?;
        self.zoom(images, &tiles, Toward::Attention, draws, pass)
    }

    /// The attention A (B, T) over the tiles of each image, each row of sum 1.
    ///
    /// # Errors
    ///
    /// As [`ZoomIn::forward`].
    pub fn attend(&self, images: &Images, pass: &mut Pass) -> Result<Tensor> {
        ops::softmax(&self.tile_logits(images, pass)?, -1)
    }

    /// What network a makes of each tile, (B, T), before the softmax.
    fn tile_logits(&self, images: &Images, pass: &mut Pass) -> Result<Tensor> {
        let [_, height, width] = common_size(OP, images, self.config.tiles.channels)?;
        let [rows, columns] = self.config.grid([height, width]);
        let [h, w] = self.config.tile_view;
        let seen = self.covering(images, [rows, columns], [rows * h, columns * w])?;
        let tiles = ops::unfold(&seen, [h, w], [h, w])?;
        let (b, t) = (images.len(), rows * columns);
        let tiles = ops::reshape(&tiles, [b * t, self.config.tiles.channels, h, w])?;
        let logits = ops::global_avg_pool(&self.tiles.forward(&tiles, pass)?)?;
        ops::reshape(&logits, [b, t])
    }

    /// Views (B, C, h, w) of `size` of all that `grid` tiles cover of the images.
    fn covering(&self, images: &Images, grid: [usize; 2], size: [usize; 2]) -> Result<Tensor> {
        let covered = [0, 1].map(|axis| grid[axis] * self.config.tile[axis]);
        let exact = images.iter().all(|image| [image.height(), image.width()] == covered);
        if exact {
            return views(images, size, &self.device());
        }
        let window = Window::new(0, 0, covered[0], covered[1]);
        let regions =
            images.iter().map(|image| Region::new(*image, window)).collect::<Result<Vec<Region>>>()?;
        let regions: Vec<&dyn PatchSource> = regions.iter().map(|region| region as _).collect();
        views(&regions, size, &self.device())
    }

    /// Second views (U, C, h, w) of the tiles drawn of the images.
    fn tile_views(&self, images: &Images, drawn: &[DrawnTile], columns: usize) -> Result<Tensor> {
        let region = |tile: &DrawnTile| {
            let [row, column] = self.corner(tile.tile, columns);
            let window = Window::new(row, column, self.config.tile[0], self.config.tile[1]);
            Region::new(images[tile.image], window)
        };
        let regions = drawn.iter().map(region).collect::<Result<Vec<Region>>>()?;
        let regions: Vec<&dyn PatchSource> = regions.iter().map(|region| region as _).collect();
        views(&regions, self.config.sub_view, &self.device())
    }

    /// Row and column of a tile's first pixel.
    fn corner(&self, tile: usize, columns: usize) -> [isize; 2] {
        let [h, w] = self.config.tile;
        [(tile / columns * h) as isize, (tile % columns * w) as isize]
    }

    /// Draws tiles and sub-tiles, and predicts from them. `attention` is A (B, T).
    fn zoom(
        &self,
        images: &Images,
        attention: &Tensor,
        toward: Toward,
        rng: &mut Rng,
        pass: &mut Pass,
    ) -> Result<ZoomInPrediction> {
        let [_, height, width] = common_size(OP, images, self.config.tiles.channels)?;
        let columns = self.config.grid([height, width])[1];
        let tiles = toward.distribution(attention)?;
        let positions = ops::gumbel_max(&ops::log(&tiles.detach())?, self.config.samples, rng)?;
        let draws = Draws::new(&positions.to_vec::<i32>()?, self.config.samples);
        let seen = self.tile_views(images, &draws.tiles, columns)?;
        let logits = self.sub_tiles.forward(&seen, pass)?;
        let k = self.config.sub_view[0] * self.config.sub_view[1];
        let sub_tiles = ops::softmax(&ops::reshape(&logits, [draws.tiles.len(), k])?, -1)?;
        let within = toward.distribution(&sub_tiles)?;
        let order = ops::gumbel_top_k(&ops::log(&within.detach())?, draws.most(), rng)?.to_vec::<i32>()?;
        let sample = Sample { tiles, within, draws, order };
        let (pooled, corners) = self.look(images, &sample, pass)?;
        Ok(ZoomInPrediction {
            probabilities: classify(&self.heads, &pooled, pass)?,
            pooled,
            tiles: attention.clone(),
            drawn: sample.draws.tiles,
            sub_tiles,
            corners,
        })
    }

    /// The pooled features (B, D) of the sub-tiles of a sample, and their corners.
    fn look(&self, images: &Images, sample: &Sample, pass: &mut Pass) -> Result<(Tensor, Vec<[i32; 2]>)> {
        let (b, n, device, draws) = (images.len(), self.config.samples, self.device(), &sample.draws);
        let corners = self.corners(images, draws, &sample.order)?;
        let patches = self.sub_tile_patches(images, draws, &corners)?;
        let mut features = self.encoder.forward(&patches, pass)?;
        if self.config.normalize {
            features = ops::l2_normalize(&features)?;
        }
        let within = self.within_tiles(sample, &features)?;
        let rows = Tensor::from_slice(&draws.rows, [b * n], &device)?;
        let of_draws = ops::gather(&within, &rows)?;
        let of_draws = ops::reshape(&of_draws, [b, n, self.config.encoder.features()])?;
        let drawn = Tensor::from_slice(&draws.positions(), [b, n], &device)?;
        let probabilities = ops::gather(&sample.tiles, &drawn)?;
        let pooled = ops::expectation(&probabilities, &of_draws, true, self.config.estimator)?;
        Ok((pooled, corners))
    }

    /// Corners in the image of the sub-tiles drawn, tile by tile.
    fn corners(&self, images: &Images, draws: &Draws, order: &[i32]) -> Result<Vec<[i32; 2]>> {
        let [_, height, width] = common_size(OP, images, self.config.tiles.channels)?;
        let columns = self.config.grid([height, width])[1];
        let in_tile = ops::Corners {
            low: self.config.sub_view,
            image: self.config.tile,
            map: self.config.sub_view,
            receptive_field: 0,
            patch: self.config.patch,
        };
        let mut corners = Vec::with_capacity(images.len() * self.config.samples);
        for (tile, order) in draws.tiles.iter().zip(order.chunks(draws.most())) {
            let [row, column] = self.corner(tile.tile, columns).map(|c| c as i32);
            for &position in &order[..tile.count] {
                let [r, q] = in_tile.of(usize::try_from(position).unwrap_or(usize::MAX))?;
                corners.push([row + r, column + q]);
            }
        }
        Ok(corners)
    }

    /// The pixels of the sub-tiles, (B · N, C, h, w), tile by tile.
    fn sub_tile_patches(&self, images: &Images, draws: &Draws, corners: &[[i32; 2]]) -> Result<Tensor> {
        // An image per sub-tile, since those of an image need not stand together.
        let owners: Vec<&dyn PatchSource> =
            draws.tiles.iter().flat_map(|tile| std::iter::repeat_n(images[tile.image], tile.count)).collect();
        patches(&owners, corners, self.config.patch, &self.device())
    }

    /// The estimates E (U, D) of the expectation within each tile: tiles that were drawn equally often stand together, and
    /// are one operation.
    fn within_tiles(&self, sample: &Sample, features: &Tensor) -> Result<Tensor> {
        let (d, most) = (self.config.encoder.features(), sample.draws.most());
        let (mut estimates, mut first) = (Vec::new(), 0);
        for (tiles, count) in sample.draws.groups() {
            let size = tiles.len();
            let own = sample.order[tiles.start * most..tiles.end * most].chunks(most);
            let drawn: Vec<i32> = own.flat_map(|row| row[..count].iter().copied()).collect();
            let drawn = Tensor::from_slice(&drawn, [size, count], &self.device())?;
            let probabilities = ops::gather(&ops::slice(&sample.within, tiles)?, &drawn)?;
            let own = ops::slice(features, first..first + size * count)?;
            let own = ops::reshape(&own, [size, count, d])?;
            estimates.push(ops::expectation(&probabilities, &own, false, self.config.estimator)?);
            first += size * count;
        }
        match estimates.as_slice() {
            [one] => Ok(one.clone()),
            _ => ops::concat(&estimates.iter().collect::<Vec<_>>(), 0),
        }
    }

    /// The mean squared errors of both attentions against masks of what is to be found, images of the same size whose pixels
    /// are zero elsewhere: that of A against the tiles that hold any of it, plus that of B against the positions of the second
    /// views that do. It is equation (13) of the paper; [`ZoomInConfig::supervision`] adds it to the loss.
    ///
    /// # Errors
    ///
    /// Masks of other sizes or numbers than the images of the prediction.
    pub fn supervision(&self, prediction: &ZoomInPrediction, masks: &Images) -> Result<Tensor> {
        let [_, height, width] = common_size(OP, masks, 1)?;
        let grid = self.config.grid([height, width]);
        let [b, t] = [prediction.tiles.dims()[0], prediction.tiles.dims()[1]];
        if [masks.len(), grid[0] * grid[1]] != [b, t] {
            let what =
                format!("{} masks of {height} × {width} for attention over {b} × {t} tiles", masks.len());
            return Err(Error::shape(OP, what));
        }
        let found = |view: &Tensor, like: &Tensor| -> Result<Tensor> {
            let marked =
                view.to_vec::<f32>()?.iter().map(|&v| f32::from(u8::from(v > 0.0))).collect::<Vec<_>>();
            Tensor::from_slice(&marked, like.dims(), &self.device())
        };
        let tiles = found(&self.covering(masks, grid, grid)?, &prediction.tiles)?;
        let within = self.tile_views(masks, &prediction.drawn, grid[1])?;
        let within = found(&within, &prediction.sub_tiles)?;
        let mean = ops::Reduction::Mean;
        ops::add(
            &ops::mse(&prediction.tiles, &tiles, mean)?,
            &ops::mse(&prediction.sub_tiles, &within, mean)?,
        )
    }
}

/// The masks of all images.
fn masks<'a>(images: &Images<'a>) -> Result<Vec<&'a dyn PatchSource>> {
    let missing = || {
        let what = "pixel-level supervision needs a mask of every image: give them as data::Masked";
        Error::argument(OP, what)
    };
    images.iter().map(|&image| image.mask().ok_or_else(missing)).collect()
}

impl System for ZoomIn {
    fn tasks(&self) -> &[Task] {
        &self.config.tasks
    }

    fn device(&self) -> Device {
        self.encoder.parameters().first().map_or(Device::Cpu, |p| p.tensor().device())
    }

    fn description(&self) -> String {
        format!("{:?}", self.config)
    }

    /// Network a on all tiles, network b on as many as can be drawn, the encoder on N sub-tiles.
    fn macs(&self, size: [usize; 2]) -> Result<u64> {
        let [rows, columns] = self.config.grid(size);
        let tiles = (rows * columns) as u64;
        let drawn = tiles.min(self.config.samples as u64);
        Ok(tiles * self.config.tiles.macs(self.config.tile_view)?
            + drawn * self.config.sub_tiles.macs(self.config.sub_view)?
            + self.config.samples as u64 * self.config.encoder.macs(self.config.patch)?)
    }

    fn predict(&self, images: &Images, rng: &mut Rng) -> Result<Vec<Tensor>> {
        Ok(self.forward(images, rng, &mut Pass::evaluation())?.probabilities)
    }

    fn learn(&self, images: &Images, targets: &Targets, at: Moment, pass: &mut Pass) -> Result<Learned> {
        let mut draws = pass.rng()?.fork();
        let prediction = self.forward(images, &mut draws, pass)?;
        let mut losses = match self.config.contrast.filter(|&first| at.epoch >= first) {
            Some(_) => self.contrasted(images, &prediction, targets, &mut draws, pass)?,
            None => crate::select::system::losses(&self.heads, &prediction.probabilities, targets)?,
        };
        if self.config.entropy != 0.0 {
            regularise(&mut losses, &ops::entropy_term(&prediction.tiles)?, self.config.entropy)?;
            regularise(&mut losses, &ops::entropy_term(&prediction.sub_tiles)?, self.config.entropy)?;
        }
        if self.config.supervision != 0.0 {
            let term = self.supervision(&prediction, &masks(images)?)?;
            regularise(&mut losses, &term, self.config.supervision)?;
        }
        Ok(Learned { probabilities: prediction.probabilities, losses })
    }
}
