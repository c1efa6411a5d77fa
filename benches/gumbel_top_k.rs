//! 10 draws without replacement from each of some rows of logits, in draw order.

use crate::support::{Call, Case, between, one};
use foveate::{Result, Rng, ops};

fn draw(dims: [usize; 2]) -> Result<Call> {
    let logits = |at| between(&format!("logits{at}"), dims, -4.0, 4.0);
    let logits = (0..4).map(logits).collect::<Result<Vec<_>>>()?;
    let (mut turn, mut rng) = (0, Rng::new(0));
    one(move || {
        turn += 1;
        ops::gumbel_top_k(&logits[turn % logits.len()], 10, &mut rng)
    })
}

/// For each of these numbers of rows and columns.
pub(crate) fn cases(draws: &[[usize; 2]]) -> Vec<Case> {
    let case = |&[rows, columns]: &[usize; 2]| {
        let about = format!("top 10 of {rows}x{columns}, fresh noise each call");
        let case = Case::new(&format!("gumbel_top_k/10-of-{columns}"), &about, move || draw([rows, columns]));
        Case { random: true, ..case }
    };
    draws.iter().map(case).collect()
}
