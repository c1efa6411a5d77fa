//! A plain stack of convolutions and max pooling, as the attention networks and small patch encoders of Attention Sampling,
//! the Zoom-In network and DeepMIL are made of. Convolutions have a bias and start as Keras starts them: weights uniform in
//! `±√(6 / (fan_in + fan_out))`, biases zero.

use crate::{
    Device, Rng, Tensor,
    error::{Error, Result},
    nn::{Conv2d, Pass, init, layers::module},
    ops,
};

/// What follows a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

/// A layer of a [`ConvStack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvLayer {
    /// A convolution of stride 1.
    Conv {
        /// Channels that it makes.
        filters: usize,
        /// Height and width of its kernel.
        kernel: usize,
        /// Rows and columns of zeros on every side.
        padding: usize,
        /// What follows it.
        then: Then,
    },
    /// The maxima of adjoining squares of so many pixels a side; what a last square would lack is dropped.
    MaxPool(usize),
}

impl ConvLayer {
    /// A convolution whose result has the size of its operand; `kernel` is odd.
    pub fn same(filters: usize, kernel: usize, then: Then) -> Self {
        ConvLayer::Conv { filters, kernel, padding: kernel / 2, then }
    }

    /// A convolution without padding.
    pub fn valid(filters: usize, kernel: usize, then: Then) -> Self {
        ConvLayer::Conv { filters, kernel, padding: 0, then }
    }

    /// The size of its result for an operand of `size`; none where nothing would be left.
    fn size(self, size: [usize; 2]) -> Option<[usize; 2]> {
        let along = |size: usize| match self {
            ConvLayer::Conv { kernel, padding, .. } => (size + 2 * padding + 1).checked_sub(kernel),
            ConvLayer::MaxPool(side) => size.checked_div(side),
        };
        match [along(size[0])?, along(size[1])?] {
            size if size.contains(&0) => None,
            size => Some(size),
        }
    }
}

/// The shape of a [`ConvStack`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvStackConfig {
    /// Channels of the image.
    pub channels: usize,
    /// The layers, first to last.
    pub layers: Vec<ConvLayer>,
}

impl ConvStackConfig {
    /// Attention Sampling's patch encoder for Megapixel MNIST, without its pooling: a 7×7 and three 3×3 convolutions of 32
    /// filters, unpadded, each with a ReLU.
    pub fn ats_encoder(channels: usize) -> Self {
        let mut layers = vec![ConvLayer::valid(32, 7, Then::Relu)];
        layers.extend([ConvLayer::valid(32, 3, Then::Relu); 3]);
        ConvStackConfig { channels, layers }
    }

    /// The patch encoder of the Zoom-In network's LeNet set: the layers of [`ConvStackConfig::ats_encoder`], padded so that
    /// they keep the size.
    pub fn zoom_in_encoder(channels: usize) -> Self {
        let mut layers = vec![ConvLayer::same(32, 7, Then::Relu)];
        layers.extend([ConvLayer::same(32, 3, Then::Relu); 3]);
        ConvStackConfig { channels, layers }
    }

    /// Attention Sampling's attention network for Megapixel MNIST: 3×3 convolutions of 8, 8 and 1 filters that keep the
    /// size, the first two with tanh.
    pub fn ats_attention(channels: usize) -> Self {
        let tanh = ConvLayer::same(8, 3, Then::Tanh);
        ConvStackConfig { channels, layers: vec![tanh, tanh, ConvLayer::same(1, 3, Then::Nothing)] }
    }

    /// Attention Sampling's attention network for speed limits: unpadded 3×3 convolutions of 8, 16 and 32 filters with a
    /// ReLU and of 1 filter without, then maxima of squares of 8.
    pub fn ats_speed_limits(channels: usize) -> Self {
        let mut layers: Vec<ConvLayer> = [8, 16, 32].map(|f| ConvLayer::valid(f, 3, Then::Relu)).into();
        layers.extend([ConvLayer::valid(1, 3, Then::Nothing), ConvLayer::MaxPool(8)]);
        ConvStackConfig { channels, layers }
    }

    /// The LeNet of DeepMIL up to its feature maps: 5×5 convolutions of 20 and 50 filters with a ReLU, each halved.
    pub fn lenet(channels: usize) -> Self {
        let conv = |filters| ConvLayer::valid(filters, 5, Then::Relu);
        ConvStackConfig {
            channels,
            layers: vec![conv(20), ConvLayer::MaxPool(2), conv(50), ConvLayer::MaxPool(2)],
        }
    }

    /// Channels of the result.
    pub fn filters(&self) -> usize {
        let filters = self.layers.iter().rev().find_map(|layer| match layer {
            ConvLayer::Conv { filters, .. } => Some(*filters),
            ConvLayer::MaxPool(_) => None,
        });
        filters.unwrap_or(self.channels)
    }

