//! What every operation's CUDA kernels take at least, and are predicted to take, on an H200: a table made from the operations' own
//! shapes, so that it states no byte that an operation does not have. `benches/PREDICTIONS.md` is that table.

use crate::encoder::FLOPS;
use foveate::{
    DType, Dims, Precision, Result,
    device::{Meta, Op},
    ops::{
        batch_norm::*, blend_patches::*, concat::*, conv2d::*, convert::*, cross_attention::*, dropout::*,
        elementwise::*, expectation::*, extract_patches::*, fold_queries::*, gated_attention::*, gather::*,
        image::*, l2_normalize::*, layer_norm::*, linear::*, losses::*, matmul::*, perturbed_top_k::*,
        philox::*, pool::*, reduce::*, resize::*, sampling::*, softmax::*, top_m_merge::*, transpose::*,
        unfold::*, view::*,
    },
    rng::Words,
};
use std::{fmt::Write, marker::PhantomData};

/// Bytes a second of a copy, read and written; seconds of a launch.
const COPY: f64 = 4.3e12;
const LAUNCH: f64 = 2e-6;
/// Of the copies, as predicted.
const OF_COPY: f64 = 0.85;
/// Operations a second, and the part of them that the ladder of the convolution predicts (`benches/README.md`).
const RATES: [(Precision, f64, f64); 3] =
    [(Precision::F32, 67e12, 0.40), (Precision::Tf32, 395e12, 0.54), (Precision::F16, 790e12, 0.42)];

/// One operation in one shape.
pub struct Floor {
    /// The operation's name.
    pub op: String,
    /// Shapes of its operands.
    shapes: String,
    /// Bytes read and written: all operands and results once, unless only a part of an operand is needed.
    bytes: usize,
    /// Multiply-adds times two.
    flops: usize,
    /// Which of [`RATES`] it can have: more than the first where operands can be rounded.
    rates: &'static [usize],
}

impl Floor {
    /// Of an operation, by the shapes that it infers.
    fn of<O: Op>(op: &O, ins: &[Meta]) -> Result<Self> {
        let size = |meta: &Meta| meta.dims.elements() * meta.dtype.size();
        let bytes = ins.iter().map(size).sum::<usize>() + op.infer(ins)?.iter().map(size).sum::<usize>();
        let shape = |meta: &Meta| {
            let dims: Vec<String> = meta.dims.iter().map(usize::to_string).collect();
            let dims = if dims.is_empty() { "1".into() } else { dims.join("×") };
            if meta.dtype == DType::F32 { dims } else { format!("{dims} {}", meta.dtype) }
        };
        let shapes: Vec<String> = ins.iter().map(shape).collect();
        Ok(Floor { op: O::NAME.into(), shapes: shapes.join(", "), bytes, flops: 0, rates: &[0] })
    }

    /// With matrix products of operands that can be rounded.
    fn products(self, flops: usize) -> Self {
        Floor { flops, rates: &[0, 1, 2], ..self }
    }

    /// With sums of products in f32 alone.
    fn sums(self, flops: usize) -> Self {
        Floor { flops, ..self }
    }

    /// Less what of an operand nobody needs.
    fn without(self, bytes: usize) -> Self {
        Floor { bytes: self.bytes.saturating_sub(bytes), ..self }
    }

    /// Seconds at least, and as predicted, with products of such operands.
    fn seconds(&self, (_, rate, of_rate): (Precision, f64, f64)) -> [f64; 2] {
        let (moved, counted) = (self.bytes as f64 / COPY, self.flops as f64 / rate);
        [moved.max(counted), (moved / OF_COPY).max(counted / of_rate) + LAUNCH]
    }
}

fn f(dims: impl Into<Dims>) -> Meta {
    Meta::new(dims, DType::F32)
}

fn int(dims: impl Into<Dims>) -> Meta {
    Meta::new(dims, DType::I32)
}

fn bytes(dims: impl Into<Dims>) -> Meta {
    Meta::new(dims, DType::U8)
}

const WORDS: Words = Words { key: [0, 0], first: 0 };
/// What a training step has of patches, between the encoder's layers.
const LAYER: [usize; 4] = [1600, 64, 13, 13];

