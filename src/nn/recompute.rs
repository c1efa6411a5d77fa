//! Training a residual network in little memory: of the stem are kept the patches and one byte for each window's maximum,
//! of a residual block its input, and of every batch norm its statistics. Convolutions and activations are computed again
//! for the gradients (Chen et al., "Training deep nets with sublinear memory cost", 2016), block by block.
//!
//! With the statistics at hand every image can be normalised by itself, so nothing of a stem's or a block's inside needs to
//! be whole that is not the operand of a convolution: the stem's activations, the largest by far, exist for some patches at a
//! time. Results are the bits of the layers one by one, and so are a block's gradients; a stem's are sums over runs of
//! patches, in an order that depends on their number alone.

use super::{Conv2d, Pass, layers::BatchNorm};
use crate::{
    Tensor,
    device::{run, run_rows, run1, runs},
    error::{Error, Result},
    ops::{
        self,
        batch_norm::{BatchNormApply, BatchNormGrad, BatchNormGradApply, BatchNormGradSums},
        conv2d::{Conv2dGradInput, Conv2dGradWeight},
        elementwise::{Relu, UnaryGrad},
        pool::{MaxPool2d, MaxPool2dGrad},
    },
    tape::{Backward, Given, Gradients, record1},
};
use smallvec::SmallVec;
use std::ops::Range;

/// Runs of patches that a stem's activations, and the mask of a block's ReLU, exist in.
const RUNS: usize = 8;

/// A convolution and its batch norm in training, as much as computing them again takes.
#[derive(Debug)]
pub(super) struct Segment {
    conv: ops::Conv2d,
    weight: Tensor,
    /// Scale and shift of the batch norm, mean and inverse deviation of the batch.
    norm: [Tensor; 4],
    /// Whether a ReLU follows, after the residual sum if there is one.
    relu: bool,
}

impl Segment {
    /// The segment and what its convolution makes of x; its parameters join `operands`.
    fn new(
        (conv, bn): (&Conv2d, &BatchNorm),
        x: &Tensor,
        relu: bool,
        pass: &mut Pass,
        operands: &mut Vec<Tensor>,
    ) -> Result<(Self, Tensor)> {
        let parameters = conv.parameters_with(bn, pass)?;
        let [weight, scale, shift] = parameters.each_ref().map(Tensor::detach);
        operands.extend(parameters);
        let conv = conv.geometry().on("conv2d", &x.device())?;
        let y = run1(&conv, &[x, &weight])?;
        let [mean, inv_std] = bn.statistics_of(&y, pass)?;
        Ok((Segment { conv, weight, norm: [scale, shift, mean, inv_std], relu }, y))
    }

    /// What the convolution makes of x.
    fn convolved(&self, x: &Tensor) -> Result<Tensor> {
        run1(&self.conv, &[x, &self.weight])
    }

    /// What becomes of that.
    fn normalised(&self, convolved: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let ins: SmallVec<[&Tensor; 6]> = [convolved].into_iter().chain(&self.norm).chain(residual).collect();
        run1(&BatchNormApply { relu: self.relu }, &ins)
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.normalised(&self.convolved(x)?, None)
    }

    /// From the gradient `g` of the result, or, with a residual, of the sum before the ReLU: that of what the convolution
    /// gave, and those of its weight and the batch norm's scale and shift.
    fn backward(
        &self,
        x: &Tensor,
        convolved: Tensor,
        g: &Tensor,
        masked: bool,
    ) -> Result<(Tensor, [Tensor; 3])> {
        let op = BatchNormGrad { training: true, relu: self.relu && !masked };
        let [scale, shift, mean, inv_std] = &self.norm;
        let grads = run(&op, &[g, &convolved, scale, shift, mean, inv_std])?;
        drop(convolved);
        let [dy, scale, shift] = <[Tensor; 3]>::try_from(grads.into_vec()).map_err(|_| lacking())?;
        let weight = self.weight_grad(x, &dy)?;
        Ok((dy, [weight, scale, shift]))
    }

    fn saved(&self) -> SmallVec<[&Tensor; 5]> {
        self.norm.iter().chain([&self.weight]).collect()
    }

    fn weight_grad(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        run1(&Conv2dGradWeight { conv: self.conv, kernel: last_two(&self.weight) }, &[x, dy])
    }

    /// The gradient of images of so many rows and columns, from that of what the convolution gave.
    fn input_grad(&self, image: [usize; 2]) -> Conv2dGradInput {
        Conv2dGradInput { conv: self.conv, image }
    }
}

