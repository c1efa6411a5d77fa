//! Where each system looked in an image, as a picture.

use foveate::{
    Result, Rng,
    data::PatchSource,
    nn::Pass,
    ops, plot,
    select::{Ats, Cnn, Dps, Ips, Mil, System, ZoomIn},
};
use std::path::Path;

/// A system of which a picture may be drawn that shows where it looked.
pub trait Shown: System {
    /// Draws it for one image of one channel; says whether there is anything to show.
    ///
    /// # Errors
    ///
    /// Images that the network cannot take, a file that cannot be written.
    fn show(&self, image: &dyn PatchSource, rng: &mut Rng, path: &Path) -> Result<bool>;
}

/// The selected patches, and the attention that each got.
impl Shown for Ips {
    fn show(&self, image: &dyn PatchSource, rng: &mut Rng, path: &Path) -> Result<bool> {
        let chosen = self.select(&[image], rng)?;
        let prediction = self.classify(&[image], &chosen, &mut Pass::evaluation())?;
        let scores = prediction.scores.to_vec::<f32>()?;
        plot::attention_map(path, image, &self.grid(&[image])?, &chosen[0].indices, &scores)?;
        Ok(true)
    }
}

/// The attention that patches are drawn from.
impl Shown for Ats {
    fn show(&self, image: &dyn PatchSource, _rng: &mut Rng, path: &Path) -> Result<bool> {
        let attention = self.attend(&[image], &mut Pass::evaluation())?.to_vec::<f32>()?;
        plot::heat_map(path, image, self.config().map()?, &attention)?;
        Ok(true)
    }
}

/// The attention that tiles are drawn from.
impl Shown for ZoomIn {
    fn show(&self, image: &dyn PatchSource, _rng: &mut Rng, path: &Path) -> Result<bool> {
        let attention = self.attend(&[image], &mut Pass::evaluation())?.to_vec::<f32>()?;
        let tiles = self.config().grid([image.height(), image.width()]);
        let grid = image.grid(self.config().tile, self.config().tile)?;
        // Tiles that reach beyond the image have no place in its grid.
        let inside = |at: &usize| at / tiles[1] < grid.rows() && at % tiles[1] < grid.columns();
        let inside: Vec<usize> = (0..attention.len()).filter(inside).collect();
        let indices: Vec<u32> =
            inside.iter().map(|at| (at / tiles[1] * grid.columns() + at % tiles[1]) as u32).collect();
        let scores: Vec<f32> = inside.iter().map(|&at| attention[at]).collect();
        plot::attention_map(path, image, &grid, &indices, &scores)?;
        Ok(true)
    }
}

/// The scores, as the softmax sees them.
impl Shown for Dps {
    fn show(&self, image: &dyn PatchSource, _rng: &mut Rng, path: &Path) -> Result<bool> {
        let scores = ops::softmax(&self.scores(&[image], &mut Pass::evaluation())?, -1)?;
        let map = self.config().scorer.size(self.config().view)?;
        plot::heat_map(path, image, map, &scores.to_vec::<f32>()?)?;
        Ok(true)
    }
}

/// The attention of all patches, of an aggregator that has one.
impl Shown for Mil {
    fn show(&self, image: &dyn PatchSource, _rng: &mut Rng, path: &Path) -> Result<bool> {
        let Some(attention) = self.forward(&[image], &mut Pass::evaluation())?.attention else {
            return Ok(false);
        };
        let grid = self.grid([image.height(), image.width()])?;
        let indices: Vec<u32> = (0..grid.count() as u32).collect();
        plot::attention_map(path, image, &grid, &indices, &attention.to_vec::<f32>()?)?;
        Ok(true)
    }
}

/// It looks at everything.
impl Shown for Cnn {
    fn show(&self, _image: &dyn PatchSource, _rng: &mut Rng, _path: &Path) -> Result<bool> {
        Ok(false)
    }
}
