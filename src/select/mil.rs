//! The baselines of multiple instance learning: every patch of an image is encoded, with gradient, and all of them are
//! brought together.
//!
//! ```text
//! image ── all patches of the grid (N, C, ph, pw) ── encoder ── features (N, D) ── aggregator ── vector
//!                                                                                   │ a linear layer per task
//!                                                                             probabilities
//! ```
//!
//! The aggregator is gated attention, which is DeepMIL (Ilse, Tomczak and Welling, ICML 2018: [`GatedAttention`]), or TransMIL's
//! (Shao et al., NeurIPS 2021: [`TransMil`]). Memory of a training step grows with N.
//!
//! **What differs from the published code.** The patches are those of a grid over the image and the encoder is any, so that
//! the aggregator is what a comparison compares; the publications take bags of MNIST digits with LeNet (DeepMIL) and
//! precomputed features (TransMIL). All tasks read the same vector.

use crate::{
    Device, Parameter, Rng, Tensor,
    data::PatchGrid,
    error::{Error, Result},
    nn::{
        Encoder, EncoderConfig, GatedAttention, Head, Module, NystromConfig, Pass, ResNetConfig, Role,
        Targets, Task, TransMil,
    },
    ops,
    select::{
        images::{Images, common_size, patches},
        system::{Learned, Moment, System, check_tasks, classify, heads, losses},
    },
};

/// How the features of all patches become one vector.
#[derive(Clone, Debug, PartialEq)]
pub enum AggregatorConfig {
    /// Gated attention with so many hidden units (128 in the publication): DeepMIL.
    Gated(usize),
    /// Nyström self-attention among the patches: TransMIL.
    TransMil(NystromConfig),
}

/// The shape of a [`Mil`] network.
#[derive(Clone, Debug, PartialEq)]
pub struct MilConfig {
    /// Height and width of a patch.
    pub patch: [usize; 2],
    /// Vertical and horizontal stride of the grid of patches.
    pub stride: [usize; 2],
    /// The patch encoder.
    pub encoder: EncoderConfig,
    /// What brings the patches together.
    pub aggregator: AggregatorConfig,
    /// The tasks.
    pub tasks: Vec<Task>,
}

impl MilConfig {
    /// DeepMIL with the patches, encoder and tasks of Iterative Patch Selection on Megapixel MNIST.
    pub fn megapixel_mnist() -> Self {
        MilConfig {
            patch: [50, 50],
            stride: [50, 50],
            encoder: EncoderConfig::ResNet(ResNetConfig::truncated(1)),
            aggregator: AggregatorConfig::Gated(128),
            tasks: Task::megapixel_mnist(),
        }
    }

    /// Length of the aggregated vector.
    fn width(&self) -> usize {
        match &self.aggregator {
            AggregatorConfig::Gated(_) => self.encoder.features(),
            AggregatorConfig::TransMil(attention) => attention.features,
        }
    }
}

#[derive(Debug, Clone)]
enum Aggregator {
    Gated(Box<GatedAttention>),
    TransMil(Box<TransMil>),
}

impl Aggregator {
    fn module(&self) -> &dyn Module {
        match self {
            Aggregator::Gated(net) => &**net,
            Aggregator::TransMil(net) => &**net,
        }
    }

    fn module_mut(&mut self) -> &mut dyn Module {
        match self {
            Aggregator::Gated(net) => &mut **net,
            Aggregator::TransMil(net) => &mut **net,
        }
    }
}

/// What the network says of a batch.
#[derive(Clone, Debug)]
pub struct MilPrediction {
    /// Probabilities (B, classes), one tensor per task.
    pub probabilities: Vec<Tensor>,
    /// The attention of each patch of the grid, (B, N), of an aggregator that has one.
    pub attention: Option<Tensor>,
}

/// A network that encodes all patches.
///
/// ```
/// use foveate::{Device, Rng, data::DenseImage, nn::Pass, select::{Mil, MilConfig}};
/// # fn main() -> foveate::Result<()> {
/// let net = Mil::new(MilConfig::megapixel_mnist(), &Device::Cpu, &mut Rng::new(0))?;
/// let image = DenseImage::new([1, 100, 150], vec![7; 15_000])?;
/// let prediction = net.forward(&[&image], &mut Pass::evaluation())?;
/// assert_eq!(*prediction.attention.unwrap().dims(), [1, 6]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Mil {
    config: MilConfig,
    encoder: Encoder,
    aggregator: Aggregator,
    heads: Vec<Head>,
}

