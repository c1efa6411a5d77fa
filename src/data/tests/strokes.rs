//! The built-in digits.

use super::super::{DIGIT_SIDE, Digits, Split, strokes};

const AREA: usize = DIGIT_SIDE * DIGIT_SIDE;

#[test]
fn digits_are_laid_out_as_in_mnist() {
    let digits = strokes::digits(1, Split::Train, 2000).unwrap();
    let mut ink = 0.0;
    for index in 0..digits.len() {
        let (pixels, class) = digits.get(index).unwrap();
        assert_eq!(usize::from(class), index % 10);
        let mass: f64 = pixels.iter().map(|&value| f64::from(value)).sum();
        let middle = |axis: fn(usize) -> usize| {
            pixels.iter().enumerate().map(|(at, &value)| f64::from(value) * axis(at) as f64).sum::<f64>()
                / mass
        };
        let centre = [middle(|at| at / DIGIT_SIDE), middle(|at| at % DIGIT_SIDE)];
        assert!(centre.iter().all(|at| (at - 13.5).abs() < 1.0), "digit {index}: centre {centre:?}");
        assert!(pixels.iter().max() >= Some(&200), "digit {index} is faint");
        let edge = (0..DIGIT_SIDE)
            .flat_map(|at| [at, AREA - 1 - at, at * DIGIT_SIDE, at * DIGIT_SIDE + DIGIT_SIDE - 1]);
        assert!(edge.map(|at| pixels[at]).max() == Some(0), "digit {index} reaches the edge");
        ink += mass / 255.0;
    }
    // MNIST's mean is 102.5 white pixels.
    let mean = ink / digits.len() as f64;
    assert!((75.0..130.0).contains(&mean), "{mean} pixels of ink");
}

#[test]
fn a_digit_does_not_depend_on_how_many_are_drawn() {
    let few = strokes::digits(5, Split::Test, 30).unwrap();
    let many = strokes::digits(5, Split::Test, 300).unwrap();
    assert_eq!(few.all_pixels(), &many.all_pixels()[..30 * AREA]);
}

/// Distance of two digits.
fn distance(a: &[u8], b: &[u8]) -> u32 {
    a.iter().zip(b).map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

/// The share of `questions` whose nearest neighbour among `known` is of the same class.
fn nearest_neighbour(questions: &Digits, known: &Digits) -> f64 {
    let right = (0..questions.len()).filter(|&index| {
        let (pixels, class) = questions.get(index).unwrap();
        let candidates = (0..known.len()).map(|at| known.get(at).unwrap());
        candidates.min_by_key(|(other, _)| distance(pixels, other)).unwrap().1 == class
    });
    right.count() as f64 / questions.len() as f64
}

#[test]
fn the_classes_can_be_told_apart_and_vary() {
    let train = strokes::digits(0, Split::Train, 1000).unwrap();
    let test = strokes::digits(0, Split::Test, 300).unwrap();
    let accuracy = nearest_neighbour(&test, &train);
    assert!(accuracy > 0.9, "{accuracy}");
    // Varied as handwriting is: the nearest of 100 of the same class is far, and ten digits say little about the rest.
    let closest = |index: usize| {
        let (pixels, class) = test.get(index).unwrap();
        train
            .of_class(class)
            .iter()
            .map(|&at| distance(pixels, train.get(at as usize).unwrap().0))
            .min()
            .unwrap()
    };
    assert!((0..300).all(|index| closest(index) > 20_000));
    let ten = strokes::digits(0, Split::Train, 10).unwrap();
    assert!(nearest_neighbour(&test, &ten) < 0.8);
}

#[test]
fn splits_and_seeds_differ() {
    let pixels = |seed, split| strokes::digits(seed, split, 20).unwrap().all_pixels().to_vec();
    assert_ne!(pixels(0, Split::Train), pixels(0, Split::Test));
    assert_ne!(pixels(0, Split::Train), pixels(1, Split::Train));
}
