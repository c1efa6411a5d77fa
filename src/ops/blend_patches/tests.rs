use super::*;
use crate::{Device, Rng, ops, testing::*};

fn grid(patch: [usize; 2], stride: [usize; 2], counts: [usize; 2]) -> Grid {
    Grid { patch, stride, counts }
}

/// Indicators of which about one in four is not zero.
fn sparse(dims: [usize; 3], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let mut value = || if rng.below(4) == 0 { rng.normal() } else { 0.0 };
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| value()).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).unwrap()
}

#[test]
fn values_and_gradients_match_their_specifications() {
    // Image, K, windows.
    for (dims, k, grid) in [
        ([2, 3, 20, 30], 4, grid([5, 7], [5, 3], [4, 8])),
        ([3, 1, 33, 41], 2, grid([17, 9], [4, 8], [3, 2])),
        ([2, 2, 6, 6], 1, grid([6, 6], [2, 2], [1, 1])),
        ([1, 4, 9, 300], 3, grid([2, 150], [1, 50], [8, 4])),
        ([0, 1, 8, 8], 2, grid([3, 3], [2, 2], [3, 3])),
        ([2, 1, 8, 8], 0, grid([3, 3], [2, 2], [3, 3])),
    ] {
        let (x, w) = (random(dims, 1), sparse([dims[0], k, grid.patches()], 2));
        let dy = random([dims[0], k, dims[1], grid.patch[0], grid.patch[1]], 3);
        judge(&BlendPatches { grid }, &[&x, &w]);
        judge(&BlendPatchesGradImage { grid, image: [dims[2], dims[3]] }, &[&w, &dy]);
        for gradient in [IndicatorGradient::Full, IndicatorGradient::Hit] {
            judge(&BlendPatchesGradIndicators { grid, gradient }, &[&x, &w, &dy]);
        }
    }
}

#[test]
fn gradients_are_derivatives() {
    let grid = grid([3, 2], [2, 1], [2, 3]);
    let f = |x: &[Tensor]| Ok(vec![blend_patches(&x[0], &x[1], grid, IndicatorGradient::Full)?]);
    judge_function_on(BlendPatches::ARMS, f, &[random([2, 2, 5, 4], 1), random([2, 2, 6], 2)]);
}

#[test]
fn one_hot_indicators_are_patches() {
    let (x, grid) = (random([2, 3, 12, 10], 1), grid([4, 4], [2, 3], [5, 3]));
    let patches = ops::unfold(&x, grid.patch, grid.stride).unwrap();
    assert_eq!(patches.dims()[1], 15);
    let mut w = vec![0.0_f32; 2 * 15 * 15];
    (0..30).for_each(|row| w[row * 15 + row % 15] = 1.0);
    let w = Tensor::from_slice(&w, [2, 15, 15], &Device::Cpu).unwrap();
    let blended = blend_patches(&x, &w, grid, IndicatorGradient::Hit).unwrap();
    assert_eq!(blended.to_vec::<f32>().unwrap(), patches.to_vec::<f32>().unwrap());
}

#[test]
fn score_grids_centre_windows_on_cells() {
    // 1200 by 1600 with scores of 24 by 32 and patches of 100: stride 50, 25 zeros before.
    let (grid, padding) = score_grid([1200, 1600], [24, 32], [100, 100]).unwrap();
    assert_eq!((grid.stride, padding), ([50, 50], [25, 74, 25, 74]));
    // The windows fit in the padded image, whatever the remainder.
    for (image, counts, patch) in
        [([1200, 1600], [24, 32], [100, 100]), ([97, 64], [10, 64], [7, 3]), ([9, 9], [2, 2], [1, 4])]
    {
        let (grid, [top, bottom, left, right]) = score_grid(image, counts, patch).unwrap();
        let x =
            Tensor::zeros([1, 1, image[0] + top + bottom, image[1] + left + right], &Device::Cpu).unwrap();
        let w = Tensor::zeros([1, 1, grid.patches()], &Device::Cpu).unwrap();
        blend_patches(&x, &w, grid, IndicatorGradient::Full).unwrap();
    }
    assert!(matches!(score_grid([4, 4], [5, 1], [2, 2]), Err(Error::Argument { op: "score_grid", .. })));
    assert!(matches!(score_grid([4, 4], [0, 1], [2, 2]), Err(Error::Argument { .. })));
}

#[test]
fn misuse_is_a_typed_error() {
    let (x, w) = (random([2, 1, 6, 6], 1), random([2, 3, 4], 2));
    let refused =
        |x: &Tensor, w: &Tensor, grid| blend_patches(x, w, grid, IndicatorGradient::Full).unwrap_err();
    let fits = grid([2, 2], [4, 4], [2, 2]);
    assert!(blend_patches(&x, &w, fits, IndicatorGradient::Full).is_ok());
    assert!(matches!(
        refused(&x, &w, grid([3, 2], [4, 4], [2, 2])),
        Error::Shape { op: "blend_patches", .. }
    ));
    assert!(matches!(refused(&x, &w, grid([2, 2], [2, 2], [2, 3])), Error::Shape { .. }));
    assert!(matches!(refused(&x, &w, grid([2, 2], [0, 2], [2, 2])), Error::Argument { .. }));
    assert!(matches!(
        refused(&x, &random([2, 3, 0], 2), grid([2, 2], [2, 2], [2, 0])),
        Error::Argument { .. }
    ));
    assert!(matches!(refused(&x, &random([1, 3, 4], 2), fits), Error::Shape { .. }));
    assert!(matches!(refused(&random([6, 6], 1), &w, fits), Error::Shape { .. }));
    let indices = Tensor::from_slice(&[1_i32; 24], [2, 3, 4], &Device::Cpu).unwrap();
    assert!(matches!(refused(&x, &indices, fits), Error::DType { .. }));
}
