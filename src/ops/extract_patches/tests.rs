use super::*;
use crate::{Device, Rng, check::to_f64, testing::*};
use proptest::prelude::*;

fn offsets(values: &[i32], dims: [usize; 3]) -> Tensor {
    Tensor::from_slice(values, dims, &Device::Cpu).unwrap()
}

/// Corners from one patch before the image to its end, the first two equal.
fn scattered(b: usize, k: usize, patch: [usize; 2], image: [usize; 2], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let mut values = Vec::new();
    for at in 0..b * k {
        let mut side = |a: usize| rng.below((image[a] + patch[a]) as u32 + 2) as i32 - patch[a] as i32 - 1;
        let corner = [side(0), side(1)];
        values.extend(if at % k == 1 { [values[2 * at - 2], values[2 * at - 1]] } else { corner });
    }
    offsets(&values, [b, k, 2])
}

fn bytes(dims: [usize; 4]) -> Tensor {
    let pixels: Vec<u8> = (0..dims.iter().product()).map(|i: usize| (i * 37 % 251) as u8).collect();
    Tensor::from_slice(&pixels, dims, &Device::Cpu).unwrap()
}

#[test]
fn extract_and_place_match_their_specifications() {
    // Image, patches, patch.
    for (dims, k, patch) in [
        ([2, 3, 90, 120], 5, [32, 32]),
        ([3, 1, 33, 21], 11, [17, 9]),
        ([2, 2, 5, 4], 7, [9, 11]),
        ([1, 1, 1, 1], 3, [1, 1]),
        ([2, 4, 8, 8], 0, [3, 3]),
        ([0, 1, 8, 8], 2, [3, 3]),
        ([2, 3, 0, 4], 2, [2, 2]),
    ] {
        let at = scattered(dims[0], k, patch, [dims[2], dims[3]], 1);
        judge(&ExtractPatches { patch }, &[&random(dims, 2), &at]);
        judge(&ExtractPatches { patch }, &[&bytes(dims), &at]);
        if dims[2] > 0 {
            let patches = random([dims[0], k, dims[1], patch[0], patch[1]], 3);
            judge(&PlacePatches { image: [dims[2], dims[3]] }, &[&patches, &at]);
        }
    }
}

#[test]
fn far_away_is_empty() {
    let at = offsets(&[i32::MIN, i32::MIN, i32::MAX, i32::MAX, i32::MAX - 2, 0, 0, i32::MIN], [1, 4, 2]);
    judge(&ExtractPatches { patch: [3, 5] }, &[&random([1, 2, 4, 4], 1), &at]);
    judge(&PlacePatches { image: [4, 4] }, &[&random([1, 4, 2, 3, 5], 1), &at]);
    let y = extract_patches(&random([1, 2, 4, 4], 1), &at, [3, 5]).unwrap();
    assert!(y.to_vec::<f32>().unwrap().iter().all(|&v| v == 0.0));
}

#[test]
fn gradients_are_each_other() {
    let at = scattered(2, 3, [3, 2], [5, 4], 4);
    let on = |x: &Tensor| at.to_device(&x.device());
    judge_function_on(
        ExtractPatches::ARMS,
        |x| Ok(vec![extract_patches(&x[0], &on(&x[0])?, [3, 2])?]),
        &[random([2, 2, 5, 4], 1)],
    );
    judge_function_on(
        PlacePatches::ARMS,
        |x| Ok(vec![place_patches(&x[0], &on(&x[0])?, [5, 4])?]),
        &[random([2, 3, 2, 3, 2], 2)],
    );
}

proptest! {
    #![proptest_config(crate::testing::cases(40))]

    /// ⟨extract x, y⟩ = ⟨x, place y⟩ for every x, y and offsets.
    #[test]
    fn place_is_the_adjoint_of_extract(
        b in 1usize..3, c in 1usize..3, k in 2usize..6, h in 1usize..12, w in 1usize..12, ph in 1usize..9,
        pw in 1usize..9, seed in 0u64..1000,
    ) {
        let at = scattered(b, k, [ph, pw], [h, w], seed);
        let (x, y) = (random([b, c, h, w], seed), random([b, k, c, ph, pw], seed + 1));
        judge(&ExtractPatches { patch: [ph, pw] }, &[&x, &at]);
        judge(&PlacePatches { image: [h, w] }, &[&y, &at]);
        let (x, y) = (to_f64(&x).unwrap(), to_f64(&y).unwrap());
        let (patches, image) = (extract_patches(&x, &at, [ph, pw]).unwrap(), place_patches(&y, &at, [h, w]).unwrap());
        let dot = |a: &Tensor, b: &Tensor| -> f64 {
            a.to_vec::<f64>().unwrap().iter().zip(&b.to_vec::<f64>().unwrap()).map(|(a, b)| a * b).sum()
        };
        let (left, right) = (dot(&patches, &y), dot(&x, &image));
        prop_assert!((left - right).abs() <= 1e-9 * (1.0 + left.abs()), "{} {}", left, right);
    }
}

