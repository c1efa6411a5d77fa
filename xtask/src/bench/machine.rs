//! What a measurement is worth nothing without: processor, versions, commit, date.

use super::{On, compare::Plan, server::Server};
use crate::{root::root, run::output};
use anyhow::Result;
use std::{
    fs,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

/// One line per fact. `built` are those of the programs, where they were built elsewhere.
pub(crate) fn describe(
    on: On,
    ours: &Server,
    peer: Option<&Server>,
    plan: &Plan,
    built: Option<&str>,
) -> Result<Vec<String>> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let [year, month, day] = date(seconds / 86_400);
    let mut lines = vec![
        format!(
            "{}, {cores} cores, {}; {} threads on each side",
            processor(),
            std::env::consts::OS,
            plan.threads
        ),
        sides(on, ours, peer),
        format!("measured on {year}-{month:02}-{day:02}"),
        format!("{} rounds of at least {} s on each side", plan.rounds, plan.min_time),
    ];
    match built {
        Some(built) => lines.extend(built.lines().map(str::to_owned)),
        None => lines.extend(build()?),
    }
    Ok(lines)
}

/// What computes on which device.
fn sides(on: On, ours: &Server, peer: Option<&Server>) -> String {
    let device = ours.greeting["device"].as_str().unwrap_or("unknown");
    let Some(peer) = peer else { return format!("this crate alone, on {device}") };
    let version = |name: &str| peer.greeting[name].as_str().unwrap_or("unknown").to_owned();
    match on {
        On::Cpu => format!(
            "PyTorch {} (its vector instructions: {}), ONNX Runtime {}",
            version("torch"),
            version("cpu"),
            version("onnxruntime")
        ),
        On::Wgpu => {
            format!("{device}; burn {} with fusion and autotuning, on {}", version("burn"), version("device"))
        }
        On::Cuda => format!(
            "{device}; PyTorch {} with CUDA {} and cuDNN {}, on {}",
            version("torch"),
            version("cuda"),
            version("cudnn"),
            version("device")
        ),
    }
}

/// What the programs are built of, a line each: compiler and commit.
pub(crate) fn build() -> Result<Vec<String>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = output(Command::new(rustc).arg("--version"))?;
    Ok(vec![rustc.trim().to_owned(), format!("commit {}", commit())])
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.into(), |(_, name)| name.trim().into())
}

/// The commit that is checked out, and whether anything differs from it.
fn commit() -> String {
    let git = |arguments: &[&str]| -> Option<String> {
        let done = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short=10", "HEAD"]), git(&["status", "--porcelain"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with changes"),
        _ => "unknown".into(),
    }
}

/// Year, month and day of a day counted from 1970-01-01.
fn date(mut days: u64) -> [u64; 3] {
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    [year, month, days + 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), [1970, 1, 1]);
        assert_eq!(date(11_016), [2000, 2, 29]);
        assert_eq!(date(20_453), [2025, 12, 31]);
        assert_eq!(date(20_454), [2026, 1, 1]);
    }
}
