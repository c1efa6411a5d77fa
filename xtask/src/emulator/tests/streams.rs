//! Programs on two streams, with and without the waits that they need: what lacks one shows in some order of the streams,
//! and what has them all is right in every order.

use super::{DRIVER, driver::*};
use std::sync::PoisonError;

const WORDS: usize = 100;
const NON_BLOCKING: usize = 1;

/// Two streams, an event, and two buffers on the device.
struct Bench<'a> {
    driver: &'a Driver,
    streams: [usize; 2],
    event: usize,
    x: usize,
    y: usize,
}

impl<'a> Bench<'a> {
    fn new(driver: &'a Driver) -> Self {
        let stream = || {
            let mut made = 0_usize;
            assert_eq!(driver.call("cuStreamCreate", &[(&raw mut made).addr(), NON_BLOCKING]), SUCCESS);
            made
        };
        let mut event = 0_usize;
        assert_eq!(driver.call("cuEventCreate", &[(&raw mut event).addr(), 2]), SUCCESS);
        let streams = [stream(), stream()];
        let [x, y] = [1, 2].map(|value| driver.upload(&[value; WORDS]));
        Bench { driver, streams, event, x, y }
    }

    /// x = value, asked of a stream.
    fn fill(&self, stream: usize, value: usize) {
        let arguments = [self.x, value, WORDS, self.streams[stream]];
        assert_eq!(self.driver.call("cuMemsetD32Async", &arguments), SUCCESS);
    }

    /// y = x, asked of a stream.
    fn copy(&self, stream: usize) {
        let arguments = [self.y, self.x, 4 * WORDS, self.streams[stream]];
        assert_eq!(self.driver.call("cuMemcpyDtoDAsync_v2", &arguments), SUCCESS);
    }

    /// One stream waits for what the other was asked for so far.
    fn join(&self, waiting: usize, other: usize) {
        assert_eq!(self.driver.call("cuEventRecord", &[self.event, self.streams[other]]), SUCCESS);
        assert_eq!(self.driver.call("cuStreamWaitEvent", &[self.streams[waiting], self.event, 0]), SUCCESS);
    }

    /// What y holds when a stream is done, and the other one perhaps not.
    fn y(&self, stream: usize) -> u32 {
        assert_eq!(self.driver.call("cuStreamSynchronize", &[self.streams[stream]]), SUCCESS);
        let y = self.driver.download(self.y, WORDS);
        assert!(y.iter().all(|word| *word == y[0]));
        y[0]
    }
}

/// The results of a program in every order of the streams, many times where chance has a part.
fn in_every_order(program: impl Fn(&Bench) -> u32) -> Vec<u32> {
    let driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    driver.enter();
    let mut results = Vec::new();
    for (order, times) in [("eager", 1), ("late", 1), ("shuffled:3", 40)] {
        // SAFETY: the lock keeps other users of the variable out.
        unsafe { std::env::set_var("FOVEATE_EMULATOR_STREAMS", order) };
        results.extend((0..times).map(|_| program(&Bench::new(&driver))));
        assert_eq!(driver.call("cuCtxSynchronize", &[]), SUCCESS);
    }
    // SAFETY: the same invariant as of the block above holds here.
    unsafe { std::env::remove_var("FOVEATE_EMULATOR_STREAMS") };
    results
}

#[test]
fn a_reader_must_wait_for_the_writer() {
    let program = |waits: bool| {
        in_every_order(move |bench| {
            bench.fill(0, 7);
            if waits {
                bench.join(1, 0);
            }
            bench.copy(1);
            bench.y(1)
        })
    };
    assert!(program(true).iter().all(|&y| y == 7));
    let broken = program(false);
    assert_eq!(broken[..2], [7, 1], "at once, and late");
}

#[test]
fn a_writer_must_wait_for_the_reader() {
    let program = |waits: bool| {
        in_every_order(move |bench| {
            bench.copy(1);
            if waits {
                bench.join(0, 1);
            }
            bench.fill(0, 7);
            bench.y(1)
        })
    };
    assert!(program(true).iter().all(|&y| y == 1));
    let broken = program(false);
    assert!(broken.contains(&1) && broken.contains(&7), "{broken:?}");
}

#[test]
fn pinned_memory_is_read_when_the_stream_comes_to_it() {
    let program = |pinned: bool| {
        in_every_order(move |bench| {
            let mut host = vec![7_u32; WORDS];
            let mut at = host.as_mut_ptr().expose_provenance();
            if pinned {
                let arguments = [(&raw mut at).addr(), 4 * WORDS, 0];
                assert_eq!(bench.driver.call("cuMemHostAlloc", &arguments), SUCCESS);
            }
            let words = std::ptr::with_exposed_provenance_mut::<u32>(at);
            // SAFETY: `at` is the address of that many words, of the vector or of the driver's allocation.
            let fill = |value: u32| (0..WORDS).for_each(|i| unsafe { words.add(i).write(value) });
            fill(7);
            let arguments = [bench.y, at, 4 * WORDS, bench.streams[0]];
            assert_eq!(bench.driver.call("cuMemcpyHtoDAsync_v2", &arguments), SUCCESS);
            fill(8);
            bench.y(0)
        })
    };
    assert!(program(false).iter().all(|&y| y == 7));
    assert_eq!(program(true)[..2], [7, 8], "at once, and late");
}
