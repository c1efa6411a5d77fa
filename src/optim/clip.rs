//! Clipping gradients before a step.

use crate::{
    DType, Grads, cpu,
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::{self, check_dtypes, elementwise::in_parallel},
    spec::{In, Out, Real},
};
use smallvec::smallvec;

/// The Euclidean norm of all parameters' gradients as one vector. Waits for the device.
pub fn global_norm(grads: &Grads) -> Result<f64> {
    let mut total = 0.0;
    for gradient in grads.parameters() {
        total += f64::from(ops::sum_all(&ops::mul(gradient, gradient)?)?.item::<f32>()?);
    }
    Ok(total.sqrt())
}

/// Scales all gradients so that their global norm is at most `most`; gives the norm they had. A norm that is not finite
/// is an error that names it, and the gradients stay as they are.
///
/// ```
/// use foveate::{Device, Parameter, Tape, Tensor, ops, optim::clip_norm};
/// # fn main() -> foveate::Result<()> {
/// let w = Parameter::new("w", Tensor::from_slice(&[3.0_f32, 4.0], [2], &Device::Cpu)?);
/// let tape = Tape::new();
/// let x = tape.watch(&w)?;
/// let mut grads = tape.backward(&ops::scale(&ops::sum_all(&ops::square(&x)?)?, 0.5, 0.0)?)?;
/// assert_eq!(clip_norm(&mut grads, 1.0)?, 5.0);
/// let clipped = grads.parameter(&w).unwrap().to_vec::<f32>()?;
/// assert!((clipped[0] - 0.6).abs() < 1e-6 && (clipped[1] - 0.8).abs() < 1e-6);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// A limit that is negative or NaN; gradients that are not finite.
pub fn clip_norm(grads: &mut Grads, most: f64) -> Result<f64> {
    if most.is_nan() || most < 0.0 {
        return Err(Error::argument("clip_norm", format!("a limit of {most}, must be at least 0")));
    }
    let norm = global_norm(grads)?;
    if !norm.is_finite() {
        return Err(Error::argument(
            "clip_norm",
            format!("the gradients' norm is {norm}: lower the learning rate"),
        ));
    }
    if norm > most {
        let factor = most / (norm + 1e-6);
        grads.map(|all| all.iter().map(|g| ops::scale(g, factor, 0.0)).collect())?;
    }
    Ok(norm)
}

/// `min(max(x, -most), most)` element by element, f32; NaN stays NaN.
#[derive(Clone, Copy, Debug)]
pub struct ClipValues {
    /// The largest magnitude.
    pub most: f32,
}

impl ClipValues {
    fn clip<T: Real>(&self, x: T) -> T {
        let most = T::of(self.most.into());
        if x > most {
            most
        } else if x < -most {
            -most
        } else {
            x
        }
    }

    fn on_cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()> {
        let x = ins[0].f32()?;
        in_parallel(outs[0].f32()?, 1, |start, y| {
            y.iter_mut().zip(&x[start..]).for_each(|(y, &x)| *y = self.clip(x));
        });
        Ok(())
    }
}

impl Op for ClipValues {
    const NAME: &'static str = "clip_values";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::F32])?;
        if self.most.is_nan() || self.most < 0.0 {
            return Err(Error::argument(Self::NAME, format!("a limit of {}, must be at least 0", self.most)));
        }
        Ok(smallvec![ins[0]])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        outs[0].iter_mut().zip(ins[0].iter()).for_each(|(y, &x)| *y = self.clip(x));
    }
}

/// Limits every element of every gradient to `[-most, most]`.
pub fn clip_values(grads: &mut Grads, most: f32) -> Result<()> {
    grads.map(|all| all.iter().map(|g| run1(&ClipValues { most }, &[g])).collect())
}
