//! Windows, grids, and the agreement of dense and sparse images.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::*;
use crate::{Error, Rng};

fn random_pixels(count: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| if rng.below(3) > 0 { 0 } else { rng.below(256) as u8 }).collect()
}

proptest! {
    #[test]
    fn a_window_holds_the_pixels_inside_and_zeros_outside(
        dims in prop::array::uniform3(1_usize..9),
        row in -10_isize..12,
        column in -10_isize..12,
        height in 0_usize..12,
        width in 0_usize..12,
        seed: u64,
    ) {
        let [c, h, w] = dims;
        let pixels = random_pixels(c * h * w, seed);
        let image = DenseImage::new(dims, pixels.clone()).unwrap();
        let window = Window::new(row, column, height, width);
        let mut out = vec![77; c * height * width];
        image.read(window, &mut out).unwrap();
        for (at, &value) in out.iter().enumerate() {
            let (channel, y, x) = (at / (height * width), at / width % height, at % width);
            let (y, x) = (row + y as isize, column + x as isize);
            let inside = (0..h as isize).contains(&y) && (0..w as isize).contains(&x);
            let expected = if inside { pixels[(channel * h + y as usize) * w + x as usize] } else { 0 };
            prop_assert_eq!(value, expected);
        }
        let plane = &pixels[..h * w];
        let sparse = SparseImage::from_dense(h, w, plane).unwrap();
        let mut out_sparse = vec![77; height * width];
        sparse.read(window, &mut out_sparse).unwrap();
        prop_assert_eq!(&out_sparse[..], &out[..height * width]);
        prop_assert_eq!(sparse.nonzero(), plane.iter().filter(|&&value| value > 0).count());
        let counted: usize = sparse.runs().map(|(row, column, run)| {
            assert_eq!(run, &plane[row * w + column..][..run.len()]);
            run.len()
        }).sum();
        prop_assert_eq!(counted, sparse.nonzero());
    }

    #[test]
    fn a_grid_lists_every_patch_that_fits(
        image in prop::array::uniform2(1_usize..40),
        patch in prop::array::uniform2(1_usize..12),
        stride in prop::array::uniform2(1_usize..9),
    ) {
        let fits = patch[0] <= image[0] && patch[1] <= image[1];
        let Ok(grid) = PatchGrid::new(image, patch, stride) else {
            prop_assert!(!fits);
            return Ok(());
        };
        let mut corners = Vec::new();
        for row in (0..=image[0] - patch[0]).step_by(stride[0]) {
            corners.extend((0..=image[1] - patch[1]).step_by(stride[1]).map(|column| [row, column]));
        }
        prop_assert_eq!(grid.count(), corners.len());
        for (index, corner) in corners.iter().enumerate() {
            prop_assert_eq!(&grid.corner(index).unwrap(), corner);
        }
        prop_assert!(grid.corner(corners.len()).is_err());
    }
}

#[test]
fn patches_of_a_grid_are_read_one_after_the_other() {
    let pixels = random_pixels(2 * 7 * 9, 3);
    let image: Arc<dyn PatchSource> = Arc::new(DenseImage::new([2, 7, 9], pixels).unwrap());
    let grid = image.grid([3, 4], [2, 5]).unwrap();
    assert_eq!((grid.rows(), grid.columns()), (3, 2));
    let mut out = vec![0; 2 * 2 * 12];
    image.read_patches(&grid, &[5, 0], &mut out).unwrap();
    let mut one = vec![0; 2 * 12];
    image.read(Window::new(4, 5, 3, 4), &mut one).unwrap();
    assert_eq!(out[..24], one);
    image.read(Window::new(0, 0, 3, 4), &mut one).unwrap();
    assert_eq!(out[24..], one);
    assert!(matches!(image.read_patches(&grid, &[6, 0], &mut out), Err(Error::Argument { .. })));
    assert!(matches!(image.read_patches(&grid, &[0], &mut out), Err(Error::Shape { .. })));
}

#[test]
fn wrong_sizes_are_errors() {
    assert!(matches!(DenseImage::new([1, 2, 2], vec![0; 3]), Err(Error::Shape { .. })));
    assert!(matches!(DenseImage::new([1, 0, 2], vec![]), Err(Error::Shape { .. })));
    assert!(matches!(DenseImage::from_interleaved([0, 1, 1], &[]), Err(Error::Shape { .. })));
    assert!(matches!(DenseImage::from_interleaved([3, 1, 1], &[1, 2]), Err(Error::Shape { .. })));
    assert!(matches!(SparseImage::from_dense(2, 2, &[0; 3]), Err(Error::Shape { .. })));
    assert!(matches!(SparseImage::from_dense(0, 2, &[]), Err(Error::Argument { .. })));
    assert!(matches!(SparseBuilder::new(1 << 16, 1 << 16), Err(Error::Argument { .. })));
    let image = SparseImage::from_dense(2, 2, &[1, 0, 0, 2]).unwrap();
    assert!(matches!(image.to_dense(&mut [0; 5]), Err(Error::Shape { .. })));
    assert!(matches!(PatchGrid::new([4, 4], [5, 1], [1, 1]), Err(Error::Argument { .. })));
    assert!(matches!(PatchGrid::new([4, 4], [1, 1], [0, 1]), Err(Error::Argument { .. })));
    assert!(matches!(PatchGrid::new([1 << 20, 1 << 20], [1, 1], [1, 1]), Err(Error::Argument { .. })));
}

