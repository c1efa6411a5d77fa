//! How busy other processes were during a measurement, so that it can be repeated in a calmer moment.

use std::{fs, time::Instant};

/// Units of `/proc/stat`: Linux shows hundredths of a second whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Watches the processor from its construction on.
pub(crate) struct Others {
    start: Instant,
    /// Seconds that all cores were busy, and that this process was; `None` where there is no `/proc`.
    before: Option<[f64; 2]>,
}

impl Others {
    /// Starts watching.
    pub(crate) fn watch() -> Self {
        Others { start: Instant::now(), before: busy() }
    }

    /// Cores that everything but this process kept busy since then.
    pub(crate) fn cores(&self) -> Option<f64> {
        let (before, now) = (self.before?, busy()?);
        let seconds = self.start.elapsed().as_secs_f64();
        Some((((now[0] - before[0]) - (now[1] - before[1])) / seconds).max(0.0))
    }
}

/// Busy seconds of the machine since it started, and of this process.
fn busy() -> Option<[f64; 2]> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    // Fields 3 and 4 are idle and waiting for a disk.
    let machine = (ticks.iter().sum::<f64>() - ticks.get(3)? - ticks.get(4)?) / TICKS_PER_SECOND;
    // Fields 14 and 15, user and system time, of all threads, those that have ended too. The name, field 2, may hold spaces.
    let own = fs::read_to_string("/proc/self/stat").ok()?;
    let own: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
    let own = [11, 12].iter().map(|&at| own.get(at)?.parse::<f64>().ok()).sum::<Option<f64>>()?;
    Some([machine, own / TICKS_PER_SECOND])
}