fn last_two(t: &Tensor) -> [usize; 2] {
    [t.dims()[2], t.dims()[3]]
}

fn lacking() -> Error {
    Error::tape("an operation of the recomputed layers lacks a result")
}

fn add_to(sum: &mut Option<Tensor>, new: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => ops::add(&sum, &new)?,
        None => new,
    });
    Ok(())
}

/// Gives the gradients of a segment's parameters, operands `first..first + 3`.
fn give(parameters: [Tensor; 3], first: usize, to: &mut Gradients) -> Result<()> {
    parameters.into_iter().enumerate().try_for_each(|(at, gradient)| to.give(first + at, || Ok(gradient)))
}

/// `relu(bn(conv(patches)))` and the maxima of its windows: patches (P, C, H, W) to (P, O, h, w).
pub(super) fn stem(
    layers: (&Conv2d, &BatchNorm),
    patches: &Tensor,
    pool: MaxPool2d,
    pass: &mut Pass,
) -> Result<Tensor> {
    let (x, batch) = (patches.detach(), patches.dims()[0]);
    let mut operands = vec![patches.clone()];
    let (segment, convolved) = Segment::new(layers, &x, true, pass, &mut operands)?;
    let mut pooled = [None, None];
    for rows in runs(batch, RUNS, x.dtype()) {
        let y = segment.normalised(&convolved.rows(rows.clone())?, None)?;
        run_rows(&pool, rows, batch, &mut pooled, &[&y])?;
    }
    let [Some(y), Some(codes)] = pooled else { return Err(lacking()) };
    let backward = Stem { x, segment, pool, image: last_two(&convolved), codes };
    record1("stem", &operands.iter().collect::<Vec<_>>(), y, |_| backward)
}

#[derive(Debug)]
struct Stem {
    x: Tensor,
    segment: Segment,
    pool: MaxPool2d,
    /// Height and width of what is pooled.
    image: [usize; 2],
    codes: Tensor,
}

impl Stem {
    /// From the gradient of the maxima. What is not pooled exists for some patches at a time, but for the convolution's
    /// result.
    fn gradients(&self, dy: &Tensor, to: &mut Gradients) -> Result<()> {
        let Stem { x, segment, .. } = self;
        let (batch, op) = (x.dims()[0], MaxPool2dGrad { pool: self.pool, image: self.image });
        let convolved = segment.convolved(x)?;
        let parts = || runs(batch, RUNS, x.dtype());
        let unpooled = |rows: Range<usize>| run1(&op, &[&dy.rows(rows.clone())?, &self.codes.rows(rows)?]);
        let (mut scale, mut shift) = (None, None);
        for rows in parts() {
            let (g, convolved) = (unpooled(rows.clone())?, convolved.rows(rows)?);
            let ins: SmallVec<[&Tensor; 6]> = [&g, &convolved].into_iter().chain(&segment.norm).collect();
            let sums = run(&BatchNormGradSums { relu: segment.relu }, &ins)?;
            let [of_scale, of_shift] = sums.as_slice() else { return Err(lacking()) };
            add_to(&mut scale, of_scale.clone())?;
            add_to(&mut shift, of_shift.clone())?;
        }
        let (Some(scale), Some(shift)) = (scale, shift) else { return Err(lacking()) };
        let values = batch * self.image[0] * self.image[1];
        let apply = BatchNormGradApply { relu: segment.relu, values };
        let (mut weight, mut dx) = (None, [None]);
        for rows in parts() {
            let (g, convolved, x) =
                (unpooled(rows.clone())?, convolved.rows(rows.clone())?, x.rows(rows.clone())?);
            let ins = [&g, &convolved].into_iter().chain(&segment.norm).chain([&scale, &shift]);
            let dy = run1(&apply, &ins.collect::<SmallVec<[&Tensor; 8]>>())?;
            add_to(&mut weight, segment.weight_grad(&x, &dy)?)?;
            if to.wants(0) {
                let op = segment.input_grad(last_two(&x));
                run_rows(&op, rows, batch, &mut dx, &[&dy, &segment.weight])?;
            }
        }
        if let [Some(dx)] = dx {
            to.give(0, || Ok(dx))?;
        }
        give([weight.ok_or_else(lacking)?, scale, shift], 1, to)
    }
}

impl Backward for Stem {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        self.gradients(dy.one()?, to)
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        [&self.x, &self.codes].into_iter().chain(self.segment.saved()).collect()
    }

    fn activations(&mut self) -> SmallVec<[&mut Tensor; 4]> {
        [&mut self.x].into_iter().collect()
    }
}

