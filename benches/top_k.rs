//! The places of the best of many logits: the cut that a selection makes once at its end.

use crate::support::{Call, Case, between, one};
use foveate::{Result, ops};

const CANDIDATES: usize = 900;
const KEEP: usize = 100;

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

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("top_k/100-of-900", "places of the 100 greatest of 1x900 logits", top_k).sets(8)]
}
