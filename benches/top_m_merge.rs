//! One merge of a running selection: kept and new logits of 16 images to the indices of the best and their logits.

use crate::support::{Call, Case, between, many};
use foveate::{Result, ops};

const KEEP: usize = 100;

/// Other logits in every call: a sort of the same numbers again and again trains the branch predictor.
fn merge() -> Result<Call> {
    let logits = |name: &str, at: usize| between(&format!("{name}{at}"), [16, KEEP, 32], -4.0, 4.0);
    let pairs =
        (0..16).map(|at| Ok((logits("kept", at)?, logits("new", at)?))).collect::<Result<Vec<_>>>()?;
    let mut turn = 0;
    many(move || {
        let (kept, new) = &pairs[turn % pairs.len()];
        turn += 1;
        let candidates = ops::concat(&[kept, new], 1)?;
        let best = ops::top_m_merge(&candidates, KEEP, KEEP)?;
        let logits = ops::gather(&candidates, &best)?;
        Ok(vec![best, logits])
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let about = "16 images, 100 kept + 100 new, 32 rows of logits, keep 100";
    vec![Case::new("top_m_merge/100-100", about, merge).sets(16)]
}
