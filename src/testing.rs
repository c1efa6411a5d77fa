//! The test harness: one body for every device.
//!
//! [`judge`] runs an operation on each device it has a kernel for and holds the result against its specification in
//! `f64`; [`judge_function`] does the same for a differentiable function, its gradients included, after central
//! differences have confirmed the specification's gradients. Devices that are absent are reported as skipped.
//!
//! `FOVEATE_TEST_SIZE=small` is for devices that are slow because they check every access: property tests have fewer cases,
//! operations run once, and operands of more than [`SMALL`] elements are left out.

use crate::{
    DType, Device, DeviceKind, Dims, Result, Rng, Tape, Tensor, check,
    device::{Arms, Metas, Numbers, Op, run, spec_on},
    ops,
};
use std::{io::Write, sync::LazyLock};

/// A device of the test run, or why it is not there.
pub(crate) struct Candidate {
    pub(crate) kind: DeviceKind,
    pub(crate) device: std::result::Result<Device, String>,
}

/// The devices of this test run. `FOVEATE_DEVICES` (`cpu,wgpu,cuda`) restricts them.
static CANDIDATES: LazyLock<Vec<Candidate>> = LazyLock::new(|| {
    let only = std::env::var("FOVEATE_DEVICES").ok();
    let asked =
        |kind: DeviceKind| only.as_ref().is_none_or(|list| list.split(',').any(|d| d == kind.to_string()));
    [DeviceKind::Cpu, DeviceKind::Wgpu, DeviceKind::Cuda]
        .into_iter()
        .map(|kind| {
            let device = if asked(kind) { open(kind) } else { Err("not among FOVEATE_DEVICES".into()) };
            Candidate { kind, device }
        })
        .collect()
});

fn open(kind: DeviceKind) -> std::result::Result<Device, String> {
    match kind {
        DeviceKind::Cpu => Ok(Device::Cpu),
        #[cfg(feature = "wgpu")]
        DeviceKind::Wgpu => {
            crate::wgpu::Wgpu::open(&wgpu_options()).map(Device::Wgpu).map_err(|e| e.to_string())
        }
        #[cfg(not(feature = "wgpu"))]
        DeviceKind::Wgpu => Device::wgpu().map_err(|e| e.to_string()),
        DeviceKind::Cuda => Device::cuda(0).map_err(|e| e.to_string()),
    }
}

/// The best adapter with all it has, or with the limits of every browser where `FOVEATE_WGPU_LIMITS` is `webgpu`.
#[cfg(feature = "wgpu")]
fn wgpu_options() -> crate::wgpu::Options {
    let limits = match std::env::var("FOVEATE_WGPU_LIMITS").as_deref() {
        Err(_) => None,
        Ok("webgpu") => Some(wgpu::Limits::defaults()),
        Ok(other) => panic!("FOVEATE_WGPU_LIMITS is `{other}`, must be `webgpu`"),
    };
    crate::wgpu::Options { limits, ..Default::default() }
}

/// A wgpu device of a test's own; none where there is no adapter, which is reported as skipped.
#[cfg(feature = "wgpu")]
pub(crate) fn wgpu_of_its_own(options: &crate::wgpu::Options) -> Option<std::sync::Arc<crate::wgpu::Wgpu>> {
    let absent = CANDIDATES.iter().find(|c| c.kind == DeviceKind::Wgpu)?.device.as_ref().err();
    if let Some(why) = absent {
        report(DeviceKind::Wgpu, "skipped", why);
        return None;
    }
    report(DeviceKind::Wgpu, "ran", "");
    Some(crate::wgpu::Wgpu::open(options).unwrap())
}

