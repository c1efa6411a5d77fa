//! How far long work is: a bar on a terminal, a line every half minute elsewhere; and whether someone pressed Ctrl-C.

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A progress bar where there is a terminal, and now and then a line where there is none.
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    printed: Instant,
}

impl Progress {
    const BETWEEN_LINES: Duration = Duration::from_secs(30);

    /// Work of `total` units called `what` ("steps"), of which `done` are done already.
    pub fn new(total: usize, done: usize, what: &'static str) -> Self {
        let bar = ProgressBar::new(total as u64);
        let template = format!("{{bar:30}} {{pos}}/{{len}} {what}  {{msg}}  {{elapsed}} gone, {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_position(done as u64);
        bar.reset_eta();
        Progress { bar, what, printed: Instant::now() }
    }

    /// `done` units are done; `message` says how it goes.
    pub fn at(&mut self, done: usize, message: String) {
        self.bar.set_position(done as u64);
        if self.bar.is_hidden() && self.printed.elapsed() >= Self::BETWEEN_LINES {
            let (total, left) = (self.bar.length().unwrap_or(0), HumanDuration(self.bar.eta()));
            println!("{done} of {total} {}  {message}  {left} left", self.what);
            self.printed = Instant::now();
        }
        self.bar.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.abandon();
        if !self.bar.is_hidden() {
            println!();
        }
    }
}

/// Whether Ctrl-C was pressed. A second press ends the program at once.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. Where the system gives no such signal, Ctrl-C ends the program as ever.
    pub fn listen() -> Self {
        let interrupt = Interrupt::default();
        let flag = interrupt.0.clone();
        let _ = ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        });
        interrupt
    }

    /// Whether Ctrl-C was pressed since.
    pub fn pressed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
