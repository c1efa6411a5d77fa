//! Single operations: patches out of an image, the best of many logits, and what a submission costs.

use crate::support::{Call, Case, between, one, uniform};
use foveate::{Result, ops};

const SIDE: usize = 1500;
const PATCH: usize = 50;
const CANDIDATES: usize = 900;
const KEEP: usize = 100;
/// Additions of which each needs the result of the one before.
const CHAIN: usize = 1000;

/// All patches of an image that is on the device, into memory from the pool.
fn unfold() -> Result<Call> {
    let image = uniform("image", [1, 1, SIDE, SIDE])?;
    one(move || ops::unfold(&image, [PATCH; 2], [PATCH; 2]))
}

/// Other logits in every call, as in use.
fn top_k() -> Result<Call> {
    let logits = |at: usize| between(&format!("logits{at}"), [1, CANDIDATES, 1], -4.0, 4.0);
    let logits = (0..8).map(logits).collect::<Result<Vec<_>>>()?;
    let mut turn = 0;
    one(move || {
        turn += 1;
        ops::top_m_merge(&logits[(turn - 1) % logits.len()], KEEP, CANDIDATES - KEEP)
    })
}

/// One element, and the wait for it.
fn add() -> Result<Call> {
    let (x, y) = (uniform("x", [1])?, uniform("y", [1])?);
    one(move || ops::add(&x, &y))
}

/// A chain, and the wait for its end: a millisecond of the case is a microsecond of an operation.
fn add_chain() -> Result<Call> {
    let (x, y) = (uniform("x", [1])?, uniform("y", [1])?);
    one(move || (0..CHAIN).try_fold(x.clone(), |sum, _| ops::add(&sum, &y)))
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("unfold/50-50", "1x1x1500x1500 f32, patch 50 stride 50", unfold),
        Case::new("top_k/100-of-900", "places of the 100 greatest of 1x900 logits", top_k),
        Case::new("overhead/add", "1 addition of 1 element, read back", add),
        Case::new(
            "overhead/chain",
            "1000 additions of 1 element, one after the other, the last read back",
            add_chain,
        ),
    ]
}
