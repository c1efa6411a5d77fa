//! The threads that operations on the CPU run on: those of rayon's global pool.
//!
//! An operation called from another thread hands its work over and waits, which costs 5 to 25 µs a time. A thread of the
//! pool does a share of the work itself and hands over the rest in less than one.

use crate::error::{Error, Result};
use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Makes the calling thread one of the pool's, which has `threads` of them (0: one for each processor). To be called
/// once, at the start of a program, by the thread that will run the operations: then small ones are not slowed down by
/// handing them over. The results of operations do not depend on any of this.
///
/// ```
/// use foveate::{Device, Tensor, cpu, ops};
/// # fn main() -> foveate::Result<()> {
/// cpu::join_pool(2)?;
/// let x = Tensor::full(1.0_f32, [64, 64], &Device::Cpu)?;
/// assert_eq!(ops::sum_all(&x)?.item::<f32>()?, 4096.0);
/// assert!(cpu::join_pool(2).is_err());
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The pool exists already: something ran on it, or this was called before.
pub fn join_pool(threads: usize) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
    pool.build_global().map_err(|why| Error::argument("join_pool", format!("{why}: call it first of all")))
}

/// Counts the operations begun, so that threads that wait for the next one see it come.
static BEGUN: AtomicU64 = AtomicU64::new(0);
/// How long a thread stays awake after an operation. Networks are sequences of operations, and to wake a thread whose
/// processor has gone to sleep can take longer than an operation.
const AWAKE: Duration = Duration::from_micros(100);
/// The most threads that are kept awake.
const MOST: usize = 32;

/// Runs an operation, and keeps the pool's threads awake for the next.
pub(crate) fn awake<R>(operation: impl FnOnce() -> R) -> R {
    BEGUN.fetch_add(1, Ordering::Relaxed);
    let result = operation();
    let begun = BEGUN.load(Ordering::Relaxed);
    for _ in 1..rayon::current_num_threads().min(MOST) {
        rayon::spawn(move || {
            let since = Instant::now();
            while BEGUN.load(Ordering::Relaxed) == begun && since.elapsed() < AWAKE {
                (0..32).for_each(|_| spin_loop());
            }
        });
    }
    result
}

/// Runs `work` on a thread of the pool: all its operations are handed over at once instead of one by one.
pub fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
