//! The comparison as a person runs it: what it writes, and that what is done is not done again.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn run(out: &Path, more: &[&str]) -> Output {
    let example = std::env::current_exe().unwrap().with_file_name("../examples/compare");
    let small = "--canvas 120 --patch 30 --memory 4 --samples 4 --view 20 --train-images 12 --test-images 8 \
                 --batch 4 --epochs 1 --seeds 2";
    Command::new(example).args(small.split(' ')).arg("--out").arg(out).args(more).output().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn it_compares_and_does_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("megapixel");
    let (text, err) = said(&run(&out, &["--systems", "ats,cnn"]));
    let table = fs::read_to_string(out.join("table.md")).unwrap_or_else(|e| panic!("{e}: {text}{err}"));
    assert!(text.contains(&table), "{text}");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2 + 1 + 2, "{table}");
    assert!(lines[3].starts_with("| ats |") && lines[3].contains("±") && lines[4].starts_with("| cnn |"));
    // What a whole network takes grows with the image, four times but for the scratch of threads; what a view and a few
    // patches take does not.
    let csv = fs::read_to_string(out.join("table.csv")).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let growth = |row: &Vec<&str>| row[5].parse::<f64>().unwrap() / row[4].parse::<f64>().unwrap();
    assert_eq!(rows.len(), 4);
    assert!((0.9..1.1).contains(&growth(&rows[0])) && growth(&rows[1]) > 2.0, "{csv}");
    assert!(fs::read(out.join("curves.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(
        out.join("ats-1/attention/test-00.png").exists() && !out.join("cnn-1/attention/test-00.png").exists()
    );

    // Another system joins; those that are done keep their rows, down to the time that they took.
    let (again, _) = said(&run(&out, &["--systems", "ats,cnn,uniform"]));
    assert!(!again.contains("ats with seed 0") && again.contains("uniform with seed 1"), "{again}");
    let longer = fs::read_to_string(out.join("table.csv")).unwrap();
    assert!(csv.lines().all(|line| longer.contains(line)), "{longer}");
    let other = run(&out, &["--systems", "ats", "--learning-rate", "0.1"]);
    assert!(!other.status.success() && said(&other).1.contains("other settings"), "{}", said(&other).1);
}

#[test]
fn needles_can_be_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--data", "needle", "--systems", "ips,zoom-in", "--seeds", "1"];
    let (text, err) = said(&run(folder.path(), &more));
    assert!(text.contains("| zoom-in |") && text.contains("present, %"), "{text}{err}");
    let bad = run(folder.path(), &["--data", "needle", "--objects", "99"]);
    let (_, err) = said(&bad);
    assert!(err.starts_with("error: ") && err.contains("99 digits") && err.lines().count() == 1, "{err}");
}
