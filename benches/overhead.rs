//! What an operation costs beside its arithmetic: 1,000 additions of tensors of one element, so that a millisecond of the
//! case is a microsecond of an operation.

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

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("overhead/untracked", "1000 additions of 1 element", untracked),
        Case::new("overhead/recorded", "1000 additions of 1 element, recorded for backward", recorded),
    ]
}
