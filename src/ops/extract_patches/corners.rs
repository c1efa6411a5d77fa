//! From positions of an attention map to the corners of patches in the image.

use crate::{
    error::{Error, Result},
    tensor::Tensor,
};

/// How an attention map over a small view of an image maps to patches of the image: the rule of attention sampling
/// (Katharopoulos and Fleuret, ICML 2019, in its published code).
///
/// On each axis, with the sizes `low` of the view, `image` of the image and `map` of the attention map, position i has its
/// patch start at `round(rf/2 · scale + i · step + step/2 − patch/2)`, where `scale = image / low`,
/// `step = (low − rf) · scale / map`, rf is the receptive field of the attention network in pixels of the view (0 where it
/// pads), and halves round to even. Corners may be negative or beyond the border:
/// see [`extract_patches`](crate::ops::extract_patches()).
///
/// ```
/// use foveate::ops::Corners;
/// let corners = Corners { low: [100, 100], image: [1000, 1000], map: [25, 25], receptive_field: 0, patch: [50, 50] };
/// assert_eq!(corners.of(12 * 25)?, [475, -5]);
/// # Ok::<(), foveate::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corners {
    /// Height and width of the view that the attention network sees.
    pub low: [usize; 2],
    /// Height and width of the image.
    pub image: [usize; 2],
    /// Height and width of the attention map.
    pub map: [usize; 2],
    /// Receptive field of the attention network, in pixels of the view.
    pub receptive_field: usize,
    /// Height and width of a patch.
    pub patch: [usize; 2],
}

impl Corners {
    const NAME: &'static str = "corners";

    /// Row and column, in the image, of the corner of the patch at row-major position `position` of the map.
    pub fn of(&self, position: usize) -> Result<[i32; 2]> {
        self.check()?;
        if position >= self.map[0] * self.map[1] {
            let what = format!("position {position} of an attention map of {:?}", self.map);
            return Err(Error::argument(Self::NAME, what));
        }
        Ok([self.along(0, position / self.map[1]), self.along(1, position % self.map[1])])
    }

    /// Offsets (B, K, 2) for positions (B, K), i32, on the same device. Reads the positions back to the host.
    ///
    /// ```
    /// use foveate::{Device, Tensor, ops::Corners};
    /// # fn main() -> foveate::Result<()> {
    /// let corners = Corners { low: [10, 20], image: [100, 200], map: [10, 20], receptive_field: 0, patch: [10, 10] };
    /// let drawn = Tensor::from_slice(&[0, 21], [1, 2], &Device::Cpu)?;
    /// assert_eq!(corners.offsets(&drawn)?.to_vec::<i32>()?, [0, 0, 10, 10]);
    /// # Ok(()) }
    /// ```
    pub fn offsets(&self, positions: &Tensor) -> Result<Tensor> {
        let [b, k] = *positions.dims() else {
            let what = format!("positions of shape {}, must be (B, K)", positions.dims());
            return Err(Error::shape(Self::NAME, what));
        };
        let mut offsets = Vec::with_capacity(2 * b * k);
        for position in positions.to_vec::<i32>()? {
            offsets.extend(self.of(usize::try_from(position).unwrap_or(usize::MAX))?);
        }
        Tensor::from_slice(&offsets, [b, k, 2], &positions.device())
    }

    fn check(&self) -> Result<()> {
        let largest = i32::MAX as usize;
        let sizes = [self.low, self.image, self.map, self.patch].concat();
        if sizes.iter().any(|&size| size == 0 || size > largest)
            || self.low.iter().any(|&low| low < self.receptive_field)
        {
            let what = format!(
                "{self:?}: sizes must be 1 to {largest}, and the view no smaller than the receptive field"
            );
            return Err(Error::argument(Self::NAME, what));
        }
        Ok(())
    }

    /// Where the patch at index `i` of an axis of the map starts.
    fn along(&self, axis: usize, i: usize) -> i32 {
        let [low, image, map, patch] =
            [self.low, self.image, self.map, self.patch].map(|sizes| sizes[axis] as f64);
        let field = self.receptive_field as f64;
        let scale = image / low;
        let step = (low - field) * scale / map;
        (field / 2.0 * scale + i as f64 * step + step / 2.0 - patch / 2.0).round_ties_even() as i32
    }
}
