//! Launches `emulator/tests/checks/checks.cu` through the driver's interface: sound kernels give known results in every
//! thread order, and each broken one is reported, or shows. What the checking build reports is in `accesses.rs`, what
//! streams do when in `streams.rs`, what a capture keeps and refuses in `graphs.rs`.

mod accesses;
mod bench;
mod driver;
mod graphs;
mod streams;

use super::*;
use driver::*;
use std::sync::{LazyLock, Mutex};

const BLOCK: usize = 64;
const KERNELS: &[Declared] = &[
    ("block_sum", &[8, 8]),
    ("warp_words", &[8]),
    ("exponential", &[8, 8]),
    ("reversed", &[8, 8]),
    ("reversed_without_barrier", &[8, 8]),
    ("copied", &[8, 8]),
    ("copied_too_late", &[8, 8]),
    ("never_waited_for", &[8, 8]),
    ("unwritten", &[8]),
    ("ended_early", &[8]),
    ("two_barriers", &[8]),
    ("lost_lanes", &[8]),
    ("not_in_mask", &[8]),
    ("beyond_global", &[8]),
    ("beyond_shared", &[8, 4]),
];

static DRIVER: LazyLock<Mutex<Driver>> =
    LazyLock::new(|| Mutex::new(Driver::open("checks", KERNELS, Kind::Plain)));

fn floats(words: &[u32]) -> Vec<f32> {
    words.iter().map(|&w| f32::from_bits(w)).collect()
}

fn counting(n: usize) -> Vec<u32> {
    (0..n).map(|i| (i as f32).to_bits()).collect()
}

#[test]
fn sound_kernels_give_their_results_in_every_order() {
    in_every_order(&DRIVER, |d| {
        let (x, y) = (d.upload(&counting(3 * BLOCK)), d.upload(&[0; BLOCK * 8]));
        assert_eq!(d.launch("block_sum", 3, BLOCK, 0, &[x, y]).0, SUCCESS);
        let sum = |block: usize| (0..BLOCK).map(|i| (block * BLOCK + i) as f32).sum::<f32>();
        assert_eq!(floats(&d.download(y, 3)), [sum(0), sum(1), sum(2)]);
        assert_eq!(d.launch("reversed", 1, BLOCK, BLOCK * 4, &[x, y]).0, SUCCESS);
        assert!(floats(&d.download(y, BLOCK)).iter().enumerate().all(|(i, &v)| v == (BLOCK - 1 - i) as f32));
        assert_eq!(d.launch("warp_words", 1, BLOCK, 0, &[y]).0, SUCCESS);
        for (thread, words) in d.download(y, BLOCK * 8).chunks(8).enumerate() {
            let lane = thread as u32 % 32;
            let down = if lane % 8 < 5 { lane + 3 } else { lane };
            let last = if lane < 16 { lane ^ 15 } else { 0xffff_0000 };
            let want = [
                50,
                lane.saturating_sub(3).max(if lane < 3 { lane } else { 0 }),
                down,
                lane ^ 1,
                0xaaaa_aaaa,
                1,
                last,
                2,
            ];
            assert_eq!(words, want, "thread {thread}");
        }
    });
}

#[test]
fn the_exponential_is_within_its_bound() {
    let (_alone, driver) = alone(&DRIVER);
    let blocks = 4096;
    let x: Vec<u32> =
        (0..blocks * BLOCK).map(|i| (-87.0 * i as f32 / (blocks * BLOCK) as f32).to_bits()).collect();
    let (at, to) = (driver.upload(&x), driver.upload(&x));
    assert_eq!(driver.launch("exponential", blocks, BLOCK, 0, &[at, to]).0, SUCCESS);
    let mut worst = 0.0_f64;
    for (x, y) in floats(&x).into_iter().zip(floats(&driver.download(to, x.len()))) {
        let (exact, near) = (f64::from(x).exp(), f64::from(x).exp() as f32);
        let unit = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
        worst = worst.max((f64::from(y) - exact).abs() / unit);
    }
    assert!(worst < 1.1, "{worst} units in the last place");
    let special = [0.0, -0.0, -103.9, -105.0, f32::NEG_INFINITY, f32::NAN];
    let x: Vec<u32> = special.iter().cycle().take(BLOCK).map(|v: &f32| v.to_bits()).collect();
    let (at, to) = (driver.upload(&x), driver.upload(&x));
    assert_eq!(driver.launch("exponential", 1, BLOCK, 0, &[at, to]).0, SUCCESS);
    let y = floats(&driver.download(to, 6));
    assert_eq!(y[..5], [1.0, 1.0, f32::from_bits(1), 0.0, 0.0]);
    assert!(y[5].is_nan());
}

