//! 10 draws without replacement from each of 16 rows of 32,400 logits, in draw order.

use crate::support::{Call, Case, between, one};
use foveate::{Result, Rng, ops};

fn draw() -> Result<Call> {
    let logits = |at| between(&format!("logits{at}"), [16, 32_400], -4.0, 4.0);
    let logits = (0..4).map(logits).collect::<Result<Vec<_>>>()?;
    let (mut turn, mut rng) = (0, Rng::new(0));
    one(move || {
        turn += 1;
        ops::gumbel_top_k(&logits[turn % logits.len()], 10, &mut rng)
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let case = Case::new("gumbel_top_k/10-of-32400", "top 10 of 16x32400, fresh noise each call", draw);
    vec![Case { random: true, ..case }]
}
