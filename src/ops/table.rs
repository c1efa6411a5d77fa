//! The one table of operations: name, folder, and the devices each has kernels for. Tests, the README's table and
//! `cargo xtask tidy` are held against it.

use crate::device::{Arms, Op};

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The operation's name, as in errors and tapes.
    pub name: &'static str,
    /// Its folder below `src/ops` and `kernels`.
    pub folder: &'static str,
    /// The devices it has kernels for, beside the CPU.
    pub arms: Arms,
}

const fn entry<O: Op>(folder: &'static str) -> Entry {
    Entry { name: O::NAME, folder, arms: O::ARMS }
}

macro_rules! table {
    ($($folder:ident: $($op:ty),+;)*) => {
        /// Every operation of the crate.
        pub const OPS: &[Entry] = &[$($({
            use super::$folder::*;
            entry::<$op>(stringify!($folder))
        }),+),*];
    };
}

table! {
    batch_norm: BatchNorm, BatchNormApply, BatchNormEval, BatchNormGrad, BatchNormGradApply, BatchNormGradSums,
        BatchNormStatistics;
    blend_patches: BlendPatches, BlendPatchesGradImage, BlendPatchesGradIndicators;
    concat: Concat, Narrow, Pad;
    conv2d: Conv2d, Conv2dFused, Conv2dGradInput, Conv2dGradWeight, Conv2dStatistics;
    convert: Convert;
    cross_attention: CrossAttention, CrossAttentionGrad;
    dropout: Dropout;
    elementwise: Binary<Add>, Binary<AddRelu>, Binary<Div>, Binary<Mul>, Binary<Sub>, Scale, Unary<Exp>, UnaryGrad<Exp>,
        Unary<Log>, UnaryGrad<Log>, Unary<Relu>, UnaryGrad<Relu>, Unary<Sigmoid>, UnaryGrad<Sigmoid>, Unary<Sqrt>,
        UnaryGrad<Sqrt>, Unary<Square>, UnaryGrad<Square>, Unary<Swish>, UnaryGrad<Swish>, Unary<Tanh>, UnaryGrad<Tanh>;
    expectation: Expectation, ExpectationGradAttention, ExpectationGradFeatures;
    extract_patches: ExtractPatches, PlacePatches;
    fold_queries: FoldQueries, FoldQueriesGrad;
    gated_attention: GatedAttention, GatedAttentionGrad;
    gather: Gather, ScatterAdd;
    image: NormalizeImage;
    l2_normalize: L2Normalize, L2NormalizeGrad;
    layer_norm: LayerNorm, LayerNormGrad;
    linear: Linear;
    matmul: MatMul;
    losses: ClassLoss<CrossEntropy>, ClassLossGrad<CrossEntropy>, ClassLoss<Nll>, ClassLossGrad<Nll>, Entropy, EntropyGrad,
        PairLoss<Bce>, PairLossGrad<Bce>, PairLoss<BceWithLogits>, PairLossGrad<BceWithLogits>, PairLoss<Mse>,
        PairLossGrad<Mse>;
    perturbed_top_k: PerturbedTopK, PerturbedTopKGrad;
    philox: Philox, RandomWords;
    pool: MaxPool2d, MaxPool2dGrad;
    reduce: ArgMax, Max, MaxGrad, Sum;
    resize: Resize, ResizeGrad;
    sampling: GumbelMax, GumbelTopK;
    softmax: LogSoftmax, LogSoftmaxGrad, Softmax, SoftmaxGrad;
    top_m_merge: TopMMerge;
    transpose: Transpose;
    unfold: Unfold, Fold;
    view: Expand, PadRows;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = OPS.iter().map(|e| e.name).collect();
        assert_eq!(names.len(), OPS.len());
    }

    #[test]
    fn every_operation_has_kernels_for_every_device() {
        let lacks = |e: &&Entry| e.arms != Arms { wgpu: true, cuda: true };
        let names: Vec<_> = OPS.iter().filter(lacks).map(|e| e.name).collect();
        assert!(names.is_empty(), "{names:?}");
    }
}
