//! Layers: an operation together with the parameters it needs.

use crate::{
    Device, Parameter, Rng, Tensor,
    device::{Op, run},
    error::{Error, Result},
    nn::{Pass, init},
    ops::{self, batch_norm::BatchNormStatistics},
};

/// Writes [`Module`] for a struct: its own parameters with their roles, then its parts, each of them a module.
macro_rules! module {
    ($name:ident { $($role:ident $field:ident),* ; $($part:ident),* }) => {
        impl $crate::nn::Module for $name {
            fn visit<'a>(&'a self, f: &mut dyn FnMut($crate::nn::Role, &'a $crate::Parameter)) {
                $(f($crate::nn::Role::$role, &self.$field);)*
                $(self.$part.visit(f);)*
            }
            fn visit_mut<'a>(&'a mut self, f: &mut dyn FnMut($crate::nn::Role, &'a mut $crate::Parameter)) {
                $(f($crate::nn::Role::$role, &mut self.$field);)*
                $(self.$part.visit_mut(f);)*
            }
        }
    };
}
pub(crate) use module;

/// A convolution with its weight, and bias if it has one.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Parameter,
    bias: Option<Parameter>,
    conv: ops::Conv2d,
}

module!(Conv2d { Trained weight; bias });

impl Conv2d {
    /// A convolution without bias. `weight` is (O, C / groups, kh, kw).
    pub fn new(name: &str, weight: Tensor, conv: ops::Conv2d) -> Self {
        Conv2d { weight: Parameter::new(format!("{name}.weight"), weight), bias: None, conv }
    }

    /// The same convolution with a bias (O).
    pub fn with_bias(mut self, bias: Tensor) -> Self {
        let name = self.weight.name().replace(".weight", ".bias");
        self.bias = Some(Parameter::new(name, bias));
        self
    }

    /// The weight, (O, C / groups, kh, kw).
    pub fn weight(&self) -> &Tensor {
        self.weight.tensor()
    }

    /// The weight for use in a pass, for a penalty on it.
    pub(super) fn watched_weight(&self, pass: &mut Pass) -> Result<Tensor> {
        pass.parameter(&self.weight)
    }

    /// The geometry.
    pub fn geometry(&self) -> ops::Conv2d {
        self.conv
    }

    /// x (B, C, H, W) to (B, O, h, w).
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let weight = pass.parameter(&self.weight)?;
        let bias = self.bias.as_ref().map(|bias| pass.parameter(bias)).transpose()?;
        ops::conv2d(x, &weight, bias.as_ref(), self.conv)
    }
}

impl Conv2d {
    /// x (B, C, H, W) through the convolution and its batch norm, with a residual and a ReLU if asked for, to (B, O, h, w).
    /// In a pass that [fuses statistics](Pass::fusing_statistics) the convolution computes those of the batch norm.
    pub fn forward_normalised(
        &self,
        bn: &BatchNorm,
        x: &Tensor,
        residual: Option<&Tensor>,
        relu: bool,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        if !pass.fuses_statistics() || self.bias.is_some() {
            return bn.apply(&self.forward(x, pass)?, residual, relu, pass);
        }
        let [weight, scale, shift] = self.parameters_with(bn, pass)?;
        let (mean, var) = (pass.statistic(&bn.running_mean), pass.statistic(&bn.running_var));
        let tensors =
            ops::BatchNormTensors { weight: &scale, bias: &shift, running_mean: &mean, running_var: &var };
        let config = ops::BatchNormConfig { relu, ..CONFIG };
        let (y, running) = ops::conv2d_batch_norm(x, &weight, residual, &tensors, self.conv, config)?;
        pass.set_statistic(&bn.running_mean, running.mean);
        pass.set_statistic(&bn.running_var, running.var);
        Ok(y)
    }

    /// The weight and the batch norm's scale and shift, for layers that a pass recomputes.
    pub(super) fn parameters_with(&self, bn: &BatchNorm, pass: &mut Pass) -> Result<[Tensor; 3]> {
        if self.bias.is_some() {
            let what = "a convolution before a batch norm is recomputed without bias: its shift is the bias";
            return Err(Error::argument("recompute", what));
        }
        Ok([pass.parameter(&self.weight)?, pass.parameter(&bn.weight)?, pass.parameter(&bn.bias)?])
    }
}

/// Batch normalisation with its scale, shift and running statistics.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    weight: Parameter,
    bias: Parameter,
    running_mean: Parameter,
    running_var: Parameter,
}

module!(BatchNorm { Trained weight, Trained bias, Statistic running_mean, Statistic running_var; });

/// The constants of the published networks.
const CONFIG: ops::BatchNormConfig = ops::BatchNormConfig { momentum: 0.1, eps: 1e-5, relu: false };

impl BatchNorm {
    /// Scale 1, shift 0, running mean 0 and variance 1, for `channels` channels.
    pub fn new(name: &str, channels: usize, device: &Device) -> Result<Self> {
        let constant = |part: &str, value: f32| {
            Ok(Parameter::new(format!("{name}.{part}"), Tensor::full(value, [channels], device)?))
        };
        Ok(BatchNorm {
            weight: constant("weight", 1.0)?,
            bias: constant("bias", 0.0)?,
            running_mean: constant("running_mean", 0.0)?,
            running_var: constant("running_var", 1.0)?,
        })
    }

