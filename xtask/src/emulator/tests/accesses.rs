//! The checking build says nothing of sound kernels and reports each broken one, with both threads and both source lines:
//! `emulator/tests/checks/accesses.cu`.

use super::super::*;
use super::{BLOCK, counting, driver::*};
use std::sync::{LazyLock, Mutex};

const ONE: &[u32] = &[8];
const TWO: &[u32] = &[8, 8];
const KERNELS: &[Declared] = &[
    ("bytes_side_by_side", ONE),
    ("in_order_within_a_warp", TWO),
    ("counted", TWO),
    ("entries_at_multiples_of_8", ONE),
    ("gathered", TWO),
    ("through_global", TWO),
    ("read_too_early", TWO),
    ("overwritten_too_early", TWO),
    ("two_writers", ONE),
    ("ordered_by_a_shuffle", TWO),
    ("ordered_by_halves", TWO),
    ("ordered_within_warps", TWO),
    ("read_while_counted", ONE),
    ("global_read_too_early", TWO),
    ("blocks_write_one_place", ONE),
    ("blocks_in_a_chain", ONE),
    ("one_word_short", ONE),
    ("dynamic_one_word_short", ONE),
    ("left_by_another_block", ONE),
    ("unwritten_global", TWO),
    ("one_result_short", ONE),
    ("past_the_end", ONE),
    ("before_the_beginning", TWO),
    ("past_dynamic_shared", ONE),
    ("across_the_end", TWO),
    ("misaligned_global", TWO),
    ("misaligned_shared", ONE),
];

static DRIVER: LazyLock<Mutex<Driver>> =
    LazyLock::new(|| Mutex::new(Driver::open("accesses", KERNELS, Kind::Checks)));

#[test]
fn sound_kernels_are_not_reported() {
    let words: Vec<u32> = (0..BLOCK as u32).collect();
    in_every_order(&DRIVER, |d| {
        let (x, y) = (d.upload(&words), d.upload(&[0; 8 * BLOCK]));
        let run = |kernel: &str, grid, arguments: &[usize]| {
            let (code, says) = d.launch(kernel, grid, BLOCK, 0, arguments);
            assert_eq!(code, SUCCESS, "{kernel}: {says}");
        };
        run("bytes_side_by_side", 1, &[y]);
        assert_eq!(d.download(y, 2), [0x0302_0100, 0x0706_0504]);
        run("in_order_within_a_warp", 1, &[x, y]);
        assert!(d.download(y, BLOCK).iter().zip(0..).all(|(&word, t)| word == (t ^ 8 ^ 31) + 1));
        let counts = d.upload(&[0; 4]);
        run("counted", 2, &[x, counts]);
        assert_eq!(d.download(counts, 4), [BLOCK as u32 / 2; 4]);
        run("entries_at_multiples_of_8", 1, &[y]);
        assert_eq!(d.download(y, 4), [66, 0, 65, 0]);
        run("gathered", 1, &[x, y]);
        assert_eq!(d.download(y, BLOCK)[31..33], [31 * 16, 31 * 16 + 32 * 32]);
        run("through_global", 2, &[d.allocate(2 * BLOCK * 4), y]);
        assert_eq!(d.download(y, 4), [4.0, 7.0, 0.0, 63.0].map(f32::to_bits));
    });
}

/// A broken kernel, its grid, its dynamic shared memory and its arguments, and what must be said of it.
struct Broken(&'static str, usize, usize, fn(&Driver) -> Vec<usize>, &'static str);

fn zeros(d: &Driver) -> usize {
    d.upload(&[0; 8 * BLOCK])
}

fn y(d: &Driver) -> Vec<usize> {
    vec![zeros(d)]
}

fn xy(d: &Driver) -> Vec<usize> {
    vec![d.upload(&counting(8 * BLOCK)), zeros(d)]
}

