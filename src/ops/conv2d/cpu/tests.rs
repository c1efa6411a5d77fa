//! Every kernel at every vector width of this machine, against a sum over all products in f64.

use super::*;
use crate::{Rng, testing::rms};
use proptest::prelude::*;

fn levels() -> impl Iterator<Item = Level> {
    [Level::Baseline, Level::Avx2, Level::Avx512].into_iter().filter(|&l| l <= level())
}

fn normal(n: usize, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| rng.normal()).collect()
}

/// x, weight, bias, dy of a shape.
struct Operands {
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

impl Operands {
    fn new(s: &Shape, seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        Operands {
            x: normal(s.batch * s.channels * s.image[0] * s.image[1], rng),
            weight: normal(s.out * s.channels / s.groups * s.kernel[0] * s.kernel[1], rng),
            bias: normal(s.out, rng),
            dy: normal(s.batch * s.out * s.output[0] * s.output[1], rng),
        }
    }
}

/// The error (RMS) that `got` may make: `times` that of `plain`, the same sums in plain f32, and two units in the last
/// place of the result's size.
fn check(what: &str, got: &[f32], truth: &[f64], plain: &[f32], times: f64) {
    let difference = |x: &[f32]| rms(x.iter().zip(truth).map(|(a, b)| f64::from(*a) - b));
    let (error, size) = (difference(got), rms(truth.iter().copied()));
    let bound = times * difference(plain) + 2.4e-7 * size;
    assert!(error <= bound, "{what}: error {error:e}, allowed {bound:e}, size {size:e}");
    assert!(times > 2.0 || error <= 1e-5 * size.max(1e-30), "{what}: error {error:e} of {size:e}");
}

/// y, dx, dw by summing every product, in f64 and in f32.
#[derive(Default)]
struct Sums {
    y: (Vec<f64>, Vec<f32>),
    dx: (Vec<f64>, Vec<f32>),
    dw: (Vec<f64>, Vec<f32>),
}

impl Sums {
    fn new(s: &Shape, o: &Operands) -> Self {
        let zeros = |n: usize| (vec![0.0; n], vec![0.0; n]);
        let mut sums = Sums { y: zeros(o.dy.len()), dx: zeros(o.x.len()), dw: zeros(o.weight.len()) };
        super::super::spec::each_product(s, |p| {
            let (x, w, dy) = (o.x[p.x], o.weight[p.weight], o.dy[p.y]);
            let add = |sums: &mut (Vec<f64>, Vec<f32>), at: usize, a: f32, b: f32| {
                sums.0[at] += f64::from(a) * f64::from(b);
                sums.1[at] += a * b;
            };
            add(&mut sums.y, p.y, x, w);
            add(&mut sums.dx, p.x, dy, w);
            add(&mut sums.dw, p.weight, x, dy);
        });
        for (i, (y, plain)) in sums.y.0.iter_mut().zip(&mut sums.y.1).enumerate() {
            let bias = o.bias[i / (s.output[0] * s.output[1]) % s.out];
            *y += f64::from(bias);
            *plain += bias;
        }
        sums
    }
}

fn judge(s: &Shape, seed: u64) {
    let o = Operands::new(s, seed);
    let sums = Sums::new(s, &o);
    let applies = winograd_applies(s) && s.image.iter().chain(&s.output).all(|&n| n >= PIXELS);
    for level in levels() {
        let nan = |n: usize| vec![f32::NAN; n];
        for (form, times) in [(None, 2.0), (Some(Size::Two), 2.0), (Some(Size::Four), 10.0)] {
            if form.is_some() && !applies {
                continue;
            }
            let what = |of: &str| format!("{of} {level:?} {form:?} {s:?}");
            let (forward, backward) = (Gather::forward(s), Gather::grad_input(s));
            let mut y = nan(o.dy.len());
            run(level, form, &forward, &o.x, &o.weight, Some(&o.bias), &mut y, "a test").unwrap();
            check(&what("y"), &y, &sums.y.0, &sums.y.1, times);
            let mut dx = nan(o.x.len());
            run(level, form, &backward, &o.dy, &o.weight, None, &mut dx, "a test").unwrap();
            check(&what("dx"), &dx, &sums.dx.0, &sums.dx.1, times);
            let mut dw = nan(o.weight.len());
            match form {
                Some(size) => winograd_grad::run(level, size, &forward, &o.x, &o.dy, &mut dw, "a test"),
                None => grad_weight::run(level, &forward, &o.x, &o.dy, &mut dw, "a test"),
            }
            .unwrap();
            check(&what("dw"), &dw, &sums.dw.0, &sums.dw.1, times);
            if depthwise(s) {
                depthwise::grad_weight(level, &forward, &o.x, &o.dy, &mut dw, "a test").unwrap();
                check(&what("depthwise dw"), &dw, &sums.dw.0, &sums.dw.1, times);
            }
        }
    }
}

fn shape(x: [usize; 4], out: usize, kernel: [usize; 2], conv: Conv2d) -> Shape {
    conv.shape("a test", x, [out, x[1] / conv.groups, kernel[0], kernel[1]]).unwrap()
}

#[test]
fn the_shapes_of_the_networks() {
    let plain = Conv2d::new;
    for (x, out, kernel, conv) in [
        ([2, 1, 50, 50], 64, [7, 7], plain(2, 3)),
        ([2, 3, 50, 50], 16, [7, 7], plain(2, 3)),
        ([5, 64, 13, 13], 64, [3, 3], plain(1, 1)),
        ([3, 64, 13, 13], 128, [3, 3], plain(2, 1)),
        ([3, 64, 13, 13], 128, [1, 1], plain(2, 0)),
        ([9, 128, 7, 7], 128, [3, 3], plain(1, 1)),
        ([2, 130, 4, 4], 130, [3, 3], plain(1, 1)),
    ] {
        judge(&shape(x, out, kernel, conv), 1);
    }
}

#[test]
fn awkward_shapes() {
    let plain = Conv2d::new;
    let odd = |stride, padding, groups| Conv2d { stride, padding, groups, ..plain(1, 0) };
    for (x, out, kernel, conv) in [
        ([2, 1, 1, 1], 1, [1, 1], plain(1, 0)),
        ([2, 17, 4, 4], 33, [4, 4], plain(1, 0)),
        ([2, 2, 3, 3], 3, [5, 5], plain(1, 4)),
        ([2, 2, 4, 5], 3, [2, 2], plain(1, 5)),
        ([2, 5, 17, 23], 7, [5, 5], plain(3, 2)),
        ([2, 3, 5, 5], 4, [2, 2], plain(5, 0)),
        ([2, 6, 14, 11], 10, [3, 5], odd([2, 1], [0, 1, 3, 0], 1)),
        ([2, 6, 9, 8], 4, [3, 3], odd([1, 2], [1, 0, 0, 2], 2)),
        ([2, 3, 1, 33], 2, [1, 9], odd([1, 1], [0, 0, 4, 4], 1)),
        ([2, 40, 7, 9], 40, [3, 3], odd([1, 1], [1; 4], 40)),
        ([2, 21, 7, 9], 21, [3, 2], odd([2, 3], [1, 0, 2, 0], 21)),
        ([1, 3, 70, 61], 40, [3, 3], plain(1, 1)),
        ([1, 20, 21, 211], 18, [3, 3], plain(1, 1)),
        ([1, 300, 5, 60], 17, [3, 3], plain(1, 1)),
        ([1, 2, 300, 7], 2, [3, 3], odd([1, 1], [1; 4], 2)),
    ] {
        judge(&shape(x, out, kernel, conv), 2);
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(24))]