/// A CUDA device of a test's own, on a stream of its own; none where there is no GPU, which is reported as skipped.
#[cfg(feature = "cuda")]
pub(crate) fn cuda_of_its_own() -> Option<std::sync::Arc<crate::cuda::Cuda>> {
    match &CANDIDATES.iter().find(|c| c.kind == DeviceKind::Cuda)?.device {
        Ok(Device::Cuda(cuda)) => {
            report(DeviceKind::Cuda, "ran", "");
            let stream = cuda.stream().context().new_stream().unwrap();
            Some(crate::cuda::Cuda::from_stream(stream).unwrap())
        }
        Ok(other) => panic!("{other} is no CUDA device"),
        Err(why) => {
            report(DeviceKind::Cuda, "skipped", why);
            None
        }
    }
}

/// Calls `body` with a device for each kind of GPU that is present, on which nobody else holds or counts anything. It is for
/// whole systems, which have no part in a run on small shapes.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub(crate) fn on_each_gpu_alone(body: impl Fn(&Device)) {
    if only_small() {
        return;
    }
    #[cfg(feature = "wgpu")]
    if let Some(wgpu) = wgpu_of_its_own(&Default::default()) {
        body(&Device::Wgpu(wgpu));
    }
    #[cfg(feature = "cuda")]
    if let Some(cuda) = cuda_of_its_own() {
        body(&Device::Cuda(cuda));
    }
}

/// Calls `body` with every device present that `arms` claims; records what ran and what was skipped.
pub(crate) fn on_each_device(arms: Arms, mut body: impl FnMut(&Device)) {
    for candidate in CANDIDATES.iter() {
        let claimed = match candidate.kind {
            DeviceKind::Cpu => true,
            DeviceKind::Wgpu => arms.wgpu,
            DeviceKind::Cuda => arms.cuda,
        };
        if !claimed {
            continue;
        }
        match &candidate.device {
            Ok(device) => {
                body(device);
                report(candidate.kind, "ran", "");
            }
            Err(why) => report(candidate.kind, "skipped", why),
        }
    }
}

/// As [`on_each_device`], of those devices alone that compute with 16-bit floats.
pub(crate) fn on_each_device_with_f16(arms: Arms, mut body: impl FnMut(&Device)) {
    // The kernels in CUDA take none.
    on_each_device(Arms { cuda: false, ..arms }, |device| {
        if has_f16(device) {
            body(device);
        }
    });
}

/// As [`on_each_device`], of those devices alone whose kernels take these operands of `O`. CUDA moves 16-bit floats without
/// computing with them.
fn on_each_device_for<O: Op>(ins: &[&Tensor], mut body: impl FnMut(&Device)) {
    let half = ins.iter().any(|t| t.dtype().is_half());
    let moves = |device: &Device| !O::WIDENS && device.kind() == DeviceKind::Cuda;
    on_each_device(Arms { cuda: O::ARMS.cuda && !(half && O::WIDENS), ..O::ARMS }, |device| {
        if !half || has_f16(device) || moves(device) {
            body(device);
        }
    });
}

fn has_f16(device: &Device) -> bool {
    match device {
        Device::Cpu => true,
        #[cfg(feature = "wgpu")]
        Device::Wgpu(device) => device.has_f16(),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => false,
    }
}

/// The float types that a device's kernels take, beside the CPU's `f64`.
pub(crate) fn floats(device: &Device) -> &'static [DType] {
    if has_f16(device) { &[DType::F32, DType::F16] } else { &[DType::F32] }
}

/// Appends a line to the file that `FOVEATE_TEST_REPORT` names: device, test, what happened, why.
fn report(kind: DeviceKind, what: &str, why: &str) {
    let Ok(path) = std::env::var("FOVEATE_TEST_REPORT") else { return };
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("{kind}\t{test}\t{what}\t{why}\n");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut f| f.write_all(line.as_bytes())).expect("the test report can be written");
}

/// Elements of all operands and results together, up to which a case belongs to a run on small shapes.
const SMALL: usize = 50_000;

