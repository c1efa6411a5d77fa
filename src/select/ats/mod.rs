//! Attention Sampling (Katharopoulos and Fleuret, "Processing megapixel images with deep attention-sampling models", ICML
//! 2019): a small network looks at a view of the whole image and says where to look; only a few patches, drawn from that
//! attention, are looked at closely.
//!
//! ```text
//! image (C, H, W) ──────────────────────────────────┐
//!   │ mean over areas                               │
//! view (C, h, w)                                    │
//!   │ attention network, softmax, smoothing         │
//! attention a (K) ── n positions drawn ── patches (n, C, ph, pw)
//!   │                 │                             │ encoder, L2 norm
//!   │ gathered        │                      features f (n, D)
//!   └─────────────────┴───── estimate of Σ a_i f_i ─┘
//!                                   │ a linear layer per task
//!                             probabilities
//! ```
//!
//! * **Attention** is the softmax over all K positions of the map, mixed with a little of the uniform distribution
//!   ([`softmax_smoothed`](ops::softmax_smoothed)).
//! * **Sampling** is without replacement by default, the n largest of `log a` plus Gumbel noise in descending order, in
//!   training and evaluation alike.
//! * **The estimate** of the expectation over all positions is [`expectation`](mod@ops::expectation), unbiased; so is its gradient by
//!   default. The published code's gradient is biased and has the name [`Official`](ops::Estimator::Official).
//! * **The loss** is the mean over tasks plus λ times minus the attention's entropy.
//! * With [`uniform`](AtsConfig::uniform) the same system draws patches anywhere: the baseline U-n.
//!
//! **What differs from the published code, and why.** The view is the mean over areas of the image itself; the code shrinks
//! each digit of Megapixel MNIST by itself and composes a small image of them, which cannot be had for an image that was
//! not generated, and resizes speed limits without antialiasing, which loses thin strokes. Noise lies where the data set
//! says ([`MegapixelConfig::ats`](crate::data::MegapixelConfig::ats) has it over the digits, as published). Batch norm has
//! PyTorch's constants instead of Keras's. Several tasks may share the features. Patch corners round halves to even as in
//! the code ([`Corners`](ops::Corners)).

mod config;
#[cfg(test)]
mod tests;

pub use config::AtsConfig;

use crate::{
    Device, Rng, Tensor,
    error::{Error, Result},
    nn::{ConvStack, Encoder, Head, Losses, Module, Pass, Targets, Task, module},
    ops,
    select::{
        images::{Images, common_size, patches, views},
        system::{Learned, Moment, System, classify, heads, losses, regularise},
    },
};

/// What the network says of a batch, and where it looked.
#[derive(Clone, Debug)]
pub struct AtsPrediction {
    /// Probabilities (B, classes), one tensor per task.
    pub probabilities: Vec<Tensor>,
    /// The estimated expectation of the features, (B, D).
    pub pooled: Tensor,
    /// The attention, (B, K), row-major over the map of [`AtsConfig::map`].
    pub attention: Tensor,
    /// The positions drawn, (B, n), i32, in the order in which they were drawn.
    pub positions: Tensor,
    /// The patches' corners in the image, row and column, (B · n).
    pub corners: Vec<[i32; 2]>,
}

/// An Attention Sampling network. See [the module](self) for what it computes.
///
/// ```
/// use foveate::{
///     Device, Rng,
///     data::{DenseImage, PatchSource},
///     nn::Pass,
///     select::{Ats, AtsConfig},
/// };
/// # fn main() -> foveate::Result<()> {
/// let config = AtsConfig { view: [30, 30], patch: [20, 20], samples: 3, ..AtsConfig::megapixel_mnist() };
/// let mut rng = Rng::new(0);
/// let net = Ats::new(config, &Device::Cpu, &mut rng)?;
/// let image = DenseImage::new([1, 300, 300], (0..300 * 300).map(|i| (i % 251) as u8).collect())?;
/// let images: [&dyn PatchSource; 1] = [&image];
/// let prediction = net.forward(&images, &mut rng, &mut Pass::evaluation())?;
/// assert_eq!(*prediction.attention.dims(), [1, 900]);
/// assert_eq!(*prediction.positions.dims(), [1, 3]);
/// assert_eq!(*prediction.probabilities[0].dims(), [1, 10]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Ats {
    config: AtsConfig,
    /// None where attention is uniform.
    attention: Option<ConvStack>,
    encoder: Encoder,
    heads: Vec<Head>,
}

module!(Ats {; attention, encoder, heads });

const OP: &str = "ats";

impl Ats {
    /// A network with fresh parameters on `device`.
    ///
    /// # Errors
    ///
    /// As [`AtsConfig::check`]; out of memory.
    pub fn new(config: AtsConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        config.check()?;
        let attention = match config.uniform {
            true => None,
            false => Some(ConvStack::new("attention", config.attention.clone(), device, rng)?),
        };
        let encoder = Encoder::new("feature", config.encoder.clone(), device, rng)?;
        let features = config.encoder.features();
        let heads = heads(&config.tasks, features, device, rng)?;
        Ok(Ats { attention, encoder, heads, config })
    }

    /// Its configuration.
    pub fn config(&self) -> &AtsConfig {
        &self.config
    }

