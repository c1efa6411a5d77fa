//! The CUDA benchmarks behind a C interface of three functions, for a process that has a GPU in use already: PyTorch's. The
//! library opens foveate's device on that process's stream, in its context, and computes the same cases as `cargo xtask
//! bench --device cuda` on tensors of that process.
//!
//! [`foveate_ask`] takes a request and gives an answer, both JSON (`requests.rs` lists them); [`foveate_free`] takes the
//! answer back; [`foveate_run`] computes the prepared case, and is all that a clock runs around. No panic leaves the library, and every
//! failure is the `error` of an answer. All calls come from one thread: what is prepared belongs to it.

pub mod floors;
mod lent;
mod requests;
mod support;

#[path = "../../adamw.rs"]
mod adamw;
#[path = "../../conv2d.rs"]
#[expect(dead_code, reason = "the rungs and the tuner are not measured here")]
mod conv2d;
#[path = "../../cross_attention.rs"]
mod cross_attention;
#[path = "../../encoder.rs"]
mod encoder;
#[path = "../../gumbel_top_k.rs"]
mod gumbel_top_k;
#[path = "../../layers.rs"]
mod layers;
#[path = "../../selection.rs"]
mod selection;
#[path = "../../top_k.rs"]
mod top_k;
#[path = "../../top_m_merge.rs"]
mod top_m_merge;
#[path = "../../unfold.rs"]
#[expect(dead_code, reason = "the case through wgpu is not measured here")]
mod unfold;

use requests::State;
use serde_json::{Value, json};
use std::{
    any::Any,
    cell::RefCell,
    ffi::{CStr, CString, c_char, c_int},
    panic::{AssertUnwindSafe, catch_unwind},
};
use support::{Case, sizes::Sizes};

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Every case of such sizes that computes on the device.
fn cases(sizes: &Sizes) -> Vec<Case> {
    let families = [
        selection::batches(sizes),
        selection::cases(sizes),
        encoder::cases(sizes.patches),
        encoder::in_f16_cases(sizes.patches),
        selection::in_f16_cases(sizes),
        unfold::cases(sizes.cut),
        cross_attention::cases(sizes.attention),
        top_m_merge::cases(),
        top_k::cases(),
        gumbel_top_k::cases(sizes.draws, 10),
        gumbel_top_k::cases(sizes.large_draw, 100),
        conv2d::cases(sizes),
        layers::cases(sizes.patches),
        adamw::cases(),
    ];
    families.into_iter().flatten().collect()
}

/// Answers a request: a JSON object with `do`, as text that ends with a zero. The answer is one too, `{"error": TEXT}` where
/// it could not be done, and goes back to [`foveate_free`]; null if memory for it is missing.
///
/// # Safety
/// `request` is null or points to a text that ends with a zero and that nobody changes during the call. Pointers in a request
/// are to as many bytes as it says, of the kind it says, and stay so until `forget`, or, for `read`, until the call returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foveate_ask(request: *const c_char) -> *mut c_char {
    let answer = guarded(|| {
        if request.is_null() {
            return Err("the request is null".into());
        }
        // SAFETY: not null, and the caller's promise is that it ends with a zero.
        let text = unsafe { CStr::from_ptr(request) }.to_str()?;
        let request: Value = serde_json::from_str(text)?;
        with_state(|state| {
            // SAFETY: the caller's promise for the pointers in a request.
            unsafe { state.answer(&request) }
        })
    });
    let answer = answer.unwrap_or_else(|error| json!({ "error": error }));
    // A JSON text has no zero in it: it is written as an escape.
    CString::new(answer.to_string()).map_or(std::ptr::null_mut(), CString::into_raw)
}

/// Takes an answer back.
///
/// # Safety
/// `answer` is null or came from [`foveate_ask`], and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foveate_free(answer: *mut c_char) {
    if !answer.is_null() {
        // SAFETY: made by `CString::into_raw` in `foveate_ask`, and given back once.
        drop(unsafe { CString::from_raw(answer) });
    }
}

/// Computes the prepared case so many times on the stream, without waiting for it. 0, or 1 where that failed: why, the
/// request `failure` answers.
#[unsafe(no_mangle)]
pub extern "C" fn foveate_run(times: u32) -> c_int {
    let ran = guarded(|| with_state(|state| state.run(times)));
    let failed = ran.is_err();
    if let Err(error) = ran {
        let _ = STATE.try_with(|state| {
            if let Ok(mut state) = state.try_borrow_mut() {
                state.failed(error);
            }
        });
    }
    c_int::from(failed)
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn with_state<T>(work: impl FnOnce(&mut State) -> Outcome<T>) -> Outcome<T> {
    let done = STATE.try_with(|state| {
        let mut state = state.try_borrow_mut().map_err(|_| "a call within a call")?;
        work(&mut state)
    });
    done.map_err(|_| "the thread is ending")?
}

/// What `work` gives, with errors and panics as text.
fn guarded<T>(work: impl FnOnce() -> Outcome<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("a panic: {}", said(&*panic))),
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of unknown kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let error = guarded(|| -> Outcome<()> { panic!("number {}", 7) }).unwrap_err();
        assert_eq!(error, "a panic: number 7");
        assert_eq!(guarded(|| Ok(3)), Ok(3));
    }

    #[test]
    fn all_cases_have_names_of_their_own() {
        let cases = cases(&support::sizes::SMOKE);
        let names: std::collections::BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
    }
}