/// Whether this is a run on small shapes.
pub(crate) fn only_small() -> bool {
    static ONLY: LazyLock<bool> = LazyLock::new(|| match std::env::var("FOVEATE_TEST_SIZE").as_deref() {
        Err(_) | Ok("all") => false,
        Ok("small") => true,
        Ok(other) => panic!("FOVEATE_TEST_SIZE is `{other}`, must be `all` or `small`"),
    });
    *ONLY
}

/// Whether whole systems have no part in this run.
#[cfg(feature = "cuda")]
pub(crate) fn is_small() -> bool {
    only_small()
}

/// Whether a case of so many elements belongs to this run.
pub(crate) fn wanted(elements: usize) -> bool {
    !only_small() || elements <= SMALL
}

/// As [`wanted`], by operands and results.
fn wants(ins: &[&Tensor], outs: &Metas) -> bool {
    let ins = ins.iter().map(|t| t.elements());
    wanted(ins.chain(outs.iter().map(|m| m.dims.elements())).sum())
}

/// How often an operation runs, to give the same bits each time. A run on small shapes is about single launches.
fn runs() -> usize {
    if only_small() { 1 } else { 3 }
}

/// Settings of a property test whose cases are the same in every run. [`judge`] compares errors, which are partly luck:
/// among ever new cases some would fail in the end.
pub(crate) fn cases(count: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: if only_small() { count.div_ceil(8) } else { count },
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..Default::default()
    }
}

/// Standard normal values, rounded to `f32`, on the CPU.
pub(crate) fn random(dims: impl Into<Dims>, seed: u64) -> Tensor {
    let dims = dims.into();
    let mut rng = Rng::new(seed);
    let data: Vec<f32> = (0..dims.elements()).map(|_| rng.normal()).collect();
    Tensor::from_slice(&data, dims, &Device::Cpu).unwrap()
}

/// The same values as f16.
pub(crate) fn half(t: &Tensor) -> Tensor {
    ops::convert(t, DType::F16).unwrap()
}

/// Values of magnitude between 0.5 and 1.5, either sign.
pub(crate) fn away_from_zero(dims: impl Into<Dims>, seed: u64) -> Tensor {
    let dims = dims.into();
    let mut rng = Rng::new(seed);
    let data: Vec<f32> = (0..dims.elements())
        .map(|_| (0.5 + rng.uniform()) * if rng.below(2) == 0 { 1.0 } else { -1.0 })
        .collect();
    Tensor::from_slice(&data, dims, &Device::Cpu).unwrap()
}

/// Uniform integers in `0..below`.
pub(crate) fn random_i32(dims: impl Into<Dims>, below: u32, seed: u64) -> Tensor {
    let dims = dims.into();
    let mut rng = Rng::new(seed);
    let data: Vec<i32> = (0..dims.elements()).map(|_| rng.below(below) as i32).collect();
    Tensor::from_slice(&data, dims, &Device::Cpu).unwrap()
}

/// Root mean square.
pub(crate) fn rms(x: impl IntoIterator<Item = f64>) -> f64 {
    let (mut n, mut sum) = (0.0, 0.0);
    for v in x {
        n += 1.0;
        sum += v * v;
    }
    if n == 0.0 { 0.0 } else { f64::sqrt(sum / n) }
}

