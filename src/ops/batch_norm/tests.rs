use super::*;
use crate::{Device, Rng, Tape, device::run, ops, testing::*};
use proptest::prelude::*;

/// Planes and rows, long and short, with remainders, single values and more than one task.
const SHAPES: &[&[usize]] = &[
    &[4, 3, 1, 1],
    &[3, 5, 7, 1],
    &[2, 3, 4, 5],
    &[7, 5],
    &[2, 1],
    &[300, 6],
    &[70, 9, 2, 3],
    &[1, 2, 9, 3],
    &[3, 2, 17, 19],
    &[5, 3, 130, 41],
    &[20, 8, 25, 25],
    &[80, 100, 3, 5],
];

/// Weight, bias, running mean and (positive) running variance.
fn tensors(channels: usize, seed: u64) -> [Tensor; 4] {
    let mut rng = Rng::new(seed);
    let var: Vec<f32> = (0..channels).map(|_| 0.5 + rng.uniform()).collect();
    let var = Tensor::from_slice(&var, [channels], &Device::Cpu).unwrap();
    [random([channels], seed + 1), random([channels], seed + 2), random([channels], seed + 3), var]
}

fn view(t: &[Tensor]) -> BatchNormTensors<'_> {
    BatchNormTensors { weight: &t[0], bias: &t[1], running_mean: &t[2], running_var: &t[3] }
}

fn judge_shape(dims: Dims, seed: u64) {
    let (x, residual, dy) = (random(dims, seed), random(dims, seed + 10), random(dims, seed + 20));
    let [weight, bias, mean, var] = &tensors(dims[1], seed + 30);
    for relu in [false, true] {
        let config = BatchNormConfig { relu, ..Default::default() };
        let ins = [&x, weight, bias, mean, var, &residual];
        if dims[0] * dims[2..].iter().product::<usize>() > 1 {
            judge(&BatchNorm(config), &ins[..5]);
            judge(&BatchNorm(config), &ins);
            judge(&BatchNormStatistics(config), &[&x, mean, var]);
        }
        // Any numbers serve as mean and inverse deviation, and as the sums of a batch of which x is a part.
        judge(&BatchNormApply { relu }, &ins[..5]);
        judge(&BatchNormApply { relu }, &ins);
        let grads = [&dy, &x, weight, bias, mean, var];
        judge(&BatchNormGradSums { relu }, &grads);
        let values = 3 * dims.elements() / dims[1];
        judge(&BatchNormGradApply { relu, values }, &[&dy, &x, weight, bias, mean, var, bias, weight]);
        judge(&BatchNormEval(config), &ins[..5]);
        judge(&BatchNormEval(config), &ins);
        for training in [false, true] {
            judge(&BatchNormGrad { training, relu }, &[&dy, &x, weight, bias, mean, var]);
        }
    }
}

#[test]
fn every_operation_matches_its_specification() {
    for (seed, dims) in SHAPES.iter().enumerate() {
        judge_shape(Dims::new(dims).unwrap(), 100 * seed as u64);
    }
}

proptest! {
    #![proptest_config(cases(30))]

    /// Several channels: the sum of one may come out well in the straightforward computation by luck.
    #[test]
    fn any_shape_matches(b in 1usize..80, c in 5usize..9, h in 1usize..24, w in 1usize..24, seed in 0u64..1000) {
        judge_shape(Dims::from([b, c, h, w]), seed);
    }
}

#[test]
fn gradients_agree_with_differences() {
    for dims in [&[4, 3, 1, 1][..], &[3, 5, 7, 1], &[2, 3, 2, 3], &[5, 2], &[2, 1, 17, 16]] {
        let dims = Dims::new(dims).unwrap();
        let [weight, bias, mean, var] = tensors(dims[1], 3);
        let ins = [random(dims, 1), weight, bias, random(dims, 2)];
        for relu in [false, true] {
            let config = BatchNormConfig { relu, ..Default::default() };
            let wide = |x: &Tensor, t: &Tensor| match x.dtype() {
                DType::F64 => crate::check::to_f64(t),
                _ => Ok(t.clone()),
            };
            for with_residual in [false, true] {
                let f = |x: &[Tensor], training: bool| {
                    let residual = with_residual.then_some(&x[3]);
                    let (mean, var) = (wide(&x[0], &mean)?, wide(&x[0], &var)?);
                    let tensors = BatchNormTensors {
                        weight: &x[1],
                        bias: &x[2],
                        running_mean: &mean,
                        running_var: &var,
                    };
                    Ok(vec![if training {
                        batch_norm(&x[0], residual, &tensors, config)?.0
                    } else {
                        batch_norm_eval(&x[0], residual, &tensors, config)?
                    }])
                };
                judge_function(|x| f(x, true), &ins);
                judge_function(|x| f(x, false), &ins);
            }
        }
    }
}