impl Module for Mil {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Role, &'a Parameter)) {
        self.encoder.visit(f);
        self.aggregator.module().visit(f);
        self.heads.visit(f);
    }

    fn visit_mut<'a>(&'a mut self, f: &mut dyn FnMut(Role, &'a mut Parameter)) {
        self.encoder.visit_mut(f);
        self.aggregator.module_mut().visit_mut(f);
        self.heads.visit_mut(f);
    }
}

impl Mil {
    /// A network with fresh parameters on `device`.
    ///
    /// # Errors
    ///
    /// Sizes of zero or that do not fit together; out of memory.
    pub fn new(config: MilConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        check_tasks("mil", &config.tasks)?;
        if config.patch.contains(&0) || config.stride.contains(&0) {
            let what = format!("patch {:?} and stride {:?} must be at least 1", config.patch, config.stride);
            return Err(Error::argument("mil", what));
        }
        config.encoder.macs(config.patch)?;
        let encoder = Encoder::new("encoder", config.encoder.clone(), device, rng)?;
        let features = config.encoder.features();
        let aggregator = match &config.aggregator {
            AggregatorConfig::Gated(hidden) => {
                let net = GatedAttention::new("attention", features, *hidden, device, rng)?;
                Aggregator::Gated(Box::new(net))
            }
            AggregatorConfig::TransMil(attention) => {
                let net = TransMil::new("aggregator", features, attention.clone(), device, rng)?;
                Aggregator::TransMil(Box::new(net))
            }
        };
        let heads = heads(&config.tasks, config.width(), device, rng)?;
        Ok(Mil { config, encoder, aggregator, heads })
    }

    /// Its configuration.
    pub fn config(&self) -> &MilConfig {
        &self.config
    }

    /// The grid of patches over images of `size` [H, W].
    ///
    /// # Errors
    ///
    /// Images smaller than a patch.
    pub fn grid(&self, size: [usize; 2]) -> Result<PatchGrid> {
        PatchGrid::new(size, self.config.patch, self.config.stride)
    }

    /// Predicts from all patches: the pass decides whether this trains.
    ///
    /// # Errors
    ///
    /// An empty batch, images of different sizes, of other channels than the encoder's or smaller than a patch.
    pub fn forward(&self, images: &Images, pass: &mut Pass) -> Result<MilPrediction> {
        let [_, height, width] = common_size("mil", images, self.config.encoder.channels())?;
        let grid = self.grid([height, width])?;
        let (b, n) = (images.len(), grid.count());
        let corner = |at: usize| Ok(grid.corner(at % n)?.map(|c| c as i32));
        let corners = (0..b * n).map(corner).collect::<Result<Vec<_>>>()?;
        let patches = patches(images, &corners, self.config.patch, &self.device())?;
        let features = self.encoder.forward(&patches, pass)?;
        let features = ops::reshape(&features, [b, n, self.config.encoder.features()])?;
        let (vector, attention) = match &self.aggregator {
            Aggregator::Gated(net) => {
                let (vector, attention) = net.forward(&features, pass)?;
                (vector, Some(attention))
            }
            Aggregator::TransMil(net) => (net.forward(&features, pass)?, None),
        };
        Ok(MilPrediction { probabilities: classify(&self.heads, &vector, pass)?, attention })
    }
}

impl System for Mil {
    fn tasks(&self) -> &[Task] {
        &self.config.tasks
    }

    fn device(&self) -> Device {
        self.encoder.parameters().first().map_or(Device::Cpu, |p| p.tensor().device())
    }

    fn description(&self) -> String {
        format!("{:?}", self.config)
    }

    /// The encoder on all patches; the aggregator's share is small and left out.
    fn macs(&self, size: [usize; 2]) -> Result<u64> {
        Ok(self.config.encoder.macs(self.config.patch)? * self.grid(size)?.count() as u64)
    }

    fn predict(&self, images: &Images, _rng: &mut Rng) -> Result<Vec<Tensor>> {
        Ok(self.forward(images, &mut Pass::evaluation())?.probabilities)
    }

    fn learn(&self, images: &Images, targets: &Targets, _at: Moment, pass: &mut Pass) -> Result<Learned> {
        let probabilities = self.forward(images, pass)?.probabilities;
        let losses = losses(&self.heads, &probabilities, targets)?;
        Ok(Learned { probabilities, losses })
    }
}