    #[test]
    fn any_shape(
        batch in 1usize..4, groups in 1usize..4, c in 1usize..20, out in 1usize..35, h in 1usize..18, w in 1usize..18,
        kernel in prop::array::uniform2(1usize..6), stride in prop::array::uniform2(1usize..4),
        padding in prop::array::uniform4(0usize..4), seed in 0u64..99,
    ) {
        let conv = Conv2d { stride, padding, groups, ..Conv2d::new(1, 0) };
        if kernel[0] <= h + padding[0] + padding[1] && kernel[1] <= w + padding[2] + padding[3] {
            judge(&shape([batch, groups * c, h, w], groups * out, kernel, conv), seed);
        }
    }

    #[test]
    fn any_3_by_3(
        batch in 1usize..6, c in 1usize..40, out in 1usize..40, h in 4usize..15, w in 4usize..33,
        padding in prop::array::uniform4(0usize..4), seed in 0u64..99,
    ) {
        let conv = Conv2d { padding, ..Conv2d::new(1, 0) };
        judge(&shape([batch, c, h, w], out, [3, 3], conv), seed);
    }
}

/// Results must not depend on the number of threads, and an image's not on the images around it.
#[test]
fn threads_and_batches_leave_the_bits_alone() {
    let on = |threads: usize, f: &(dyn Fn() + Sync)| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f);
    };
    let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for (form, channels, stride) in
        [(None, 20, 2), (Some(Size::Two), 20, 1), (Some(Size::Four), 20, 1), (None, 3, 1)]
    {
        let s = shape([7, channels, 13, 13], 40, [3, 3], Conv2d::new(stride, 1));
        let o = Operands::new(&s, 5);
        let results = |batch: std::ops::Range<usize>| {
            let s = Shape { batch: batch.len(), ..s };
            let part = |x: &[f32]| x[x.len() / 7 * batch.start..x.len() / 7 * batch.end].to_vec();
            let (x, dy) = (part(&o.x), part(&o.dy));
            let (mut y, mut dx, mut dw) =
                (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; o.weight.len()]);
            let (forward, backward) = (Gather::forward(&s), Gather::grad_input(&s));
            run(level(), form, &forward, &x, &o.weight, None, &mut y, "a test").unwrap();
            run(level(), form, &backward, &dy, &o.weight, None, &mut dx, "a test").unwrap();
            match form {
                Some(size) => {
                    winograd_grad::run(level(), size, &forward, &x, &dy, &mut dw, "a test").unwrap()
                }
                None => grad_weight::run(level(), &forward, &x, &dy, &mut dw, "a test").unwrap(),
            }
            [bits(&y), bits(&dx), bits(&dw)]
        };
        let all = results(0..7);
        for threads in [1, 3] {
            on(threads, &|| assert!(results(0..7) == all, "{form:?} on {threads} threads"));
        }
        for image in 0..7 {
            let alone = results(image..image + 1);
            for (of, (alone, all)) in alone.iter().zip(&all).take(2).enumerate() {
                let n = alone.len();
                assert!(alone[..] == all[image * n..(image + 1) * n], "image {image}, result {of}, {form:?}");
            }
        }
    }
}
