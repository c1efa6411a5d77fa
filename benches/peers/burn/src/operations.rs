//! Single operations: patches out of an image, the best of many logits, and what a submission costs.

use crate::support::{Case, between, float, int, uniform};
use burn::tensor::{module::unfold4d, ops::UnfoldOptions};

const SIDE: usize = 1500;
const PATCH: usize = 50;
const CANDIDATES: usize = 900;
const KEEP: usize = 100;
/// Additions of which each needs the result of the one before.
const CHAIN: usize = 1000;

/// As the operation of that name, and as a transpose of blocks.
fn unfold() -> Case {
    let case = Case::new("unfold/50-50", "1x1x1500x1500 f32, patch 50 stride 50", 0);
    let case = case.form("burn-unfold4d", || {
        let image = uniform("image", [1, 1, SIDE, SIDE]);
        let options = UnfoldOptions::new([PATCH; 2], [0; 2], [1; 2]);
        move || vec![float(unfold4d(image.clone(), [PATCH; 2], options.clone()))]
    });
    case.form("burn-transpose", || {
        let image = uniform::<4>("image", [1, 1, SIDE, SIDE]);
        let grid = SIDE / PATCH;
        move || vec![float(image.clone().reshape([grid, PATCH, grid, PATCH]).swap_dims(1, 2))]
    })
}

/// Other logits in every call, as in use.
fn top_k() -> Case {
    let case = Case::new("top_k/100-of-900", "places of the 100 greatest of 1x900 logits", 0);
    case.form("burn", || {
        let logits: Vec<_> =
            (0..8).map(|at| between(&format!("logits{at}"), [1, CANDIDATES], -4.0, 4.0)).collect();
        let mut turn = 0;
        move || {
            turn += 1;
            vec![int(logits[(turn - 1) % logits.len()].clone().topk_with_indices(KEEP, 1).1)]
        }
    })
}

fn add() -> [Case; 2] {
    let about = "1000 additions of 1 element, one after the other, the last read back";
    let add = Case::new("overhead/add", "1 addition of 1 element, read back", 0).form("burn", || {
        let (x, y) = (uniform::<1>("x", [1]), uniform("y", [1]));
        move || vec![float(x.clone() + y.clone())]
    });
    let chain = Case::new("overhead/chain", about, 0).form("burn", || {
        let (x, y) = (uniform::<1>("x", [1]), uniform("y", [1]));
        move || vec![float((0..CHAIN).fold(x.clone(), |sum, _| sum + y.clone()))]
    });
    [add, chain]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![unfold(), top_k()];
    cases.extend(add());
    cases
}