/// Holds `op` to its specification on every device: integers equal, floats with at most [`Op::TOLERANCE`] times the
/// error of the specification computed in `f32` (plus two units in the last place); three runs give the same bits.
///
/// A result of 16 bits may besides have the error of one rounding: 1.1 times that of the specification computed in `f32`
/// and rounded. Of two roundings it would be 1.4 times that.
pub(crate) fn judge<O: Op>(op: &O, ins: &[&Tensor]) {
    let metas = op
        .infer(&ins.iter().map(|t| crate::device::Meta::new(t.dims(), t.dtype())).collect::<Metas>())
        .unwrap_or_else(|e| panic!("{op:?} refuses {ins:?}: {e}"));
    if !wants(ins, &metas) {
        return;
    }
    let truth = specification::<O, f64>(op, ins, &metas);
    let plain = specification::<O, f32>(op, ins, &metas);
    on_each_device_for::<O>(ins, |device| {
        let moved: Vec<Tensor> = ins.iter().map(|t| t.to_device(device).unwrap()).collect();
        let moved: Vec<&Tensor> = moved.iter().collect();
        let outs = run(op, &moved).unwrap_or_else(|e| panic!("{op:?} on {device}: {e}"));
        for (at, out) in outs.iter().enumerate() {
            let got = Numbers::<f64>::of(out).unwrap();
            let place = format!("{op:?} on {device}, result {at} of {ins:?}");
            assert_eq!(got.int, truth[at].int, "{place}");
            let error = rms(got.x.iter().zip(&truth[at].x).map(|(a, b)| difference(*a, *b)));
            let allowed =
                rms(plain[at].x.iter().zip(&truth[at].x).map(|(a, b)| difference(f64::from(*a), *b)));
            let size = rms(truth[at].x.iter().copied().filter(|v| v.is_finite()));
            let rounded = rounding(&plain[at].x, &truth[at].x, metas[at].dtype);
            let bound = O::TOLERANCE * allowed + 2.4e-7 * size + 1.1 * rounded;
            assert_eq!(out.dtype(), metas[at].dtype, "{place}");
            assert!(
                error <= bound,
                "{place}: error {error:e}, allowed {bound:e} (plain f32 makes {allowed:e})"
            );
        }
        for _ in 1..runs() {
            let again = run(op, &moved).unwrap();
            for (a, b) in outs.iter().zip(&again) {
                assert_eq!(bits(a), bits(b), "{op:?} on {device} gives other bits when run again");
            }
        }
    });
}

/// Error that rounding `plain` to 16 bits makes; none for other types.
fn rounding(plain: &[f32], truth: &[f64], dtype: DType) -> f64 {
    let round = |v: f32| match dtype {
        DType::F16 => half::f16::from_f32(v).to_f64(),
        _ => half::bf16::from_f32(v).to_f64(),
    };
    if !dtype.is_half() {
        return 0.0;
    }
    rms(plain.iter().zip(truth).map(|(&a, &b)| difference(round(a), b)))
}

/// [`judge`] of an operation whose float operands may all be f16, with such and with those given.
pub(crate) fn judge_in_both<O: Op>(op: &O, ins: &[&Tensor]) {
    judge(op, ins);
    let short = |t: &&Tensor| if t.dtype() == DType::F32 { half(t) } else { (*t).clone() };
    let short: Vec<Tensor> = ins.iter().map(short).collect();
    judge(op, &short.iter().collect::<Vec<_>>());
}

/// Relative difference up to which two scores count as nearly equal, and a score below which every one does: what `f32`
/// loses of sums of exponentials.
const NEARLY: (f64, f64) = (1e-5, 1e-30);

/// Holds an operation whose only result is an order, indices (B, K), to its specification on every device. `scores` has
/// for each row of the batch the exact scores of all candidates. Candidates of nearly equal scores may change places,
/// also across the cut; candidates of equal scores may not. Three runs give the same bits.
pub(crate) fn judge_order<O: Op>(op: &O, ins: &[&Tensor], scores: &[Vec<f64>]) {
    let metas = op
        .infer(&ins.iter().map(|t| crate::device::Meta::new(t.dims(), t.dtype())).collect::<Metas>())
        .unwrap_or_else(|e| panic!("{op:?} refuses {ins:?}: {e}"));
    if !wants(ins, &metas) {
        return;
    }
    let truth = &specification::<O, f64>(op, ins, &metas)[0].int;
    on_each_device(O::ARMS, |device| {
        let moved: Vec<Tensor> = ins.iter().map(|t| t.to_device(device).unwrap()).collect();
        let moved: Vec<&Tensor> = moved.iter().collect();
        let runs: Vec<Tensor> = (0..runs()).map(|_| run(op, &moved).unwrap().remove(0)).collect();
        assert!(runs.iter().all(|again| bits(again) == bits(&runs[0])), "{op:?} on {device}: other bits");
        let got = Numbers::<f64>::of(&runs[0]).unwrap().int;
        assert_eq!(got.len(), truth.len(), "{op:?} on {device}");
        let row = truth.len().checked_div(scores.len()).unwrap_or(0).max(1);
        for ((got, want), scores) in got.chunks(row).zip(truth.chunks(row)).zip(scores) {
            if let Err(why) = same_order(got, want, scores) {
                panic!("{op:?} on {device} of {ins:?}: {why}\n got {got:?}\nwant {want:?}");
            }
        }
    });
}