#[test]
fn fused_forms_equal_separate_operations() {
    let (x, residual) = (random([6, 4, 5, 3], 1), random([6, 4, 5, 3], 2));
    let t = tensors(4, 3);
    let plain = batch_norm(&x, None, &view(&t), BatchNormConfig::default()).unwrap().0;
    let want = ops::add_relu(&plain, &residual).unwrap();
    let config = BatchNormConfig { relu: true, ..Default::default() };
    let got = batch_norm(&x, Some(&residual), &view(&t), config).unwrap().0;
    assert_eq!(bits(&got), bits(&want));
    let got = batch_norm(&x, None, &view(&t), config).unwrap().0;
    assert_eq!(bits(&got), bits(&ops::relu(&plain).unwrap()));
}

/// Statistics and normalisation apart are the bits of both together; the sums of two parts and the gradient of each are, but
/// for rounding, those of the whole.
#[test]
fn steps_of_a_batch_in_parts_make_the_whole() {
    let (x, dy) = (random([5, 3, 7, 6], 1), random([5, 3, 7, 6], 2));
    let [weight, bias, mean, var] = &tensors(3, 3);
    let config = BatchNormConfig { relu: true, ..Default::default() };
    let whole = run(&BatchNorm(config), &[&x, weight, bias, mean, var]).unwrap();
    let statistics = run(&BatchNormStatistics(config), &[&x, mean, var]).unwrap();
    let of = |outs: &[Tensor]| outs.iter().map(bits).collect::<Vec<_>>();
    assert_eq!(of(&statistics), of(&whole[1..]));
    let [_, _, mean, inv_std] = statistics.as_slice() else { panic!("four results") };
    let apply = BatchNormApply { relu: true };
    assert_eq!(of(&run(&apply, &[&x, weight, bias, mean, inv_std]).unwrap()), of(&whole[..1]));

    let [first, second] = [0..2, 2..5].map(|rows: std::ops::Range<usize>| {
        [ops::slice(&dy, rows.clone()).unwrap(), ops::slice(&x, rows).unwrap()]
    });
    let op = BatchNormGradSums { relu: true };
    let sums_of = |[dy, x]: &[Tensor; 2]| run(&op, &[dy, x, weight, bias, mean, inv_std]).unwrap();
    let (a, b) = (sums_of(&first), sums_of(&second));
    let [dweight, dbias] = [0, 1].map(|at: usize| ops::add(&a[at], &b[at]).unwrap());
    let op = BatchNormGradApply { relu: true, values: 5 * 42 };
    let dx_of = |[dy, x]: &[Tensor; 2]| {
        run(&op, &[dy, x, weight, bias, mean, inv_std, &dweight, &dbias]).unwrap().remove(0)
    };
    let got = [ops::concat(&[&dx_of(&first), &dx_of(&second)], 0).unwrap(), dweight.clone(), dbias.clone()];
    let op = BatchNormGrad { training: true, relu: true };
    let want = run(&op, &[&dy, &x, weight, bias, mean, inv_std]).unwrap();
    for (got, want) in got.iter().zip(&want) {
        let close = |(a, b): (f32, f32)| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
        assert!(got.to_vec().unwrap().into_iter().zip(want.to_vec().unwrap()).all(close));
    }
    let too_few = BatchNormGradApply { relu: true, values: 5 * 42 - 1 };
    let refused = run(&too_few, &[&dy, &x, weight, bias, mean, inv_std, &dweight, &dbias]);
    assert!(matches!(refused, Err(Error::Argument { op: "batch_norm_grad_apply", .. })));
}

