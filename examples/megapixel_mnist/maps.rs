//! Where each system looked in an image, as a picture.

use foveate::{
    Result, Rng,
    data::PatchSource,
    nn::Pass,
    plot,
    select::{Ats, Ips, System},
};
use std::path::Path;

/// A system of which a picture can be drawn that shows where it looked.
pub(crate) trait Shown: System {
    /// Draws it for one image.
    fn show(&self, image: &dyn PatchSource, rng: &mut Rng, path: &Path) -> Result<()>;
}

/// The selected patches, and the attention that each got.
impl Shown for Ips {
    fn show(&self, image: &dyn PatchSource, rng: &mut Rng, path: &Path) -> Result<()> {
        let chosen = self.select(&[image], rng)?;
        let prediction = self.classify(&[image], &chosen, &mut Pass::evaluation())?;
        let scores = prediction.scores.to_vec::<f32>()?;
        plot::attention_map(path, image, &self.grid(&[image])?, &chosen[0].indices, &scores)
    }
}

/// The attention that patches are drawn from.
impl Shown for Ats {
    fn show(&self, image: &dyn PatchSource, _rng: &mut Rng, path: &Path) -> Result<()> {
        let attention = self.attend(&[image], &mut Pass::evaluation())?.to_vec::<f32>()?;
        plot::heat_map(path, image, self.config().map()?, &attention)
    }
}
