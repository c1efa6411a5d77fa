//! Some draws without replacement from each of some rows of logits, in draw order.

use crate::support::{Call, Case, between, one};
use foveate::{Result, Rng, ops};

fn draw(dims: [usize; 2], count: usize) -> Result<Call> {
    let logits = |at| between(&format!("logits{at}"), dims, -4.0, 4.0);
    let logits = (0..4).map(logits).collect::<Result<Vec<_>>>()?;
    let (mut turn, mut rng) = (0, Rng::new(0));
    one(move || {
        turn += 1;
        ops::gumbel_top_k(&logits[turn % logits.len()], count, &mut rng)
    })
}

/// So many draws from each of these numbers of rows and columns.
pub(crate) fn cases(draws: &[[usize; 2]], count: usize) -> Vec<Case> {
    let case = |&[rows, columns]: &[usize; 2]| {
        let (name, about) = (
            format!("gumbel_top_k/{count}-of-{columns}"),
            format!("top {count} of {rows}x{columns}, fresh noise each call"),
        );
        let case = Case::new(&name, &about, move || draw([rows, columns], count)).sets(4);
        Case { random: true, ..case }
    };
    draws.iter().map(case).collect()
}
