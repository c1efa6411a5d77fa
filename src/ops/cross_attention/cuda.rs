//! The attention on CUDA: matrix products, and between them the kernels of `kernels/cross_attention/cross_attention.cu`.

use super::{CrossAttention, CrossAttentionGrad, Sizes};
use crate::{
    DType, Precision,
    cuda::{
        ATTENTION_SCORES_F32, ATTENTION_SOFTMAX_F32, ATTENTION_SOFTMAX_GRAD_F32, Argument, Cx, Grid, In,
        Kernel, Out, parts,
    },
    device::{Meta, Op, Product},
    error::{Error, Result},
    ops::dropout::Dropout,
};
use bytemuck::NoUninit;
use smallvec::SmallVec;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct AttentionParams {
    first: u64,
    key_0: u32,
    key_1: u32,
    images: u32,
    rows: u32,
    inputs: u32,
    dropout: u32,
    threshold: u32,
    factor: f32,
}

impl AttentionParams {
    /// For images of so many rows of so many inputs.
    fn new(cx: &Cx, [images, rows, inputs]: [usize; 3], dropout: Option<&Dropout>) -> Result<Self> {
        let words = dropout.map(|dropout| dropout.words);
        let [key_0, key_1] = words.map_or([0; 2], |words| words.key);
        Ok(AttentionParams {
            first: words.map_or(0, |words| words.first),
            key_0,
            key_1,
            images: cx.u32(images)?,
            rows: cx.u32(rows)?,
            inputs: cx.u32(inputs)?,
            dropout: dropout.is_some().into(),
            threshold: dropout.map_or(0, Dropout::threshold),
            factor: dropout.map_or(1.0, |dropout| dropout.scale() as f32),
        })
    }
}

/// A block for each of some rows, with no more threads than a row has elements, but whole warps.
fn rows_of(cx: &Cx, kernel: Kernel, rows: usize, length: usize) -> Result<Grid> {
    let threads = length.next_power_of_two().clamp(32, kernel.threads as usize);
    Ok(Grid::blocks([rows, 1, 1]).threads(cx.u32(threads)?))
}

/// Softmax of `rows` rows of `length`, in place.
pub(in crate::ops) fn softmax_rows(cx: &Cx, p: Argument, rows: usize, length: usize) -> Result<()> {
    let params = AttentionParams::new(cx, [1, rows, length], None)?;
    let grid = rows_of(cx, ATTENTION_SOFTMAX_F32, rows, length)?;
    cx.launch(ATTENTION_SOFTMAX_F32, grid, &[p, Argument::NONE], &params)
}

fn sizes(op: &CrossAttention, name: &'static str, ins: &[In]) -> Result<Sizes> {
    let metas: SmallVec<[Meta; 8]> = ins.iter().map(In::meta).collect();
    op.sizes(name, &metas)
}

/// The words of scratch of a product with operands of this precision.
pub(in crate::ops) fn rounded_parts(precision: Option<Precision>) -> impl Fn(&Product) -> usize {
    move |product| parts(&product.precision(precision.unwrap_or_default()))
}

impl CrossAttention {
    /// Bytes for what no result keeps.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let parts = rounded_parts(self.precision);
        self.sizes(Self::NAME, ins).map_or(0, |s| self.areas(&s, parts).bytes())
    }

    fn rounded(&self, product: Product) -> Product {
        product.precision(self.precision.unwrap_or_default())
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let s = sizes(self, Self::NAME, ins)?;
        let [own_p, own_z, o, masked, parts] = self.areas(&s, rounded_parts(self.precision)).arguments(cx);
        let (p, z) = if self.keep { ((&outs[2]).into(), (&outs[3]).into()) } else { (own_p, own_z) };
        let [x, u, wv, wo] = [0, 1, 2, 3].map(|at| Argument::from(&ins[at]));
        cx.product(&self.rounded(s.to_logits(0)), [u, x, p])?;
        let dropout = self.dropout.as_ref();
        let (masked, weights) = dropout.map_or((Argument::NONE, p), |_| (masked, masked));
        let params = AttentionParams::new(cx, [s.batch, s.rows(), s.inputs], dropout)?;
        let grid = rows_of(cx, ATTENTION_SOFTMAX_F32, s.batch * s.rows(), s.inputs)?;
        cx.launch(ATTENTION_SOFTMAX_F32, grid, &[p, masked], &params)?;
        let grid = Grid::over(s.batch * s.inputs, ATTENTION_SCORES_F32.threads as usize);
        cx.launch(ATTENTION_SCORES_F32, grid, &[p, (&outs[1]).into()], &params)?;
        cx.product_in_parts(&self.rounded(s.to_sums()), [weights, x, z], Argument::NONE, parts)?;
        cx.product(&self.rounded(s.to_values()), [z, wv, o])?;
        cx.product(&self.rounded(s.to_outputs()), [o, wo, (&outs[0]).into()])
    }
}

impl CrossAttentionGrad {
    /// Bytes for what lies between the gradients.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let parts = rounded_parts(self.attention.precision);
        self.attention.sizes(Self::NAME, ins).map_or(0, |s| self.areas(&s, DType::F32, parts).bytes())
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let s = sizes(&self.attention, Self::NAME, ins)?;
        let [x, u, wv, wo, p, z, dy, dscores] = ins else {
            return Err(Error::argument(Self::NAME, "takes eight operands"));
        };
        let [x, u, wv, wo, p, z, dy, dscores] = [x, u, wv, wo, p, z, dy, dscores].map(Argument::from);
        let mut outs = outs.iter().map(Argument::from);
        let [dx, du, dwv, dwo] = self.wants.map(|wanted| if wanted { outs.next() } else { None });
        let [o, d_o, dz, ds, masked, parts, _] =
            self.areas(&s, DType::F32, rounded_parts(self.attention.precision)).arguments(cx);
        let rounded = |product| self.attention.rounded(product);
        let in_parts =
            |product, operands| cx.product_in_parts(&rounded(product), operands, Argument::NONE, parts);
        let whole = |product, operands| cx.product(&rounded(product), operands);
        if let Some(dwo) = dwo {
            whole(s.to_values(), [z, wv, o])?;
            in_parts(s.grad_wo(), [dy, o, dwo])?;
        }
        if !self.to_inputs() && dwv.is_none() {
            return Ok(());
        }
        whole(s.grad_values(), [dy, wo, d_o])?;
        if let Some(dwv) = dwv {
            in_parts(s.grad_wv(), [d_o, z, dwv])?;
        }
        if !self.to_inputs() {
            return Ok(());
        }
        whole(s.grad_z(), [d_o, wv, dz])?;
        let image = s.rows() * s.features;
        whole(s.to_logits(image), [dz, x, ds])?;
        let dropout = self.attention.dropout.as_ref();
        let params = AttentionParams::new(cx, [s.batch, s.rows(), s.inputs], dropout)?;
        let grid = rows_of(cx, ATTENTION_SOFTMAX_GRAD_F32, s.batch * s.rows(), s.inputs)?;
        cx.launch(ATTENTION_SOFTMAX_GRAD_F32, grid, &[p, dscores, ds, masked], &params)?;
        if let Some(du) = du {
            in_parts(s.grad_u(), [ds, x, du])?;
        }
        if let Some(dx) = dx {
            whole(s.grad_x(image), [masked, dz, dx])?;
            whole(s.grad_x(0).add(), [ds, u, dx])?;
        }
        Ok(())
    }
}
