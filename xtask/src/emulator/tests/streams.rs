//! Programs on two streams, with and without the waits that they need: what lacks one shows in some order of the streams,
//! and what has them all is right in every order.

use super::{
    bench::{WORDS, in_every_order},
    driver::*,
};

/// The two buffers: a writer fills x, a reader copies it to y.
const X: usize = 0;
const Y: usize = 1;

#[test]
fn a_reader_must_wait_for_the_writer() {
    let program = |waits: bool| {
        in_every_order(move |bench| {
            bench.fill(0, X, 7);
            if waits {
                bench.join(0, 1, 0);
            }
            bench.copy(1, Y, X);
            bench.value(1, Y)
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
            bench.copy(1, Y, X);
            if waits {
                bench.join(0, 0, 1);
            }
            bench.fill(0, X, 7);
            bench.value(1, Y)
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
            let arguments = [bench.buffers[Y], at, 4 * WORDS, bench.streams[0]];
            assert_eq!(bench.driver.call("cuMemcpyHtoDAsync_v2", &arguments), SUCCESS);
            fill(8);
            bench.value(0, Y)
        })
    };
    assert!(program(false).iter().all(|&y| y == 7));
    assert_eq!(program(true)[..2], [7, 8], "at once, and late");
}