/// Every operation with CUDA kernels, and the kernels that belong to none.
///
/// # Errors
/// If an operation refuses the shapes that are here for it.
pub fn floors() -> Result<Vec<Floor>> {
    let parts = [
        norms()?,
        convolutions()?,
        elements()?,
        attention()?,
        moves()?,
        images()?,
        losses()?,
        draws()?,
        reductions()?,
        beside(),
    ];
    Ok(parts.into_iter().flatten().collect())
}

fn norms() -> Result<Vec<Floor>> {
    let (x, c) = (f(LAYER), f([64]));
    let (rows, affine) = (f([3200, 128]), f([128]));
    Ok(vec![
        Floor::of(&BatchNorm(BatchNormConfig::default()), &[x, c, c, c, c])?,
        Floor::of(&BatchNormEval(BatchNormConfig::default()), &[x, c, c, c, c])?,
        Floor::of(&BatchNormGrad { training: true, relu: false }, &[x, x, c, c, c, c])?,
        Floor::of(&BatchNormStatistics(BatchNormConfig::default()), &[x, c, c])?,
        Floor::of(&BatchNormApply { relu: true }, &[x, c, c, c, c])?,
        Floor::of(&BatchNormGradSums { relu: true }, &[x, x, c, c, c, c])?,
        Floor::of(
            &BatchNormGradApply { relu: true, values: LAYER[0] * LAYER[2] * LAYER[3] },
            &[x, x, c, c, c, c, c, c],
        )?,
        Floor::of(&LayerNorm { eps: 1e-6 }, &[rows, affine, affine])?,
        Floor::of(&LayerNormGrad { eps: 1e-6 }, &[rows, rows, affine])?,
        Floor::of(&L2Normalize, &[rows])?,
        Floor::of(&L2NormalizeGrad, &[rows, rows])?,
    ])
}

fn convolutions() -> Result<Vec<Floor>> {
    let (x, w, conv) = (f(LAYER), f([64, 64, 3, 3]), Conv2d::new(1, 1));
    let flops = 2 * 1600 * 64 * 169 * 64 * 9;
    let pool = MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
    let (rows, square) = (f([1600, 128]), f([128, 128]));
    let of_rows = 2 * 1600 * 128 * 128;
    Ok(vec![
        Floor::of(&conv, &[x, w])?.products(flops),
        Floor::of(&Conv2dStatistics { conv, norm: BatchNormConfig::default() }, &[x, w, f([64]), f([64])])?
            .products(flops),
        Floor::of(&Conv2dFused { conv, relu: true }, &[x, w, f([64]), x])?.products(flops),
        Floor::of(&Conv2dGradInput { conv, image: [13, 13] }, &[x, w])?.products(flops),
        Floor::of(&Conv2dGradWeight { conv, kernel: [3, 3] }, &[x, x])?.products(flops),
        Floor::of(&pool, &[f([1600, 64, 25, 25])])?,
        Floor::of(&MaxPool2dGrad { pool, image: [25, 25] }, &[f(LAYER), bytes(LAYER)])?,
        Floor::of(&Linear::default(), &[rows, square, f([128])])?.products(of_rows),
        Floor::of(&MatMul::default(), &[rows, square])?.products(of_rows),
    ])
}

fn elements() -> Result<Vec<Floor>> {
    let x = f(LAYER);
    let mut made = vec![
        Floor::of(&Binary::<Add>::default(), &[x, x])?,
        Floor::of(&Binary::<AddRelu>::default(), &[x, x])?,
        Floor::of(&Binary::<Div>::default(), &[x, x])?,
        Floor::of(&Binary::<Mul>::default(), &[x, x])?,
        Floor::of(&Binary::<Sub>::default(), &[x, x])?,
        Floor::of(&Scale { factor: 2.0, shift: 1.0 }, &[x])?,
        Floor::of(&Dropout { p: 0.1, words: WORDS }, &[x])?,
        Floor::of(&Convert { to: DType::F16 }, &[x])?,
    ];
    macro_rules! functions {
        ($($function:ty),*) => {
            $(made.push(Floor::of(&Unary::<$function>::default(), &[x])?);
            made.push(Floor::of(&UnaryGrad::<$function>::default(), &[x, x])?);)*
        };
    }
    functions!(Exp, Log, Relu, Sigmoid, Sqrt, Square, Swish, Tanh);
    Ok(made)
}

