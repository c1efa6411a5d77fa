//! The systems by the names that a command line gives them, and the configurations that it makes of each: the published one
//! of Megapixel MNIST where there is one; small ones with the same small encoder, so that runs can be compared.

use crate::Shown;
use clap::{Args, ValueEnum};
use foveate::{
    Device, Error, Precision, Result, Rng,
    nn::{ConvStackConfig, EncoderConfig, NystromConfig, ResNetConfig, Task},
    select::{
        AggregatorConfig, Ats, AtsConfig, Cnn, CnnConfig, Dps, DpsConfig, Ips, IpsConfig, Mil, MilConfig,
        Scoring, Stkim, ZoomIn, ZoomInConfig,
    },
};

/// A system's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SystemName {
    /// Iterative Patch Selection
    Ips,
    /// Attention Sampling
    Ats,
    /// Patches drawn anywhere
    Uniform,
    /// The Zoom-In network: attention over tiles, and within those drawn
    ZoomIn,
    /// Differentiable Patch Selection
    Dps,
    /// DeepMIL: all patches, gated attention
    Deepmil,
    /// TransMIL: all patches, self-attention among them
    Transmil,
    /// One network on the whole image
    Cnn,
}

impl SystemName {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What all systems are made by.
#[derive(Clone, Debug)]
pub struct SystemOptions {
    /// Small networks that learn in minutes on two CPU cores, or the published ones.
    pub small: bool,
    /// Height and width of a patch.
    pub patch: usize,
    /// Distance of neighbouring patches (ips, deepmil, transmil).
    pub stride: usize,
    /// Patches kept by selection, M, and seen per iteration, I (ips).
    pub selection: [usize; 2],
    /// Patches looked at (ats, uniform, zoom-in, dps).
    pub samples: Option<usize>,
    /// Height and width of the small view of the image (ats, uniform, dps).
    pub view: Option<usize>,
    /// Each distinct constant patch is scored once (ips).
    pub dedup: bool,
    /// The tasks.
    pub tasks: Vec<Task>,
}

/// What keeps Iterative Patch Selection from settling on a few patches too early.
#[derive(Args, Clone, Debug)]
pub struct Regularisers {
    /// STKIM: mask each of this many best patches at random at every merge of a selection (ips)
    #[arg(long, value_name = "K")]
    pub stkim: Option<usize>,
    /// The probability that STKIM masks a patch with
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    pub stkim_probability: f32,
    /// Let STKIM mask in evaluation too, as the published code does
    #[arg(long)]
    pub stkim_in_evaluation: bool,
    /// Weight of the regulariser that lets heads look at different things (ips)
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0)]
    pub diversity: f64,
}

/// A system with its configuration.
#[derive(Clone, Debug)]
pub enum SystemConfig {
    /// Iterative Patch Selection.
    Ips(IpsConfig),
    /// Attention Sampling, uniform sampling.
    Ats(AtsConfig),
    /// The Zoom-In network.
    ZoomIn(ZoomInConfig),
    /// Differentiable Patch Selection.
    Dps(DpsConfig),
    /// DeepMIL, TransMIL.
    Mil(MilConfig),
    /// A network on the whole image.
    Cnn(CnnConfig),
}

/// Work on a system of any type.
pub trait WithSystem {
    /// What comes of it.
    type Output;

    /// Does the work.
    ///
    /// # Errors
    ///
    /// Those of the work.
    fn with<S: Shown>(self, net: S) -> Result<Self::Output>;
}

impl SystemConfig {
    /// The configuration of a system.
    ///
    /// # Errors
    ///
    /// Sizes that do not fit together.
    pub fn new(name: SystemName, o: &SystemOptions) -> Result<Self> {
        let encoder = encoder(o.small);
        let shared = EncoderConfig::ResNet(encoder.clone());
        Ok(match name {
            SystemName::Ips => SystemConfig::Ips(ips(o, encoder)?),
            SystemName::Ats => SystemConfig::Ats(ats(o)?),
            SystemName::Uniform => SystemConfig::Ats(ats(o)?.uniform()),
            SystemName::ZoomIn => SystemConfig::ZoomIn(zoom_in(o, shared)?),
            SystemName::Dps => SystemConfig::Dps(dps(o, shared)),
            SystemName::Deepmil => SystemConfig::Mil(mil(o, shared, AggregatorConfig::Gated(128))),
            SystemName::Transmil => {
                let width = if o.small { 64 } else { 512 };
                SystemConfig::Mil(mil(o, shared, AggregatorConfig::TransMil(NystromConfig::new(width))))
            }
            SystemName::Cnn => {
                let config = CnnConfig { tasks: o.tasks.clone(), ..CnnConfig::megapixel_mnist() };
                SystemConfig::Cnn(if o.small { CnnConfig { encoder: shared, ..config } } else { config })
            }
        })
    }

