//! Differentiable Patch Selection (Cordonnier et al., "Differentiable patch selection for image recognition", CVPR 2021): a
//! small network scores positions of a view; the k best patches are taken, softly in training.
//!
//! ```text
//! image (C, H, W) ─────────────────────────────────────────────────────┐ padded
//!   │ mean over areas                                                  │
//! view ── scorer ── scores (N), min–max ── indicators Y (k, N) ── patches Σ_n Y[k, n] P_n ── encoder ── mean
//!                                          training: the mean of the k best under S draws of noise    │ linear, swish
//!                                          else: the k best themselves                                │ a linear layer per task
//!                                                                                               probabilities
//! ```
//!
//! * In training the indicators are [`perturbed_top_k`](ops::perturbed_top_k()), whose noise σ falls linearly to zero over
//!   the training; patches are [`blend_patches`](ops::blend_patches()) of windows around the cells of
//!   [`score_grid`](ops::score_grid), from the whole image on the device.
//! * In evaluation only the k patches are read.
//! * The loss adds minus λ times the entropy of the softmax of the raw scores, which keeps them spread out.
//!
//! **What differs from published code.** The PyTorch port that the paper of Iterative Patch Selection compares with
//! multiplies the gradient of the scores by k and keeps the noise in evaluation; both are left out, as in the authors' own
//! code. The view is the mean over areas instead of JAX's antialiased bilinear one.

use crate::{
    Device, Rng, Tensor,
    error::{Error, Result},
    nn::{
        ConvStack, ConvStackConfig, Encoder, EncoderConfig, Head, Linear, Module, Pass, PreActivationConfig,
        Targets, Task, module,
    },
    ops::{self, IndicatorGradient},
    select::{
        images::{Images, common_size, patches, views},
        system::{Learned, Moment, System, check_tasks, classify, heads, losses, regularise},
    },
};

/// The shape of a [`Dps`] network and how it learns to select.
#[derive(Clone, Debug, PartialEq)]
pub struct DpsConfig {
    /// Height and width of the view that the scorer sees.
    pub view: [usize; 2],
    /// The scorer; its last convolution has one filter.
    pub scorer: ConvStackConfig,
    /// Height and width of a patch.
    pub patch: [usize; 2],
    /// Patches selected, k.
    pub patches: usize,
    /// Draws of noise, S.
    pub draws: usize,
    /// Scale σ of the noise when training begins.
    pub sigma: f32,
    /// Weight λ of the entropy.
    pub entropy: f64,
    /// The patch encoder.
    pub encoder: EncoderConfig,
    /// Units of the layer between the mean and the tasks.
    pub hidden: usize,
    /// The tasks.
    pub tasks: Vec<Task>,
}

impl DpsConfig {
    /// The published configuration of the speed limits: images of 960 × 1280 in colour, a view of a third, 2028 scores, 5
    /// patches of 100².
    pub fn speed_limits() -> Self {
        DpsConfig {
            view: [320, 426],
            scorer: ConvStackConfig::ats_speed_limits(3),
            patch: [100, 100],
            patches: 5,
            draws: 500,
            sigma: 0.05,
            entropy: 0.01,
            encoder: EncoderConfig::PreActivation(PreActivationConfig::speed_limits()),
            hidden: 32,
            tasks: vec![Task::new("sign", 4, crate::nn::Activation::Softmax)],
        }
    }

    fn check(&self) -> Result<()> {
        self.scorer.check()?;
        let [height, width] = self.scorer.size(self.view)?;
        let refuse = |what: String| Err(Error::argument("dps", what));
        if self.scorer.filters() != 1 {
            return refuse(format!("a scorer of {} filters: it must end in one", self.scorer.filters()));
        }
        if self.patches == 0 || self.patches > height * width {
            return refuse(format!(
                "{} of {height} × {width} patches: at least 1, at most all",
                self.patches
            ));
        }
        if self.draws == 0 || self.hidden == 0 || !(self.sigma > 0.0 && self.sigma.is_finite()) {
            let what =
                format!("{} draws of scale {} and {} hidden units", self.draws, self.sigma, self.hidden);
            return refuse(format!("{what}: all must be positive"));
        }
        if self.scorer.channels != self.encoder.channels() || !self.entropy.is_finite() {
            let (a, b) = (self.scorer.channels, self.encoder.channels());
            return refuse(format!("channels {a} and {b} must agree, the entropy's weight be finite"));
        }
        check_tasks("dps", &self.tasks)?;
        self.encoder.macs(self.patch).map(|_| ())
    }
}