const WORDS: usize = 4 * BLOCK;
const BROKEN: &[Broken] = &[
    Broken("read_too_early", 1, 0, xy, "race on shared memory"),
    Broken("overwritten_too_early", 1, WORDS, xy, "race on dynamic shared memory"),
    Broken("two_writers", 1, 0, y, "race on shared memory"),
    Broken("ordered_by_a_shuffle", 1, 0, xy, "race on shared memory"),
    Broken("ordered_by_halves", 1, 0, xy, "race on shared memory"),
    Broken("ordered_within_warps", 1, 0, xy, "race on shared memory"),
    Broken("read_while_counted", 1, 0, y, "race on shared memory"),
    Broken("global_read_too_early", 1, 0, xy, "race on global memory"),
    Broken("blocks_write_one_place", 2, 0, y, "of block (0, 0, 0), which wrote"),
    Broken("blocks_in_a_chain", 2, 0, y, "of block (0, 0, 0), which wrote"),
    Broken("one_word_short", 1, 0, y, "thread (0, 0, 0) reads 4 bytes"),
    Broken("one_word_short", 1, 0, y, "nothing wrote this shared memory in this block"),
    Broken(
        "dynamic_one_word_short",
        1,
        2 * WORDS,
        y,
        "nothing wrote this dynamic shared memory in this block",
    ),
    Broken("left_by_another_block", 2, 0, y, "block (1, 0, 0)"),
    Broken("left_by_another_block", 2, 0, y, "nothing wrote this shared memory in this block"),
    Broken(
        "unwritten_global",
        1,
        0,
        |d| vec![d.allocate(WORDS), zeros(d)],
        "nothing wrote this global memory",
    ),
    Broken(
        "past_the_end",
        1,
        0,
        |d| vec![d.allocate(WORDS)],
        "0 bytes past the end of 256 bytes of global memory",
    ),
    Broken(
        "before_the_beginning",
        1,
        0,
        |d| vec![d.upload(&[0; BLOCK]), zeros(d)],
        "4 bytes before 256 bytes of global memory",
    ),
    Broken("past_dynamic_shared", 1, WORDS, y, "0 bytes past the end of 256 bytes of dynamic shared memory"),
    Broken(
        "across_the_end",
        1,
        0,
        |d| vec![d.upload(&[0; 4 * BLOCK - 2]), zeros(d)],
        "part of it lies beyond global memory",
    ),
    Broken("misaligned_global", 1, 0, xy, "is no multiple of 16"),
    Broken("misaligned_shared", 1, 0, y, "is no multiple of 16"),
];

#[test]
fn broken_kernels_are_reported() {
    let source = read(&root().join("emulator/tests/checks/accesses.cu")).unwrap();
    in_every_order(&DRIVER, |d| {
        for &Broken(kernel, grid, shared, arguments, what) in BROKEN {
            let (code, says) = d.launch(kernel, grid, BLOCK, shared, &arguments(d));
            assert_eq!(code, LAUNCH_FAILED, "{kernel}: {says}");
            assert!(
                says.contains(&format!("kernel {kernel}, block (")) && says.contains(what),
                "{kernel}: {says}"
            );
            let (first, second) = marked(&source, kernel);
            let mut lines = named(&says).into_iter();
            assert!(lines.next().is_some_and(|line| second.contains(&line)), "{kernel}: {says}");
            assert!(
                first.is_empty() || lines.next().is_some_and(|line| first.contains(&line)),
                "{kernel}: {says}"
            );
            assert_eq!(lines.next(), None, "{kernel}: {says}");
        }
        // The next launch is not troubled.
        assert_eq!(d.launch("bytes_side_by_side", 1, BLOCK, 0, &[zeros(d)]).0, SUCCESS);
    });
}

#[test]
fn a_copy_of_what_nothing_wrote_is_reported() {
    in_every_order(&DRIVER, |d| {
        let y = d.allocate(WORDS);
        let (code, says) = d.launch("one_result_short", 1, BLOCK, 0, &[y]);
        assert_eq!(code, SUCCESS, "{says}");
        assert_eq!(d.download(y, BLOCK - 1), [1.0_f32.to_bits(); BLOCK - 1]);
        let mut words = [0_u32; BLOCK];
        assert_eq!(d.call("cuMemcpyDtoH_v2", &[words.as_mut_ptr().addr(), y, WORDS]), LAUNCH_FAILED);
        assert!(d.text_of(LAUNCH_FAILED).contains("byte 252 of an allocation of 256"));
        // A copy on the device is as unwritten as what it is of, and a fill writes.
        let z = d.allocate(WORDS);
        assert_eq!(d.call("cuMemcpyDtoD_v2", &[z, y, WORDS]), SUCCESS);
        assert_eq!(d.call("cuMemcpyDtoH_v2", &[words.as_mut_ptr().addr(), z, WORDS]), LAUNCH_FAILED);
        assert_eq!(d.call("cuMemsetD8_v2", &[z + 252, 0, 4]), SUCCESS);
        assert_eq!(d.download(z, BLOCK)[BLOCK - 1], 0);
    });
}

/// The lines of a kernel that are marked `first` and those marked `second`, from 1.
fn marked(source: &str, kernel: &str) -> (Vec<usize>, Vec<usize>) {
    let begin = source.lines().position(|line| line.contains(&format!("void {kernel}("))).unwrap();
    let body = source.lines().enumerate().skip(begin).take_while(|(_, line)| *line != "}");
    let comments: Vec<(usize, &str)> =
        body.filter_map(|(at, line)| Some((at + 1, line.split_once("//")?.1))).collect();
    let with =
        |mark: &str| comments.iter().filter(|(_, text)| text.contains(mark)).map(|(at, _)| *at).collect();
    (with("first"), with("second"))
}

/// The lines of the file that a report names, in its order.
fn named(report: &str) -> Vec<usize> {
    let digits = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("").parse().unwrap();
    report.split("accesses.cu:").skip(1).map(digits).collect()
}
