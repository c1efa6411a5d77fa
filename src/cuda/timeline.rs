//! When the strips of a selection were copied and scored, by events of the device: whether one hides the other.

use super::Cuda;
use crate::error::Result;
use cudarc::driver::{CudaEvent, CudaStream, sys::CUevent_flags};
use std::{fmt, sync::atomic::Ordering};

/// Milliseconds after the first strip's copy began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StripTimes {
    /// Beginning and end of the copy to the device.
    pub copied: [f32; 2],
    /// Beginning and end of the scoring of its patches.
    pub scored: [f32; 2],
}

/// The strips of one selection, in order. Its `Display` is a table, and the part of the copying that lies beside scoring.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline(pub Vec<StripTimes>);

impl Timeline {
    /// Of the time in which something was copied, the part in which something was scored as well, from 0 to 1.
    pub fn hidden(&self) -> f32 {
        let length = |[from, to]: [f32; 2]| (to - from).max(0.0);
        let copied: f32 = self.0.iter().map(|strip| length(strip.copied)).sum();
        // Strips are copied one after another, and scored one after another.
        let both = self.0.iter().flat_map(|a| {
            self.0.iter().map(move |b| length([a.copied[0].max(b.scored[0]), a.copied[1].min(b.scored[1])]))
        });
        if copied > 0.0 { both.sum::<f32>() / copied } else { 0.0 }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{:>5} {:>21} {:>21}", "strip", "copied, ms", "scored, ms")?;
        for (at, StripTimes { copied, scored }) in self.0.iter().enumerate() {
            writeln!(
                f,
                "{at:>5} {:>10.3}-{:>10.3} {:>10.3}-{:>10.3}",
                copied[0], copied[1], scored[0], scored[1]
            )?;
        }
        write!(f, "{:.0} % of the copying lies beside scoring", 100.0 * self.hidden())
    }
}

/// Events around the copy and the scoring of a strip.
pub(super) struct Marks {
    copied: [CudaEvent; 2],
    scored: [CudaEvent; 2],
}

/// What is measured, if it is.
pub(super) struct Stopwatch<'a> {
    device: &'a Cuda,
    marks: Option<Vec<Marks>>,
}

/// A place in a strip's time.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Copy(usize),
    Score(usize),
}

impl<'a> Stopwatch<'a> {
    pub(super) fn new(device: &'a Cuda) -> Self {
        Stopwatch { device, marks: device.traces.load(Ordering::Relaxed).then(Vec::new) }
    }

    /// The next strip begins.
    pub(super) fn strip(&mut self) -> Result<()> {
        let Some(marks) = &mut self.marks else { return Ok(()) };
        let event = || {
            let made = self.device.context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
            made.map_err(|e| self.device.failure("a timeline", e))
        };
        marks.push(Marks { copied: [event()?, event()?], scored: [event()?, event()?] });
        Ok(())
    }

    /// A stream comes to a place of the present strip.
    pub(super) fn mark(&self, stream: &CudaStream, place: Place) -> Result<()> {
        let Some(strip) = self.marks.as_ref().and_then(|marks| marks.last()) else { return Ok(()) };
        let event = match place {
            Place::Copy(at) => &strip.copied[at],
            Place::Score(at) => &strip.scored[at],
        };
        event.record(stream).map_err(|e| self.device.failure("a timeline", e))
    }

    /// Keeps the events until someone asks for their times.
    pub(super) fn keep(self) {
        if let Some(marks) = self.marks {
            *self.device.marks() = marks;
        }
    }
}

impl Cuda {
    /// Whether selections keep a timeline of their strips from now on. The environment variable `FOVEATE_TRACE` asks for it
    /// when a device is made.
    pub fn trace(&self, on: bool) {
        self.traces.store(on, Ordering::Relaxed);
    }

    /// When the strips of the last selection in strips were copied and scored, if [`Cuda::trace`] asked for it. Waits for the
    /// device.
    pub fn timeline(&self) -> Result<Timeline> {
        self.synchronize()?;
        let marks = self.marks();
        let Some(first) = marks.first() else { return Ok(Timeline::default()) };
        let since =
            |event: &CudaEvent| first.copied[0].elapsed_ms(event).map_err(|e| self.failure("a timeline", e));
        let times = marks.iter().map(|strip| {
            Ok(StripTimes {
                copied: [since(&strip.copied[0])?, since(&strip.copied[1])?],
                scored: [since(&strip.scored[0])?, since(&strip.scored[1])?],
            })
        });
        times.collect::<Result<_>>().map(Timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_is_what_lies_beside_scoring() {
        let strip = |copied, scored| StripTimes { copied, scored };
        assert_eq!(Timeline::default().hidden(), 0.0);
        let one_by_one = Timeline(vec![strip([0.0, 1.0], [1.0, 3.0]), strip([3.0, 4.0], [4.0, 6.0])]);
        assert_eq!(one_by_one.hidden(), 0.0);
        let beside = Timeline(vec![strip([0.0, 1.0], [1.0, 3.0]), strip([1.0, 2.0], [3.0, 5.0])]);
        assert_eq!(beside.hidden(), 0.5);
        assert!(beside.to_string().ends_with("50 % of the copying lies beside scoring"));
    }
}
