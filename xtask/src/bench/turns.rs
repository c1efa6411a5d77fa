//! Turns of the sides of a comparison: whoever has answered is stopped until it is asked again, so that what it still does
//! (threads that poll, tuning behind its own back) takes nothing from the other.

use std::{
    fs,
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

/// Cores that a program with nothing left to do keeps busy at most, over so long.
const IDLE: f64 = 0.3;
const SPAN: Duration = Duration::from_millis(100);
/// Work left after an answer that takes longer than this is left for the program's own next turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Units of `/proc/PID/stat`: Linux shows hundredths of a second whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Waits until a program has nothing left to do, and stops it. Where there are no signals it only waits.
pub(crate) fn stop(child: &Child) {
    let start = Instant::now();
    while let Some(before) = busy(child.id()) {
        sleep(SPAN);
        let cores = busy(child.id()).map_or(0.0, |now| (now - before) / SPAN.as_secs_f64());
        if cores <= IDLE || start.elapsed() > PATIENCE {
            break;
        }
    }
    #[cfg(unix)]
    signal(child, rustix::process::Signal::STOP);
}

/// Lets it go on.
pub(crate) fn resume(child: &Child) {
    #[cfg(unix)]
    signal(child, rustix::process::Signal::CONT);
}

/// A program that has ended gets no signal: the next request finds that out, and says so.
#[cfg(unix)]
fn signal(child: &Child, signal: rustix::process::Signal) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), signal);
}

/// Seconds that all threads of a process have had, ended ones too; `None` where there is no `/proc`.
fn busy(id: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Fields 14 and 15. The name, field 2, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = [11, 12].iter().map(|&at| fields.get(at)?.parse::<f64>().ok()).sum::<Option<f64>>()?;
    Some(ticks / TICKS_PER_SECOND)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_program_that_was_stopped_does_nothing_until_it_is_resumed() {
        let mut child = Command::new("sh").args(["-c", "sleep 0.3; while :; do :; done"]).spawn().unwrap();
        stop(&child);
        sleep(Duration::from_millis(500));
        let before = busy(child.id()).unwrap();
        sleep(Duration::from_millis(200));
        assert_eq!(busy(child.id()).unwrap(), before);
        resume(&child);
        sleep(Duration::from_millis(500));
        assert!(busy(child.id()).unwrap() > before);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