/// The layers of a residual block: two convolutions, and one in the shortcut where that changes width or resolution.
pub(super) struct BlockLayers<'a> {
    pub(super) first: (&'a Conv2d, &'a BatchNorm),
    pub(super) second: (&'a Conv2d, &'a BatchNorm),
    pub(super) shortcut: Option<(&'a Conv2d, &'a BatchNorm)>,
}

/// `relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))`.
pub(super) fn block(layers: &BlockLayers, input: &Tensor, pass: &mut Pass) -> Result<Tensor> {
    let (x, mut operands) = (input.detach(), vec![input.clone()]);
    let (first, convolved) = Segment::new(layers.first, &x, true, pass, &mut operands)?;
    let h = first.normalised(&convolved, None)?;
    drop(convolved);
    let (mut of_shortcut, mut residual, mut shortcut) = (Vec::new(), x.clone(), None);
    if let Some(layers) = layers.shortcut {
        let (segment, convolved) = Segment::new(layers, &x, false, pass, &mut of_shortcut)?;
        residual = segment.normalised(&convolved, None)?;
        shortcut = Some(segment);
    }
    let (second, convolved) = Segment::new(layers.second, &h, true, pass, &mut operands)?;
    drop(h);
    operands.extend(of_shortcut);
    let y = second.normalised(&convolved, Some(&residual))?;
    let backward = Block { x, first, second, shortcut };
    record1("residual_block", &operands.iter().collect::<Vec<_>>(), y, |_| backward)
}

#[derive(Debug)]
struct Block {
    x: Tensor,
    first: Segment,
    second: Segment,
    shortcut: Option<Segment>,
}

impl Block {
    /// From the gradient of the result, which is used up.
    fn gradients(&self, dy: Tensor, to: &mut Gradients) -> Result<()> {
        let Block { x, first, second, shortcut } = self;
        let h = first.forward(x)?;
        let (inside, convolved) = (last_two(&h), second.convolved(&h)?);
        let g = self.masked(dy, &convolved)?;
        let (dy, parameters) = second.backward(&h, convolved, &g, true)?;
        give(parameters, 4, to)?;
        drop(h);
        let dh = run1(&second.input_grad(inside), &[&dy, &second.weight])?;
        drop(dy);
        let dx = through(first, x, dh, false, 1, to)?;
        let beside = match shortcut {
            None => g,
            Some(shortcut) => through(shortcut, x, g, true, 7, to)?,
        };
        to.give(0, || ops::add(&beside, &dx))
    }

    /// dy where the sum was positive.
    fn masked(&self, dy: Tensor, convolved: &Tensor) -> Result<Tensor> {
        let batch = dy.dims()[0];
        let residual = match &self.shortcut {
            Some(shortcut) => shortcut.forward(&self.x)?,
            None => self.x.clone(),
        };
        let mut g = [None];
        for rows in runs(batch, RUNS, dy.dtype()) {
            let residual = residual.rows(rows.clone())?;
            let y = self.second.normalised(&convolved.rows(rows.clone())?, Some(&residual))?;
            run_rows(&UnaryGrad::<Relu>::default(), rows.clone(), batch, &mut g, &[&dy.rows(rows)?, &y])?;
        }
        let [g] = g;
        g.ok_or_else(lacking)
    }
}

/// The gradient of x from the gradient `g` behind a segment, whose parameters are operands from `first` on. `g` is used up.
fn through(
    segment: &Segment,
    x: &Tensor,
    g: Tensor,
    masked: bool,
    first: usize,
    to: &mut Gradients,
) -> Result<Tensor> {
    let (dy, parameters) = segment.backward(x, segment.convolved(x)?, &g, masked)?;
    drop(g);
    give(parameters, first, to)?;
    run1(&segment.input_grad(last_two(x)), &[&dy, &segment.weight])
}

impl Backward for Block {
    fn backward(&self, dy: &Given, to: &mut Gradients) -> Result<()> {
        self.gradients(dy.one()?.clone(), to)
    }

    fn backward_once(self: Box<Self>, dy: Given, to: &mut Gradients) -> Result<()> {
        self.gradients(dy.into_one()?, to)
    }

    fn saved(&self) -> SmallVec<[&Tensor; 4]> {
        let segments = [&self.first, &self.second].into_iter().chain(&self.shortcut);
        [&self.x].into_iter().chain(segments.flat_map(Segment::saved)).collect()
    }

    fn activations(&mut self) -> SmallVec<[&mut Tensor; 4]> {
        [&mut self.x].into_iter().collect()
    }
}
