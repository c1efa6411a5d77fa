//! The interface as another language calls it: what goes wrong is the text of an answer, whether there is a GPU or not.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use foveate_in_process::{foveate_ask, foveate_free, foveate_run};
use serde_json::{Value, json};
use std::ffi::{CStr, CString};

fn ask(request: &str) -> Value {
    let request = CString::new(request).unwrap();
    // SAFETY: the text ends with a zero, no request here has a pointer that is followed, and the answer goes back once.
    unsafe {
        let answer = foveate_ask(request.as_ptr());
        let text = CStr::from_ptr(answer).to_str().unwrap().to_owned();
        foveate_free(answer);
        serde_json::from_str(&text).unwrap()
    }
}

#[track_caller]
fn refused(request: &str, why: &str) {
    let answer = ask(request);
    assert!(answer["error"].as_str().is_some_and(|error| error.contains(why)), "{request}: {answer}");
}

#[test]
fn what_cannot_be_done_is_said() {
    refused("no JSON", "expected");
    refused("{}", "no text `do`");
    refused(r#"{"do": "dance"}"#, "no request \"dance\"");
    refused(r#"{"do": "open", "ordinal": 0, "stream": 0, "sizes": "huge"}"#, "must be cuda or smoke");
    refused(r#"{"do": "counters"}"#, "no device is open");
    refused(
        r#"{"do": "lend", "name": "x", "dtype": "f32", "dims": [2], "pointer": 256}"#,
        "no device is open",
    );
    refused(r#"{"do": "prepare", "case": "unfold/50-50", "precision": "f32"}"#, "no case \"unfold/50-50\"");
    refused(r#"{"do": "prepare", "case": "x", "precision": "f8"}"#, "f8");
    refused(r#"{"do": "read", "at": 0, "pointer": 0, "bytes": 0}"#, "no case is prepared");
    // SAFETY: null is what it may be.
    let answer = unsafe { foveate_ask(std::ptr::null()) };
    assert!(!answer.is_null());
    // SAFETY: from `foveate_ask`, once.
    unsafe { foveate_free(answer) };
    assert_eq!(foveate_run(1), 1);
    assert_eq!(ask(r#"{"do": "failure"}"#), json!({"why": "no case is prepared"}));
}
