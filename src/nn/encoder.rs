//! A patch encoder of any kind: from patches to a vector each. Systems that need nothing but that take one of these, so that
//! they can be compared with the same encoder.

use crate::{
    Device, Parameter, Rng, Tensor,
    error::Result,
    nn::{
        ConvStack, ConvStackConfig, GlobalPool, Module, Pass, PreActivation, PreActivationConfig, ResNet,
        ResNetConfig, Role,
    },
    ops,
};

/// The kind and shape of an [`Encoder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncoderConfig {
    /// A residual network of the layout of ResNet-18, that of Iterative Patch Selection.
    ResNet(ResNetConfig),
    /// Plain convolutions, and how their pixels become one vector.
    Convs(ConvStackConfig, GlobalPool),
    /// A pre-activation residual network, then the mean over pixels.
    PreActivation(PreActivationConfig),
}

impl EncoderConfig {
    /// Channels of a patch.
    pub fn channels(&self) -> usize {
        match self {
            EncoderConfig::ResNet(config) => config.channels,
            EncoderConfig::Convs(config, _) => config.channels,
            EncoderConfig::PreActivation(config) => config.channels,
        }
    }

    /// Length D of a patch's vector.
    pub fn features(&self) -> usize {
        match self {
            EncoderConfig::ResNet(config) => config.features(),
            EncoderConfig::Convs(config, _) => config.filters(),
            EncoderConfig::PreActivation(config) => config.width,
        }
    }

    /// Multiply-adds of one patch of `size` pixels; twice that many FLOPs.
    ///
    /// # Errors
    ///
    /// A patch of which a layer leaves nothing.
    pub fn macs(&self, size: [usize; 2]) -> Result<u64> {
        Ok(match self {
            EncoderConfig::ResNet(config) => config.macs(size[0], size[1]) as u64,
            EncoderConfig::Convs(config, _) => config.macs(size)?,
            EncoderConfig::PreActivation(config) => config.macs(size),
        })
    }
}

/// A patch encoder.
///
/// ```
/// use foveate::{Device, Rng, Tensor, nn::{ConvStackConfig, Encoder, EncoderConfig, GlobalPool, Pass}};
/// # fn main() -> foveate::Result<()> {
/// let config = EncoderConfig::Convs(ConvStackConfig::ats_encoder(1), GlobalPool::Max);
/// let encoder = Encoder::new("feature", config, &Device::Cpu, &mut Rng::new(0))?;
/// let patches = Tensor::full(0.5_f32, [3, 1, 20, 20], &Device::Cpu)?;
/// assert_eq!(*encoder.forward(&patches, &mut Pass::evaluation())?.dims(), [3, 32]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub enum Encoder {
    /// See [`EncoderConfig::ResNet`].
    ResNet(ResNet),
    /// See [`EncoderConfig::Convs`].
    Convs(ConvStack, GlobalPool),
    /// See [`EncoderConfig::PreActivation`].
    PreActivation(PreActivation),
}

impl Encoder {
    /// An encoder with fresh parameters whose names start with `name`.
    ///
    /// # Errors
    ///
    /// Sizes that its layers refuse; out of memory.
    pub fn new(name: &str, config: EncoderConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        Ok(match config {
            EncoderConfig::ResNet(config) => Encoder::ResNet(ResNet::new(name, config, device, rng)?),
            EncoderConfig::Convs(config, pool) => {
                Encoder::Convs(ConvStack::new(name, config, device, rng)?, pool)
            }
            EncoderConfig::PreActivation(config) => {
                Encoder::PreActivation(PreActivation::new(name, config, device, rng)?)
            }
        })
    }

    /// Patches (P, C, ph, pw) to features (P, D).
    pub fn forward(&self, patches: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        match self {
            Encoder::ResNet(net) => net.forward(patches, pass),
            Encoder::Convs(net, pool) => ops::global_pool(&net.forward(patches, pass)?, *pool),
            Encoder::PreActivation(net) => ops::global_avg_pool(&net.forward(patches, pass)?),
        }
    }
}

impl Module for Encoder {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Role, &'a Parameter)) {
        match self {
            Encoder::ResNet(net) => net.visit(f),
            Encoder::Convs(net, _) => net.visit(f),
            Encoder::PreActivation(net) => net.visit(f),
        }
    }

    fn visit_mut<'a>(&'a mut self, f: &mut dyn FnMut(Role, &'a mut Parameter)) {
        match self {
            Encoder::ResNet(net) => net.visit_mut(f),
            Encoder::Convs(net, _) => net.visit_mut(f),
            Encoder::PreActivation(net) => net.visit_mut(f),
        }
    }
}
