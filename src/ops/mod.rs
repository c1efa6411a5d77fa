//! Every operation on tensors, one folder each.
//!
//! A folder holds the same files everywhere: `mod.rs` (formula, shapes, the public function, argument checks), `grad.rs`
//! (what backward computes, with which kernel), `spec.rs` (the maths as plain loops: the judge of all the others),
//! `cpu.rs`, `wgpu.rs`, `cuda.rs` (one device each), `products.rs` (the matrix products that GPUs make of it, if any) and
//! `tests.rs`. Small kin share a folder.
//!
//! To add an operation: write `mod.rs`, `spec.rs`, `cpu.rs` and `tests.rs`, and name it in [`table`]. To bring it to
//! another device: add the kernel file and the launch file, and name the device in its [`arms!`](crate::arms).

pub mod batch_norm;
pub mod blend_patches;
pub mod concat;
pub mod conv1d;
pub mod conv2d;
pub mod convert;
pub mod cross_attention;
pub mod dropout;
pub mod elementwise;
pub mod expectation;
pub mod extract_patches;
pub mod fold_queries;
pub mod gated_attention;
pub mod gather;
pub mod image;
pub mod l2_normalize;
pub mod layer_norm;
pub mod linear;
pub mod losses;
pub mod matmul;
pub mod perturbed_top_k;
pub mod philox;
pub mod pool;
pub mod position;
pub mod reduce;
pub mod resize;
pub mod sampling;
pub mod softmax;
pub mod table;
#[cfg(test)]
mod tests;
pub mod top_m_merge;
pub mod transpose;
pub mod unfold;
pub mod view;

pub use batch_norm::{BatchNormConfig, BatchNormTensors, RunningStatistics, batch_norm, batch_norm_eval};
pub use blend_patches::{IndicatorGradient, blend_patches, score_grid};
pub use concat::{concat, narrow, pad};
pub use conv1d::{Conv1d, conv1d, crop2d, pad2d};
pub use conv2d::{Conv2d, conv2d, conv2d_batch_norm, conv2d_fused};
pub use convert::convert;
pub use cross_attention::{cross_attention, cross_attention_with};
pub use dropout::dropout;
pub use elementwise::{
    add, add_relu, div, exp, full_like, log, mul, neg, relu, scale, sigmoid, sqrt, square, sub, swish, tanh,
};
pub use expectation::{Estimator, expectation};
pub use extract_patches::{Corners, extract_patches, place_patches};
pub use fold_queries::fold_queries;
pub use gated_attention::{gated_attention, gated_attention_with};
pub use gather::{gather, scatter_add};
pub use image::{normalize_image, to_unit};
pub use l2_normalize::l2_normalize;
pub use layer_norm::layer_norm;
pub use linear::{Linear, linear, linear_with};
pub use losses::{Reduction, bce, bce_with_logits, cross_entropy, entropy, entropy_term, mse, nll};
pub use matmul::{MatMul, matmul, matmul_with};
pub use perturbed_top_k::{perturbed_top_k, perturbed_top_k_with};
pub use philox::{philox, random_words};
pub use pool::{GlobalPool, global_avg_pool, global_max_pool, global_pool, max_pool2d};
pub use position::positional_encoding;
pub use reduce::{argmax, max, mean, mean_all, sum, sum_all};
pub use resize::{ResizeMode, resize};
pub use sampling::{gumbel_max, gumbel_top_k, gumbel_top_k_threshold};
pub use softmax::{log_softmax, softmax, softmax_smoothed};
pub use top_m_merge::top_m_merge;
pub use transpose::transpose;
pub use unfold::{fold, unfold};
pub use view::{expand, reshape, slice};

use crate::{
    device::Meta,
    dtype::DType,
    error::{Error, Result},
};

/// Checks the number of operands and that each has the dtype listed for it.
pub(crate) fn check_dtypes(op: &'static str, ins: &[Meta], want: &[DType]) -> Result<()> {
    if ins.len() != want.len() {
        return Err(Error::argument(op, format!("{} operands, must be {}", ins.len(), want.len())));
    }
    for (at, (have, want)) in ins.iter().zip(want).enumerate() {
        if have.dtype != *want {
            return Err(Error::dtype(op, format!("operand {at} is {}, must be {want}", have.dtype)));
        }
    }
    Ok(())
}

/// The float type that an operation's operands share, going by the first one: f16 if it is, else f32.
pub(crate) fn float(ins: &[Meta]) -> DType {
    if ins.first().is_some_and(|x| x.dtype == DType::F16) { DType::F16 } else { DType::F32 }
}

/// The sizes of a shape with exactly `N` axes, whose roles `axes` names, such as `"(B, C, H, W)"`.
pub(crate) fn axes<const N: usize>(
    op: &'static str,
    what: &str,
    meta: &Meta,
    axes: &str,
) -> Result<[usize; N]> {
    <[usize; N]>::try_from(&*meta.dims)
        .map_err(|_| Error::shape(op, format!("{what} has shape {}, must be {axes}", meta.dims)))
}
