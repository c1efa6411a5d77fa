//! The studies at their smallest scale, as a person runs them: what they write, and that what is done is not done again.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn run(study: &str, out: &Path, more: &[&str]) -> Output {
    let example = std::env::current_exe().unwrap().with_file_name("../examples/study");
    let small = ["--scale", "smallest", "--seeds", "1", "--out"];
    Command::new(example).arg(study).args(small).arg(out).args(more).output().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The rows of a table that a study wrote, by the names of its columns.
fn column(csv: &str, name: &str) -> Vec<String> {
    let mut lines = csv.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let at = lines.next().unwrap().iter().position(|column| column == name).unwrap();
    lines.map(|mut line| line.swap_remove(at)).collect()
}

#[test]
fn o2i_writes_its_tables_and_does_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (text, err) = said(&run("o2i", folder.path(), &["--seeds", "2"]));
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    let table =
        fs::read_to_string(folder.path().join("table.md")).unwrap_or_else(|e| panic!("{e}: {text}{err}"));
    assert!(text.contains(&table), "{text}");
    let csv = read("results.csv");
    assert_eq!(column(&csv, "digit"), ["10", "14"].repeat(4));
    assert_eq!(column(&csv, "train_images"), ["8", "8", "16", "16"].repeat(2));
    assert_eq!(column(&csv, "seed"), ["0", "0", "0", "0", "1", "1", "1", "1"]);
    let share: f64 = column(&csv, "o2i_percent")[0].parse().unwrap();
    assert!((share - 100.0 * 100.0 / (96.0 * 96.0)).abs() < 1e-9);
    // The published line, and ours in the same table: two sizes of each of two numbers of images.
    assert!(table.contains("| 2000 images | 0.0087 | logs, test | 88.3 | 83.9 | 79.7 | 52.7 |"), "{table}");
    assert!(table.contains("| 2000 images | 0.0087 | logs, training | 99.9 |"), "{table}");
    assert_eq!(table.matches("| ours, 2 seeds |").count(), 4, "{table}");
    // The means are those of the rows.
    let shares: Vec<f64> = column(&csv, "test_majority").iter().map(|share| share.parse().unwrap()).collect();
    let means = read("table.csv");
    for (at, mean) in column(&means, "majority_mean").iter().enumerate() {
        assert_eq!(mean.parse::<f64>().unwrap(), (shares[at] + shares[at + 4]) / 2.0, "{means}");
    }
    assert_eq!(column(&means, "o2i_percent").len(), 4, "{means}");
    assert!(fs::read(folder.path().join("study.png")).unwrap().starts_with(b"\x89PNG"));

    // What is finished is read; a run that was stopped goes on from its checkpoint, to the same bits.
    let run_folder = |name: &str| folder.path().join("runs").join(name);
    let one = run_folder("canvas96-digit14-patch24-bezier1.925x4-images16-seed1");
    fs::remove_file(one.join("result.csv")).unwrap();
    let (again, err) = said(&run("o2i", folder.path(), &["--seeds", "2"]));
    assert!(!again.contains("8 steps, ") && again.contains("run 8 of 8"), "{again}{err}");
    assert_eq!(csv, read("results.csv"));
    let other = run("o2i", folder.path(), &["--learning-rate", "0.1"]);
    assert!(!other.status.success() && said(&other).1.contains("other settings"), "{}", said(&other).1);
}

#[test]
fn thickness_compares_what_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (text, err) = said(&run("thickness", folder.path(), &[]));
    let csv =
        fs::read_to_string(folder.path().join("results.csv")).unwrap_or_else(|e| panic!("{e}: {text}{err}"));
    assert_eq!(column(&csv, "noise"), ["bezier", "bezier", "bezier-exact", "bezier-exact"]);
    assert_eq!(column(&csv, "thickness"), ["1.4", "2.6", "1.4", "2.6"]);
    assert_eq!(column(&csv, "drawn_thickness"), ["1", "2", "1.4", "2.6"]);
    assert!(
        text.contains("| bezier | 1.4 | paper | 80.2 ± 6.2 |")
            && text.contains("| bezier-exact | 2.6 | ours"),
        "{text}"
    );
}

#[test]
fn the_other_studies_run() {
    let folder = tempfile::tempdir().unwrap();
    for (study, varied, values, row) in [
        ("noise", "noise_count", ["2", "6"], "| 800 | paper | 99.1 |"),
        ("patch-size", "patch", ["16", "24"], "| 25 | paper, corrected from logs | 64.6 |"),
        ("digit-size", "digit", ["10", "14"], "| 21 | logs, test | 74.7 | 78.4 | 58.9 | 20.4 |"),
    ] {
        let out = folder.path().join(study);
        let (text, err) = said(&run(study, &out, &[]));
        let csv = fs::read_to_string(out.join("results.csv"))
            .unwrap_or_else(|e| panic!("{study}, {e}: {text}{err}"));
        assert_eq!(column(&csv, varied), values, "{study}");
        assert!(text.contains(row) && out.join("study.png").exists(), "{text}");
    }
}

/// Runs and steps of the published grids: 100 epochs in batches of 16 where a study says nothing else.
#[test]
fn published_grids_can_be_trained() {
    let folder = tempfile::tempdir().unwrap();
    for (study, runs, steps) in [
        ("o2i", 16, 4 * 100 * (50 + 63 + 125 + 250)),
        ("thickness", 14, 14 * 50 * 125),
        ("noise", 6, 6 * 100 * 313),
        ("patch-size", 4, 4 * 100 * 63),
        ("digit-size", 5, 5 * 150 * 313),
    ] {
        let (text, err) = said(&run(study, folder.path(), &["--scale", "paper", "--list"]));
        let last = format!("{runs} runs, {steps} steps of 16 images\n");
        assert!(text.ends_with(&last) && text.lines().count() == runs + 1, "{text}{err}");
        assert!(run(study, folder.path(), &["--scale", "small", "--list"]).status.success(), "{study}");
    }
}

#[test]
fn regularisers_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--stkim", "2", "--stkim-probability", "0.5", "--diversity", "0.25", "--digit", "14"];
    let (text, err) = said(&run("o2i", folder.path(), &more));
    assert!(text.contains("STKIM of 2 with 0.5. Diversity of weight 0.25."), "{text}{err}");
    let other = run("o2i", folder.path(), &["--digit", "14"]);
    assert!(said(&other).1.contains("other settings"), "{}", said(&other).1);
}

#[test]
fn bad_input_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    for (more, word) in [
        (&["--seeds", "0"][..], "nothing to train"),
        (&["--digit", "90"], "5 digits of 90"),
        (&["--patch", "100"], "patch of 100"),
        (&["--memory", "0"], "memory 0"),
        (&["--epochs", "0"], "0 epochs"),
        (&["--stkim", "0"], "top must be at least 1"),
        (&["--diversity=-1"], "diversity of -1"),
        (&["--thickness", "7"], "thickness 7"),
        (&["--mnist", "/no/such/folder"], "/no/such/folder"),
    ] {
        let output = run("o2i", folder.path(), more);
        let (said, err) = said(&output);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {said}{err}");
        assert!(
            err.starts_with("error: ") && err.contains(word) && err.lines().count() == 1,
            "{more:?}: {err}"
        );
    }
}
