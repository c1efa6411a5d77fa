//! Cross-attention of 4 queries to the patches of some images, width 128, 8 heads: forward, and with all gradients.

use crate::support::{Call, Case, between, many, one, uniform};
use foveate::{Result, Tape, Tensor, ops};

const WIDTH: usize = 128;
const HEADS: usize = 8;

/// x (images, keys, 128), the queries (4, 128), and the projections of queries, keys, values and output (128, 128).
fn operands([images, keys]: [usize; 2]) -> Result<[Tensor; 6]> {
    let reach = (3.0 / WIDTH as f64).sqrt();
    let weight = |part| between(&format!("transf.crs_attn.{part}.weight"), [WIDTH, WIDTH], -reach, reach);
    Ok([
        uniform("x", [images, keys, WIDTH])?,
        between("transf.crs_attn.q", [4, WIDTH], -0.25, 0.25)?,
        weight("q_w")?,
        weight("k_w")?,
        weight("v_w")?,
        weight("fc")?,
    ])
}

fn forward(sizes: [usize; 2]) -> Result<Call> {
    let [x, q, wq, wk, wv, wo] = operands(sizes)?;
    one(move || Ok(ops::cross_attention(&x, &q, [&wq, &wk, &wv, &wo], HEADS, None)?.0))
}

fn training(sizes: [usize; 2]) -> Result<Call> {
    let (operands, grad) = (operands(sizes)?, uniform("grad", [sizes[0], 4, WIDTH])?);
    many(move || {
        let tape = Tape::new();
        let watched = operands.iter().map(|tensor| tape.watch(tensor)).collect::<Result<Vec<_>>>()?;
        let weights = [&watched[2], &watched[3], &watched[4], &watched[5]];
        let (y, _) = ops::cross_attention(&watched[0], &watched[1], weights, HEADS, None)?;
        let grads = tape.backward_from(&[(&y, &grad)])?;
        Ok(watched.iter().filter_map(|tensor| grads.of(tensor).cloned()).collect())
    })
}

/// For so many images of so many keys.
pub(crate) fn cases([images, keys]: [usize; 2]) -> Vec<Case> {
    let about = format!("{images} images x (4 queries, {keys} keys), width 128, 8 heads, no biases");
    vec![
        Case::new("cross_attention/forward", &about, move || forward([images, keys])),
        Case::new("cross_attention/training", &format!("forward and all gradients; {about}"), move || {
            training([images, keys])
        }),
    ]
}
