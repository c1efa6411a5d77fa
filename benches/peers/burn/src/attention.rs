//! Cross-attention of 4 queries to the 100 patches of an image, width 128, 8 heads: forward, and with all gradients.

use crate::support::{Case, between, float, uniform};
use burn::tensor::{Tensor, activation::softmax};

pub(crate) const WIDTH: usize = 128;
pub(crate) const HEADS: usize = 8;
pub(crate) const TOKENS: usize = 4;
const KEYS: usize = 100;

/// A projection's weight, (128, 128), applied as x · weightᵀ.
pub(crate) fn projection(part: &str) -> Tensor<2> {
    let reach = (3.0 / WIDTH as f64).sqrt();
    between(&format!("transf.crs_attn.{part}.weight"), [WIDTH, WIDTH], -reach, reach)
}

/// The learned queries, (4, 128).
pub(crate) fn queries() -> Tensor<2> {
    between("transf.crs_attn.q", [TOKENS, WIDTH], -0.25, 0.25)
}

/// (n, 128) to (heads, n, 16).
fn split(x: Tensor<2>) -> Tensor<3> {
    let n = x.dims()[0];
    x.reshape([n, HEADS, WIDTH / HEADS]).swap_dims(0, 1)
}

/// Softmax over the patches of x (n, 128) for every head and query, (heads, tokens, n).
pub(crate) fn weights(x: Tensor<2>, q: Tensor<2>, [wq, wk]: [Tensor<2>; 2]) -> Tensor<3> {
    let scale = ((WIDTH / HEADS) as f64).sqrt();
    let (q, k) = (split(q.matmul(wq.transpose())), split(x.matmul(wk.transpose())));
    softmax(q.div_scalar(scale).matmul(k.swap_dims(1, 2)), 2)
}

/// x (n, 128), q (tokens, 128) to (tokens, 128).
fn attend([x, q, wq, wk, wv, wo]: [Tensor<2>; 6]) -> Tensor<2> {
    let v = split(x.clone().matmul(wv.transpose()));
    let heads = weights(x, q, [wq, wk]).matmul(v);
    heads.swap_dims(0, 1).reshape([TOKENS, WIDTH]).matmul(wo.transpose())
}

fn operands() -> [Tensor<2>; 6] {
    let x = uniform("x", [KEYS, WIDTH]);
    [x, queries(), projection("q_w"), projection("k_w"), projection("v_w"), projection("fc")]
}

pub(crate) fn cases() -> Vec<Case> {
    let about = format!("1 images x (4 queries, {KEYS} keys), width 128, 8 heads, no biases");
    let forward = Case::new("cross_attention/forward", &about, 0).form("burn", || {
        let operands = operands();
        move || vec![float(attend(operands.clone()))]
    });
    let about = format!("forward and all gradients; {about}");
    let training = Case::new("cross_attention/training", &about, 0).form("burn", || {
        let (operands, grad) = (operands(), uniform("grad", [TOKENS, WIDTH]));
        move || {
            let watched = operands.clone().map(|tensor| tensor.autodiff().require_grad());
            let y = attend(watched.clone());
            let grads = (y * grad.clone().autodiff()).sum().backward();
            watched.iter().filter_map(|tensor| tensor.grad(&grads)).map(float).collect()
        }
    });
    vec![forward, training]
}