/// Whether `got` is `want` but for candidates whose scores are nearly equal.
fn same_order(got: &[i64], want: &[i64], scores: &[f64]) -> std::result::Result<(), String> {
    if got == want {
        return Ok(());
    }
    let valid = got.iter().all(|&c| usize::try_from(c).is_ok_and(|c| c < scores.len()));
    let distinct: std::collections::BTreeSet<_> = got.iter().collect();
    if !valid || distinct.len() != got.len() {
        return Err("an index out of range or twice".into());
    }
    let score = |c: i64| scores[c as usize];
    for (at, (&g, &w)) in got.iter().zip(want).enumerate() {
        let (a, b) = (score(g), score(w));
        let near = a == b || (a - b).abs() <= NEARLY.0 * a.abs().min(b.abs()) + NEARLY.1;
        if !near {
            return Err(format!("place {at}: {g} of score {a:e} instead of {w} of {b:e}"));
        }
    }
    // Of candidates with exactly the same score, both lists hold the same first ones, in the same order.
    let tied = |list: &[i64]| {
        let mut by_score: std::collections::BTreeMap<u64, Vec<i64>> = Default::default();
        list.iter().for_each(|&c| by_score.entry(score(c).to_bits()).or_default().push(c));
        by_score
    };
    let wanted = tied(want);
    for (score, a) in tied(got) {
        if let Some(b) = wanted.get(&score).filter(|b| a.iter().zip(*b).any(|(a, b)| a != b)) {
            return Err(format!("equal scores in another order: {a:?}, not {b:?}"));
        }
    }
    Ok(())
}

/// Difference of two values; equal infinities and two NaNs differ by nothing.
fn difference(a: f64, b: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { a - b }
}

/// The bytes of a tensor's elements.
pub(crate) fn bits(t: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; t.elements() * t.dtype().size()];
    t.device().download(&t.buffer, t.offset * t.dtype().size(), &mut bytes).unwrap();
    bytes
}

fn specification<O: Op, T: crate::spec::Real>(op: &O, ins: &[&Tensor], metas: &Metas) -> Vec<Numbers<T>> {
    let ins: Vec<Numbers<T>> = ins.iter().map(|t| Numbers::of(t).unwrap()).collect();
    let mut outs: Vec<Numbers<T>> = metas.iter().map(Numbers::zeros).collect();
    spec_on(op, &ins, &mut outs);
    outs
}

/// Checks a function's gradients by central differences in `f64`, then its `f32` values and gradients against the
/// `f64` ones (to 1e-5 and 1e-4 of their size), on the CPU. `inputs` should be small.
pub(crate) fn judge_function(f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>, inputs: &[Tensor]) {
    judge_function_on(Arms::default(), f, inputs);
}

/// As [`judge_function`], on every device that `arms` names as well.
pub(crate) fn judge_function_on(arms: Arms, f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>, inputs: &[Tensor]) {
    check::gradients(&f, inputs, 1e-5, 1e-6).unwrap();
    on_each_device(arms, function_within([1e-5, 1e-4], &f, inputs));
}

/// As [`judge_function_on`], of a function that computes in 16 bits, by its operands or by a conversion: values and
/// gradients to 1e-2 of their size.
pub(crate) fn judge_short_function_on(
    arms: Arms,
    f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
) {
    check::gradients(&f, inputs, 1e-5, 1e-6).unwrap();
    on_each_device_with_f16(arms, function_within([1e-2, 1e-2], &f, inputs));
}

