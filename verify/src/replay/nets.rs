//! Normalisation, attention and the estimators.

use super::{function, one};
use crate::{Case, compare::Comparison};
use anyhow::Result;
use foveate::{Device, ops};

pub(super) fn replay(case: &Case, device: &Device, to: &mut Comparison) -> Result<()> {
    match case.op.as_str() {
        "batch_norm" => batch_norm(case, device, to),
        "layer_norm" => {
            let eps = case.fraction("eps")?;
            one(case, device, to, &["x", "weight", "bias"], |x| {
                Ok(ops::layer_norm(&x[0], Some((&x[1], &x[2])), eps)?)
            })
        }
        "cross_attention" => {
            let heads = case.number("heads")?;
            function(case, device, to, &["x", "q", "wq", "wk", "wv", "wo"], |x| {
                let (y, scores) =
                    ops::cross_attention(&x[0], &x[1], [&x[2], &x[3], &x[4], &x[5]], heads, None)?;
                Ok(vec![("y", y), ("scores", scores)])
            })
        }
        "gated_attention" => function(case, device, to, &["h", "v", "bv", "u", "bu", "w"], |x| {
            let (y, weights) = ops::gated_attention(&x[0], &x[1], &x[2], &x[3], &x[4], &x[5])?;
            Ok(vec![("y", y), ("weights", weights)])
        }),
        "expectation" => {
            let replace = case.attrs["replace"].as_bool().unwrap_or_default();
            one(case, device, to, &["attention", "features"], |x| {
                Ok(ops::expectation(&x[0], &x[1], replace, ops::Estimator::Unbiased)?)
            })
        }
        _ => {
            let (k, sigma) = (case.number("k")?, case.fraction("sigma")? as f32);
            function(case, device, to, &["scores", "noise"], |x| {
                Ok(vec![("indicators", ops::perturbed_top_k_with(&x[0], &x[1], k, sigma)?)])
            })
        }
    }
}

fn batch_norm(case: &Case, device: &Device, to: &mut Comparison) -> Result<()> {
    let config = ops::BatchNormConfig {
        momentum: case.fraction("momentum")?,
        eps: case.fraction("eps")?,
        relu: false,
    };
    let training = case.attrs["training"].as_bool().unwrap_or_default();
    function(case, device, to, &["x", "weight", "bias", "running_mean", "running_var"], |x| {
        let tensors =
            ops::BatchNormTensors { weight: &x[1], bias: &x[2], running_mean: &x[3], running_var: &x[4] };
        if training {
            let (y, running) = ops::batch_norm(&x[0], None, &tensors, config)?;
            Ok(vec![("y", y), ("running_mean", running.mean), ("running_var", running.var)])
        } else {
            Ok(vec![("y", ops::batch_norm_eval(&x[0], None, &tensors, config)?)])
        }
    })
}
