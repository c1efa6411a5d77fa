//! Losses, the optimiser and the random generator.

use super::one;
use crate::{
    Case,
    compare::{Comparison, OUTPUT},
};
use anyhow::{Context, Result};
use foveate::{Device, Parameter, Tape, ops, optim::AdamW, optim::Optimizer, rng};

pub(super) fn replay(case: &Case, device: &Device, to: &mut Comparison) -> Result<()> {
    match case.op.as_str() {
        "cross_entropy" => one(case, device, to, &["logits", "target"], |x| {
            Ok(ops::cross_entropy(&x[0], &x[1], None, ops::Reduction::Mean)?)
        }),
        "bce_with_logits" => one(case, device, to, &["logits", "target"], |x| {
            Ok(ops::bce_with_logits(&x[0], &x[1], ops::Reduction::Mean)?)
        }),
        "adamw" => adamw(case, device, to),
        _ => philox(case, to),
    }
}

/// Feeds the recorded gradients, one step after another.
fn adamw(case: &Case, device: &Device, to: &mut Comparison) -> Result<()> {
    let start = case.input("parameter", device)?;
    let gradients = case.input("gradients", device)?;
    let mut parameter = Parameter::new("p", start.clone());
    let mut optimizer = AdamW::new(case.fraction("lr")?, case.fraction("weight_decay")?)
        .with_betas(case.fraction("beta1")?, case.fraction("beta2")?)
        .with_eps(case.fraction("eps")?);
    for step in 0..gradients.dims()[0] {
        let gradient = ops::reshape(&ops::slice(&gradients, step..step + 1)?, start.dims())?;
        // A loss whose gradient is the recorded one.
        let tape = Tape::new();
        let watched = tape.watch(&parameter)?;
        let grads = tape.backward(&ops::sum_all(&ops::mul(&watched, &gradient)?)?)?;
        optimizer.step(&mut [&mut parameter], &grads)?;
    }
    let step = ops::sub(parameter.tensor(), &start)?;
    to.output("step", &step, case.tensor("output.step")?, OUTPUT)?;
    let state = optimizer.state();
    for moment in ["first_moment", "second_moment"] {
        let got = state
            .iter()
            .find(|(name, _)| name.contains(moment))
            .context("the optimiser's state lacks a moment")?;
        to.output(moment, got.1, case.tensor(&format!("output.{moment}"))?, OUTPUT)?;
    }
    Ok(())
}

fn philox(case: &Case, to: &mut Comparison) -> Result<()> {
    let words = |name: &str| -> Result<Vec<u32>> {
        Ok(case.tensor(name)?.to_vec::<i32>()?.into_iter().map(|v| v as u32).collect())
    };
    let (counters, keys, want) = (words("input.counter")?, words("input.key")?, words("output.words")?);
    for (at, ((counter, key), want)) in
        counters.chunks_exact(4).zip(keys.chunks_exact(2)).zip(want.chunks_exact(4)).enumerate()
    {
        let got = rng::philox([counter[0], counter[1], counter[2], counter[3]], [key[0], key[1]]);
        if got != want {
            to.fail(format!("block {at}: {got:x?}, must be {want:x?}"));
        }
    }
    to.outputs = Some(0.0);
    Ok(())
}
