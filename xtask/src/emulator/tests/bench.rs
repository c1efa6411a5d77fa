//! Two streams, two events and three buffers of the emulated driver, and programs on them in every order that the streams allow.

use super::{DRIVER, driver::*};
use std::sync::PoisonError;

pub(super) const WORDS: usize = 100;
const NON_BLOCKING: usize = 1;

/// Two streams, two events, and three buffers on the device that hold 1, 2 and 3.
pub(super) struct Bench<'a> {
    pub(super) driver: &'a Driver,
    pub(super) streams: [usize; 2],
    pub(super) events: [usize; 2],
    pub(super) buffers: [usize; 3],
}

impl<'a> Bench<'a> {
    pub(super) fn new(driver: &'a Driver) -> Self {
        let made = |name: &str, flags: usize| {
            let mut made = 0_usize;
            assert_eq!(driver.call(name, &[(&raw mut made).addr(), flags]), SUCCESS);
            made
        };
        Bench {
            driver,
            streams: [0; 2].map(|_| made("cuStreamCreate", NON_BLOCKING)),
            events: [0; 2].map(|_| made("cuEventCreate", 2)),
            buffers: [1, 2, 3].map(|value| driver.upload(&[value; WORDS])),
        }
    }

    pub(super) fn call(&self, name: &str, arguments: &[usize]) -> i32 {
        self.driver.call(name, arguments)
    }

    pub(super) fn fill(&self, stream: usize, buffer: usize, value: usize) {
        let arguments = [self.buffers[buffer], value, WORDS, self.streams[stream]];
        assert_eq!(self.call("cuMemsetD32Async", &arguments), SUCCESS);
    }

    pub(super) fn copy(&self, stream: usize, to: usize, from: usize) {
        let arguments = [self.buffers[to], self.buffers[from], 4 * WORDS, self.streams[stream]];
        assert_eq!(self.call("cuMemcpyDtoDAsync_v2", &arguments), SUCCESS);
    }

    /// One stream waits for what the other was asked for so far.
    pub(super) fn join(&self, event: usize, waiting: usize, other: usize) {
        assert_eq!(self.call("cuEventRecord", &[self.events[event], self.streams[other]]), SUCCESS);
        assert_eq!(self.call("cuStreamWaitEvent", &[self.streams[waiting], self.events[event], 0]), SUCCESS);
    }

    /// What a buffer holds when a stream is done, and the other one perhaps not.
    pub(super) fn value(&self, stream: usize, buffer: usize) -> u32 {
        assert_eq!(self.call("cuStreamSynchronize", &[self.streams[stream]]), SUCCESS);
        let words = self.driver.download(self.buffers[buffer], WORDS);
        assert!(words.iter().all(|word| *word == words[0]));
        words[0]
    }
}

/// The results of a program in every order of the streams, many times where chance has a part.
pub(super) fn in_every_order<T>(program: impl Fn(&Bench) -> T) -> Vec<T> {
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