    /// The same with regularisers.
    ///
    /// # Errors
    ///
    /// Those that the system does not have; impossible settings.
    pub fn regularised(mut self, r: &Regularisers) -> Result<Self> {
        match &mut self {
            SystemConfig::Ips(config) => {
                let (probability, in_evaluation) = (r.stkim_probability, r.stkim_in_evaluation);
                config.stkim = r.stkim.map(|top| Stkim { top, probability, in_evaluation });
                config.diversity = r.diversity;
                config.check()?;
            }
            _ if r.stkim.is_some() || r.diversity != 0.0 => {
                return Err(Error::argument("system", "STKIM and diversity are regularisers of ips alone"));
            }
            _ => {}
        }
        Ok(self)
    }

    /// Makes the network and works on it.
    ///
    /// # Errors
    ///
    /// Sizes that the network refuses; those of the work.
    pub fn run<W: WithSystem>(self, device: &Device, rng: &mut Rng, work: W) -> Result<W::Output> {
        match self {
            SystemConfig::Ips(config) => {
                let mut net = Ips::new(config, device, rng)?;
                // bf16's 8 bits are for training; patches are told apart by the 11 of f16, at the same speed.
                if device.precision() == Precision::Bf16 {
                    net.set_scoring(Scoring { precision: Some(Precision::F16), ..Scoring::default() });
                }
                work.with(net)
            }
            SystemConfig::Ats(config) => work.with(Ats::new(config, device, rng)?),
            SystemConfig::ZoomIn(config) => work.with(ZoomIn::new(config, device, rng)?),
            SystemConfig::Dps(config) => work.with(Dps::new(config, device, rng)?),
            SystemConfig::Mil(config) => work.with(Mil::new(config, device, rng)?),
            SystemConfig::Cnn(config) => work.with(Cnn::new(config, device, rng)?),
        }
    }
}

fn encoder(small: bool) -> ResNetConfig {
    if small { ResNetConfig::small(1) } else { ResNetConfig::truncated(1) }
}

fn ips(o: &SystemOptions, encoder: ResNetConfig) -> Result<IpsConfig> {
    let [memory, iteration] = o.selection;
    let mut net = IpsConfig::with_encoder(encoder, [o.patch; 2], memory, iteration, o.tasks.clone(), true);
    net.stride = [o.stride; 2];
    net.elide_constant = o.dedup;
    net.check()?;
    Ok(net)
}

fn ats(o: &SystemOptions) -> Result<AtsConfig> {
    let mut net = AtsConfig { tasks: o.tasks.clone(), patch: [o.patch; 2], ..AtsConfig::megapixel_mnist() };
    if o.small {
        net.view = [60, 60];
        net.encoder = EncoderConfig::ResNet(encoder(o.small));
    }
    net.view = o.view.map_or(net.view, |view| [view; 2]);
    net.samples = o.samples.unwrap_or(net.samples);
    net.check()?;
    Ok(net)
}

/// Tiles of three patches a side, seen at a tenth and at a fifth, as published for colon cancer.
fn zoom_in(o: &SystemOptions, encoder: EncoderConfig) -> Result<ZoomInConfig> {
    let tile = 3 * o.patch;
    let attention = ConvStackConfig::ats_attention(1);
    let net = ZoomInConfig {
        tile: [tile; 2],
        tile_view: [tile.div_ceil(10); 2],
        sub_view: [tile.div_ceil(5); 2],
        patch: [o.patch; 2],
        samples: o.samples.unwrap_or(10),
        tiles: attention.clone(),
        sub_tiles: attention,
        encoder,
        tasks: o.tasks.clone(),
        contrast: None,
        ..ZoomInConfig::colon_cancer()
    };
    // The contrastive objective is of a single task with a class of nothing to find.
    let contrast = ZoomInConfig { contrast: Some(10), ..net.clone() };
    let net = if contrast.check().is_ok() { contrast } else { net };
    net.check()?;
    Ok(net)
}

/// The published network scores positions of a third of the image; here a view of as many pixels as Attention Sampling's.
fn dps(o: &SystemOptions, encoder: EncoderConfig) -> DpsConfig {
    DpsConfig {
        view: [o.view.unwrap_or(if o.small { 60 } else { 180 }); 2],
        scorer: ConvStackConfig::ats_attention(1),
        patch: [o.patch; 2],
        patches: o.samples.unwrap_or(5),
        encoder,
        tasks: o.tasks.clone(),
        ..DpsConfig::speed_limits()
    }
}

fn mil(o: &SystemOptions, encoder: EncoderConfig, aggregator: AggregatorConfig) -> MilConfig {
    MilConfig { patch: [o.patch; 2], stride: [o.stride; 2], encoder, aggregator, tasks: o.tasks.clone() }
}
