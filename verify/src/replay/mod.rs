//! From a case's operation to the call that replays it.

mod nets;
mod patches;
mod training;

use crate::{
    Case,
    compare::{Comparison, GRADIENT, OUTPUT, rms, values},
};
use anyhow::{Context, Result, bail};
use foveate::{Device, Tape, Tensor, ops};

/// Replays a case and compares what comes out.
pub(crate) fn replay(case: &Case, device: &Device, to: &mut Comparison) -> Result<()> {
    let axis = || Ok::<isize, anyhow::Error>(case.attrs["axis"].as_i64().unwrap_or(-1) as isize);
    match case.op.as_str() {
        "relu" => one(case, device, to, &["x"], |x| Ok(ops::relu(&x[0])?)),
        "tanh" => one(case, device, to, &["x"], |x| Ok(ops::tanh(&x[0])?)),
        "sigmoid" => one(case, device, to, &["x"], |x| Ok(ops::sigmoid(&x[0])?)),
        "softmax" => one(case, device, to, &["x"], |x| Ok(ops::softmax(&x[0], axis()?)?)),
        "log_softmax" => one(case, device, to, &["x"], |x| Ok(ops::log_softmax(&x[0], axis()?)?)),
        "global_avg_pool" => one(case, device, to, &["x"], |x| Ok(ops::global_avg_pool(&x[0])?)),
        "linear" => {
            one(case, device, to, &["x", "weight", "bias"], |x| Ok(ops::linear(&x[0], &x[1], Some(&x[2]))?))
        }
        "unfold" | "extract_patches" | "resize" | "conv2d" | "max_pool2d" | "top_m_merge" => {
            patches::replay(case, device, to)
        }
        "batch_norm" | "layer_norm" | "cross_attention" | "gated_attention" | "expectation"
        | "perturbed_top_k" => nets::replay(case, device, to),
        "cross_entropy" | "bce_with_logits" | "adamw" | "philox" => training::replay(case, device, to),
        "ips" => crate::ips::replay(case, device, to),
        other => bail!("operation {other} is not known"),
    }
}

/// Runs `f` on the named inputs, watched where a gradient is recorded, and compares its named results and every
/// recorded gradient.
pub(crate) fn function<'n>(
    case: &Case,
    device: &Device,
    to: &mut Comparison,
    inputs: &[&str],
    f: impl FnOnce(&[Tensor]) -> Result<Vec<(&'n str, Tensor)>>,
) -> Result<()> {
    let tape = Tape::new();
    let mut operands = Vec::with_capacity(inputs.len());
    for name in inputs {
        let tensor = case.input(name, device)?;
        let wanted = case.tensors.contains_key(&format!("grad.{name}"));
        operands.push(if wanted { tape.watch(&tensor)? } else { tensor });
    }
    let results = f(&operands)?;
    for (name, got) in &results {
        to.output(name, got, case.tensor(&format!("output.{name}"))?, OUTPUT)?;
    }
    let mut roots = Vec::new();
    let mut scale = 0.0_f64;
    for (name, gradient) in case.with_prefix("grad_output.") {
        let (_, result) =
            results.iter().find(|(result, _)| *result == name).context("a gradient of no result")?;
        scale = scale.max(rms(&values(gradient)?));
        roots.push((result, gradient.to_device(device)?));
    }
    if roots.is_empty() {
        return Ok(());
    }
    let grads =
        tape.backward_from(&roots.iter().map(|(result, gradient)| (*result, gradient)).collect::<Vec<_>>())?;
    for (name, want) in case.with_prefix("grad.") {
        let at =
            inputs.iter().position(|input| *input == name).with_context(|| format!("no input {name}"))?;
        let got = grads.of(&operands[at]).with_context(|| format!("{name} got no gradient"))?;
        to.gradient(name, got, want, GRADIENT, scale)?;
    }
    Ok(())
}

/// [`function`] with the single result `y`.
pub(crate) fn one(
    case: &Case,
    device: &Device,
    to: &mut Comparison,
    inputs: &[&str],
    f: impl FnOnce(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    function(case, device, to, inputs, |x| Ok(vec![("y", f(x)?)]))
}
