//! Pixels brought to the mean and deviation that an encoder was trained with.

use crate::{
    Tensor,
    error::{Error, Result},
    ops,
};

/// Each channel x, between 0 and 1, becomes `(x − mean) / deviation` before the encoder; its padding stays zero.
///
/// ```
/// use foveate::select::{IpsConfig, Standardize};
/// assert_eq!(IpsConfig::traffic_signs().standardize, Some(Standardize::imagenet()));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Standardize {
    /// Mean of each channel.
    pub mean: Vec<f64>,
    /// Deviation of each channel.
    pub deviation: Vec<f64>,
}

impl Standardize {
    /// That of ImageNet's images in red, green and blue, as torchvision's encoders take them.
    pub fn imagenet() -> Self {
        Standardize { mean: vec![0.485, 0.456, 0.406], deviation: vec![0.229, 0.224, 0.225] }
    }

    /// Checks that there is a finite mean and a positive deviation for each of `channels`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] with both.
    pub(super) fn check(&self, channels: usize) -> Result<()> {
        let count = [self.mean.len(), self.deviation.len()] == [channels; 2];
        let finite = self.mean.iter().all(|m| m.is_finite());
        if count && finite && self.deviation.iter().all(|d| d.is_finite() && *d > 0.0) {
            return Ok(());
        }
        let what =
            format!("{self:?} for {channels} channels: a finite mean and a positive deviation of each");
        Err(Error::argument("ips", what))
    }

    /// What a byte is multiplied by, and what is added then, channel by channel, for `of` or, for none, for pixels between 0
    /// and 1.
    pub(super) fn constants(of: Option<&Self>, channels: usize) -> [Vec<f32>; 2] {
        match of {
            None => [vec![1.0 / 255.0; channels], vec![0.0; channels]],
            Some(Standardize { mean, deviation }) => [
                deviation.iter().map(|d| (1.0 / (255.0 * d)) as f32).collect(),
                mean.iter().zip(deviation).map(|(m, d)| (-m / d) as f32).collect(),
            ],
        }
    }

    /// Bytes (…, C, H, W) as an encoder takes them.
    pub(super) fn apply(of: Option<&Self>, pixels: &Tensor) -> Result<Tensor> {
        match of {
            None => ops::to_unit(pixels),
            Some(Standardize { mean, deviation }) => ops::normalize_image(pixels, mean, deviation),
        }
    }
}
