//! Captures: what is asked of a captured stream is done when the graph is launched, as often as it is, in an order that its
//! edges allow; what a GPU's driver refuses in a capture is refused.

use super::{
    DRIVER,
    bench::{Bench, WORDS, in_every_order},
    driver::*,
};
use std::sync::PoisonError;

const THREAD_LOCAL: usize = 1;
const RELAXED: usize = 2;

const ILLEGAL_STATE: i32 = 401;
const UNSUPPORTED: i32 = 900;
const INVALIDATED: i32 = 901;
const UNJOINED: i32 = 904;
const ISOLATION: i32 = 905;
const CAPTURED_EVENT: i32 = 907;

impl Bench<'_> {
    fn begin(&self, mode: usize) {
        assert_eq!(self.call("cuStreamBeginCapture_v2", &[self.streams[0], mode]), SUCCESS);
    }

    /// The graph, or why there is none.
    fn end(&self) -> Result<usize, i32> {
        let mut graph = 0_usize;
        match self.call("cuStreamEndCapture", &[self.streams[0], (&raw mut graph).addr()]) {
            SUCCESS => Ok(graph),
            code => Err(code),
        }
    }

    fn instance(&self, graph: usize) -> usize {
        let mut made = 0_usize;
        assert_eq!(self.call("cuGraphInstantiateWithFlags", &[(&raw mut made).addr(), graph, 0]), SUCCESS);
        assert_eq!(self.call("cuGraphDestroy", &[graph]), SUCCESS);
        made
    }

    fn launch(&self, instance: usize) {
        assert_eq!(self.call("cuGraphLaunch", &[instance, self.streams[1]]), SUCCESS);
    }
}

#[test]
fn a_graph_is_done_when_launched_and_as_often() {
    let results = in_every_order(|bench| {
        bench.begin(THREAD_LOCAL);
        bench.copy(0, 1, 0);
        bench.fill(0, 0, 9);
        let instance = bench.instance(bench.end().unwrap());
        let before = [bench.value(1, 0), bench.value(1, 1)];
        bench.launch(instance);
        let once = [bench.value(1, 0), bench.value(1, 1)];
        bench.fill(1, 0, 5);
        bench.launch(instance);
        let twice = [bench.value(1, 0), bench.value(1, 1)];
        assert_eq!(bench.call("cuGraphExecDestroy", &[instance]), SUCCESS);
        [before, once, twice]
    });
    assert!(results.iter().all(|result| *result == [[1, 2], [9, 1], [9, 5]]), "{results:?}");
}

/// A second stream forks from the capture and joins it again; without the join at the start, its copy may come too early.
#[test]
fn nodes_keep_their_edges_and_no_more() {
    let program = |waits: bool| {
        in_every_order(move |bench| {
            bench.begin(THREAD_LOCAL);
            if !waits {
                bench.join(0, 1, 0);
            }
            bench.fill(0, 0, 7);
            if waits {
                bench.join(0, 1, 0);
            }
            bench.copy(1, 1, 0);
            bench.join(1, 0, 1);
            bench.copy(0, 2, 1);
            let instance = bench.instance(bench.end().unwrap());
            bench.launch(instance);
            bench.value(1, 2)
        })
    };
    assert!(program(true).iter().all(|&value| value == 7));
    let broken = program(false);
    assert_eq!(broken[..2], [7, 1], "in the order of the calls, and the other way round");
}

#[test]
fn what_would_wait_is_refused_and_spoils_the_capture() {
    let codes = in_every_order(|bench| {
        let spoiled = |forbidden: &dyn Fn() -> i32, code: i32| {
            bench.begin(THREAD_LOCAL);
            bench.fill(0, 0, 7);
            assert_eq!(forbidden(), code);
            assert_eq!(bench.end(), Err(INVALIDATED));
            assert_eq!(bench.end(), Err(ILLEGAL_STATE), "the capture has ended");
        };
        let mut words = [0_u32; WORDS];
        let (host, bytes) = (words.as_mut_ptr().expose_provenance(), 4 * WORDS);
        let mut at = 0_usize;
        let at = (&raw mut at).addr();
        spoiled(&|| bench.call("cuStreamSynchronize", &[bench.streams[0]]), UNSUPPORTED);
        spoiled(&|| bench.call("cuCtxSynchronize", &[]), UNSUPPORTED);
        spoiled(&|| bench.call("cuMemAlloc_v2", &[at, 16]), UNSUPPORTED);
        spoiled(&|| bench.call("cuMemHostAlloc", &[at, 16, 0]), UNSUPPORTED);
        spoiled(&|| bench.call("cuMemFree_v2", &[bench.buffers[2]]), UNSUPPORTED);
        let copy = |name: &str, first: usize, second: usize| {
            bench.call(name, &[first, second, bytes, bench.streams[0]])
        };
        spoiled(&|| copy("cuMemcpyHtoDAsync_v2", bench.buffers[0], host), UNSUPPORTED);
        spoiled(&|| copy("cuMemcpyDtoHAsync_v2", host, bench.buffers[0]), UNSUPPORTED);
        let event = bench.events[0];
        let recorded = |stream: usize| {
            assert_eq!(bench.call("cuEventRecord", &[event, bench.streams[stream]]), SUCCESS);
        };
        spoiled(
            &|| {
                recorded(0);
                bench.call("cuEventSynchronize", &[event])
            },
            CAPTURED_EVENT,
        );
        spoiled(
            &|| {
                recorded(1);
                bench.call("cuStreamWaitEvent", &[bench.streams[0], event, 0])
            },
            ISOLATION,
        );
        bench.value(1, 0)
    });
    assert!(codes.iter().all(|&value| value == 1), "nothing of a spoiled capture is done");
}

#[test]
fn streams_that_were_not_joined_are_refused() {
    in_every_order(|bench| {
        bench.begin(THREAD_LOCAL);
        bench.fill(0, 0, 7);
        bench.join(0, 1, 0);
        bench.fill(1, 1, 7);
        assert_eq!(bench.end(), Err(UNJOINED));
        assert_eq!(bench.value(1, 1), 2);
    });
}

/// A relaxed capture, and one of another thread, leave allocation alone.
#[test]
fn captures_that_do_not_concern_a_thread_leave_it_alone() {
    in_every_order(|bench| {
        bench.begin(RELAXED);
        bench.driver.allocate(16);
        bench.fill(0, 0, 7);
        assert!(bench.end().is_ok());
    });
    let driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    driver.enter();
    let bench = Bench::new(&driver);
    bench.begin(THREAD_LOCAL);
    bench.fill(0, 0, 7);
    let library = &*driver;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            library.enter();
            library.allocate(16);
        });
    });
    assert!(bench.end().is_ok());
}
