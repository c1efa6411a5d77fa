//! What an operation costs beside its arithmetic: additions of tensors of one element. A thousand of them make a
//! millisecond of the case a microsecond of an operation.

use crate::support::{Call, Case, one, uniform};
use foveate::{Result, Tape, ops};
use std::hint::black_box;

const COUNT: usize = 1000;

fn untracked() -> Result<Call> {
    let (x, y) = (uniform("x", [1])?, uniform("y", [1])?);
    one(move || {
        for _ in 1..COUNT {
            black_box(ops::add(&x, &y)?);
        }
        ops::add(&x, &y)
    })
}

/// With making and freeing the tape.
fn recorded() -> Result<Call> {
    let (x, y) = (uniform("x", [1])?, uniform("y", [1])?);
    one(move || {
        let tape = Tape::new();
        let x = tape.watch(&x)?;
        for _ in 1..COUNT {
            black_box(ops::add(&x, &y)?);
        }
        ops::add(&x, &y)
    })
}

/// One addition.
fn add() -> Result<Call> {
    let (x, y) = (uniform("x", [1])?, uniform("y", [1])?);
    one(move || ops::add(&x, &y))
}

/// Additions of which each needs the result of the one before.
fn chain() -> Result<Call> {
    let (x, y) = (uniform("x", [1])?, uniform("y", [1])?);
    one(move || (0..COUNT).try_fold(x.clone(), |sum, _| ops::add(&sum, &y)))
}

/// Blocks of a few sizes from the pool and back, and no launch.
#[cfg(feature = "cuda")]
fn pool() -> Result<Call> {
    use crate::support::{device, many};
    use foveate::{Device, Error, cuda::Block};
    let Device::Cuda(device) = device() else {
        return Err(Error::NoDevice { device: "cuda:0".into(), why: "the benchmarks run elsewhere".into() });
    };
    many(move || {
        for at in 0..COUNT {
            black_box(Block::new(&device, 4 << (at % 8), "the benchmark")?);
        }
        Ok(Vec::new())
    })
}

/// On the CPU, where the host's time is all there is.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("overhead/untracked", "1000 additions of 1 element", untracked),
        Case::new("overhead/recorded", "1000 additions of 1 element, recorded for backward", recorded),
    ]
}

/// Through wgpu, where submitting and waiting cost most.
pub(crate) fn waited_for() -> Vec<Case> {
    let chained = "1000 additions of 1 element, one after the other, the last read back";
    vec![
        Case::new("overhead/add", "1 addition of 1 element, read back", add),
        Case::new("overhead/chain", chained, chain),
    ]
}

/// On CUDA, which runs behind the host: the host's time for launching and allocating, and the device's for a chain.
pub(crate) fn launched() -> Vec<Case> {
    let host = |name: &str, about: &str, build: fn() -> Result<Call>| {
        Case::new(name, &format!("{about}; the host's time, without the wait"), build).host()
    };
    vec![
        host("overhead/untracked", "1000 additions of 1 element", untracked),
        host("overhead/recorded", "1000 additions of 1 element, recorded for backward", recorded),
        #[cfg(feature = "cuda")]
        host("overhead/pool", "1000 blocks of memory, each freed again", pool),
        Case::new("overhead/chain", "1000 additions of 1 element, one after the other", chain),
    ]
}