#[test]
fn spans_are_joined_and_must_come_in_order() {
    let mut builder = SparseBuilder::new(3, 10).unwrap();
    builder.push(0, 2, &[1, 2]).unwrap();
    builder.push(0, 4, &[3, 0, 4]).unwrap();
    builder.push(2, 0, &[5]).unwrap();
    for (row, column, len) in [(2, 0, 1), (1, 5, 1), (2, 8, 3), (3, 0, 1)] {
        assert!(builder.push(row, column, &vec![1; len]).is_err(), "row {row}, column {column}");
    }
    let image = builder.finish();
    let runs: Vec<_> = image.runs().collect();
    assert_eq!(runs, [(0, 2, &[1, 2, 3][..]), (0, 6, &[4]), (2, 0, &[5])]);
}

proptest! {
    /// A region reads what the image holds there, and zero outside of image and region.
    #[test]
    fn a_region_is_a_part_of_its_image(
        dims in prop::array::uniform3(1_usize..7),
        [top, left] in prop::array::uniform2(-4_isize..8),
        [high, wide] in prop::array::uniform2(1_usize..8),
        [row, column] in prop::array::uniform2(-5_isize..9),
        [height, width] in prop::array::uniform2(0_usize..7),
    ) {
        let [c, h, w] = dims;
        let pixels = random_pixels(c * h * w, 7);
        let image = DenseImage::new(dims, pixels.clone()).unwrap();
        let region = Region::new(&image, Window::new(top, left, high, wide)).unwrap();
        let mut out = vec![77; c * height * width];
        region.read(Window::new(row, column, height, width), &mut out).unwrap();
        for (at, &value) in out.iter().enumerate() {
            let (channel, y, x) = (at / (height * width), at / width % height, at % width);
            let (y, x) = (row + y as isize, column + x as isize);
            let shown = (0..high as isize).contains(&y) && (0..wide as isize).contains(&x);
            let (y, x) = (y + top, x + left);
            let inside = shown && (0..h as isize).contains(&y) && (0..w as isize).contains(&x);
            let expected = if inside { pixels[(channel * h + y as usize) * w + x as usize] } else { 0 };
            prop_assert_eq!(value, expected);
        }
        prop_assert!(Region::new(&image, Window::new(0, 0, 0, 3)).is_err());
    }
}

/// A view is what the operation makes of the whole image, and its bits do not depend on where the pixels are.
#[test]
fn views_are_those_of_the_whole_image() {
    for (dims, size) in
        [([2, 40, 33], [7, 5]), ([1, 12, 9], [12, 9]), ([1, 5, 4], [9, 7]), ([3, 1, 8], [1, 3])]
    {
        let [c, h, w] = dims;
        let pixels = random_pixels(c * h * w, 3);
        let image = DenseImage::new(dims, pixels.clone()).unwrap();
        let mut view = vec![f32::NAN; c * size[0] * size[1]];
        image.view(size, &mut view).unwrap();
        let whole = crate::Tensor::from_slice(&pixels, [1, c, h, w], &crate::Device::Cpu).unwrap();
        let whole = crate::ops::to_unit(&whole).unwrap();
        let want = crate::ops::resize(&whole, size, crate::ops::ResizeMode::Area).unwrap();
        let want = want.to_vec::<f32>().unwrap();
        assert!(view.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 2e-7), "{dims:?}: {view:?} {want:?}");
        if c == 1 {
            let mut sparse = vec![f32::NAN; view.len()];
            SparseImage::from_dense(h, w, &pixels).unwrap().view(size, &mut sparse).unwrap();
            assert_eq!(view, sparse);
        }
    }
    let image = DenseImage::new([1, 2, 2], vec![0; 4]).unwrap();
    assert!(matches!(image.view([0, 1], &mut []), Err(Error::Argument { op: "view", .. })));
    assert!(matches!(image.view([1, 1], &mut [0.0; 2]), Err(Error::Shape { op: "view", .. })));
}

/// An area larger than a block is read in parts.
#[test]
fn a_view_of_a_large_image_is_read_in_blocks() {
    struct Counted(std::sync::atomic::AtomicUsize);
    impl PatchSource for Counted {
        fn channels(&self) -> usize {
            1
        }
        fn height(&self) -> usize {
            3000
        }
        fn width(&self) -> usize {
            4000
        }
        fn read(&self, window: Window, out: &mut [u8]) -> crate::Result<()> {
            self.0.fetch_max(out.len(), std::sync::atomic::Ordering::Relaxed);
            for (line, row) in out.chunks_exact_mut(window.width).enumerate() {
                row.fill(((window.row as usize + line) / 1000) as u8);
            }
            Ok(())
        }
    }
    let image = Counted(0.into());
    let mut view = [0.0; 12];
    image.view([3, 4], &mut view).unwrap();
    let want: Vec<f32> = (0..12).map(|at| (f64::from(at / 4) / 255.0) as f32).collect();
    assert_eq!(view[..], want);
    assert_eq!(image.0.into_inner(), 1_000_000, "one pixel of the view at a time");
}
