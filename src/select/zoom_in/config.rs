//! The shape of a Zoom-In network.

use crate::{
    error::{Error, Result},
    nn::{
        Activation, ConvLayer, ConvStackConfig, EncoderConfig, GlobalPool, PreActivationConfig, Task, Then,
    },
    ops::Estimator,
    select::system::check_tasks,
};

/// The shape of a [`ZoomIn`](crate::select::ZoomIn) network and how it samples.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoomInConfig {
    /// Height and width of a tile in the image.
    pub tile: [usize; 2],
    /// Height and width of a tile in the first view, s1 times the tile: all of the image is seen at this scale.
    pub tile_view: [usize; 2],
    /// Height and width of a drawn tile in the second view, s2 times the tile; attention within a tile has a position for
    /// each of these pixels.
    pub sub_view: [usize; 2],
    /// Height and width of a sub-tile, the patch that is looked at.
    pub patch: [usize; 2],
    /// Sub-tiles looked at per image, N.
    pub samples: usize,
    /// The attention network over tiles; its last layer has one filter, whose mean is a tile's logit.
    pub tiles: ConvStackConfig,
    /// The attention network within a tile; its last layer has one filter, and it keeps the size.
    pub sub_tiles: ConvStackConfig,
    /// The encoder of sub-tiles.
    pub encoder: EncoderConfig,
    /// Features are divided by their norm, as in the published code (the paper does not say so).
    pub normalize: bool,
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Which gradient the attention within tiles gets.
    pub estimator: Estimator,
    /// Weight λ of the entropy terms, which keep attention spread out.
    pub entropy: f64,
    /// The epoch, from 0, with which the contrastive objective begins; none: never. It needs a single task of two
    /// classes, of which 0 means that there is nothing to find.
    pub contrast: Option<usize>,
    /// Weight of pixel-level supervision ([`ZoomIn::supervision`](crate::select::ZoomIn::supervision)); with any other than 0
    /// every image of a training needs a mask ([`Masked`](crate::data::Masked)).
    pub supervision: f64,
}

impl ZoomInConfig {
    /// The published configuration of colon cancer: images of 500² in colour, tiles of 250², sub-tiles of 27², N = 10, the
    /// LeNet set of networks.
    pub fn colon_cancer() -> Self {
        let tanh = ConvLayer::same(8, 3, Then::Tanh);
        let tiles = vec![tanh, tanh, ConvLayer::same(1, 3, Then::Tanh)];
        ZoomInConfig {
            tile: [250, 250],
            tile_view: [25, 25],
            sub_view: [50, 50],
            patch: [27, 27],
            samples: 10,
            tiles: ConvStackConfig { channels: 3, layers: tiles },
            sub_tiles: ConvStackConfig::ats_attention(3),
            encoder: EncoderConfig::Convs(ConvStackConfig::zoom_in_encoder(3), GlobalPool::Mean),
            normalize: true,
            tasks: vec![Task::new("present", 2, Activation::Softmax)],
            estimator: Estimator::Unbiased,
            entropy: 1e-5,
            contrast: Some(10),
            supervision: 0.0,
        }
    }

    /// The same configuration with the ResNet set of networks.
    pub fn with_resnet_set(self) -> Self {
        let channels = self.tiles.channels;
        let relu = |filters| ConvLayer::same(filters, 3, Then::Relu);
        let stack = |last| ConvStackConfig { channels, layers: vec![relu(8), relu(16), relu(32), last] };
        ZoomInConfig {
            tiles: stack(ConvLayer::same(1, 3, Then::Relu)),
            sub_tiles: stack(ConvLayer::same(1, 3, Then::Nothing)),
            encoder: EncoderConfig::PreActivation(PreActivationConfig::zoom_in(channels)),
            ..self
        }
    }

    /// Rows and columns of the tiles of an image of `image` [H, W]: all of it is covered, the last ones may reach beyond.
    pub fn grid(&self, image: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| image[axis].div_ceil(self.tile[axis]))
    }

    /// Checks that such a network can be made.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming what does not fit together.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::argument("zoom_in", what));
        let sizes = [self.tile, self.tile_view, self.sub_view, self.patch].concat();
        if sizes.iter().any(|&size| size == 0 || size > i32::MAX as usize / 2) {
            return refuse(format!("{self:?}: every size must be at least 1"));
        }
        self.tiles.check()?;
        self.tiles.size(self.tile_view)?;
        self.sub_tiles.check()?;
        if self.sub_tiles.size(self.sub_view)? != self.sub_view {
            return refuse("the attention network within tiles must keep the size of its view".into());
        }
        let positions = self.sub_view[0] * self.sub_view[1];
        if self.samples == 0 || self.samples > positions {
            let what = format!("{} sub-tiles to draw, which may be in one tile", self.samples);
            return refuse(format!("{what}: at least 1, at most its {positions} positions"));
        }
        let channels = [self.tiles.channels, self.sub_tiles.channels, self.encoder.channels()];
        if self.tiles.filters() != 1 || self.sub_tiles.filters() != 1 || channels != [channels[0]; 3] {
            let what = format!("networks for {channels:?} channels");
            return refuse(format!("{what}: they must agree, and both attention networks end in one filter"));
        }
        let two = |task: &Task| task.activation == Activation::Softmax && task.classes == 2;
        if self.contrast.is_some() && !(self.tasks.len() == 1 && self.tasks.iter().all(two)) {
            return refuse("the contrastive objective needs a single softmax task of two classes".into());
        }
        if !self.entropy.is_finite() || !self.supervision.is_finite() {
            let what = format!("entropy's weight {}, supervision's {}", self.entropy, self.supervision);
            return refuse(format!("{what}: both must be finite"));
        }
        check_tasks("zoom_in", &self.tasks)?;
        self.encoder.macs(self.patch).map(|_| ())
    }
}
