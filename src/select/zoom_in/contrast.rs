//! The contrastive objective: where attention is not, there must be nothing to find.

use super::{Toward, ZoomIn, ZoomInPrediction};
use crate::{
    Rng, Tensor,
    data::PatchSource,
    error::{Error, Result},
    nn::{Losses, Pass, Targets},
    ops::{self, Reduction},
    select::images::Images,
};

impl ZoomIn {
    /// The loss of a batch with the contrastive term, for the network's single task of classes 0 and 1.
    ///
    /// With w the share of images of class 1: `w L₁ + (1 − w) ((1 − w) L₀ + w L_con)`. L₁ and L₀ are the mean losses of the
    /// images of either class; L_con is the mean loss, as if of class 0, of what the images of class 1 show where attention is
    /// not.
    pub(super) fn contrasted(
        &self,
        images: &Images,
        prediction: &ZoomInPrediction,
        targets: &Targets,
        draws: &mut Rng,
        pass: &mut Pass,
    ) -> Result<Losses> {
        let ([probabilities], [labels]) = (&prediction.probabilities[..], &targets.tensors[..]) else {
            return Err(Error::argument("zoom_in", "the contrastive objective is of a single task"));
        };
        let labels = labels.to_vec::<i32>()?;
        let of_class = |class: i32| -> Vec<i32> {
            (0..).zip(&labels).filter(|(_, label)| **label == class).map(|(at, _)| at).collect()
        };
        let (without, with) = (of_class(0), of_class(1));
        if with.is_empty() {
            return single(self.mean_loss(probabilities, 0)?);
        }
        let share = with.len() as f64 / labels.len() as f64;
        let rows = |t: &Tensor, rows: &[i32]| -> Result<Tensor> {
            ops::gather(t, &Tensor::from_slice(rows, [rows.len()], &t.device())?)
        };
        let mut total = ops::scale(&self.mean_loss(&rows(probabilities, &with)?, 1)?, share, 0.0)?;
        if !without.is_empty() {
            let shown: Vec<&dyn PatchSource> = with.iter().map(|&at| images[at as usize]).collect();
            let attention = rows(&prediction.tiles, &with)?;
            let rest = self.zoom(&shown, &attention, Toward::TheRest, draws, pass)?;
            let absent = self.mean_loss(&rows(probabilities, &without)?, 0)?;
            let contrast = self.mean_loss(&rest.probabilities[0], 0)?;
            total = ops::add(&total, &ops::scale(&absent, (1.0 - share).powi(2), 0.0)?)?;
            total = ops::add(&total, &ops::scale(&contrast, (1.0 - share) * share, 0.0)?)?;
        }
        single(total)
    }

    /// The mean loss of probabilities (B, 2) if all images were of `class`.
    fn mean_loss(&self, probabilities: &Tensor, class: i32) -> Result<Tensor> {
        let b = probabilities.dims()[0];
        let labels = Tensor::from_slice(&vec![class; b], [b], &probabilities.device())?;
        ops::nll(probabilities, &labels, None, 1e-6, Reduction::Mean)
    }
}

fn single(total: Tensor) -> Result<Losses> {
    Ok(Losses { tasks: vec![total.clone()], total })
}