#[test]
fn a_missing_barrier_shows_in_some_order() {
    let wrong = std::cell::Cell::new(0);
    in_every_order(&DRIVER, |d| {
        let (x, y) = (d.upload(&counting(BLOCK)), d.upload(&[0; BLOCK]));
        assert_eq!(d.launch("reversed_without_barrier", 1, BLOCK, BLOCK * 4, &[x, y]).0, SUCCESS);
        let right =
            floats(&d.download(y, BLOCK)).iter().enumerate().all(|(i, &v)| v == (BLOCK - 1 - i) as f32);
        wrong.set(wrong.get() + usize::from(!right));
    });
    assert!(wrong.get() > 0);
}

#[test]
fn copies_are_there_when_they_were_waited_for_and_not_before() {
    in_every_order(&DRIVER, |d| {
        let (x, y) = (d.upload(&counting(8 * BLOCK)), d.upload(&[0; BLOCK]));
        assert_eq!(d.launch("copied", 2, BLOCK, 0, &[x, y]).0, SUCCESS);
        for (thread, sum) in floats(&d.download(y, BLOCK)).into_iter().enumerate() {
            let at = BLOCK - 1 - thread;
            let second = if at < BLOCK / 2 { 4 * (BLOCK + at) } else { 0 };
            assert_eq!(sum, (4 * at + second) as f32, "thread {thread}");
        }
        assert_eq!(d.launch("copied_too_late", 1, BLOCK, 0, &[x, y]).0, SUCCESS);
        assert!(floats(&d.download(y, BLOCK)).into_iter().any(f32::is_nan));
        let (code, text) = d.launch("never_waited_for", 1, BLOCK, 0, &[x, y]);
        assert_eq!(code, LAUNCH_FAILED);
        assert!(text.contains("never_waited_for") && text.contains("did not wait for"), "{text}");
        assert_eq!(d.launch("copied", 1, BLOCK, 0, &[x, y]).0, SUCCESS);
    });
}

#[test]
fn unwritten_shared_memory_reads_as_nan() {
    in_every_order(&DRIVER, |d| {
        let y = d.upload(&[0; BLOCK]);
        assert_eq!(d.launch("unwritten", 2, BLOCK, 0, &[y]).0, SUCCESS);
        let read = floats(&d.download(y, BLOCK));
        assert!(
            read.iter().enumerate().all(|(i, v)| if i == 1 { *v == 1.0 } else { v.is_nan() }),
            "{read:?}"
        );
    });
}

#[test]
fn misused_barriers_and_warp_operations_are_reported() {
    in_every_order(&DRIVER, |d| {
        let y = d.upload(&[0; BLOCK]);
        for (kernel, says) in [
            ("ended_early", "divergent barrier"),
            ("two_barriers", "divergent barrier"),
            ("lost_lanes", "deadlock"),
            ("not_in_mask", "not in the mask"),
        ] {
            let (code, text) = d.launch(kernel, 1, BLOCK, 0, &[y]);
            assert_eq!(code, LAUNCH_FAILED, "{kernel}");
            assert!(text.contains(says) && text.contains(kernel) && text.contains("checks.cu:"), "{text}");
        }
        // The next launch is not troubled.
        assert_eq!(d.launch("warp_words", 1, 32, 0, &[d.upload(&[0; 32 * 8])]).0, SUCCESS);
    });
}

