//! The shape of an Attention Sampling network, and the published ones.

use crate::{
    error::{Error, Result},
    nn::{Activation, ConvStackConfig, EncoderConfig, GlobalPool, PreActivationConfig, Task},
    ops::{Corners, Estimator},
    select::system::check_tasks,
};

/// The shape of an [`Ats`](crate::select::Ats) network and how it samples.
#[derive(Clone, Debug, PartialEq)]
pub struct AtsConfig {
    /// Height and width of the view of the whole image that the attention network sees.
    pub view: [usize; 2],
    /// Height and width of a patch.
    pub patch: [usize; 2],
    /// Patches looked at per image, n.
    pub samples: usize,
    /// The attention network; its last layer has one filter.
    pub attention: ConvStackConfig,
    /// Receptive field of the attention network in pixels of the view, for [`Corners`]; 0 where it pads.
    pub receptive_field: usize,
    /// Attention is the same everywhere and no attention network is made: uniform sampling, U-n.
    pub uniform: bool,
    /// The patch encoder.
    pub encoder: EncoderConfig,
    /// Features are divided by their norm: sampling by attention then has the least variance.
    pub normalize: bool,
    /// The tasks; all read the same vector.
    pub tasks: Vec<Task>,
    /// Whether a position may be drawn more than once.
    pub replace: bool,
    /// Which gradient the attention gets.
    pub estimator: Estimator,
    /// Share of the uniform distribution that is mixed into the attention.
    pub smoothing: f64,
    /// Weight λ of the entropy term, which keeps attention spread out.
    pub entropy: f64,
    /// Weight of the sum of the squares of the attention network's weights.
    pub penalty: f64,
}

impl AtsConfig {
    /// The published configuration of Megapixel MNIST: a view of 180², 10 patches of 50², the task "majority".
    pub fn megapixel_mnist() -> Self {
        AtsConfig {
            view: [180, 180],
            patch: [50, 50],
            samples: 10,
            attention: ConvStackConfig::ats_attention(1),
            receptive_field: 0,
            uniform: false,
            encoder: EncoderConfig::Convs(ConvStackConfig::ats_encoder(1), GlobalPool::Max),
            normalize: true,
            tasks: vec![Task::new("majority", 10, Activation::Softmax)],
            replace: false,
            estimator: Estimator::Unbiased,
            smoothing: 1e-5,
            entropy: 1e-4,
            penalty: 0.0,
        }
    }

    /// The published configuration of the speed limits: images of 960 × 1280 in colour, a view of 288 × 384, 5 patches of
    /// 100².
    pub fn speed_limits() -> Self {
        AtsConfig {
            view: [288, 384],
            patch: [100, 100],
            samples: 5,
            attention: ConvStackConfig::ats_speed_limits(3),
            receptive_field: 9,
            encoder: EncoderConfig::PreActivation(PreActivationConfig::speed_limits()),
            tasks: vec![Task::new("sign", 4, Activation::Softmax)],
            smoothing: 1e-4,
            penalty: 1e-5,
            ..Self::megapixel_mnist()
        }
    }

    /// The same configuration with patches drawn anywhere: what sampling by attention is compared with.
    pub fn uniform(self) -> Self {
        AtsConfig { uniform: true, ..self }
    }

    /// Height and width of the attention map.
    ///
    /// # Errors
    ///
    /// A view of which the attention network leaves nothing.
    pub fn map(&self) -> Result<[usize; 2]> {
        self.attention.size(self.view)
    }

    /// Where the patches of an image of `image` [H, W] lie.
    ///
    /// # Errors
    ///
    /// As [`AtsConfig::map`].
    pub fn corners(&self, image: [usize; 2]) -> Result<Corners> {
        Ok(Corners {
            low: self.view,
            image,
            map: self.map()?,
            receptive_field: self.receptive_field,
            patch: self.patch,
        })
    }

    /// Checks that such a network can be made.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming what does not fit together.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::argument("ats", what));
        self.attention.check()?;
        let [height, width] = self.map()?;
        if self.attention.filters() != 1 {
            return refuse(format!(
                "an attention network of {} filters: it must end in one",
                self.attention.filters()
            ));
        }
        if self.samples == 0 || (!self.replace && self.samples > height * width) {
            let what = format!("{} of {height} × {width} positions to draw", self.samples);
            return refuse(format!("{what}: at least 1 and, without replacement, at most all"));
        }
        if self.attention.channels != self.encoder.channels() {
            let (a, b) = (self.attention.channels, self.encoder.channels());
            return refuse(format!("the attention network takes {a} channels, the encoder {b}"));
        }
        if self.receptive_field > self.view[0].min(self.view[1]) {
            return refuse(format!(
                "a receptive field of {} in a view of {:?}",
                self.receptive_field, self.view
            ));
        }
        let weights = [("smoothing", self.smoothing), ("entropy", self.entropy), ("penalty", self.penalty)];
        if let Some((name, weight)) = weights.iter().find(|(_, weight)| !weight.is_finite()) {
            return refuse(format!("{name} is {weight}, must be finite"));
        }
        if !(0.0..=1.0).contains(&self.smoothing) {
            return refuse(format!("smoothing is {}, must be between 0 and 1", self.smoothing));
        }
        check_tasks("ats", &self.tasks)?;
        self.encoder.macs(self.patch).map(|_| ())
    }
}
