//! How many kernels each operation launches on CUDA: one, or as many as its launch file states. Every operation of the
//! crate's table is counted.

mod composed;

use foveate::{
    DType, Device, Dims, Rng, Tensor,
    cuda::Cuda,
    device::{Op, run, run_in_place},
    ops::{
        BatchNormConfig, Reduction,
        batch_norm::{
            BatchNorm, BatchNormApply, BatchNormEval, BatchNormGrad, BatchNormGradApply, BatchNormGradSums,
            BatchNormStatistics,
        },
        concat::{Concat, Narrow, Pad},
        convert::Convert,
        dropout::Dropout,
        elementwise::{
            Add, AddRelu, Binary, Div, Exp, Log, Mul, Relu, Scale, Sigmoid, Sqrt, Square, Sub, Swish, Tanh,
            Unary, UnaryGrad,
        },
        image::NormalizeImage,
        l2_normalize::{L2Normalize, L2NormalizeGrad},
        layer_norm::{LayerNorm, LayerNormGrad},
        losses::{
            Bce, BceWithLogits, ClassKind, ClassLoss, ClassLossGrad, CrossEntropy, Entropy, EntropyGrad, Mse,
            Nll, Operand, PairKind, PairLoss, PairLossGrad,
        },
        pool::{MaxPool2d, MaxPool2dGrad},
        reduce::{ArgMax, Max, MaxGrad, Sum},
        softmax::{LogSoftmax, LogSoftmaxGrad, Softmax, SoftmaxGrad},
        table::OPS,
        transpose::Transpose,
        view::{Expand, PadRows},
    },
    optim::{AdamStep, ClipValues, SgdStep},
};
use std::{cell::RefCell, collections::BTreeSet, marker::PhantomData};

/// A device, and the operations counted on it.
struct Bench<'a> {
    device: &'a Device,
    cuda: &'a Cuda,
    counted: RefCell<BTreeSet<&'static str>>,
}

impl Bench<'_> {
    fn full(&self, dims: impl Into<Dims>) -> Tensor {
        Tensor::full(0.5_f32, dims, self.device).unwrap()
    }

    fn indices(&self, dims: impl Into<Dims>) -> Tensor {
        Tensor::full(0_i32, dims, self.device).unwrap()
    }

    /// Holds the number of launches of one run to what is expected.
    fn takes<O: Op>(&self, launches: u64, op: &O, ins: &[&Tensor]) {
        let before = self.cuda.launches();
        run(op, ins).unwrap();
        assert_eq!(self.cuda.launches() - before, launches, "{op:?} of {ins:?}");
        self.counted.borrow_mut().insert(O::NAME);
    }

    fn takes_in_place<O: Op>(&self, launches: u64, op: &O, state: usize, gradient: &Tensor) {
        let mut state: Vec<Tensor> = (0..state).map(|_| self.full(gradient.dims())).collect();
        let before = self.cuda.launches();
        run_in_place(op, &mut state.iter_mut().collect::<Vec<_>>(), &[gradient]).unwrap();
        assert_eq!(self.cuda.launches() - before, launches, "{op:?}");
    }
}

pub(crate) fn check(device: &Device, cuda: &Cuda) {
    let bench = Bench { device, cuda, counted: RefCell::default() };
    elements(&bench);
    places(&bench);
    reductions(&bench);
    rows(&bench);
    images(&bench);
    losses(&bench);
    steps(&bench);
    composed::check(&bench);
    let counted = bench.counted.into_inner();
    let missing: Vec<&str> = OPS.iter().map(|op| op.name).filter(|name| !counted.contains(name)).collect();
    assert!(missing.is_empty(), "no launches counted: {missing:?}");
}

fn elements(bench: &Bench) {
    let x = bench.full([3, 40, 7]);
    macro_rules! each {
        ($($one:ident)*; $($two:ident)*) => {
            $(bench.takes(1, &Unary::<$one>::default(), &[&x]);
            bench.takes(1, &UnaryGrad::<$one>::default(), &[&x, &x]);)*
            $(bench.takes(1, &Binary::<$two>::default(), &[&x, &bench.full([40, 1])]);)*
        };
    }
    each!(Relu Tanh Sigmoid Exp Log Swish Sqrt Square; Add Sub Mul Div AddRelu);
    bench.takes(1, &Scale { factor: 2.0, shift: 1.0 }, &[&x]);
    bench.takes(1, &Convert { to: DType::F16 }, &[&x]);
    bench.takes(1, &Dropout { p: 0.5, words: Rng::new(1).reserve(840) }, &[&x]);
    // Nothing to do: nothing is launched.
    bench.takes(0, &Unary::<Tanh>::default(), &[&bench.full([0, 4])]);
}

fn places(bench: &Bench) {
    let x = bench.full([3, 40, 20]);
    bench.takes(1, &Expand { dims: Dims::from([5, 3, 40, 20]) }, &[&x]);
    bench.takes(1, &PadRows { before: 1, rows: 9 }, &[&x]);
    bench.takes(1, &Narrow { axis: 1, start: 3, size: 8 }, &[&x]);
    bench.takes(1, &Pad { axis: 1, before: 3, size: 50 }, &[&x]);
    bench.takes(1, &Transpose { permutation: [0, 2, 1].as_slice().into() }, &[&x]);
    bench.takes(1, &Transpose { permutation: [1, 0, 2].as_slice().into() }, &[&x]);
    // One for each operand.
    bench.takes(3, &Concat { axis: 1 }, &[&x, &x, &x]);
}

