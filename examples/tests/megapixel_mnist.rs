//! The example as a person runs it: what it writes, how it stops and goes on, and what it says of bad input.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// A run on images so small that it takes a second; `more` comes after.
fn run(out: &Path, more: &[&str]) -> Output {
    // Tests lie in `deps`, examples beside it; cargo builds both before it runs the first.
    let example = std::env::current_exe().unwrap().with_file_name("../examples/megapixel_mnist");
    let small = "--canvas 120 --patch 30 --memory 4 --digit 20 --train-images 24 --test-images 6 --batch 8 --epochs 2";
    Command::new(example).args(small.split(' ')).arg("--out").arg(out).args(more).output().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn it_writes_what_it_says_and_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let (out, err) = said(&run(&whole, &[]));
    for file in
        ["checkpoint.safetensors", "curves.png", "loss.png", "attention/test-00.png", "attention/test-05.png"]
    {
        let bytes = fs::read(whole.join(file)).unwrap_or_else(|e| panic!("{file}: {e}\n{out}{err}"));
        assert!(bytes.len() > 500 && (!file.ends_with("png") || bytes.starts_with(b"\x89PNG")), "{file}");
    }
    assert!(
        out.contains("a second")
            && out.contains("majority")
            && out.contains("of 6 unseen images")
            && out.contains("attention maps"),
        "{out}"
    );
    assert_eq!(fs::read_to_string(whole.join("training.csv")).unwrap().lines().count(), 1 + 6);

    let (out, _) = said(&run(&parts, &["--stop-after", "2"]));
    assert!(out.contains("stopped at step 2; go on with --resume"), "{out}");
    let (out, _) = said(&run(&parts, &["--resume"]));
    assert!(out.contains("resumed at step 2 of 6"), "{out}");
    for file in ["checkpoint.safetensors", "training.csv"] {
        assert!(fs::read(whole.join(file)).unwrap() == fs::read(parts.join(file)).unwrap(), "{file} differs");
    }
    // Without its log a run goes on; on other data it does not.
    fs::remove_file(parts.join("training.csv")).unwrap();
    assert!(run(&parts, &["--resume"]).status.success());
    let other = run(&parts, &["--resume", "--noise", "bezier"]);
    let (_, err) = said(&other);
    assert!(!other.status.success() && err.contains("was written for another data"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}

/// Every system but the first, which the test above runs.
#[test]
fn every_system_trains_stops_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for system in ["ats", "uniform", "zoom-in", "dps", "deepmil", "transmil", "cnn"] {
        let (whole, parts) = (folder.path().join(system), folder.path().join(format!("{system}-parts")));
        let more =
            ["--system", system, "--view", "30", "--samples", "4", "--train-images", "8", "--epochs", "2"];
        let (out, err) = said(&run(&whole, &more));
        assert!(out.contains("of 6 unseen images"), "{system}: {out}{err}");
        let map = fs::read(whole.join("attention/test-05.png"));
        assert_eq!(map.is_ok_and(|map| map.starts_with(b"\x89PNG")), !["transmil", "cnn"].contains(&system));
        run(&parts, &[&more[..], &["--stop-after", "1"]].concat());
        let (out, _) = said(&run(&parts, &[&more[..], &["--resume"]].concat()));
        assert!(out.contains("resumed at step 1 of 2"), "{system}: {out}");
        let file = "checkpoint.safetensors";
        assert!(fs::read(whole.join(file)).unwrap() == fs::read(parts.join(file)).unwrap(), "{system}");
    }
    let other = run(&folder.path().join("ats"), &["--system", "uniform", "--view", "30", "--resume"]);
    assert!(said(&other).1.contains("was written for another"), "{}", said(&other).1);
}

#[test]
fn activations_in_half_the_bytes_are_learned_from() {
    let folder = tempfile::tempdir().unwrap();
    for more in [&["--activations", "bf16"][..], &["--activations", "f16", "--recompute"]] {
        let (out, err) = said(&run(folder.path(), more));
        assert!(out.contains("of 6 unseen images"), "{out}{err}");
    }
}

#[test]
fn bad_input_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let mnist = folder.path().join("mnist");
    fs::create_dir(&mnist).unwrap();
    for file in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"] {
        let rank = if file.contains("images") { 3 } else { 1 };
        let truncated = [0, 0, 8, rank, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28, 1];
        fs::write(mnist.join(format!("{file}-ubyte")), truncated).unwrap();
    }
    let broken = mnist.to_str().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    let out = folder.path().join("out");
    for (more, word) in [
        (&["--mnist", "/no/such/folder"][..], "/no/such/folder"),
        (&["--mnist", broken], "-ubyte: "),
        (&["--resume"], "checkpoint.safetensors"),
        (&["--canvas", "10"], "canvas"),
        (&["--patch", "1000"], "patch of 1000"),
        (&["--patch", "0"], "patch"),
        (&["--stride", "0"], "stride"),
        (&["--memory", "0"], "memory 0"),
        (&["--iteration", "0"], "iteration 0"),
        (&["--system", "ats", "--samples", "0"], "at least 1"),
        (&["--system", "ats", "--view", "0"], "nothing of [0, 0]"),
        (&["--epochs", "0"], "0 epochs"),
        (&["--system", "cnn", "--stkim", "3"], "of ips alone"),
        (&["--batch", "0"], "0 per step"),
        (&["--train-images", "0"], "0 images"),
        (&["--noise", "bezier", "--thickness", "9"], "thickness 9"),
        (
            &["--noise", "bezier", "--digit", "20000", "--canvas", "60000", "--noise-count", "60000"],
            "out of memory",
        ),
        (&["--learning-rate", "nan"], "NaN"),
        (&["--device", "abacus"], "abacus"),
        (&["--precision", "bf16"], "bf16"),
    ] {
        let output = run(&out, more);
        let (said, err) = said(&output);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {said}{err}");
        assert!(
            err.starts_with("error: ") && err.contains(word) && err.lines().count() == 1,
            "{more:?}: {err}"
        );
    }
    let into_a_file = run(&file, &[]);
    assert_eq!(said(&into_a_file).1.lines().count(), 1);
    assert_eq!(into_a_file.status.code(), Some(1));
}
