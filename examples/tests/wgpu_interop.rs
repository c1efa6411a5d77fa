//! The example that shares buffers with an application, run as a person runs it.
#![cfg(feature = "wgpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

#[test]
fn an_application_s_picture_is_cut_and_summed_where_it_stands() {
    // Tests lie in `deps`, examples beside it; cargo builds both before it runs the first.
    let example = std::env::current_exe().unwrap().with_file_name("../examples/wgpu_interop");
    let output = Command::new(example).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if errors.starts_with("no device wgpu") {
        return eprintln!("skipped: {errors}");
    }
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("memory allocated for the picture: 0 bytes"), "{said}");
    assert!(said.contains("mean brightness of 64 patches:"), "{said}");
    let rows: Vec<Vec<f32>> =
        said.lines().filter_map(|line| line.split(' ').map(|word| word.parse().ok()).collect()).collect();
    assert_eq!(rows.len(), 8, "{said}");
    for (r, row) in rows.iter().enumerate() {
        for (q, mean) in row.iter().enumerate() {
            // The mean of (x + y) / 1022 over a patch of 64².
            let want = (64 * (r + q) + 63) as f32 / 1022.0;
            assert!((mean - want).abs() < 6e-4, "patch {r}, {q}: {mean}, not {want}");
        }
    }
    assert!(
        said.contains("refused: [512, 512] f32 from byte 0 on do not fit in a buffer of 1024 bytes"),
        "{said}"
    );
}
