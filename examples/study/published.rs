//! The published figures of the studies, what their authors' logs say instead, and what is to be known of them.
//!
//! Paper: Riffi-Aslett and Fell, arXiv 2412.11237. Logs: `results library/` of github.com/MRiffiAslett/ips_MaxRiffiAslett,
//! commit cdbd1db, of November 2024; the last epoch of each run. All figures are shares of right answers in percent.

use crate::study::Study;
use foveate::data::megapixel::object_to_image;

/// One row of figures.
pub(crate) struct Published {
    /// The line of the plot that it belongs to, and where it is on the horizontal axis.
    pub(crate) line: String,
    pub(crate) x: f64,
    /// Whose figures: of the paper, of the logs, or put right.
    pub(crate) whose: &'static str,
    /// Majority, max, top, multi; NaN where unknown.
    pub(crate) mean: [f64; 4],
    /// Deviations over runs; NaN where unknown.
    pub(crate) deviation: [f64; 4],
}

const UNKNOWN: [f64; 4] = [f64::NAN; 4];
const PAPER: &str = "paper";
const CORRECTED: &str = "paper, corrected from logs";

impl Published {
    fn new(line: &str, x: f64, whose: &'static str, mean: [f64; 4], deviation: [f64; 4]) -> Self {
        Published { line: line.to_owned(), x, whose, mean, deviation }
    }
}

/// What is published of a study.
pub(crate) fn published(study: Study) -> Vec<Published> {
    match study {
        Study::O2i => figure_4(),
        Study::Thickness => table_2(),
        Study::Noise => table_3(),
        Study::PatchSize => table_4(),
        Study::DigitSize => table_7(),
    }
}

/// Training images; for each task and digit size the accuracy in the test, and in training.
type SizesOfFigure4 = (usize, [[[f64; 2]; 4]; 4]);

const FIGURE_4_DIGITS: [usize; 4] = [28, 56, 84, 112];
const FIGURE_4: [SizesOfFigure4; 4] = [
    (
        800,
        [
            [[43.0, 99.0], [69.8, 99.2], [76.6, 99.5], [84.2, 99.8]],
            [[48.6, 99.1], [66.3, 99.9], [66.5, 99.0], [63.6, 99.6]],
            [[39.1, 98.4], [63.5, 99.2], [69.8, 99.5], [76.4, 99.8]],
            [[3.0, 20.0], [14.6, 35.0], [12.1, 22.0], [17.9, 35.4]],
        ],
    ),
    (
        1000,
        [
            [[66.6, 99.5], [79.4, 99.0], [91.0, 99.9], [89.3, 99.6]],
            [[69.2, 99.5], [70.2, 99.1], [71.5, 99.9], [66.8, 99.4]],
            [[62.0, 99.4], [70.9, 99.2], [79.7, 100.0], [78.4, 99.5]],
            [[19.6, 35.1], [19.4, 33.5], [25.8, 54.6], [24.6, 45.5]],
        ],
    ),
    (
        2000,
        [
            [[88.3, 99.9], [95.5, 99.8], [96.1, 100.0], [95.2, 100.0]],
            [[83.9, 99.8], [82.7, 99.8], [83.6, 99.8], [78.7, 99.9]],
            [[79.7, 100.0], [85.9, 99.8], [88.7, 100.0], [91.1, 99.8]],
            [[52.7, 79.1], [51.5, 71.0], [55.0, 87.8], [45.1, 83.6]],
        ],
    ),
    (
        4000,
        [
            [[98.3, 100.0], [98.9, 100.0], [97.9, 100.0], [98.7, 100.0]],
            [[92.2, 100.0], [93.0, 100.0], [89.6, 100.0], [90.7, 100.0]],
            [[91.3, 100.0], [93.8, 100.0], [92.8, 100.0], [93.2, 100.0]],
            [[78.6, 97.5], [80.2, 97.9], [72.1, 93.3], [75.3, 95.8]],
        ],
    ),
];