#[test]
fn launches_beyond_the_limits_are_refused() {
    in_every_order(&DRIVER, |d| {
        let (x, y) = (d.upload(&counting(BLOCK)), d.upload(&[0; BLOCK]));
        assert_eq!(d.launch("reversed", 1, 2048, 0, &[x, y]).0, INVALID_VALUE);
        assert_eq!(d.launch("reversed", 1, 256, 0, &[x, y]).0, OUT_OF_RESOURCES);
        assert_eq!(d.launch("reversed", 1, BLOCK, 48 * 1024 + 1, &[x, y]).0, INVALID_VALUE);
        assert_eq!(d.launch("reversed", 0, BLOCK, 0, &[x, y]).0, INVALID_VALUE);
        assert_eq!(
            d.call("cuMemcpyHtoD_v2", &[y + 4, counting(BLOCK).as_ptr().addr(), BLOCK * 4]),
            INVALID_VALUE
        );
        assert_eq!(d.call("cuLaunchCooperativeKernel", &[0]), 801);
    });
}

#[test]
fn modules_that_do_not_fit_are_refused() {
    let (_alone, driver) = alone(&DRIVER);
    assert_eq!(driver.load(&ptx(&[("reversed", &[8, 8])], "8.1")), Err(222));
    assert_eq!(driver.load(&ptx(&[("reversed", &[8, 4])], "8.0")), Err(INVALID_IMAGE));
    assert_eq!(driver.load(&ptx(&[("reversed", &[8])], "8.0")), Err(INVALID_IMAGE));
    assert_eq!(driver.load(&ptx(&[("absent", &[8])], "8.0")), Err(INVALID_IMAGE));
}

/// Runs in a process of its own, which AddressSanitizer ends: see `overruns_end_the_program`.
#[test]
#[ignore = "run by overruns_end_the_program"]
fn one_launch_under_asan() {
    let kernel = std::env::var("FOVEATE_CHECK").unwrap();
    let driver = Driver::open("checks", KERNELS, Kind::Asan);
    let y = driver.upload(&[0; BLOCK]);
    let arguments = if kernel == "beyond_shared" { vec![y, 1] } else { vec![y] };
    assert_eq!(driver.launch(&kernel, 1, BLOCK, 0, &arguments).0, SUCCESS);
}

#[test]
fn overruns_end_the_program() {
    let child = |kernel: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "emulator::tests::one_launch_under_asan", "--ignored", "--nocapture"]);
        command.envs(environment(Kind::Asan).unwrap()).env("FOVEATE_CHECK", kernel);
        let out = command.output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (sound, says) = child("warp_words_on_too_little");
    assert!(!sound && !says.contains("AddressSanitizer"), "an unknown kernel is no overrun: {says}");
    let (sound, says) = child("ended_early");
    assert!(!sound && says.contains("divergent barrier") && !says.contains("AddressSanitizer"), "{says}");
    for (kernel, kind) in
        [("beyond_global", "heap-buffer-overflow"), ("beyond_shared", "global-buffer-overflow")]
    {
        let (sound, says) = child(kernel);
        assert!(!sound && says.contains(kind) && says.contains("checks.cu:"), "{kernel}: {says}");
        let place = format!("kernel {kernel}, block (0, 0, 0), thread (63, 0, 0)");
        assert!(says.contains(&place), "{kernel}: {says}");
    }
}

#[test]
fn entry_points_are_found() {
    let text = "extern \"C\" __global__ void __launch_bounds__(max(1, T), 2)\nfirst(int a) {}\n\
        __device__ void no(int);\nextern \"C\" __global__ void second(\n  float* x) {}";
    assert_eq!(entry_points(text, &[]), ["first", "second"]);
    let text = "#define BOTH(name, of) \\\n  extern \"C\" __global__ void __launch_bounds__(T) name##_##of(int a) {} \\\n  \
        extern \"C\" __global__ void name##_grad(int a) {}\nBOTH(f, x)\nBOTH(g, y);\n#define OTHER(a) a\nOTHER(3)\n";
    assert_eq!(entry_points(text, &[]), ["f_x", "g_y", "f_grad", "g_grad"]);
    let header = "#define MAKE(name) extern \"C\" __global__ void name(int a) {}\n";
    assert_eq!(entry_points("MAKE(made)\n", &["int x;", header]), ["made"]);
}
