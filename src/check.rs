//! Numerical gradient checks, in `f64`.
//!
//! On `f64` tensors every operation runs its specification, so a function built from operations can be differentiated
//! twice: by the tape, and by central differences of its own values. [`gradients`] compares the two.

use crate::{
    device::Device,
    dtype::DType,
    error::{Error, Result},
    ops,
    rng::Rng,
    tape::Tape,
    tensor::Tensor,
};

/// Compares the tape's gradients of `f` at `inputs` with central differences in `f64`.
///
/// `f` may return several tensors of any shape; they are projected on fixed random directions, so that all of the
/// Jacobian takes part. Float inputs are converted to `f64` and differentiated; integer inputs are passed on. `step` is
/// the step of the difference (1e-5 suits smooth functions of values around 1) and `tolerance` bounds
/// `|difference - gradient| / (1 + |gradient|)`.
///
/// ```
/// use foveate::{Device, Tensor, check, ops};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[0.3_f32, -1.2, 2.0], [3], &Device::Cpu)?;
/// check::gradients(|x| Ok(vec![ops::mul(&x[0], &x[0])?]), &[x], 1e-5, 1e-7)?;
/// # Ok(()) }
/// ```
pub fn gradients(
    f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    step: f64,
    tolerance: f64,
) -> Result<()> {
    let inputs: Vec<Tensor> = inputs.iter().map(to_f64).collect::<Result<_>>()?;
    let projected = |at: &[Tensor]| -> Result<Tensor> {
        let mut rng = Rng::new(0x5EED);
        let mut total: Option<Tensor> = None;
        for y in f(at)?.iter().filter(|y| y.dtype().is_float()) {
            let direction: Vec<f64> = (0..y.elements()).map(|_| f64::from(rng.normal())).collect();
            let direction = Tensor::from_slice(&direction, y.dims(), &Device::Cpu)?;
            let part = ops::sum_all(&ops::mul(y, &direction)?)?;
            total = Some(match total {
                None => part,
                Some(sum) => ops::add(&sum, &part)?,
            });
        }
        total.ok_or_else(|| Error::argument("check", "the function returned no float tensor"))
    };
    let tape = Tape::new();
    let mut watched = Vec::new();
    for input in &inputs {
        watched.push(if input.dtype().is_float() { tape.watch(input)? } else { input.clone() });
    }
    let grads = tape.backward(&projected(&watched)?)?;
    for (at, input) in inputs.iter().enumerate().filter(|(_, x)| x.dtype().is_float()) {
        let zero = || Tensor::full(0.0_f64, input.dims(), &Device::Cpu);
        let gradient = grads.of(&watched[at]).cloned().map_or_else(zero, Ok)?.to_vec::<f64>()?;
        let values = input.to_vec::<f64>()?;
        for (i, &by_tape) in gradient.iter().enumerate() {
            let shifted = |by: f64| -> Result<f64> {
                let mut moved = values.clone();
                moved[i] += by;
                let mut all = inputs.clone();
                all[at] = Tensor::from_slice(&moved, input.dims(), &Device::Cpu)?;
                projected(&all)?.item::<f64>()
            };
            let by_difference = (shifted(step)? - shifted(-step)?) / (2.0 * step);
            let error = (by_difference - by_tape).abs() / (1.0 + by_tape.abs());
            if error.is_nan() || error > tolerance {
                let what = format!(
                    "input {at}, element {i} of {}: the tape says {by_tape:e}, central differences say {by_difference:e}",
                    input.dims()
                );
                return Err(Error::argument("gradient check", what));
            }
        }
    }
    Ok(())
}

/// The same tensor in the reference precision, on the CPU. Integer tensors stay as they are.
pub fn to_f64(t: &Tensor) -> Result<Tensor> {
    let t = t.to_device(&Device::Cpu)?;
    match t.dtype() {
        DType::F32 => {
            let wide: Vec<f64> = t.to_vec::<f32>()?.into_iter().map(f64::from).collect();
            Tensor::from_slice(&wide, t.dims(), &Device::Cpu)
        }
        DType::F16 | DType::BF16 => to_f64(&ops::convert(&t.detach(), DType::F32)?),
        _ => Ok(t),
    }
}