/// The series of data set sizes at digits of 28 pixels that the logs have besides.
const FIGURE_4_MORE: [(usize, [f64; 4]); 6] = [
    (200, [18.3, 29.6, 16.0, 0.0]),
    (300, [22.6, 23.8, 15.9, 0.5]),
    (400, [9.6, 16.3, 10.9, 0.0]),
    (600, [30.1, 38.0, 27.9, 1.4]),
    (3000, [96.4, 88.6, 87.3, 67.7]),
    (5000, [99.1, 92.7, 93.5, 83.4]),
];

/// The paper shows curves alone; the logs have their values.
fn figure_4() -> Vec<Published> {
    let x = |digit: usize| 100.0 * object_to_image(digit, [3000; 2]);
    let mut rows = Vec::new();
    for (images, tasks) in &FIGURE_4 {
        for (at, &digit) in FIGURE_4_DIGITS.iter().enumerate() {
            for (column, whose) in ["logs, test", "logs, training"].into_iter().enumerate() {
                let mean = tasks.map(|sizes| sizes[at][column]);
                rows.push(Published::new(&format!("{images} images"), x(digit), whose, mean, UNKNOWN));
            }
        }
    }
    let more = |(images, mean): &(usize, [f64; 4])| {
        Published::new(&format!("{images} images"), x(28), "logs, test", *mean, UNKNOWN)
    };
    rows.extend(FIGURE_4_MORE.iter().map(more));
    rows
}

fn table_2() -> Vec<Published> {
    let rows = [
        (1.4, [80.2, 75.9, 71.3, 26.1], [6.2, 1.4, 6.0, 13.4]),
        (1.6, [79.2, 75.7, 69.8, 21.2], [3.7, 3.0, 3.8, 11.1]),
        (1.8, [58.4, 65.1, 54.1, 13.7], [24.8, 18.0, 25.8, 11.6]),
        (2.0, [10.2, 26.5, 9.4, 0.0], [1.1, 1.6, 0.9, f64::NAN]),
        (2.2, [10.9, 27.4, 10.1, 0.0], [0.0, 0.0, 0.1, f64::NAN]),
        (2.4, [10.9, 27.4, 10.2, 0.0], [0.1, 0.0, 0.6, f64::NAN]),
        (2.6, [15.7, 29.8, 13.0, 0.1], [8.4, 11.2, 5.1, 0.1]),
    ];
    let mut rows: Vec<Published> = rows
        .into_iter()
        .map(|(x, mean, deviation)| Published::new("bezier", x, PAPER, mean, deviation))
        .collect();
    let multi = |multi: f64| [f64::NAN, f64::NAN, f64::NAN, multi];
    rows.push(Published::new("bezier", 1.4, CORRECTED, multi(15.6), UNKNOWN));
    rows.push(Published::new("bezier", 1.6, CORRECTED, multi(21.2), UNKNOWN));
    rows
}

fn table_3() -> Vec<Published> {
    let rows = [
        (100.0, [99.0, 94.5, 92.7, 83.6]),
        (200.0, [98.8, 93.9, 93.6, 84.0]),
        (300.0, [99.0, 94.2, 94.4, 83.8]),
        (400.0, [98.9, 94.6, 92.5, 82.7]),
        (600.0, [99.0, 94.2, 94.2, 82.6]),
        (800.0, [99.1, 92.7, 93.5, 83.4]),
    ];
    rows.into_iter().map(|(x, mean)| Published::new("", x, PAPER, mean, UNKNOWN)).collect()
}