/// A network of Differentiable Patch Selection. See [the module](self) for what it computes.
///
/// ```
/// use foveate::{Device, Rng, data::DenseImage, select::{Dps, DpsConfig, System}};
/// # fn main() -> foveate::Result<()> {
/// let config = DpsConfig { view: [40, 50], patch: [20, 20], patches: 2, ..DpsConfig::speed_limits() };
/// let net = Dps::new(config, &Device::Cpu, &mut Rng::new(0))?;
/// let image = DenseImage::new([3, 120, 150], vec![7; 3 * 120 * 150])?;
/// assert_eq!(*net.predict(&[&image], &mut Rng::new(0))?[0].dims(), [1, 4]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Dps {
    config: DpsConfig,
    scorer: ConvStack,
    encoder: Encoder,
    hidden: Linear,
    heads: Vec<Head>,
}

module!(Dps {; scorer, encoder, hidden, heads });

impl Dps {
    /// A network with fresh parameters on `device`.
    ///
    /// # Errors
    ///
    /// Sizes of zero or that do not fit together; out of memory.
    pub fn new(config: DpsConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        config.check()?;
        let scorer = ConvStack::new("scorer", config.scorer.clone(), device, rng)?;
        let encoder = Encoder::new("encoder", config.encoder.clone(), device, rng)?;
        let hidden = Linear::new("hidden", config.encoder.features(), config.hidden, device, rng)?;
        let heads = heads(&config.tasks, config.hidden, device, rng)?;
        Ok(Dps { config, scorer, encoder, hidden, heads })
    }

    /// Its configuration.
    pub fn config(&self) -> &DpsConfig {
        &self.config
    }

    /// The raw scores (B, N), row-major over the map that the scorer makes of the view.
    ///
    /// # Errors
    ///
    /// An empty batch, images of different sizes or of other channels than the network's.
    pub fn scores(&self, images: &Images, pass: &mut Pass) -> Result<Tensor> {
        common_size("dps", images, self.config.scorer.channels)?;
        let scores = self.scorer.forward(&views(images, self.config.view, &self.device())?, pass)?;
        ops::reshape(&scores, [images.len(), scores.elements() / images.len()])
    }

    /// The corners of the k best patches of each image, (B · k), row and column, in row-major order of their positions. Of
    /// equal scores the earlier is better; NaN is never chosen before a number.
    ///
    /// # Errors
    ///
    /// Scores of another shape; images smaller than the map.
    pub fn best(&self, scores: &Tensor, image: [usize; 2]) -> Result<Vec<[i32; 2]>> {
        let map = self.config.scorer.size(self.config.view)?;
        let (grid, [top, _, left, _]) = ops::score_grid(image, map, self.config.patch)?;
        let scores = scores.to_vec::<f32>()?;
        let mut corners = Vec::with_capacity(scores.len() / (map[0] * map[1]) * self.config.patches);
        for row in scores.chunks(map[0] * map[1]) {
            let rank = |at: &usize| Some(row[*at]).filter(|score| !score.is_nan());
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|a, b| rank(b).partial_cmp(&rank(a)).unwrap_or(std::cmp::Ordering::Equal));
            order.truncate(self.config.patches);
            order.sort_unstable();
            let corner = |at: usize| {
                let [r, q] = [at / map[1] * grid.stride[0], at % map[1] * grid.stride[1]];
                [r as i32 - top as i32, q as i32 - left as i32]
            };
            corners.extend(order.into_iter().map(corner));
        }
        Ok(corners)
    }

    /// The patches (B · k, C, ph, pw) as training sees them: blended by soft indicators of the k best, which are drawn with
    /// noise of scale `sigma`.
    fn blended(&self, images: &Images, scores: &Tensor, sigma: f32, rng: &mut Rng) -> Result<Tensor> {
        let [c, height, width] = common_size("dps", images, self.config.scorer.channels)?;
        let map = self.config.scorer.size(self.config.view)?;
        let [ph, pw] = self.config.patch;
        let (grid, [top, bottom, left, right]) = ops::score_grid([height, width], map, [ph, pw])?;
        let rows = |reduced: &Tensor| ops::reshape(reduced, [images.len(), 1]);
        let most = rows(&ops::max(scores, &[1])?)?;
        let least = rows(&ops::neg(&ops::max(&ops::neg(scores)?, &[1])?)?)?;
        let range = ops::scale(&ops::sub(&most, &least)?, 1.0, 1e-5)?;
        let scores = ops::div(&ops::sub(scores, &least)?, &range)?;
        let (k, draws) = (self.config.patches, self.config.draws);
        let indicators = ops::perturbed_top_k(&scores, k, sigma, draws, rng)?;
        let size = [top + height + bottom, left + width + right];
        let corner = [-(top as i32), -(left as i32)];
        let padded = patches(images, &vec![corner; images.len()], size, &self.device())?;
        let blended = ops::blend_patches(&padded, &indicators, grid, IndicatorGradient::Hit)?;
        ops::reshape(&blended, [images.len() * k, c, ph, pw])
    }

    /// Probabilities (B, classes) per task from patches (B · k, C, ph, pw).
    fn classified(&self, patches: &Tensor, batch: usize, pass: &mut Pass) -> Result<Vec<Tensor>> {
        let features = self.encoder.forward(patches, pass)?;
        let features = ops::reshape(&features, [batch, self.config.patches, self.config.encoder.features()])?;
        let hidden = ops::swish(&self.hidden.forward(&ops::mean(&features, &[1])?, pass)?)?;
        classify(&self.heads, &hidden, pass)
    }
}