    /// The size of the result for an image of `size`.
    ///
    /// # Errors
    ///
    /// An image of which nothing would be left, naming the layer.
    pub fn size(&self, size: [usize; 2]) -> Result<[usize; 2]> {
        self.layers.iter().try_fold(size, |size, layer| {
            layer.size(size).ok_or_else(|| {
                let what =
                    format!("{layer:?} leaves nothing of {size:?} pixels: use larger images or patches");
                Error::argument("conv_stack", what)
            })
        })
    }

    /// Multiply-adds of one image of `size`; twice that many FLOPs.
    ///
    /// # Errors
    ///
    /// As [`ConvStackConfig::size`].
    pub fn macs(&self, size: [usize; 2]) -> Result<u64> {
        let (mut now, mut channels, mut macs) = (size, self.channels, 0);
        for layer in &self.layers {
            now = ConvStackConfig { channels, layers: vec![*layer] }.size(now)?;
            if let ConvLayer::Conv { filters, kernel, .. } = *layer {
                macs += (now[0] * now[1] * filters * channels * kernel * kernel) as u64;
                channels = filters;
            }
        }
        Ok(macs)
    }

    /// Checks that such a stack can be made.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming a size that is zero, or a stack that convolves nothing.
    pub fn check(&self) -> Result<()> {
        let empty = |layer: &ConvLayer| match *layer {
            ConvLayer::Conv { filters, kernel, .. } => filters == 0 || kernel == 0,
            ConvLayer::MaxPool(side) => side == 0,
        };
        let convolves = self.layers.iter().any(|layer| matches!(layer, ConvLayer::Conv { .. }));
        if self.channels == 0 || !convolves || self.layers.iter().any(empty) {
            let what = format!("{self:?}: every size must be at least 1, and there must be a convolution");
            return Err(Error::argument("conv_stack", what));
        }
        Ok(())
    }
}

/// Convolutions and max pooling, one after the other.
///
/// ```
/// use foveate::{Device, Rng, Tensor, nn::{ConvStack, ConvStackConfig, Pass}};
/// # fn main() -> foveate::Result<()> {
/// let config = ConvStackConfig::ats_attention(1);
/// let net = ConvStack::new("attention", config, &Device::Cpu, &mut Rng::new(0))?;
/// let x = Tensor::full(0.5_f32, [2, 1, 9, 7], &Device::Cpu)?;
/// assert_eq!(*net.forward(&x, &mut Pass::evaluation())?.dims(), [2, 1, 9, 7]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct ConvStack {
    config: ConvStackConfig,
    convs: Vec<Conv2d>,
}

module!(ConvStack {; convs });

impl ConvStack {
    /// A stack with fresh parameters, named `name.0`, `name.1` … by layer.
    ///
    /// # Errors
    ///
    /// As [`ConvStackConfig::check`]; out of memory.
    pub fn new(name: &str, config: ConvStackConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        config.check()?;
        let (mut channels, mut convs) = (config.channels, Vec::new());
        for (at, layer) in config.layers.iter().enumerate() {
            if let ConvLayer::Conv { filters, kernel, padding, .. } = *layer {
                let weight = init::glorot_uniform([filters, channels, kernel, kernel], device, rng)?;
                let conv = Conv2d::new(&format!("{name}.{at}"), weight, ops::Conv2d::new(1, padding));
                convs.push(conv.with_bias(Tensor::zeros([filters], device)?));
                channels = filters;
            }
        }
        Ok(ConvStack { config, convs })
    }

    /// Its shape.
    pub fn config(&self) -> &ConvStackConfig {
        &self.config
    }

    /// x (B, C, H, W) to (B, filters, h, w), see [`ConvStackConfig::size`].
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (mut x, mut convs) = (x.clone(), self.convs.iter());
        for layer in &self.config.layers {
            x = match *layer {
                ConvLayer::MaxPool(side) => ops::max_pool2d(&x, [side; 2], [side; 2], [0; 2])?,
                ConvLayer::Conv { then, .. } => {
                    let conv = convs.next().map_or(Ok(x.clone()), |conv| conv.forward(&x, pass))?;
                    match then {
                        Then::Nothing => conv,
                        Then::Relu => ops::relu(&conv)?,
                        Then::Tanh => ops::tanh(&conv)?,
                    }
                }
            };
        }
        Ok(x)
    }

    /// The sum of the squares of all weights, without the biases, a scalar: what an L2 penalty multiplies.
    pub fn squared_weights(&self, pass: &mut Pass) -> Result<Tensor> {
        let mut total: Option<Tensor> = None;
        for conv in &self.convs {
            let own = ops::sum_all(&ops::square(&conv.watched_weight(pass)?)?)?;
            total = Some(total.map_or(Ok(own.clone()), |total| ops::add(&total, &own))?);
        }
        total.ok_or_else(|| Error::argument("conv_stack", "a stack without convolutions has no weights"))
    }
}