fn table_4() -> Vec<Published> {
    let rows = [
        (25.0, [76.0, 69.3, 72.2, 14.2], [9.7, 7.7, 18.4, 9.1]),
        (50.0, [63.6, 56.2, 58.7, 25.4], [20.2, 13.0, 19.1, 14.4]),
        (100.0, [52.3, 55.4, 46.8, 7.6], [21.0, 15.9, 18.5, 11.0]),
        (150.0, [43.0, 46.8, 40.2, 6.9], [28.8, 22.4, 25.3, 11.0]),
    ];
    let mut rows: Vec<Published> =
        rows.into_iter().map(|(x, mean, deviation)| Published::new("", x, PAPER, mean, deviation)).collect();
    rows.push(Published::new("", 25.0, CORRECTED, [64.6, 56.9, 54.4, 13.2], UNKNOWN));
    rows
}

fn table_7() -> Vec<Published> {
    let rows = [
        (14.0, [66.5, 60.1, 49.5], 16.3),
        (21.0, [74.7, 78.4, 58.9], 20.4),
        (28.0, [99.1, 93.7, 92.7], 81.9),
        (46.0, [98.9, 93.3, 92.2], 85.1),
        (64.0, [99.3, 92.9, 94.6], 81.6),
    ];
    let mut published = Vec::new();
    for (x, [majority, max, top], multi) in rows {
        let [paper, logs] = [f64::NAN, multi].map(|multi| [majority, max, top, multi]);
        published.push(Published::new("", x, PAPER, paper, UNKNOWN));
        published.push(Published::new("", x, "logs, test", logs, UNKNOWN));
    }
    published
}

/// What is wrong with the published figures, or cannot be told from them.
pub(crate) fn remarks(study: Study) -> &'static [&'static str] {
    match study {
        Study::O2i => &[
            "The paper shows curves alone, of one run each; the figures are those of its authors' logs.",
            "The values of Multi that its text calls validation (79, 71, 87, 83 % at 2000 images) are of training: the \
             test gave 53, 52, 55, 45 %. That Multi is insensitive to O2I does not follow.",
            "The text says 4000 noise patterns at the highest O2I; its own formula gives 200.",
            "Chance at Max is not 30 %, which is for three digits that differ: the label is the largest of five among \
             which digits recur, 9 in 28.9 %, and 27.4 % of the published test set. Chance at Multi is not 10⁻⁵: two or \
             three of its bits are set.",
            "Figures 6 and 7 pair values of O2I for a canvas of 3000 with images of 1500.",
            "It writes of a learning rate that decreases in the first 10 epochs; the code lets it rise.",
        ],
        Study::Thickness => &[
            "The published generator cuts the thickness to a whole number: 1.4, 1.6 and 1.8 all draw 1 pixel, 2.0 to 2.6 \
             all draw 2. The table compares two thicknesses, and its differences among the first three rows are chance. \
             `bezier-exact` draws what is said.",
            "Row 2.6 is of a run of 8 epochs, of another, and of a file that names thickness 5.0: it is to be ignored. \
             Four of the logs are copies of one another under other names.",
            "Multi at 1.4 cannot be had from the logs, whose last epochs give 15.6 %.",
            "The default thickness is 1.925 in the text, 1.91 in the code and 1.921 in its settings; all draw 1 pixel.",
            "The seeds are mostly one seed, 0, with the nondeterminism of the GPU.",
        ],
        Study::Noise => &["Each row is one run; the logs agree within 0.9 points."],
        Study::PatchSize => &[
            "The row of patches of 25 has the training accuracy (84.2, 77.1, 92.5, 5.2 %) of one run that was cut off in \
             the place of its test accuracy: (84.2 + 78.4 + 65.3) / 3 = 76.0. Corrected, it is not above that of 50.",
            "The third run of 50 stops at epoch 13 in the logs, the third of 100 at epoch 90, the third of 150 is an empty \
             file.",
            "Patches of 150 were trained with M = I = 50, not 100 (`--patch 150 --memory 50`).",
        ],
        Study::DigitSize => &[
            "Digits of 21 pixels cover 0.0196 % of the image, not the 0.012 % of the table.",
            "The logs do not say which noise it was; here it is that of the base generator, 50 lines.",
            "Each row is one run.",
        ],
    }
}