/// 16 images of 100 patches kept, 4 queries of 8 heads; a bag of 900 for gated attention.
fn attention() -> Result<Vec<Floor>> {
    let attention = CrossAttention { heads: 8, dropout: None, keep: true, precision: None };
    let (x, u, square) = (f([16, 100, 128]), f([32, 128]), f([128, 128]));
    let (p, z, dy) = (f([16, 32, 100]), f([16, 32, 128]), f([16, 4, 128]));
    // Logits, means, and values and output of each head and query.
    let flops = 2 * 16 * (2 * 100 * 128 * 32 + 32 * 128 * 16 + 4 * 128 * 128);
    let fold = FoldQueries { heads: 8 };
    let of_fold = 2 * (4 * 128 * 128 + 32 * 16 * 128);
    let (bag, v, hidden) = (f([1, 900, 512]), f([128, 512]), f([1, 900, 128]));
    let (b, weights) = (f([128]), f([1, 900]));
    let gated = 2 * 900 * 512 * (2 * 128 + 1);
    let gate = GatedAttention { keep: true, ..GatedAttention::default() };
    let gate_grad = GatedAttentionGrad { wants: [true; 6], precision: None };
    let (k, features) = (f([16, 50]), f([16, 50, 128]));
    Ok(vec![
        Floor::of(&attention, &[x, u, square, square])?.products(flops),
        Floor::of(
            &CrossAttentionGrad { attention, wants: [true; 4] },
            &[x, u, square, square, p, z, dy, f([16, 100])],
        )?
        .products(2 * flops),
        Floor::of(&fold, &[f([4, 128]), square, square])?.sums(of_fold),
        Floor::of(&FoldQueriesGrad { fold }, &[u, f([4, 128]), square, square])?.sums(2 * of_fold),
        Floor::of(&gate, &[bag, v, b, v, b, b])?.products(gated),
        Floor::of(&gate_grad, &[bag, v, v, b, weights, hidden, hidden, f([1, 512]), weights])?
            .products(2 * gated),
        Floor::of(&Expectation { replace: true }, &[k, features])?,
        Floor::of(&ExpectationGradFeatures { replace: true }, &[k, f([16, 128])])?,
        Floor::of(
            &ExpectationGradAttention { replace: true, estimator: Estimator::default() },
            &[k, features, f([16, 128])],
        )?,
    ])
}

fn moves() -> Result<Vec<Floor>> {
    let (half, whole) = (f([16, 100, 32]), f([16, 200, 32]));
    let logits = f([16, 900, 32]);
    Ok(vec![
        Floor::of(&Concat { axis: 1 }, &[half, half])?,
        Floor::of(&Narrow { axis: 1, start: 0, size: 100 }, &[whole])?.without(4 * 16 * 100 * 32),
        Floor::of(&Pad { axis: 1, before: 0, size: 200 }, &[half])?,
        // Of the rows those that are picked.
        Floor::of(&Gather, &[logits, int([16, 100])])?.without(4 * 16 * 800 * 32),
        Floor::of(&ScatterAdd { rows: 900 }, &[half, int([16, 100])])?,
        Floor::of(&Transpose { permutation: [0, 2, 1].into_iter().collect() }, &[logits])?,
        Floor::of(&Expand { dims: Dims::from([1600, 128]) }, &[f([1, 128])])?,
        Floor::of(&PadRows { before: 0, rows: 3200 }, &[f([1600, 128])])?,
        Floor::of(&TopMMerge { keep: 100, chunk: 100 }, &[logits])?,
    ])
}

