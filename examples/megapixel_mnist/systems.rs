//! The configurations that the command line makes of each system. The published one of Megapixel MNIST where there is one;
//! all with the four tasks, and small ones with the same small encoder, so that runs can be compared.

use crate::arguments::{Arguments, SystemName};
use foveate::{
    Result,
    nn::{ConvStackConfig, EncoderConfig, NystromConfig, ResNetConfig, Task},
    select::{AggregatorConfig, AtsConfig, CnnConfig, DpsConfig, IpsConfig, MilConfig, ZoomInConfig},
};

/// The system to train, with its configuration.
#[derive(Clone)]
pub(crate) enum SystemConfig {
    Ips(IpsConfig),
    Ats(AtsConfig),
    ZoomIn(ZoomInConfig),
    Dps(DpsConfig),
    Mil(MilConfig),
    Cnn(CnnConfig),
}

impl SystemConfig {
    pub(crate) fn new(a: &Arguments, small: bool, patch: usize, memory: usize) -> Result<Self> {
        let encoder = encoder(small);
        let shared = EncoderConfig::ResNet(encoder.clone());
        Ok(match a.system {
            SystemName::Ips => SystemConfig::Ips(ips(a, encoder, patch, memory)?),
            SystemName::Ats => SystemConfig::Ats(ats(a, small, patch)?),
            SystemName::Uniform => SystemConfig::Ats(ats(a, small, patch)?.uniform()),
            SystemName::ZoomIn => SystemConfig::ZoomIn(zoom_in(a, shared, patch)?),
            SystemName::Dps => SystemConfig::Dps(dps(a, small, shared, patch)),
            SystemName::Deepmil => SystemConfig::Mil(mil(a, shared, patch, AggregatorConfig::Gated(128))),
            SystemName::Transmil => {
                let width = if small { 64 } else { 512 };
                let attention = AggregatorConfig::TransMil(NystromConfig::new(width));
                SystemConfig::Mil(mil(a, shared, patch, attention))
            }
            SystemName::Cnn => {
                let config = CnnConfig::megapixel_mnist();
                SystemConfig::Cnn(if small { CnnConfig { encoder: shared, ..config } } else { config })
            }
        })
    }
}

fn encoder(small: bool) -> ResNetConfig {
    if small { ResNetConfig::small(1) } else { ResNetConfig::truncated(1) }
}

fn ips(a: &Arguments, encoder: ResNetConfig, patch: usize, memory: usize) -> Result<IpsConfig> {
    let iteration = a.iteration.unwrap_or(memory);
    let tasks = Task::megapixel_mnist();
    let mut net = IpsConfig::with_encoder(encoder, [patch; 2], memory, iteration, tasks, true);
    net.stride = [a.stride.unwrap_or(patch); 2];
    net.elide_constant = a.dedup;
    net.check()?;
    Ok(net)
}

fn ats(a: &Arguments, small: bool, patch: usize) -> Result<AtsConfig> {
    let mut net =
        AtsConfig { tasks: Task::megapixel_mnist(), patch: [patch; 2], ..AtsConfig::megapixel_mnist() };
    if small {
        net.view = [60, 60];
        net.encoder = EncoderConfig::ResNet(encoder(small));
    }
    net.view = a.view.map_or(net.view, |view| [view; 2]);
    net.samples = a.samples.unwrap_or(net.samples);
    net.check()?;
    Ok(net)
}

/// Tiles of three patches a side, seen at a tenth and at a fifth, as published for colon cancer.
fn zoom_in(a: &Arguments, encoder: EncoderConfig, patch: usize) -> Result<ZoomInConfig> {
    let tile = 3 * patch;
    let attention = ConvStackConfig::ats_attention(1);
    let net = ZoomInConfig {
        tile: [tile; 2],
        tile_view: [tile.div_ceil(10); 2],
        sub_view: [tile.div_ceil(5); 2],
        patch: [patch; 2],
        samples: a.samples.unwrap_or(10),
        tiles: attention.clone(),
        sub_tiles: attention,
        encoder,
        tasks: Task::megapixel_mnist(),
        contrast: None,
        ..ZoomInConfig::colon_cancer()
    };
    net.check()?;
    Ok(net)
}

/// The published network scores positions of a third of the image; here a view of as many pixels as Attention Sampling's.
fn dps(a: &Arguments, small: bool, encoder: EncoderConfig, patch: usize) -> DpsConfig {
    let view = a.view.unwrap_or(if small { 60 } else { 180 });
    DpsConfig {
        view: [view; 2],
        scorer: ConvStackConfig::ats_attention(1),
        patch: [patch; 2],
        patches: a.samples.unwrap_or(5),
        encoder,
        tasks: Task::megapixel_mnist(),
        ..DpsConfig::speed_limits()
    }
}

fn mil(a: &Arguments, encoder: EncoderConfig, patch: usize, aggregator: AggregatorConfig) -> MilConfig {
    let stride = [a.stride.unwrap_or(patch); 2];
    MilConfig { patch: [patch; 2], stride, encoder, aggregator, ..MilConfig::megapixel_mnist() }
}
