//! One step of AdamW over as many parameters as the Megapixel-MNIST network has, in tensors of an encoder's sizes.

use crate::support::{Call, Case, between, many, uniform};
use foveate::{
    Parameter, Result, Tape, Tensor,
    optim::{AdamW, Optimizer},
};

/// Shapes, and how many tensors there are of each.
const SHAPES: [(&[usize], usize); 14] = [
    (&[64, 49], 1),
    (&[64, 576], 4),
    (&[128, 576], 1),
    (&[128, 1152], 3),
    (&[128, 64], 1),
    (&[4, 128], 1),
    (&[128, 128], 4),
    (&[512, 128], 1),
    (&[128, 512], 1),
    (&[512], 1),
    (&[128], 24),
    (&[64], 10),
    (&[10, 128], 4),
    (&[10], 4),
];

/// Gives the parameters after the step.
fn step() -> Result<Call> {
    let shapes = SHAPES.iter().flat_map(|&(dims, count)| std::iter::repeat_n(dims, count));
    let tape = Tape::new();
    let (mut parameters, mut terms) = (Vec::new(), Vec::new());
    for (at, dims) in shapes.enumerate() {
        let dims = foveate::Dims::new(dims)?;
        let name = format!("p{at}");
        let parameter = Parameter::new(name.as_str(), uniform(&name, dims)?);
        terms.push((tape.watch(&parameter)?, between(&format!("g{at}"), dims, -0.5, 1.0)?));
        parameters.push(parameter);
    }
    // The gradient of a watched tensor is what is handed in for it.
    let roots: Vec<(&Tensor, &Tensor)> = terms.iter().map(|(tensor, grad)| (tensor, grad)).collect();
    let grads = tape.backward_from(&roots)?;
    let mut optimizer = AdamW::new(1e-3, 0.1);
    many(move || {
        optimizer.step(&mut parameters.iter_mut().collect::<Vec<_>>(), &grads)?;
        Ok(parameters.iter().map(|parameter| parameter.tensor().clone()).collect())
    })
}

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("adamw/880k", "one step, about 880,000 parameters in 60 tensors", step)]
}