    /// Looks at the images, draws positions from the attention, and predicts from the patches there: the pass decides
    /// whether this trains.
    ///
    /// # Errors
    ///
    /// An empty batch, images of different sizes or of other channels than the network's, pixels that cannot be read, out
    /// of memory.
    pub fn forward(&self, images: &Images, draws: &mut Rng, pass: &mut Pass) -> Result<AtsPrediction> {
        let attention = self.attend(images, pass)?;
        let positions = self.draw(&attention, draws)?;
        self.look(images, &attention, &positions, pass)
    }

    /// The attention (B, K) over the positions of the map, each row of sum 1.
    ///
    /// # Errors
    ///
    /// As [`Ats::forward`].
    pub fn attend(&self, images: &Images, pass: &mut Pass) -> Result<Tensor> {
        common_size(OP, images, self.config.attention.channels)?;
        let [height, width] = self.config.map()?;
        let (device, positions) = (self.device(), height * width);
        let Some(net) = &self.attention else {
            return Tensor::full(1.0 / positions as f32, [images.len(), positions], &device);
        };
        let logits = net.forward(&views(images, self.config.view, &device)?, pass)?;
        let logits = ops::reshape(&logits, [images.len(), positions])?;
        ops::softmax_smoothed(&logits, -1, self.config.smoothing)
    }

    /// Draws n positions (B, n), i32, from the attention (B, K).
    ///
    /// # Errors
    ///
    /// Attention of another shape.
    pub fn draw(&self, attention: &Tensor, draws: &mut Rng) -> Result<Tensor> {
        let logits = ops::log(&attention.detach())?;
        match self.config.replace {
            true => ops::gumbel_max(&logits, self.config.samples, draws),
            false => ops::gumbel_top_k(&logits, self.config.samples, draws),
        }
    }

    /// Predicts from the patches at `positions` (B, n), i32, drawn from `attention` (B, K) in this order.
    ///
    /// # Errors
    ///
    /// As [`Ats::forward`]; positions that are not of the map, or not as many for each image.
    pub fn look(
        &self,
        images: &Images,
        attention: &Tensor,
        positions: &Tensor,
        pass: &mut Pass,
    ) -> Result<AtsPrediction> {
        let [_, height, width] = common_size(OP, images, self.config.attention.channels)?;
        let b = images.len();
        let n = match *positions.dims() {
            [rows, n] if rows == b => n,
            _ => {
                let what = format!("positions of shape {} for {b} images, must be (B, n)", positions.dims());
                return Err(Error::shape(OP, what));
            }
        };
        let corners = self.config.corners([height, width])?;
        let of = |&position: &i32| corners.of(usize::try_from(position).unwrap_or(usize::MAX));
        let corners = positions.to_vec::<i32>()?.iter().map(of).collect::<Result<Vec<_>>>()?;
        let patches = patches(images, &corners, self.config.patch, &self.device())?;
        let mut features = self.encoder.forward(&patches, pass)?;
        if self.config.normalize {
            features = ops::l2_normalize(&features)?;
        }
        let features = ops::reshape(&features, [b, n, self.config.encoder.features()])?;
        let drawn = ops::gather(attention, positions)?;
        let pooled = ops::expectation(&drawn, &features, self.config.replace, self.config.estimator)?;
        Ok(AtsPrediction {
            probabilities: classify(&self.heads, &pooled, pass)?,
            pooled,
            attention: attention.clone(),
            positions: positions.clone(),
            corners,
        })
    }

    /// The losses of a prediction: the mean over tasks with the regularisers, and each task's own.
    ///
    /// # Errors
    ///
    /// Targets that do not fit the tasks.
    pub fn losses(&self, prediction: &AtsPrediction, targets: &Targets, pass: &mut Pass) -> Result<Losses> {
        let mut losses = losses(&self.heads, &prediction.probabilities, targets)?;
        if let Some(net) = &self.attention {
            if self.config.entropy != 0.0 {
                regularise(&mut losses, &ops::entropy_term(&prediction.attention)?, self.config.entropy)?;
            }
            if self.config.penalty != 0.0 {
                regularise(&mut losses, &net.squared_weights(pass)?, self.config.penalty)?;
            }
        }
        Ok(losses)
    }
}

impl System for Ats {
    fn tasks(&self) -> &[Task] {
        &self.config.tasks
    }

    fn device(&self) -> Device {
        self.encoder.parameters().first().map_or(Device::Cpu, |p| p.tensor().device())
    }

    fn description(&self) -> String {
        format!("{:?}", self.config)
    }

    /// The attention network on the view, the encoder on n patches, and the tasks' layers.
    fn macs(&self, _size: [usize; 2]) -> Result<u64> {
        let attention = self.attention.as_ref().map_or(Ok(0), |net| net.config().macs(self.config.view))?;
        let each = self.config.encoder.macs(self.config.patch)?;
        let classes: usize = self.config.tasks.iter().map(|task| task.classes).sum();
        Ok(attention + each * self.config.samples as u64 + (classes * self.config.encoder.features()) as u64)
    }

    fn predict(&self, images: &Images, rng: &mut Rng) -> Result<Vec<Tensor>> {
        Ok(self.forward(images, rng, &mut Pass::evaluation())?.probabilities)
    }

    fn learn(&self, images: &Images, targets: &Targets, _at: Moment, pass: &mut Pass) -> Result<Learned> {
        let mut draws = pass.rng()?.fork();
        let prediction = self.forward(images, &mut draws, pass)?;
        let losses = self.losses(&prediction, targets, pass)?;
        Ok(Learned { probabilities: prediction.probabilities, losses })
    }
}