fn images() -> Result<Vec<Floor>> {
    let (image, picked) = ([16, 1, 1500, 1500], f([16, 100, 1, 50, 50]));
    let grid = Grid { patch: [100, 100], stride: [100, 100], counts: [12, 16] };
    let (large, indicators, blended) = (f([1, 3, 1200, 1600]), f([1, 10, 192]), f([1, 10, 3, 100, 100]));
    let blending = 2 * 10 * 3 * 1200 * 1600;
    Ok(vec![
        Floor::of(&Unfold { patch: [50, 50], stride: [50, 50] }, &[f([1, 1, 3000, 3000])])?,
        Floor::of(&Fold { image: [3000, 3000], stride: [50, 50] }, &[f([1, 3600, 1, 50, 50])])?,
        // Of the images what the patches cover.
        Floor::of(&ExtractPatches { patch: [50, 50] }, &[bytes(image), int([16, 100, 2])])?
            .without(16 * (1500 * 1500 - 100 * 2500)),
        Floor::of(&PlacePatches { image: [1500, 1500] }, &[picked, int([16, 100, 2])])?,
        Floor::of(
            &NormalizeImage {
                scale: std::iter::once(1.0 / 255.0).collect(),
                shift: std::iter::once(0.0).collect(),
            },
            &[bytes(image)],
        )?,
        Floor::of(&Resize { size: [150, 150], mode: ResizeMode::Area }, &[f(image)])?,
        Floor::of(&ResizeGrad { image: [1500, 1500], mode: ResizeMode::Area }, &[f([16, 1, 150, 150])])?,
        Floor::of(&BlendPatches { grid }, &[large, indicators])?.sums(blending),
        Floor::of(
            &BlendPatchesGradIndicators { grid, gradient: IndicatorGradient::default() },
            &[large, indicators, blended],
        )?
        .sums(blending),
        Floor::of(&BlendPatchesGradImage { grid, image: [1200, 1600] }, &[indicators, blended])?
            .sums(blending),
    ])
}

fn losses() -> Result<Vec<Floor>> {
    let (one, scores, classes) = (f(Dims::SCALAR), f([16, 10]), int([16]));
    let reduction = Reduction::default();
    let (entropy, nll) =
        (ClassLoss { kind: CrossEntropy, reduction }, ClassLoss { kind: Nll { eps: 1e-6 }, reduction });
    let mut made = vec![
        Floor::of(&entropy, &[scores, classes])?,
        Floor::of(&ClassLossGrad { loss: entropy }, &[one, scores, classes])?,
        Floor::of(&nll, &[scores, classes])?,
        Floor::of(&ClassLossGrad { loss: nll }, &[one, scores, classes])?,
        Floor::of(&Entropy { eps: 1e-6 }, &[f([16, 900])])?,
        Floor::of(&EntropyGrad { eps: 1e-6 }, &[f([16]), f([16, 900])])?,
    ];
    macro_rules! pairs {
        ($($kind:ty),*) => {
            $(let loss = PairLoss::<$kind> { kind: PhantomData, reduction };
            made.push(Floor::of(&loss, &[scores, scores])?);
            made.push(Floor::of(&PairLossGrad { loss, of: Operand::X }, &[one, scores, scores])?);)*
        };
    }
    pairs!(Bce, BceWithLogits, Mse);
    Ok(made)
}

fn draws() -> Result<Vec<Floor>> {
    let noise = Noise::Drawn { samples: 500, words: WORDS };
    let u32s = |dims: [usize; 2]| Meta::new(dims, DType::U32);
    Ok(vec![
        Floor::of(&GumbelTopK { k: 100, words: WORDS }, &[f([1, 1_000_000])])?,
        Floor::of(&GumbelMax { draws: 10, words: WORDS }, &[f([16, 32_400])])?,
        Floor::of(&PerturbedTopK { k: 10, sigma: 0.05, noise }, &[f([1, 192])])?,
        Floor::of(&PerturbedTopKGrad { sigma: 0.05, noise }, &[f([1, 10, 192]), int([1, 500, 10])])?,
        Floor::of(&Philox, &[u32s([250_000, 4]), u32s([250_000, 2])])?,
        Floor::of(&RandomWords { first: 0, count: 1_000_000 }, &[Meta::new([2], DType::U32)])?,
    ])
}

fn reductions() -> Result<Vec<Floor>> {
    let (x, rows) = (f([1600, 128, 7, 7]), f([512, 200]));
    let plane = || [false, false, true, true].into_iter().collect();
    let largest = Max { over: plane() };
    let found = largest.infer(&[x])?;
    Ok(vec![
        Floor::of(&Sum { summed: plane() }, &[x])?,
        Floor::of(&largest, &[x])?,
        Floor::of(&MaxGrad { dims: x.dims }, &[found[0], found[1]])?,
        Floor::of(&ArgMax { axis: 1 }, &[f([1600, 128])])?,
        Floor::of(&Softmax { axis: 1 }, &[rows])?,
        Floor::of(&SoftmaxGrad { axis: 1 }, &[rows, rows])?,
        Floor::of(&LogSoftmax { axis: 1 }, &[rows])?,
        Floor::of(&LogSoftmaxGrad { axis: 1 }, &[rows, rows])?,
    ])
}

