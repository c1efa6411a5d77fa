//! Clipping gradients before a step.

use crate::{
    Grads, Tensor,
    error::{Error, Result},
    ops,
};

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
pub fn clip_norm(grads: &mut Grads, most: f64) -> Result<f64> {
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

/// Limits every element of every gradient to `[-most, most]`.
pub fn clip_values(grads: &mut Grads, most: f32) -> Result<()> {
    grads.map(|all| all.iter().map(|g| clamp(g, most)).collect())
}

/// `min(max(g, -most), most)`, as `most − relu(2 most − relu(g + most))`.
fn clamp(g: &Tensor, most: f32) -> Result<Tensor> {
    let most = f64::from(most);
    let raised = ops::relu(&ops::scale(g, 1.0, most)?)?;
    let lowered = ops::relu(&ops::scale(&raised, -1.0, 2.0 * most)?)?;
    ops::scale(&lowered, -1.0, most)
}