#[test]
fn corners_follow_the_published_rule() {
    let corners = |map| Corners {
        low: [100, 100],
        image: [1000, 1000],
        map: [map, map],
        receptive_field: 0,
        patch: [50, 50],
    };
    assert_eq!(corners(25).of(12 * 25 + 12).unwrap(), [475, 475]);
    assert_eq!(corners(25).of(0).unwrap(), [-5, -5]);
    assert_eq!(corners(100).of(0).unwrap(), [-20, -20]);
    // 2.5 and 7.5 round to even, as do -2.5 and 0.5.
    let halves = Corners { low: [4, 4], image: [20, 20], map: [4, 4], receptive_field: 0, patch: [5, 10] };
    assert_eq!([halves.of(0).unwrap(), halves.of(5).unwrap()], [[0, -2], [5, 2]]);
    // The speed limits: 288 by 384 views of 960 by 1280 images, valid convolutions and a pool of 8.
    let signs =
        Corners { low: [288, 384], image: [960, 1280], map: [35, 47], receptive_field: 9, patch: [100, 100] };
    assert_eq!(signs.of(0).unwrap(), [-22, -22]);
    assert_eq!(signs.of(35 * 47 - 1).unwrap(), [882, 1202]);
    let drawn = Tensor::from_slice(&[0, 312], [1, 2], &Device::Cpu).unwrap();
    assert_eq!(corners(25).offsets(&drawn).unwrap().to_vec::<i32>().unwrap(), [-5, -5, 475, 475]);
}

#[test]
fn misuse_is_a_typed_error() {
    let (x, at) = (random([2, 1, 4, 4], 1), offsets(&[0; 8], [2, 2, 2]));
    assert!(matches!(extract_patches(&x, &at, [0, 2]), Err(Error::Argument { op: "extract_patches", .. })));
    assert!(matches!(extract_patches(&x, &at, [1 << 31, 2]), Err(Error::Argument { .. })));
    assert!(matches!(extract_patches(&x, &offsets(&[0; 4], [1, 2, 2]), [2, 2]), Err(Error::Shape { .. })));
    assert!(matches!(extract_patches(&x, &offsets(&[0; 6], [2, 1, 3]), [2, 2]), Err(Error::Shape { .. })));
    assert!(matches!(extract_patches(&x, &random([2, 2, 2], 1), [2, 2]), Err(Error::DType { .. })));
    assert!(matches!(extract_patches(&random([4, 4], 1), &at, [2, 2]), Err(Error::Shape { .. })));
    let patches = random([2, 3, 1, 2, 2], 1);
    assert!(matches!(place_patches(&patches, &at, [4, 4]), Err(Error::Shape { op: "place_patches", .. })));
    assert!(matches!(place_patches(&random([2, 2, 1, 2, 2], 1), &at, [0, 4]), Err(Error::Argument { .. })));
    let corners = Corners { low: [8, 8], image: [80, 80], map: [8, 8], receptive_field: 0, patch: [5, 5] };
    assert!(matches!(corners.of(64), Err(Error::Argument { op: "corners", .. })));
    assert!(matches!(Corners { map: [0, 8], ..corners }.of(0), Err(Error::Argument { .. })));
    assert!(matches!(Corners { receptive_field: 9, ..corners }.of(0), Err(Error::Argument { .. })));
    let outside = Tensor::from_slice(&[-1], [1, 1], &Device::Cpu).unwrap();
    assert!(matches!(corners.offsets(&outside), Err(Error::Argument { .. })));
    assert!(matches!(corners.offsets(&random([1, 1], 1)), Err(Error::DType { .. })));
}
