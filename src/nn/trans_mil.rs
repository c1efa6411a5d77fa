//! TransMIL's aggregator (Shao et al., "TransMIL: transformer based correlated multiple instance learning", NeurIPS 2021):
//! self-attention among all instances of a bag, with their places in it.
//!
//! ```text
//! instances (N, D) ── linear, ReLU ── tokens (N, W), the first ones repeated up to a square ── a class token in front
//!   x + attention(LN x) ── the square as an image: x + conv7 x + conv5 x + conv3 x, depthwise ── x + attention(LN x) ── LN
//!   the class token (W)
//! ```
//!
//! What differs from the published code: the start of the approximate inverse, see [`Nystrom`].

use crate::{
    Device, Parameter, Rng, Tensor,
    error::{Error, Result},
    nn::{Conv2d, LayerNorm, Linear, Nystrom, NystromConfig, Pass, init, layers::module},
    ops,
};

/// One layer of self-attention with its normalisation: `x + attention(LN x)`.
#[derive(Debug, Clone)]
struct Layer {
    norm: LayerNorm,
    attention: Nystrom,
}

module!(Layer {; norm, attention });

impl Layer {
    fn new(name: &str, config: NystromConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        let norm = LayerNorm::new(&format!("{name}.norm"), config.features, 1e-5, device)?;
        Ok(Layer { norm, attention: Nystrom::new(&format!("{name}.attn"), config, device, rng)? })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let normed = self.norm.forward(x, pass)?;
        ops::add(x, &self.attention.forward(&normed, pass)?)
    }
}

/// TransMIL's aggregator with its parameters.
#[derive(Debug, Clone)]
pub struct TransMil {
    width: usize,
    reduce: Linear,
    class: Parameter,
    first: Layer,
    convs: Vec<Conv2d>,
    second: Layer,
    norm: LayerNorm,
}

module!(TransMil { Trained class; reduce, first, convs, second, norm });

impl TransMil {
    /// An aggregator of instances of `features` with fresh parameters; `attention.features` is its width W (512 in the
    /// publication).
    ///
    /// # Errors
    ///
    /// Sizes that do not fit together; out of memory.
    pub fn new(
        name: &str,
        features: usize,
        attention: NystromConfig,
        device: &Device,
        rng: &mut Rng,
    ) -> Result<Self> {
        let width = attention.features;
        let reduce = Linear::new(&format!("{name}.fc1"), features, width, device, rng)?;
        let class =
            Parameter::new(format!("{name}.cls_token"), init::normal([1, 1, width], 1.0, device, rng)?);
        let first = Layer::new(&format!("{name}.layer1"), attention.clone(), device, rng)?;
        let mut conv = |(part, kernel): (&str, usize)| -> Result<Conv2d> {
            let weight = init::default_uniform([width, 1, kernel, kernel], device, rng)?;
            let bias = init::uniform([width], 1.0 / kernel as f32, device, rng)?;
            let geometry = ops::Conv2d { groups: width, ..ops::Conv2d::new(1, kernel / 2) };
            Ok(Conv2d::new(&format!("{name}.pos_layer.{part}"), weight, geometry).with_bias(bias))
        };
        let convs = [("proj", 7), ("proj1", 5), ("proj2", 3)].map(&mut conv);
        let convs = convs.into_iter().collect::<Result<_>>()?;
        let second = Layer::new(&format!("{name}.layer2"), attention, device, rng)?;
        let norm = LayerNorm::new(&format!("{name}.norm"), width, 1e-5, device)?;
        Ok(TransMil { width, reduce, class, first, convs, second, norm })
    }

    /// Instances (B, N, D) in row-major order to one vector a bag, (B, W).
    ///
    /// # Errors
    ///
    /// Instances of other features; an empty bag.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let [b, n] = match *x.dims() {
            [b, n, _] if n > 0 => [b, n],
            _ => {
                let what = format!("instances of shape {}, must be (B, N, D) with N at least 1", x.dims());
                return Err(Error::shape("trans_mil", what));
            }
        };
        let tokens = ops::relu(&self.reduce.forward(x, pass)?)?;
        let side = n.isqrt() + usize::from(n.isqrt().pow(2) < n);
        let class = ops::expand(&pass.parameter(&self.class)?, [b, 1, self.width])?;
        let mut all = ops::concat(&[&class, &tokens], 1)?;
        // At most N are missing to the next square: two of two.
        let missing = side * side - n;
        if missing > 0 {
            all = ops::concat(&[&all, &ops::narrow(&tokens, 1, 0..missing)?], 1)?;
        }
        let x = self.first.forward(&all, pass)?;
        let x = self.second.forward(&self.placed(&x, side, pass)?, pass)?;
        let class = ops::narrow(&self.norm.forward(&x, pass)?, 1, 0..1)?;
        ops::reshape(&class, [b, self.width])
    }

    /// Tokens (B, 1 + side², W) with what depthwise convolutions over their square add; the class token stays as it is.
    fn placed(&self, x: &Tensor, side: usize, pass: &mut Pass) -> Result<Tensor> {
        let (b, n) = (x.dims()[0], side * side);
        let (class, tokens) = (ops::narrow(x, 1, 0..1)?, ops::narrow(x, 1, 1..1 + n)?);
        let image = ops::transpose(&ops::reshape(&tokens, [b, side, side, self.width])?, &[0, 3, 1, 2])?;
        let mut sum = image.clone();
        for conv in &self.convs {
            sum = ops::add(&sum, &conv.forward(&image, pass)?)?;
        }
        let tokens = ops::reshape(&ops::transpose(&sum, &[0, 2, 3, 1])?, [b, n, self.width])?;
        ops::concat(&[&class, &tokens], 1)
    }
}