#[test]
fn variance_survives_a_large_mean() {
    let x = ops::scale(&random([64, 3, 7, 7], 1), 1.0, 4096.0).unwrap();
    let wide: Vec<f64> = x.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();
    let t = tensors(3, 2);
    let config = BatchNormConfig { momentum: 1.0, ..Default::default() };
    let (_, running) = batch_norm(&x, None, &view(&t), config).unwrap();
    for (c, got) in running.var.to_vec::<f32>().unwrap().into_iter().enumerate() {
        let values: Vec<f64> =
            wide.chunks(49).skip(c).step_by(3).flat_map(|plane| plane.iter().copied()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let var = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (values.len() - 1) as f64;
        assert!((f64::from(got) / var - 1.0).abs() < 1e-5, "{got} {var}");
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for dims in [[40, 64, 7, 7], [30, 8, 25, 25]] {
        let (x, dy) = (random(dims, 1), random(dims, 2));
        let t = tensors(dims[1], 3);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let config = BatchNormConfig { relu: true, ..Default::default() };
                let outs = run(&BatchNorm(config), &[&x, &t[0], &t[1], &t[2], &t[3]]).unwrap();
                let op = BatchNormGrad { training: true, relu: true };
                let grads = run(&op, &[&dy, &x, &t[0], &t[1], &outs[3], &outs[4]]).unwrap();
                outs.iter().chain(&grads).map(bits).collect::<Vec<_>>()
            })
        };
        let one = on(1);
        assert!(one == on(2) && one == on(5));
    }
}

#[test]
fn evaluation_of_an_image_does_not_depend_on_its_batch() {
    for dims in [[9, 5, 7, 7], [9, 2, 20, 20]] {
        let x = random(dims, 1);
        let t = tensors(dims[1], 2);
        let of = |x: &Tensor| batch_norm_eval(x, None, &view(&t), BatchNormConfig::default()).unwrap();
        let all = ops::slice(&of(&x), 4..6).unwrap();
        assert_eq!(bits(&of(&ops::slice(&x, 4..6).unwrap())), bits(&all));
    }
}

#[test]
fn running_statistics_are_not_watched_and_unwanted_gradients_not_computed() {
    let x = random([4, 2, 3, 3], 1);
    let residual = random([4, 2, 3, 3], 2);
    let t = tensors(2, 3);
    let tape = Tape::new();
    let watched = tape.watch(&residual).unwrap();
    let config = BatchNormConfig { relu: true, ..Default::default() };
    let (y, running) = batch_norm(&x, Some(&watched), &view(&t), config).unwrap();
    assert!(y.is_watched() && !running.mean.is_watched() && !running.var.is_watched());
    let grads = tape.backward(&ops::sum_all(&y).unwrap()).unwrap();
    let passed: Vec<f32> =
        y.to_vec::<f32>().unwrap().into_iter().map(|v| f32::from(u8::from(v > 0.0))).collect();
    assert_eq!(grads.of(&watched).unwrap().to_vec::<f32>().unwrap(), passed);
}

#[test]
fn empty_batches_evaluate_to_empty_results() {
    let t = tensors(3, 1);
    for dims in [&[0, 3, 2, 2][..], &[2, 3, 0, 2], &[0, 3]] {
        let x = random(Dims::new(dims).unwrap(), 1);
        let config = BatchNormConfig::default();
        assert_eq!(batch_norm_eval(&x, None, &view(&t), config).unwrap().dims(), x.dims());
        judge(&BatchNormGrad { training: true, relu: true }, &[&x, &x, &t[0], &t[1], &t[2], &t[3]]);
        let refused = batch_norm(&x, None, &view(&t), config);
        assert!(matches!(refused, Err(Error::Shape { op: "batch_norm", .. })));
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let t = tensors(3, 1);
    let config = BatchNormConfig::default();
    let train = |x: &Tensor, residual: Option<&Tensor>, config| batch_norm(x, residual, &view(&t), config);
    let shape = |r: Result<_>| matches!(r, Err(Error::Shape { op: "batch_norm", .. }));
    assert!(shape(train(&random([1, 3, 1, 1], 1), None, config)));
    assert!(shape(train(&random([4, 2], 1), None, config)));
    assert!(shape(train(&random([3], 1), None, config)));
    assert!(shape(train(&random([4, 3], 1), Some(&random([4, 1], 1)), config)));
    let x = random([4, 3], 1);
    for bad in [f64::NAN, -1e-9, f64::INFINITY] {
        let refused = train(&x, None, BatchNormConfig { eps: bad, ..config });
        assert!(matches!(refused, Err(Error::Argument { op: "batch_norm", .. })));
        let refused = train(&x, None, BatchNormConfig { momentum: bad, ..config });
        assert!(matches!(refused, Err(Error::Argument { op: "batch_norm", .. })));
    }
    let refused = batch_norm_eval(&random_i32([4, 3], 9, 1), None, &view(&t), config);
    assert!(matches!(refused, Err(Error::DType { op: "batch_norm_eval", .. })));
    let grad = BatchNormGrad { training: true, relu: false };
    let refused = run(&grad, &[&x, &random([3, 4], 1), &t[0], &t[1], &t[2], &t[3]]);
    assert!(matches!(refused, Err(Error::Shape { op: "batch_norm_grad", .. })));
}
