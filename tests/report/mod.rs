//! What ran on which device and what could not, for the table at the end of the test command: a line in the file that
//! `FOVEATE_TEST_REPORT` names. The library's own tests leave the same lines.

use std::io::Write;

/// Notes that a test ran on a device, or (`why`) that it could not.
pub(crate) fn report(device: &str, why: Option<&str>) {
    if let Some(why) = why {
        eprintln!("skipped: {why}");
    }
    let Ok(path) = std::env::var("FOVEATE_TEST_REPORT") else { return };
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let what = if why.is_some() { "skipped" } else { "ran" };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let line = format!("{device}\t{test}\t{what}\t{}\n", why.unwrap_or(""));
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the test report can be written");
}
