//! Replays recorded reference cases: one safetensors file per case, with an operation, its attributes, inputs, outputs
//! and, where recorded, the gradients of its inputs.
//!
//! A float tensor passes when `RMS(out − ref) ≤ max(tol · RMS(ref), 1e-7 · max(1, RMS(grad_output)))`, with `tol` 1e-5 for
//! outputs and 1e-4 for gradients unless the operation states its own, and 1e-2 where operands are of 16 bits, or rounded
//! to fewer digits for a product; integers must be equal, except that neighbours in an order may be swapped where their
//! scores differ by less than 1e-5 relative.

mod case;
mod compare;
mod ips;
mod order;
mod replay;

pub use case::Case;

use anyhow::{Context, Result, bail};
use foveate::{DType, Device, Precision};
use std::path::Path;

/// What became of a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Within tolerance.
    Passed,
    /// The device has no kernel for it, or it does not take operands of the dtype asked for.
    Unsupported(String),
    /// Out of tolerance, or an error.
    Failed(String),
}

/// The outcome of one case, with the worst error of its outputs and of its gradients, as shares of what is allowed
/// multiplied by the tolerance (that is, relative RMS errors).
#[derive(Debug, Clone)]
pub struct Report {
    /// Worst relative RMS error of an output.
    pub outputs: Option<f64>,
    /// Worst relative RMS error of a gradient.
    pub gradients: Option<f64>,
    /// The outcome.
    pub verdict: Verdict,
    /// What is worth knowing beside it.
    pub note: Option<String>,
}

/// A device by name.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "wgpu" => Ok(Device::wgpu()?),
        "cuda" => Ok(Device::cuda(0)?),
        other => match other.strip_prefix("wgpu:") {
            Some(adapter) => Ok(Device::wgpu_on(adapter)?),
            None => bail!("no device {other}: it is cpu, wgpu, wgpu:ADAPTER or cuda"),
        },
    }
}

/// Operations of cases that take float operands of f16.
const SHORT: &[&str] = &["conv2d", "cross_attention", "linear", "relu", "sigmoid", "tanh"];

/// Replays one file with float operands of `dtype`, f32 or f16; `None` if it is of another operation than `only`.
pub fn replay_file(path: &Path, device: &Device, dtype: DType, only: Option<&str>) -> Result<Option<Report>> {
    let case = Case::load(path, dtype).with_context(|| format!("{}", path.display()))?;
    if only.is_some_and(|only| only != case.op) {
        return Ok(None);
    }
    let short = dtype != DType::F32;
    if short && !SHORT.contains(&case.op.as_str()) {
        let verdict = Verdict::Unsupported(format!("{} takes no {dtype}", case.op));
        return Ok(Some(Report { outputs: None, gradients: None, verdict, note: None }));
    }
    let short = short || device.precision() != Precision::F32;
    let mut comparison = compare::Comparison { short, ..Default::default() };
    let outcome = replay::replay(&case, device, &mut comparison);
    let verdict = match outcome {
        Ok(()) => comparison.failure.clone().map_or(Verdict::Passed, Verdict::Failed),
        Err(error) => match error.downcast_ref::<foveate::Error>() {
            Some(unsupported @ foveate::Error::Unsupported { .. }) => {
                Verdict::Unsupported(unsupported.to_string())
            }
            _ => Verdict::Failed(format!("{error:#}")),
        },
    };
    let compare::Comparison { outputs, gradients, note, .. } = comparison;
    Ok(Some(Report { outputs, gradients, verdict, note }))
}