fn reductions(bench: &Bench) {
    let over = |marks: [bool; 2]| marks.as_slice().into();
    let (few, many, columns) = (bench.full([50, 3]), bench.full([2, 40_000]), bench.full([5000, 32]));
    bench.takes(1, &Sum { summed: over([true, false]) }, &[&few]);
    bench.takes(1, &Max { over: over([true, false]) }, &[&few]);
    bench.takes(1, &ArgMax { axis: 0 }, &[&few]);
    // Several parts, and then their sum.
    bench.takes(2, &Sum { summed: over([false, true]) }, &[&many]);
    bench.takes(2, &Sum { summed: over([true, false]) }, &[&columns]);
    bench.takes(2, &Max { over: over([false, true]) }, &[&many]);
    bench.takes(2, &ArgMax { axis: 1 }, &[&many]);
    // Zeros, and what is not zero.
    bench.takes(2, &MaxGrad { dims: Dims::from([50, 3]) }, &[&bench.full([1]), &bench.indices([1])]);
}

fn rows(bench: &Bench) {
    for dims in [[6, 10], [6, 100], [6, 1000], [6, 3000]] {
        let x = bench.full(dims);
        bench.takes(1, &Softmax { axis: 1 }, &[&x]);
        bench.takes(1, &SoftmaxGrad { axis: 1 }, &[&x, &x]);
        bench.takes(1, &LogSoftmax { axis: 1 }, &[&x]);
        bench.takes(1, &LogSoftmaxGrad { axis: 1 }, &[&x, &x]);
        bench.takes(1, &L2Normalize, &[&x]);
        bench.takes(1, &L2NormalizeGrad, &[&x, &x]);
        bench.takes(1, &LayerNorm { eps: 1e-5 }, &[&x]);
        bench.takes(1, &LayerNormGrad { eps: 1e-5 }, &[&x, &x]);
        bench.takes(2, &LayerNormGrad { eps: 1e-5 }, &[&x, &x, &bench.full([dims[1]])]);
    }
    // The gradients of weight and bias come from several parts of the rows.
    let x = bench.full([2000, 8]);
    bench.takes(3, &LayerNormGrad { eps: 1e-5 }, &[&x, &x, &bench.full([8])]);
}

fn images(bench: &Bench) {
    let bytes = Tensor::full(7_u8, [2, 3, 12, 10], bench.device).unwrap();
    let constants = || [0.5, 0.25, 1.0].as_slice().into();
    bench.takes(1, &NormalizeImage { scale: constants(), shift: constants() }, &[&bytes]);
    let x = bench.full([2, 3, 12, 10]);
    let pool = MaxPool2d { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
    bench.takes(1, &pool, &[&x]);
    let codes = Tensor::full(0_u8, [2, 3, 6, 5], bench.device).unwrap();
    bench.takes(1, &MaxPool2dGrad { pool, image: [12, 10] }, &[&bench.full([2, 3, 6, 5]), &codes]);

    let (config, c) = (BatchNormConfig::default(), bench.full([3]));
    // Statistics of parts, their merge, the normalisation.
    bench.takes(3, &BatchNorm(config), &[&x, &c, &c, &c, &c]);
    bench.takes(2, &BatchNormEval(config), &[&x, &c, &c, &c, &c]);
    let grad = BatchNormGrad { training: true, relu: true };
    bench.takes(3, &grad, &[&x, &x, &c, &c, &c, &c]);
    bench.takes(2, &BatchNormStatistics(config), &[&x, &c, &c]);
    bench.takes(1, &BatchNormApply { relu: true }, &[&x, &c, &c, &c, &c]);
    bench.takes(2, &BatchNormGradSums { relu: true }, &[&x, &x, &c, &c, &c, &c]);
    let part = BatchNormGradApply { relu: true, values: x.elements() };
    bench.takes(1, &part, &[&x, &x, &c, &c, &c, &c, &c, &c]);
}

fn losses(bench: &Bench) {
    class_loss(bench, CrossEntropy);
    class_loss(bench, Nll { eps: 1e-6 });
    pair_loss::<Bce>(bench);
    pair_loss::<BceWithLogits>(bench);
    pair_loss::<Mse>(bench);
    let p = bench.full([6, 10]);
    bench.takes(1, &Entropy { eps: 1e-6 }, &[&p]);
    bench.takes(1, &EntropyGrad { eps: 1e-6 }, &[&bench.full([6]), &p]);
}

fn class_loss<K: ClassKind>(bench: &Bench, kind: K) {
    let (scores, classes, weights) = (bench.full([6, 10]), bench.indices([6]), bench.full([10]));
    let loss = ClassLoss { kind, reduction: Reduction::Mean };
    bench.takes(1, &loss, &[&scores, &classes]);
    bench.takes(1, &loss, &[&scores, &classes, &weights]);
    bench.takes(1, &ClassLossGrad { loss }, &[&bench.full([]), &scores, &classes, &weights]);
}

fn pair_loss<K: PairKind>(bench: &Bench) {
    let x = bench.full([6, 10]);
    let loss = PairLoss::<K> { kind: PhantomData, reduction: Reduction::Mean };
    bench.takes(1, &loss, &[&x, &x]);
    bench.takes(1, &PairLossGrad { loss, of: Operand::X }, &[&bench.full([]), &x, &x]);
    // Several parts, and then their sum.
    let long = bench.full([5000]);
    bench.takes(2, &loss, &[&long, &long]);
}

fn steps(bench: &Bench) {
    let gradient = bench.full([9, 40]);
    let adam = AdamStep {
        learning_rate: 0.1,
        betas: [0.9, 0.99],
        eps: 1e-8,
        weight_decay: 0.0,
        decoupled: true,
        step: 1,
    };
    bench.takes_in_place(1, &adam, 3, &gradient);
    let sgd = SgdStep { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0 };
    bench.takes_in_place(1, &sgd, 2, &gradient);
    bench.takes(1, &ClipValues { most: 1.0 }, &[&gradient]);
}
