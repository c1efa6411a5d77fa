//! The program as a person runs it: recorded cases pass, and a record that is wrong does not.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Replays a folder on the CPU.
fn replay(folder: &Path) -> (Output, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_foveate-verify")).arg("--cases").arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

#[test]
fn a_wrong_record_fails_among_right_ones() {
    let folder = std::env::temp_dir().join(format!("foveate-verify-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for case in ["linear-plain", "softmax-rows"] {
        let own =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(case).with_extension("safetensors");
        fs::copy(own, folder.join(case).with_extension("safetensors")).unwrap();
    }
    let (output, said) = replay(&folder);
    assert!(output.status.success() && said.contains("2 passed, 0 failed, 0 skipped"), "{said}");
    // The highest bit of the exponent of the last number.
    let file = folder.join("linear-plain.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 0x40;
    fs::write(&file, bytes).unwrap();
    let (output, said) = replay(&folder);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 passed, 1 failed, 0 skipped") && said.contains("FAIL: "), "{said}");
}