/// What compares values and gradients of `f` on a device with those in `f64`.
fn function_within(
    [of_values, of_gradients]: [f64; 2],
    f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
) -> impl FnMut(&Device) {
    let wide: Vec<Tensor> = inputs.iter().map(|t| check::to_f64(t).unwrap()).collect();
    let (truth, true_grads) = values_and_gradients(&f, &wide);
    move |device| {
        let moved: Vec<Tensor> = inputs.iter().map(|t| t.to_device(device).unwrap()).collect();
        let (values, grads) = values_and_gradients(&f, &moved);
        close(&values, &truth, of_values, &format!("value on {device}"));
        close(&grads, &true_grads, of_gradients, &format!("gradient on {device}"));
    }
}

fn close(got: &[Numbers<f64>], want: &[Numbers<f64>], tolerance: f64, what: &str) {
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.int, want.int, "{what} {at}");
        let error = rms(got.x.iter().zip(&want.x).map(|(a, b)| difference(*a, *b)));
        let bound = (tolerance * rms(want.x.iter().copied().filter(|v| v.is_finite()))).max(1e-7);
        assert!(error <= bound, "{what} {at}: error {error:e}, allowed {bound:e}");
    }
}

/// Values of `f`, and gradients of its outputs projected on fixed directions.
fn values_and_gradients(
    f: &impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
) -> (Vec<Numbers<f64>>, Vec<Numbers<f64>>) {
    let tape = Tape::new();
    let watch = |t: &Tensor| if t.dtype().is_float() { tape.watch(t).unwrap() } else { t.clone() };
    let watched: Vec<Tensor> = inputs.iter().map(watch).collect();
    let outs = f(&watched).unwrap();
    let mut directions = Vec::new();
    for (at, y) in outs.iter().enumerate().filter(|(_, y)| y.is_watched()) {
        let direction = random(y.dims(), 77 + at as u64);
        let direction = match y.dtype() {
            DType::F64 => check::to_f64(&direction),
            dtype => ops::convert(&direction, dtype).unwrap().to_device(&y.device()),
        };
        directions.push((y, direction.unwrap()));
    }
    let roots: Vec<(&Tensor, &Tensor)> = directions.iter().map(|(y, d)| (*y, d)).collect();
    let grads = tape.backward_from(&roots).unwrap();
    let values = outs.iter().map(|t| Numbers::of(t).unwrap()).collect();
    let gradients = watched.iter().filter(|t| t.is_watched()).map(|t| match grads.of(t) {
        Some(gradient) => {
            assert_eq!(gradient.dtype(), t.dtype(), "the gradient of {t:?}");
            Numbers::of(gradient).unwrap()
        }
        None => Numbers::zeros(&crate::device::Meta::f32(t.dims())),
    });
    (values, gradients.collect())
}

#[test]
fn orders_differ_by_nearly_equal_scores_alone() {
    let scores = [5.0, 4.0, 3.0 + 1e-6, 3.0, 3.0, 1e-40, f64::NEG_INFINITY];
    let same = |got: &[i64], want: &[i64]| same_order(got, want, &scores).is_ok();
    assert!(same(&[0, 1, 2], &[0, 1, 2]) && same(&[0, 1, 3], &[0, 1, 2]));
    assert!(!same(&[1, 0, 2], &[0, 1, 2]) && !same(&[0, 2], &[0, 1]));
    assert!(!same(&[2, 4, 3], &[2, 3, 4]) && !same(&[4], &[3]), "a tie goes to the one that stands earlier");
    assert!(!same(&[2, 2], &[2, 3]) && !same(&[7], &[0]) && !same(&[-1], &[0]));
    assert!(!same(&[6, 5], &[5, 6]), "one that takes no part comes last, however small the other's score");
}
