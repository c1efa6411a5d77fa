//! The pass rule for float tensors.

use anyhow::Result;
use foveate::{DType, Tensor, ops};

/// Tolerance of outputs in f32.
pub(crate) const OUTPUT: f64 = 1e-5;
/// Tolerance of gradients in f32.
pub(crate) const GRADIENT: f64 = 1e-4;
/// Tolerance of either where operands are of 16 bits.
const SHORT: f64 = 1e-2;

/// Worst errors so far, and the first failure.
#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) outputs: Option<f64>,
    pub(crate) gradients: Option<f64>,
    pub(crate) failure: Option<String>,
    /// Whether the operands are of 16 bits, or rounded to fewer digits.
    pub(crate) short: bool,
    /// What is reported beside the verdict.
    pub(crate) note: Option<String>,
}

/// Root mean square of a tensor's values.
pub(crate) fn rms(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
}

/// The values of a tensor, whatever its type.
pub(crate) fn values(t: &Tensor) -> Result<Vec<f64>> {
    Ok(match t.dtype() {
        DType::F16 => values(&ops::convert(&t.detach(), DType::F32)?)?,
        DType::F32 => t.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
        DType::I32 => t.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        DType::U32 => t.to_vec::<u32>()?.into_iter().map(f64::from).collect(),
        DType::U8 => t.to_vec::<u8>()?.into_iter().map(f64::from).collect(),
        other => anyhow::bail!("a result of type {other}"),
    })
}

impl Comparison {
    /// Compares an output. `scale` is the RMS of the gradient fed to backward, or 1.
    pub(crate) fn output(&mut self, name: &str, got: &Tensor, want: &Tensor, tolerance: f64) -> Result<()> {
        let error = self.compare(&format!("output {name}"), got, want, tolerance, 1.0)?;
        self.outputs = Some(self.outputs.unwrap_or(0.0).max(error));
        Ok(())
    }

    /// Compares a gradient.
    pub(crate) fn gradient(
        &mut self,
        name: &str,
        got: &Tensor,
        want: &Tensor,
        tolerance: f64,
        scale: f64,
    ) -> Result<()> {
        let error = self.compare(&format!("gradient of {name}"), got, want, tolerance, scale)?;
        self.gradients = Some(self.gradients.unwrap_or(0.0).max(error));
        Ok(())
    }

    /// Notes a failure; the first one is reported.
    pub(crate) fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    fn compare(
        &mut self,
        what: &str,
        got: &Tensor,
        want: &Tensor,
        tolerance: f64,
        scale: f64,
    ) -> Result<f64> {
        if got.dims() != want.dims() {
            self.fail(format!("{what} has shape {}, must be {}", got.dims(), want.dims()));
            return Ok(f64::INFINITY);
        }
        let (got, want) = (values(got)?, values(want)?);
        let difference: Vec<f64> = got.iter().zip(&want).map(|(a, b)| a - b).collect();
        let tolerance = if self.short { tolerance.max(SHORT) } else { tolerance };
        let (error, size) = (rms(&difference), rms(&want));
        let bound = (tolerance * size).max(1e-7 * scale.max(1.0));
        if error.is_nan() || error > bound {
            self.fail(format!("{what}: RMS error {error:.2e}, allowed {bound:.2e}"));
        }
        Ok(if size > 0.0 { error / size } else { error })
    }
}