    /// x (B, C[, H, W]) to the same shape, through a ReLU; a residual of that shape is added before it.
    pub fn forward_relu(&self, x: &Tensor, residual: Option<&Tensor>, pass: &mut Pass) -> Result<Tensor> {
        self.apply(x, residual, true, pass)
    }

    /// x (B, C[, H, W]) to the same shape.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        self.apply(x, None, false, pass)
    }

    fn apply(&self, x: &Tensor, residual: Option<&Tensor>, relu: bool, pass: &mut Pass) -> Result<Tensor> {
        let (weight, bias) = (pass.parameter(&self.weight)?, pass.parameter(&self.bias)?);
        let (mean, var) = (pass.statistic(&self.running_mean), pass.statistic(&self.running_var));
        let tensors =
            ops::BatchNormTensors { weight: &weight, bias: &bias, running_mean: &mean, running_var: &var };
        let config = ops::BatchNormConfig { relu, ..CONFIG };
        if !pass.is_training() {
            return ops::batch_norm_eval(x, residual, &tensors, config);
        }
        let (y, running) = ops::batch_norm(x, residual, &tensors, config)?;
        pass.set_statistic(&self.running_mean, running.mean);
        pass.set_statistic(&self.running_var, running.var);
        Ok(y)
    }

    /// Mean and inverse deviation of x in a training pass, which notes the new running statistics.
    pub(super) fn statistics_of(&self, x: &Tensor, pass: &mut Pass) -> Result<[Tensor; 2]> {
        let (mean, var) = (pass.statistic(&self.running_mean), pass.statistic(&self.running_var));
        let outs = run(&BatchNormStatistics(CONFIG), &[x, &mean, &var])?;
        let [new_mean, new_var, mean, inv_std] = outs.as_slice() else {
            return Err(Error::shape(BatchNormStatistics::NAME, "the operation lacks results"));
        };
        pass.set_statistic(&self.running_mean, new_mean.clone());
        pass.set_statistic(&self.running_var, new_var.clone());
        Ok([mean.clone(), inv_std.clone()])
    }

    /// Scale and shift per channel that evaluation applies, `(γ / √(σ² + ε), β − μ γ / √(σ² + ε))`, both (C), on the
    /// layer's own device.
    pub fn scale_and_shift(&self) -> Result<(Tensor, Tensor)> {
        let [weight, bias] = [&self.weight, &self.bias].map(|p| p.tensor().detach());
        let deviation = ops::sqrt(&ops::scale(self.running_var.tensor(), 1.0, CONFIG.eps)?)?;
        let scale = ops::div(&weight, &deviation)?;
        let shift = ops::sub(&bias, &ops::mul(self.running_mean.tensor(), &scale)?)?;
        Ok((scale, shift))
    }

    /// As [`BatchNorm::scale_and_shift`], on the host.
    pub fn folded(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let read = |p: &Parameter| p.tensor().to_vec::<f32>();
        let (weight, bias) = (read(&self.weight)?, read(&self.bias)?);
        let (mean, var) = (read(&self.running_mean)?, read(&self.running_var)?);
        let scale: Vec<f32> =
            weight.iter().zip(&var).map(|(w, v)| w / (v + CONFIG.eps as f32).sqrt()).collect();
        let shift = bias.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        Ok((scale, shift))
    }
}

/// Layer normalisation over the last axis, with scale and shift.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Parameter,
    bias: Parameter,
    eps: f64,
}

module!(LayerNorm { Trained weight, Trained bias; });

impl LayerNorm {
    /// Scale 1 and shift 0 for vectors of `size`.
    pub fn new(name: &str, size: usize, eps: f64, device: &Device) -> Result<Self> {
        let constant = |part: &str, value: f32| {
            Ok(Parameter::new(format!("{name}.{part}"), Tensor::full(value, [size], device)?))
        };
        Ok(LayerNorm { weight: constant("weight", 1.0)?, bias: constant("bias", 0.0)?, eps })
    }

    /// x (…, D) to the same shape.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (weight, bias) = (pass.parameter(&self.weight)?, pass.parameter(&self.bias)?);
        ops::layer_norm(x, Some((&weight, &bias)), self.eps)
    }
}

/// A linear map with bias.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Parameter,
    bias: Parameter,
}

module!(Linear { Trained weight, Trained bias; });

impl Linear {
    /// From vectors of `from` to vectors of `to`, with the default initialisation.
    pub fn new(name: &str, from: usize, to: usize, device: &Device, rng: &mut Rng) -> Result<Self> {
        let bias = init::uniform([to], 1.0 / (from as f32).sqrt(), device, rng)?;
        Ok(Linear {
            weight: Parameter::new(format!("{name}.weight"), init::default_uniform([to, from], device, rng)?),
            bias: Parameter::new(format!("{name}.bias"), bias),
        })
    }

    /// x (…, from) to (…, to).
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (weight, bias) = (pass.parameter(&self.weight)?, pass.parameter(&self.bias)?);
        ops::linear(x, &weight, Some(&bias))
    }
}