impl System for Dps {
    fn tasks(&self) -> &[Task] {
        &self.config.tasks
    }

    fn device(&self) -> Device {
        self.encoder.parameters().first().map_or(Device::Cpu, |p| p.tensor().device())
    }

    fn description(&self) -> String {
        format!("{:?}", self.config)
    }

    /// The scorer on the view and the encoder on k patches; the two linear layers are left out.
    fn macs(&self, _size: [usize; 2]) -> Result<u64> {
        let each = self.config.encoder.macs(self.config.patch)?;
        Ok(self.config.scorer.macs(self.config.view)? + each * self.config.patches as u64)
    }

    fn predict(&self, images: &Images, _rng: &mut Rng) -> Result<Vec<Tensor>> {
        let mut pass = Pass::evaluation();
        let scores = self.scores(images, &mut pass)?;
        let [_, height, width] = common_size("dps", images, self.config.scorer.channels)?;
        let best = self.best(&scores, [height, width])?;
        let patches = patches(images, &best, self.config.patch, &self.device())?;
        self.classified(&patches, images.len(), &mut pass)
    }

    fn learn(&self, images: &Images, targets: &Targets, at: Moment, pass: &mut Pass) -> Result<Learned> {
        let scores = self.scores(images, pass)?;
        // The operation takes a positive scale; at the last step the noise is as good as none.
        let sigma = (self.config.sigma * (1.0 - at.share()) as f32).max(1e-6);
        let mut noise = pass.rng()?.fork();
        let patches = self.blended(images, &scores, sigma, &mut noise)?;
        let probabilities = self.classified(&patches, images.len(), pass)?;
        let mut losses = losses(&self.heads, &probabilities, targets)?;
        if self.config.entropy != 0.0 {
            let term = ops::entropy_term(&ops::softmax(&scores, -1)?)?;
            regularise(&mut losses, &term, self.config.entropy)?;
        }
        Ok(Learned { probabilities, losses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Tape,
        data::{DenseImage, PatchSource},
        nn::{ConvLayer, GlobalPool, Then},
        testing::bits,
    };

    fn net() -> Dps {
        let scorer = vec![ConvLayer::valid(3, 3, Then::Relu), ConvLayer::valid(1, 3, Then::Nothing)];
        let encoder = ConvStackConfig { channels: 1, layers: vec![ConvLayer::valid(4, 3, Then::Relu)] };
        let config = DpsConfig {
            view: [9, 8],
            scorer: ConvStackConfig { channels: 1, layers: scorer },
            patch: [9, 7],
            patches: 2,
            draws: 50,
            encoder: EncoderConfig::Convs(encoder, GlobalPool::Mean),
            hidden: 5,
            ..DpsConfig::speed_limits()
        };
        Dps::new(config, &Device::Cpu, &mut Rng::new(4)).unwrap()
    }

    fn images() -> [DenseImage; 2] {
        [1, 2].map(|seed| {
            let mut rng = Rng::new(seed);
            let pixels = (0..31 * 27).map(|_| rng.below(256) as u8).collect();
            DenseImage::new([1, 31, 27], pixels).unwrap()
        })
    }

    /// With hardly any noise the blend is the k best patches, as evaluation reads them.
    #[test]
    fn without_noise_training_sees_the_best_patches() {
        let (net, images) = (net(), images());
        let images: Vec<&dyn PatchSource> = images.iter().map(|image| image as &dyn PatchSource).collect();
        let scores = net.scores(&images, &mut Pass::evaluation()).unwrap();
        assert_eq!(*scores.dims(), [2, 5 * 4]);
        let soft = net.blended(&images, &scores, 1e-6, &mut Rng::new(1)).unwrap();
        let best = net.best(&scores, [31, 27]).unwrap();
        let hard = patches(&images, &best, [9, 7], &Device::Cpu).unwrap();
        let (soft, hard) = (soft.to_vec::<f32>().unwrap(), hard.to_vec::<f32>().unwrap());
        assert!(soft.iter().zip(&hard).all(|(a, b)| (a - b).abs() < 1e-6), "{best:?}");
    }

    #[test]
    fn ties_go_to_the_earlier_and_nan_comes_last() {
        let net = net();
        let mut scores = vec![0.0_f32; 20];
        (scores[3], scores[7], scores[12]) = (f32::NAN, 2.0, 2.0);
        let scores = Tensor::from_slice(&scores, [1, 20], &Device::Cpu).unwrap();
        // Strides 6 and 6; (9 − 6) / 2 = 1 above, (7 − 6) / 2 = 0 to the left.
        assert_eq!(net.best(&scores, [31, 27]).unwrap(), [[5, 18], [17, 0]]);
    }

    /// The scorer gets its gradient through the noise alone: with its own probabilities of being chosen.
    #[test]
    fn every_parameter_gets_a_gradient() {
        let (net, images) = (net(), images());
        let images: Vec<&dyn PatchSource> = images.iter().map(|image| image as &dyn PatchSource).collect();
        let (tape, mut rng) = (Tape::new(), Rng::new(3));
        let targets = Targets { tensors: vec![Tensor::from_slice(&[1_i32, 3], [2], &Device::Cpu).unwrap()] };
        let at = Moment { step: 1, steps: 4, epoch: 0 };
        let learned = net.learn(&images, &targets, at, &mut Pass::training(&tape, &mut rng)).unwrap();
        let grads = tape.backward(&learned.losses.total).unwrap();
        for parameter in net.parameters() {
            let gradient = grads.parameter(parameter).unwrap_or_else(|| panic!("{}", parameter.name()));
            // A constant added to all scores changes nothing but rounding.
            let moves = gradient.to_vec::<f32>().unwrap().iter().any(|v| *v != 0.0);
            assert!(moves || parameter.name() == "scorer.1.bias", "{}", parameter.name());
        }
        let a = net.predict(&images, &mut Rng::new(1)).unwrap();
        assert_eq!(
            bits(&a[0]),
            bits(&net.predict(&images, &mut Rng::new(2)).unwrap()[0]),
            "no noise is left"
        );
    }

    #[test]
    fn misuse_is_a_typed_error() {
        let good = net().config().clone();
        let refused = |config| Dps::new(config, &Device::Cpu, &mut Rng::new(0)).unwrap_err();
        for config in [
            DpsConfig { patches: 0, ..good.clone() },
            DpsConfig { patches: 21, ..good.clone() },
            DpsConfig { sigma: 0.0, ..good.clone() },
            DpsConfig { draws: 0, ..good.clone() },
            DpsConfig { view: [4, 8], ..good.clone() },
            DpsConfig { tasks: vec![], ..good.clone() },
            DpsConfig { scorer: ConvStackConfig::ats_encoder(1), view: [30, 30], ..good.clone() },
        ] {
            assert!(matches!(refused(config), Error::Argument { .. }));
        }
        let tiny = DenseImage::new([1, 3, 3], vec![0; 9]).unwrap();
        assert!(net().predict(&[&tiny], &mut Rng::new(0)).is_err());
    }
}
