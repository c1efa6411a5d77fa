//! How long each kernel ran, by the device's own clock: every launch is a pass of its own between two timestamps, which
//! are read back when its submission is done.

use super::recorder::LAUNCHES_PER_SUBMISSION;
use std::{collections::BTreeMap, fmt, sync::mpsc, time::Duration};

/// Timestamps of one submission: at the beginning and at the end of each launch.
const TIMESTAMPS: u32 = 2 * LAUNCHES_PER_SUBMISSION;
/// Bytes of one timestamp.
const TICKS: u64 = ::wgpu::QUERY_SIZE as u64;

/// The time one kernel took on behalf of one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timing {
    /// The operation.
    pub op: &'static str,
    /// The kernel's name in its WGSL text.
    pub kernel: &'static str,
    /// How often it was launched.
    pub launches: u64,
    /// The time of all launches together.
    pub total: Duration,
}

/// The time of every kernel, the longest first; `Display` makes it a table. See
/// [`Wgpu::timings`](super::Wgpu::timings).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timings(pub Vec<Timing>);

impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let whole: Duration = self.0.iter().map(|timing| timing.total).sum();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{:<28} {:<28} {:>8} {:>11} {:>11} {:>7}",
            "operation", "kernel", "launches", "total ms", "each us", "share"
        )?;
        for timing in &self.0 {
            let total = milliseconds(timing.total);
            let each = total * 1e3 / timing.launches.max(1) as f64;
            let share = 100.0 * total / milliseconds(whole).max(f64::MIN_POSITIVE);
            let (op, kernel, launches) = (timing.op, timing.kernel, timing.launches);
            write!(f, "\n{op:<28} {kernel:<28} {launches:>8} {total:>11.3} {each:>11.2} {share:>5.1} %")?;
        }
        let launches: u64 = self.0.iter().map(|timing| timing.launches).sum();
        write!(f, "\n{:<28} {:<28} {launches:>8} {:>11.3}", "all", "", milliseconds(whole))
    }
}

/// Takes the times of a device.
pub(super) struct Tracer {
    device: ::wgpu::Device,
    set: ::wgpu::QuerySet,
    resolved: ::wgpu::Buffer,
    host: ::wgpu::Buffer,
    /// Nanoseconds of one tick.
    period: f64,
    /// Operation and kernel of each launch recorded since the last submission.
    launches: Vec<(&'static str, &'static str)>,
    /// Launches and ticks of each kernel.
    times: BTreeMap<(&'static str, &'static str), (u64, u64)>,
}

impl Tracer {
    pub(super) fn new(device: &::wgpu::Device, queue: &::wgpu::Queue) -> Self {
        let buffer = |usage| {
            let size = u64::from(TIMESTAMPS) * TICKS;
            device.create_buffer(&::wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        Tracer {
            set: device.create_query_set(&::wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: ::wgpu::QueryType::Timestamp,
                count: TIMESTAMPS,
            }),
            resolved: buffer(::wgpu::BufferUsages::QUERY_RESOLVE | ::wgpu::BufferUsages::COPY_SRC),
            host: buffer(::wgpu::BufferUsages::MAP_READ | ::wgpu::BufferUsages::COPY_DST),
            period: queue.get_timestamp_period().into(),
            device: device.clone(),
            launches: Vec::new(),
            times: BTreeMap::new(),
        }
    }

    /// The timestamps of the next launch's pass. There are no more launches than [`LAUNCHES_PER_SUBMISSION`] before the
    /// times are collected.
    pub(super) fn pass(
        &mut self,
        op: &'static str,
        kernel: &'static str,
    ) -> ::wgpu::ComputePassTimestampWrites<'_> {
        let at = 2 * self.launches.len() as u32;
        self.launches.push((op, kernel));
        ::wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(at),
            end_of_pass_write_index: Some(at + 1),
        }
    }

    /// Records that the timestamps are copied to where the host can read them, after all launches.
    pub(super) fn resolve(&self, encoder: &mut ::wgpu::CommandEncoder) {
        let count = 2 * self.launches.len() as u32;
        if count > 0 {
            encoder.resolve_query_set(&self.set, 0..count, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.host, 0, u64::from(count) * TICKS);
        }
    }

    /// Waits for a submission and adds its times. Where the device fails nothing is added: whoever submitted finds out.
    pub(super) fn collect(&mut self, submitted: &::wgpu::SubmissionIndex) {
        let launches = std::mem::take(&mut self.launches);
        if launches.is_empty() {
            return;
        }
        let slice = self.host.slice(..2 * launches.len() as u64 * TICKS);
        let (told, mapped) = mpsc::channel();
        slice.map_async(::wgpu::MapMode::Read, move |result| _ = told.send(result.is_ok()));
        let wait = ::wgpu::PollType::Wait { submission_index: Some(submitted.clone()), timeout: None };
        // Another thread that polls meanwhile may be the one to call back, a moment later.
        let done = self.device.poll(wait).is_ok() && mapped.recv_timeout(Duration::from_secs(10)) == Ok(true);
        if let (true, Ok(bytes)) = (done, slice.get_mapped_range()) {
            let ticks: Vec<u64> =
                bytes.chunks_exact(8).filter_map(|b| Some(u64::from_le_bytes(b.try_into().ok()?))).collect();
            for (launch, ticks) in launches.into_iter().zip(ticks.chunks_exact(2)) {
                let time = self.times.entry(launch).or_default();
                *time = (time.0 + 1, time.1 + ticks[1].saturating_sub(ticks[0]));
            }
        }
        self.host.unmap();
    }

    /// What was collected so far.
    pub(super) fn timings(&self) -> Timings {
        let timing = |(&(op, kernel), &(launches, ticks)): (&(&'static str, &'static str), &(u64, u64))| {
            Timing { op, kernel, launches, total: Duration::from_nanos((ticks as f64 * self.period) as u64) }
        };
        let mut all: Vec<Timing> = self.times.iter().map(timing).collect();
        all.sort_by_key(|timing| std::cmp::Reverse(timing.total));
        Timings(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_kernel_and_one_for_all() {
        let timing = |kernel, launches, micros| Timing {
            op: "conv2d",
            kernel,
            launches,
            total: Duration::from_micros(micros),
        };
        let table = Timings(vec![timing("first", 3, 3000), timing("second", 1, 1000)]).to_string();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1], ["conv2d", "first", "3", "3.000", "1000.00", "75.0", "%"]);
        assert_eq!(lines[3], ["all", "4", "4.000"]);
        assert_eq!(Timings::default().to_string().lines().count(), 2);
    }
}