/// Kernels of no operation: those of optimisers, and the whole encoder, which is in f16 only.
fn beside() -> Vec<Floor> {
    let (parameters, weights) = (880_000, 674_880);
    let row = |op: &str, shapes: &str, [bytes, flops]: [usize; 2], rates| Floor {
        op: op.into(),
        shapes: shapes.into(),
        bytes,
        flops,
        rates,
    };
    vec![
        // Parameter and two moments, read and written; the gradient.
        row("AdamW's step", "880,000 parameters", [parameters * 7 * 4, 0], &[0]),
        // The parameter, read and written; the gradient.
        row("SGD's step", "880,000 parameters", [parameters * 3 * 4, 0], &[0]),
        row(
            "patch encoder in one launch",
            "1600×1×50×50 u8",
            [1600 * (2500 + 128 * 4) + weights * 2, 1600 * FLOPS],
            &[2],
        ),
    ]
}

const HEAD: &str = "\
# Predictions

What every operation's CUDA kernels take at least on an H200, and what was predicted before any GPU had run them. **Measured: not
yet, no GPU.** Made by `cargo run -p foveate-in-process --example floors > benches/PREDICTIONS.md`; a test holds this file against it.

Bytes are operands and results once, by the shapes that the operation infers; of what is picked, only what is picked. A floor is
the larger of bytes at 4.3 TB/s and multiply-adds at 67 TFLOP/s in f32, 395 in TF32, 790 in f16 and bf16. A prediction is 0.85 of the
copies or 0.40, 0.54 and 0.42 of these rates, and 2 µs for a launch: an operation of several has as many more. What lies in the
cache already (60 MB) can be faster than its floor, and so can Winograd's form in f32, which multiplies less. Times in µs; shapes are f32 where nothing else is said.

| operation | shapes | MB | GFLOP | floor f32 | tf32 | 16 bits | predicted f32 | tf32 | 16 bits |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
";

/// The table as Markdown.
///
/// # Errors
/// As [`floors`].
pub fn table() -> Result<String> {
    let mut text = String::from(HEAD);
    for floor in floors()? {
        let Floor { op, shapes, bytes, flops, rates } = &floor;
        let times = RATES.map(|rate| floor.seconds(rate));
        let cell = |at: usize, which: usize| {
            if rates.contains(&at) { format!("{:.2}", times[at][which] * 1e6) } else { String::new() }
        };
        let gflop = if *flops > 0 { format!("{:.3}", *flops as f64 * 1e-9) } else { String::new() };
        let cells: Vec<String> = (0..6).map(|at| cell(at % 3, at / 3)).collect();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {op} | {shapes} | {:.3} | {gflop} | {} |",
            *bytes as f64 * 1e-6,
            cells.join(" | ")
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use foveate::ops::table::OPS;

    #[test]
    fn every_operation_with_kernels_is_there_once() {
        let named: Vec<String> = floors().unwrap().into_iter().map(|floor| floor.op).collect();
        for op in OPS.iter().filter(|op| op.arms.cuda) {
            let count = named.iter().filter(|name| *name == op.name).count();
            assert_eq!(count, 1, "{}: give it a row in benches/in_process/src/floors.rs", op.name);
        }
    }

    #[test]
    fn the_file_is_what_the_operations_say() {
        let how = "run `cargo run -p foveate-in-process --example floors > benches/PREDICTIONS.md`";
        assert!(include_str!("../../PREDICTIONS.md") == table().unwrap(), "{how}");
    }

    #[test]
    fn a_floor_is_the_larger_of_bytes_and_products() {
        let row =
            |bytes, flops| Floor { op: String::new(), shapes: String::new(), bytes, flops, rates: &[0] };
        let close = |have: f64, want: f64| assert!((have - want).abs() < 1e-12, "{have}, not {want}");
        close(row(4_300_000, 0).seconds(RATES[0])[0], 1e-6);
        close(row(4_300_000, 134_000_000).seconds(RATES[0])[0], 2e-6);
        close(row(4_300_000, 134_000_000).seconds(RATES[2])[0], 1e-6);
        close(row(4_300_000, 134_000_000).seconds(RATES[0])[1], 2e-6 / 0.40 + 2e-6);
    }
}
