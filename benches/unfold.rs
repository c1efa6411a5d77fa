//! Patches of an image copied into memory that exists already.

use crate::support::{Call, Case, one, uniform};
use foveate::{
    Result,
    device::{run_in_place, run1},
    ops::unfold::Unfold,
};

fn unfold(channels: usize, patch: usize, stride: usize) -> Result<Call> {
    let image = uniform("image", [1, channels, 3000, 3000])?;
    let op = Unfold { patch: [patch; 2], stride: [stride; 2] };
    let mut patches = run1(&op, &[&image])?;
    one(move || {
        run_in_place(&op, &mut [&mut patches], &[&image])?;
        Ok(patches.clone())
    })
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("unfold/50-50", "1x1x3000x3000, patch 50 stride 50, into existing memory", || {
            unfold(1, 50, 50)
        }),
        Case::new("unfold/50-25", "1x1x3000x3000, patch 50 stride 25, into existing memory", || {
            unfold(1, 50, 25)
        }),
        Case::new("unfold/rgb-100", "1x3x3000x3000, patch 100 stride 100, same", || unfold(3, 100, 100)),
    ]
}
