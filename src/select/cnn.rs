//! The baseline that looks at everything: one network on the whole image, or on a small view of it.
//!
//! ```text
//! image (C, H, W) ── encoder ── vector (D) ── a linear layer per task ── probabilities
//! ```
//!
//! Its memory grows with the image, which is why the other systems exist. The published one of Cordonnier et al.
//! ("Differentiable patch selection for image recognition", CVPR 2021) is the residual network of Attention Sampling on the
//! full image of 960 × 1280; [`CnnConfig::megapixel_mnist`] is the same for one channel.
//!
//! **What differs from the published code, and why.** Batch norm has PyTorch's constants instead of Keras's, as in this crate's
//! Attention Sampling, so that the two compare. Several tasks may share the vector, and the image may be shrunk first: the
//! plain network on a small view is a baseline as well.

use crate::{
    Device, Rng, Tensor,
    error::{Error, Result},
    nn::{Encoder, EncoderConfig, Head, Module, Pass, PreActivationConfig, Targets, Task, module},
    select::{
        images::{Images, common_size, patches, views},
        system::{Learned, Moment, System, check_tasks, classify, heads, losses},
    },
};

/// The shape of a [`Cnn`].
#[derive(Clone, Debug, PartialEq)]
pub struct CnnConfig {
    /// Height and width of the view of the image that the network sees; none: the image itself.
    pub view: Option<[usize; 2]>,
    /// The network, down to one vector.
    pub encoder: EncoderConfig,
    /// The tasks.
    pub tasks: Vec<Task>,
}

impl CnnConfig {
    /// The pre-activation network of Attention Sampling on the whole image, with the four tasks of Megapixel MNIST.
    pub fn megapixel_mnist() -> Self {
        let encoder = PreActivationConfig { channels: 1, ..PreActivationConfig::speed_limits() };
        let tasks = Task::megapixel_mnist();
        CnnConfig { view: None, encoder: EncoderConfig::PreActivation(encoder), tasks }
    }
}

/// A network on whole images.
///
/// ```
/// use foveate::{Device, Rng, data::DenseImage, select::{Cnn, CnnConfig, System}};
/// # fn main() -> foveate::Result<()> {
/// let net = Cnn::new(CnnConfig::megapixel_mnist(), &Device::Cpu, &mut Rng::new(0))?;
/// let image = DenseImage::new([1, 50, 60], vec![7; 3000])?;
/// assert_eq!(*net.predict(&[&image], &mut Rng::new(0))?[3].dims(), [1, 10]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Cnn {
    config: CnnConfig,
    encoder: Encoder,
    heads: Vec<Head>,
}

module!(Cnn {; encoder, heads });

impl Cnn {
    /// A network with fresh parameters on `device`.
    ///
    /// # Errors
    ///
    /// A view of no pixels, sizes that the encoder refuses, tasks that are none; out of memory.
    pub fn new(config: CnnConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        check_tasks("cnn", &config.tasks)?;
        if config.view.is_some_and(|view| view.contains(&0)) {
            return Err(Error::argument("cnn", format!("a view of {:?} pixels", config.view)));
        }
        let encoder = Encoder::new("encoder", config.encoder.clone(), device, rng)?;
        let heads = heads(&config.tasks, config.encoder.features(), device, rng)?;
        Ok(Cnn { config, encoder, heads })
    }

    /// Its configuration.
    pub fn config(&self) -> &CnnConfig {
        &self.config
    }

    /// Probabilities (B, classes) per task: the pass decides whether this trains.
    ///
    /// # Errors
    ///
    /// An empty batch, images of different sizes, of other channels than the network's or too small for it.
    pub fn forward(&self, images: &Images, pass: &mut Pass) -> Result<Vec<Tensor>> {
        let [_, height, width] = common_size("cnn", images, self.config.encoder.channels())?;
        let device = self.device();
        let x = match self.config.view {
            Some(size) => views(images, size, &device)?,
            None => patches(images, &vec![[0, 0]; images.len()], [height, width], &device)?,
        };
        classify(&self.heads, &self.encoder.forward(&x, pass)?, pass)
    }
}

impl System for Cnn {
    fn tasks(&self) -> &[Task] {
        &self.config.tasks
    }

    fn device(&self) -> Device {
        self.encoder.parameters().first().map_or(Device::Cpu, |p| p.tensor().device())
    }

    fn description(&self) -> String {
        format!("{:?}", self.config)
    }

    fn macs(&self, size: [usize; 2]) -> Result<u64> {
        let classes: usize = self.config.tasks.iter().map(|task| task.classes).sum();
        let head = (classes * self.config.encoder.features()) as u64;
        Ok(self.config.encoder.macs(self.config.view.unwrap_or(size))? + head)
    }

    fn predict(&self, images: &Images, _rng: &mut Rng) -> Result<Vec<Tensor>> {
        self.forward(images, &mut Pass::evaluation())
    }

    fn learn(&self, images: &Images, targets: &Targets, _at: Moment, pass: &mut Pass) -> Result<Learned> {
        let probabilities = self.forward(images, pass)?;
        let losses = losses(&self.heads, &probabilities, targets)?;
        Ok(Learned { probabilities, losses })
    }
}
