//! What went wrong on a device: errors that no scope caught, and its loss. wgpu reports both through callbacks, at some
//! other time than the call that caused them, and answers calls on a lost device as if nothing had happened; so both
//! are kept here and every call of ours looks.

use crate::error::{Error, Result};
use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

#[derive(Default)]
pub(super) struct Health {
    /// Whether there is something to look at; the only thing read while all is well.
    ill: AtomicBool,
    report: Mutex<Report>,
}

#[derive(Default)]
struct Report {
    lost: Option<String>,
    error: Option<String>,
}

impl Health {
    /// Installs the callbacks on a device.
    pub(super) fn of(device: &::wgpu::Device) -> Arc<Self> {
        let health = Arc::new(Health::default());
        let to = health.clone();
        device.on_uncaptured_error(Arc::new(move |error: ::wgpu::Error| {
            to.note(|report| _ = report.error.get_or_insert_with(|| error.to_string()));
        }));
        let to = health.clone();
        device.set_device_lost_callback(move |reason, message| {
            to.lost(&format!("{reason:?}, {message}"));
        });
        health
    }

    /// Notes that the device is lost; the first reason stays.
    pub(super) fn lost(&self, why: &str) {
        self.note(|report| _ = report.lost.get_or_insert_with(|| format!("the device is lost: {why}")));
    }

    fn note(&self, write: impl FnOnce(&mut Report)) {
        write(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
        self.ill.store(true, Ordering::Release);
    }

    /// Whether there is something that [`Health::check`] would tell.
    pub(super) fn is_ill(&self) -> bool {
        self.ill.load(Ordering::Acquire)
    }

    /// An error if the device is lost, for good, or if it reported an error since the last look.
    pub(super) fn check(&self, device: &str) -> Result<()> {
        if !self.is_ill() {
            return Ok(());
        }
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let error = report.error.take();
        let what = match (&report.lost, error) {
            (Some(lost), _) => lost.clone(),
            (None, Some(error)) => {
                self.ill.store(false, Ordering::Release);
                error
            }
            (None, None) => return Ok(()),
        };
        Err(Error::Device { device: device.to_owned(), what })
    }
}

/// Runs wgpu calls with every kind of error caught: the result, or the first error.
pub(super) fn caught<T>(device: &::wgpu::Device, body: impl FnOnce() -> T) -> Result<T, ::wgpu::Error> {
    let memory = device.push_error_scope(::wgpu::ErrorFilter::OutOfMemory);
    let internal = device.push_error_scope(::wgpu::ErrorFilter::Internal);
    let validation = device.push_error_scope(::wgpu::ErrorFilter::Validation);
    let result = body();
    let errors = [now(validation.pop()), now(internal.pop()), now(memory.pop())];
    match errors.into_iter().flatten().next() {
        None => Ok(result),
        Some(error) => Err(error),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread. Those of wgpu are ready at once everywhere but in a browser.
pub(super) fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_reported_once_and_a_loss_always() {
        let health = Health::default();
        assert!(health.check("gpu").is_ok());
        health.note(|report| report.error = Some("bad".into()));
        assert_eq!(health.check("gpu"), Err(Error::Device { device: "gpu".into(), what: "bad".into() }));
        assert!(health.check("gpu").is_ok());
        health.lost("gone");
        assert!(health.check("gpu").is_err() && health.check("gpu").is_err());
    }

    #[test]
    fn a_future_that_is_woken_from_another_thread_is_waited_for() {
        let mut polls = 0;
        let value = now(std::future::poll_fn(|context| {
            polls += 1;
            if polls > 2 {
                return Poll::Ready(7);
            }
            let waker = context.waker().clone();
            thread::spawn(move || waker.wake());
            Poll::Pending
        }));
        assert_eq!((value, polls), (7, 3));
    }
}
