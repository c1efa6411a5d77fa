//! Patches of an image, copied into memory that exists already or, as in use, into memory from the pool.

use crate::support::{Call, Case, one, uniform};
use foveate::{
    Result,
    device::{run_in_place, run1},
    ops::{self, unfold::Unfold},
};

fn unfold(channels: usize, side: usize, patch: usize, stride: usize) -> Result<Call> {
    let image = uniform("image", [1, channels, side, side])?;
    let op = Unfold { patch: [patch; 2], stride: [stride; 2] };
    let mut patches = run1(&op, &[&image])?;
    one(move || {
        run_in_place(&op, &mut [&mut patches], &[&image])?;
        Ok(patches.clone())
    })
}

/// Of an image of so many rows and columns.
pub(crate) fn cases(side: usize) -> Vec<Case> {
    let about = |channels: usize, patch: usize, stride: usize| {
        format!("1x{channels}x{side}x{side}, patch {patch} stride {stride}, into existing memory")
    };
    let kinds = [("unfold/50-50", 1, 50, 50), ("unfold/50-25", 1, 50, 25), ("unfold/rgb-100", 3, 100, 100)];
    let case = |(name, channels, patch, stride)| {
        Case::new(name, &about(channels, patch, stride), move || unfold(channels, side, patch, stride))
    };
    kinds.map(case).into()
}

/// The first of them, into memory from the pool.
pub(crate) fn pooled(side: usize) -> Vec<Case> {
    let about = format!("1x1x{side}x{side} f32, patch 50 stride 50");
    vec![Case::new("unfold/50-50", &about, move || {
        let image = uniform("image", [1, 1, side, side])?;
        one(move || ops::unfold(&image, [50; 2], [50; 2]))
    })]
}
