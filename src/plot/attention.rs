//! Attention maps: which patches of an image were selected, and how much attention each one got.

use crate::{
    data::{PatchGrid, PatchSource, Window, picture},
    error::{Error, Result},
    host,
};
use std::{ops::Range, path::Path};

/// Anchors of the viridis colour map, at equal distances.
const VIRIDIS: [[f32; 3]; 10] = [
    [68.0, 1.0, 84.0],
    [72.0, 40.0, 120.0],
    [62.0, 74.0, 137.0],
    [49.0, 104.0, 142.0],
    [38.0, 130.0, 142.0],
    [31.0, 158.0, 137.0],
    [53.0, 183.0, 121.0],
    [109.0, 205.0, 89.0],
    [180.0, 222.0, 44.0],
    [253.0, 231.0, 37.0],
];

/// The viridis colour of a value between 0 and 1.
///
/// ```
/// assert_eq!(foveate::plot::viridis(0.0), [68, 1, 84]);
/// assert_eq!(foveate::plot::viridis(5.0 / 9.0), [31, 158, 137]);
/// assert_eq!(foveate::plot::viridis(1.0), [253, 231, 37]);
/// ```
pub fn viridis(value: f32) -> [u8; 3] {
    let at = value.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f32;
    let low = (at as usize).min(VIRIDIS.len() - 2);
    let share = at - low as f32;
    [0, 1, 2].map(|c| (VIRIDIS[low][c] * (1.0 - share) + VIRIDIS[low + 1][c] * share).round() as u8)
}

/// Writes a PNG of a one-channel image, inverted (ink is dark) and dimmed to 60 %, with viridis at 40 % over each selected
/// patch: its attention divided by the largest. `indices` are positions in `grid`, `scores` the attention of each.
///
/// ```
/// use foveate::{data::{DenseImage, PatchSource}, plot};
/// # fn main() -> foveate::Result<()> {
/// let image = DenseImage::new([1, 20, 30], vec![0; 600])?;
/// let path = std::env::temp_dir().join("foveate-doc-attention.png");
/// plot::attention_map(&path, &image, &image.grid([10, 10], [10, 10])?, &[0, 4], &[0.7, 0.1])?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// More than one channel, another number of scores than of indices, patches outside the grid or the image, out of memory,
/// a file that cannot be written.
pub fn attention_map(
    path: impl AsRef<Path>,
    image: &dyn PatchSource,
    grid: &PatchGrid,
    indices: &[u32],
    scores: &[f32],
) -> Result<()> {
    let [height, width] = [image.height(), image.width()];
    if image.channels() != 1 || indices.len() != scores.len() {
        let what = format!(
            "an image of {} channels with {} patches and {} scores: it takes one channel and a score per patch",
            image.channels(),
            indices.len(),
            scores.len()
        );
        return Err(Error::argument("attention_map", what));
    }
    let corners: Vec<[usize; 2]> =
        indices.iter().map(|&index| grid.corner(index as usize)).collect::<Result<_>>()?;
    let [high, wide] = grid.patch();
    if let Some([row, column]) = corners.iter().find(|[r, q]| r + high > height || q + wide > width) {
        let what =
            format!("a patch of {high} × {wide} at ({row}, {column}) leaves the image of {height} × {width}");
        return Err(Error::shape("attention_map", what));
    }
    let area = |[row, column]: [usize; 2]| [row..row + high, column..column + wide];
    painted(path.as_ref(), image, corners.into_iter().map(area).zip(scores.iter().copied()))
}

/// As [`attention_map`], of an attention map over the whole image: `attention` has `map` [h, w] values, row-major, each of
/// which colours its share of the image.
///
/// ```
/// use foveate::{data::DenseImage, plot};
/// # fn main() -> foveate::Result<()> {
/// let image = DenseImage::new([1, 20, 30], vec![0; 600])?;
/// let path = std::env::temp_dir().join("foveate-doc-heat.png");
/// plot::heat_map(&path, &image, [2, 3], &[0.1, 0.2, 0.3, 0.1, 0.2, 0.1])?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// More than one channel, another number of values than the map has, out of memory, a file that cannot be written.
pub fn heat_map(
    path: impl AsRef<Path>,
    image: &dyn PatchSource,
    map: [usize; 2],
    attention: &[f32],
) -> Result<()> {
    if image.channels() != 1 || map[0].checked_mul(map[1]) != Some(attention.len()) {
        let what = format!(
            "an image of {} channels with {} values for a map of {map:?}: it takes one channel and a value per position",
            image.channels(),
            attention.len()
        );
        return Err(Error::argument("heat_map", what));
    }
    let size = [image.height(), image.width()];
    let span = |axis: usize, at: usize| at * size[axis] / map[axis]..(at + 1) * size[axis] / map[axis];
    let areas = (0..attention.len()).map(|at| [span(0, at / map[1]), span(1, at % map[1])]);
    painted(path.as_ref(), image, areas.zip(attention.iter().copied()))
}

/// Writes the image with each area [rows, columns] in the colour of its score.
fn painted(
    path: &Path,
    image: &dyn PatchSource,
    areas: impl Iterator<Item = ([Range<usize>; 2], f32)> + Clone,
) -> Result<()> {
    let [height, width] = [image.height(), image.width()];
    let mut grey = host::filled(height.saturating_mul(width), 0, "an attention map")?;
    image.read(Window::new(0, 0, height, width), &mut grey)?;
    let mut rgb = host::reserved(grey.len().saturating_mul(3), "an attention map")?;
    rgb.extend(grey.iter().flat_map(|v| [(f32::from(255 - v) * 0.6) as u8; 3]));
    let largest = areas.clone().map(|(_, score)| score).fold(f32::MIN_POSITIVE, f32::max);
    for ([rows, columns], score) in areas {
        let colour = viridis(score / largest);
        for at in rows.flat_map(|r| columns.clone().map(move |q| r * width + q)) {
            let base = f32::from(255 - grey[at]) * 0.6;
            for c in 0..3 {
                rgb[at * 3 + c] = (base + 0.4 * f32::from(colour[c])).round().min(255.0) as u8;
            }
        }
    }
    picture::save_rgb(path, [height, width], &rgb)
}
