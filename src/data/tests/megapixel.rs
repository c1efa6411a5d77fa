//! The generator: labels, places, shares, determinism, and what it refuses.

use proptest::prelude::*;

use super::{
    super::{megapixel::*, *},
    plain_digits,
};
use crate::Error;

fn set(config: MegapixelConfig, len: usize) -> MegapixelMnist {
    MegapixelMnist::new(config, Split::Train, plain_digits(), len).unwrap()
}

#[test]
fn answers_follow_from_the_digits() {
    let labels = Labels::new([4, 4, 4, 9, 0], [30, 20, 10, 10, 50]);
    // Digits 2 and 3 stand in the same row: the earlier one is the top one.
    assert_eq!(labels, Labels { majority: 4, max: 9, top: 4, multi: 1 << 4 | 1 << 9 | 1 });
    assert_eq!(labels.multi_hot(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(Labels::new([1, 1, 1, 7, 7], [9, 8, 7, 6, 5]).top, 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn digits_lie_inside_apart_and_on_top(
        seed: u64,
        size in 1_usize..40,
        extra in prop::array::uniform2(0_usize..200),
        published: bool,
        count in 0_usize..20,
    ) {
        let config = MegapixelConfig {
            canvas: extra.map(|extra| 4 * size + extra + 28),
            noise_count: count,
            noise_margin: 0,
            digit_size: size,
            draws: if published { Draws::Published } else { Draws::Counter },
            seed: seed >> 33,
            ..MegapixelConfig::ips()
        };
        let set = set(config.clone(), 3);
        let sample = set.sample(2).unwrap();
        let [h, w] = config.canvas;
        for (at, digit) in sample.digits.iter().enumerate() {
            prop_assert!(digit.row as usize + size <= h && digit.column as usize + size <= w);
            for other in &sample.digits[..at] {
                let near = |a: u32, b: u32| (a.abs_diff(b) as usize) < size;
                prop_assert!(!(near(digit.row, other.row) && near(digit.column, other.column)));
            }
            let (pixels, class) = plain_digits_get(digit.index);
            prop_assert_eq!(class, digit.class);
            // What was pasted is there to the last pixel, black ones too.
            let mut seen = vec![0; size * size];
            sample.read(Window::new(digit.row as isize, digit.column as isize, size, size), &mut seen).unwrap();
            prop_assert_eq!(seen, resize::area_u8(&pixels, 28, size).unwrap());
        }
        let classes = sample.digits.map(|digit| digit.class);
        prop_assert!(classes[..3].iter().all(|&class| class == classes[0]));
        prop_assert!(classes[3..].iter().all(|&class| class != classes[0]));
        prop_assert_eq!(sample.labels, Labels::new(classes, sample.digits.map(|digit| digit.row)));
        prop_assert_eq!(set.labels(2).unwrap(), sample.labels);
        prop_assert!([2, 3].contains(&sample.labels.multi.count_ones()));
        // Made alone, and in a split of another length, it is the same image.
        if !published {
            let other = MegapixelMnist::new(config, Split::Train, plain_digits(), 3000).unwrap();
            prop_assert_eq!(other.sample(2).unwrap(), sample);
        }
    }
}

fn plain_digits_get(index: u32) -> (Vec<u8>, u8) {
    let digits = plain_digits();
    let (pixels, class) = digits.get(index as usize).unwrap();
    (pixels.to_vec(), class)
}

#[test]
fn noise_lies_over_the_digits_when_asked_to() {
    let config =
        |order| MegapixelConfig { canvas: [150, 150], noise_count: 200, order, ..MegapixelConfig::ips() };
    let damaged = |order| {
        let set = set(config(order), 10);
        let differs = |digit: &PlacedDigit, sample: &Sample| {
            let mut seen = vec![0; 784];
            sample.read(Window::new(digit.row as isize, digit.column as isize, 28, 28), &mut seen).unwrap();
            seen != plain_digits_get(digit.index).0
        };
        let samples: Vec<Sample> = (0..10).map(|index| set.sample(index).unwrap()).collect();
        samples.iter().flat_map(|one| one.digits.map(|digit| differs(&digit, one))).filter(|&bad| bad).count()
    };
    assert_eq!(damaged(Order::DigitsOverNoise), 0);
    assert!(damaged(Order::NoiseOverDigits) > 25);
}

#[test]
fn the_largest_digit_is_distributed_as_it_must_be() {
    // P(max ≤ m) for a uniform class and two further ones, each uniform over the nine others.
    let population = [0.0, 0.0025, 0.0123, 0.0296, 0.0543, 0.0864, 0.1259, 0.1728, 0.2272, 0.2889];
    let digits = strokes::digits(0, Split::Test, 100).unwrap();
    let config = MegapixelConfig { noise_count: 0, ..MegapixelConfig::ips() };
    let set = MegapixelMnist::new(config, Split::Test, digits, 40_000).unwrap();
    let mut counts = [[0_usize; 10]; 3];
    for index in 0..set.len() {
        let labels = set.labels(index).unwrap();
        for (count, class) in counts.iter_mut().zip([labels.majority, labels.max, labels.top]) {
            count[usize::from(class)] += 1;
        }
    }
    for class in 0..10 {
        let share = |task: usize| counts[task][class] as f64 / set.len() as f64;
        assert!((share(1) - population[class]).abs() < 0.01, "max {class}: {}", share(1));
        assert!((share(0) - 0.1).abs() < 0.01 && (share(2) - 0.1).abs() < 0.01, "majority or top {class}");
    }
}

#[test]
fn splits_and_seeds_differ_and_indices_are_checked() {
    let config = MegapixelConfig { canvas: [200, 200], ..MegapixelConfig::ips() };
    let train = set(config.clone(), 5);
    let test = MegapixelMnist::new(config.clone(), Split::Test, plain_digits(), 5).unwrap();
    let other = set(MegapixelConfig { seed: 1, ..config }, 5);
    let images = [&train, &test, &other].map(|set| set.sample(0).unwrap().image);
    assert!(images[0] != images[1] && images[0] != images[2] && images[1] != images[2]);
    assert_ne!(train.noise_pool(), test.noise_pool());
    assert_ne!(train.sample(0).unwrap(), train.sample(1).unwrap());
    assert!(matches!(train.sample(5), Err(Error::Argument { .. })));
    assert!(matches!(train.labels(5), Err(Error::Argument { .. })));
}

#[test]
fn impossible_configurations_are_refused() {
    let refused = |config: MegapixelConfig, why: &str| {
        let error = MegapixelMnist::new(config, Split::Train, plain_digits(), 1).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    let ips = MegapixelConfig::ips;
    refused(MegapixelConfig { canvas: [27, 1500], ..ips() }, "do not fit");
    refused(MegapixelConfig { canvas: [56, 60], ..ips() }, "do not fit");
    refused(MegapixelConfig { canvas: [70_000, 100], ..ips() }, "at most 65535");
    refused(MegapixelConfig { noise_count: 70_000, ..ips() }, "at most 65535");
    refused(MegapixelConfig { digit_size: 0, ..ips() }, "at least 1 pixel");
    refused(
        MegapixelConfig { noise_size: 1480, ..ips() },
        "noise of 1480 × 1480 pixels behind a margin of 28",
    );
    refused(MegapixelConfig { noise_size: 0, ..ips() }, "noise of 0");
    refused(MegapixelConfig { noise_size: usize::MAX, ..ips() }, "noise of");
    refused(MegapixelConfig { noise: NoiseKind::bezier(0.5), ..ips() }, "thickness");
    refused(MegapixelConfig { draws: Draws::Published, seed: 1 << 40, ..ips() }, "seed");
    let config = MegapixelConfig { noise_size: 0, noise_count: 0, ..ips() };
    assert!(set(config, 1).sample(0).unwrap().image.nonzero() > 0);
    let nines = Digits::new(vec![0; 784], vec![9]).unwrap();
    let error = MegapixelMnist::new(ips(), Split::Train, nines, 1).unwrap_err().to_string();
    assert!(error.contains("have no 0"), "{error}");
    assert!(MegapixelMnist::new(ips(), Split::Train, plain_digits(), 0).is_err());
}

#[test]
fn crowded_canvases_are_filled_or_refused_but_never_hang() {
    let crowded = |canvas| {
        let config = MegapixelConfig { canvas, noise_count: 0, ..MegapixelConfig::ips() };
        set(config, 20)
    };
    // Tight but possible: placed anew when four digits have blocked the canvas.
    assert!((0..20).all(|index| crowded([84, 90]).sample(index).is_ok()));
    // Five in a row without a pixel between them: possible, and never found.
    let error = crowded([28, 140]).sample(0).unwrap_err().to_string();
    assert!(error.contains("no room found for 5 digits of 28 × 28 on 28 × 140"), "{error}");
}

#[test]
fn ratios_and_counts_are_those_of_the_paper() {
    assert_eq!([28, 56, 84, 112, 140, 141].map(noise_count), [800, 600, 400, 200, 0, 0]);
    let percent = |share: f64| (share * 1e5).round() / 1e3;
    assert_eq!(
        [28, 56, 84, 112].map(|s| percent(object_to_image(s, [3000, 3000]))),
        [0.009, 0.035, 0.078, 0.139]
    );
    assert_eq!(percent(object_to_image(21, [1500, 1500])), 0.02);
    assert_eq!(
        [25, 50, 100, 150].map(|p| (object_to_patch(84, [p, p]) * 1e3).round()),
        [11290.0, 2822.0, 706.0, 314.0]
    );
}

#[test]
fn pictures_that_do_not_fit_or_cannot_be_written_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    assert!(matches!(picture::save_grey(&path, [2, 2], &[0; 5]), Err(Error::Shape { .. })));
    assert!(matches!(picture::save_rgb(&path, [2, 2], &[0; 4]), Err(Error::Shape { .. })));
    let absent = folder.path().join("no/such/folder.png");
    assert!(
        matches!(picture::save_grey(&absent, [1, 1], &[0]), Err(Error::File { path, .. }) if path == absent)
    );
    picture::save_rgb(&path, [1, 2], &[1, 2, 3, 4, 5, 6]).unwrap();
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).read_info().unwrap();
    let mut pixels = [0; 6];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height, pixels), (2, 1, [1, 2, 3, 4, 5, 6]));
}

/// Two or three of ten classes are present: 45 and 120 possible answers.
#[test]
fn the_task_of_presence_has_165_answers() {
    let config = MegapixelConfig { canvas: [160, 160], noise_count: 0, ..MegapixelConfig::ips() };
    let set = set(config, 8000);
    let mut answers: Vec<u16> = (0..set.len()).map(|at| set.labels(at).unwrap().multi).collect();
    assert!(answers.iter().all(|multi| (2..=3).contains(&multi.count_ones())));
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers.len(), 45 + 120);
}
