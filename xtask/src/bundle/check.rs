//! The bundle's own test: its steps in short, with the emulator as the device, in an environment that knows nothing of this
//! checkout.

use crate::{
    emulator::{self, Kind},
    root::target,
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// Every step of `run.sh` in short. An error unless each that can run here passes, and the others say why they were skipped.
pub(super) fn on_the_emulator(bundle: &Path, python: Option<&Path>) -> Result<()> {
    let (bundle, results) = (std::path::absolute(bundle)?, target().join("bundle-results"));
    let driver = emulator::build(Kind::Plain)?;
    let mut command = Command::new(bundle.join("run.sh"));
    command.arg("--short").arg("--emulator").arg(driver).arg("--out").arg(&results);
    if let Some(python) = python {
        command.arg("--python").arg(std::path::absolute(python)?);
    }
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).current_dir(&bundle);
    println!("$ {} --short --emulator ...", bundle.join("run.sh").display());
    let status = command.status().context("cannot start run.sh")?;
    let text = fs::read_to_string(results.join("summary.json")).context("run.sh left no summary")?;
    let summary: Value = serde_json::from_str(&text).context("the summary is not JSON")?;
    right(&summary).with_context(|| format!("{text}\nsee {}", results.join("log.txt").display()))?;
    ensure!(status.success(), "run.sh: {status}, though its summary says that all passed");
    let bench = fs::read_to_string(results.join("bench.json")).context("run.sh left no table")?;
    let bench: Value = serde_json::from_str(&bench).context("the table is not JSON")?;
    ensure!(bench["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "the table has no rows: {bench}");
    let process = fs::read_to_string(results.join("process.json")).context("run.sh left no report")?;
    agree(&serde_json::from_str(&process).context("the report is not JSON")?)
}

/// Every row of the comparison in one process must have been measured.
fn agree(report: &Value) -> Result<()> {
    let rows = report["rows"].as_array().context("the report has no rows")?;
    ensure!(!rows.is_empty(), "the report has no rows");
    let measured = |row: &&Value| row["warm"].as_array().is_some_and(|rounds| !rounds.is_empty());
    let not: Vec<&Value> = rows.iter().filter(|row| !measured(row)).map(|row| &row["case"]).collect();
    ensure!(not.is_empty(), "not measured in one process: {not:?}");
    Ok(())
}

/// What a run on the emulator must say.
fn right(summary: &Value) -> Result<()> {
    ensure!(summary["passed"] == true && summary["emulated"] == true, "the run did not pass");
    let device = summary["device"].as_str().unwrap_or_default();
    ensure!(device == "cuda:0 (emulator)", "the device was {device:?}");
    let steps = summary["steps"].as_array().context("there are no steps")?;
    let ended = |state: &str| -> Vec<&str> {
        steps.iter().filter(|step| step["state"] == state).filter_map(|step| step["step"].as_str()).collect()
    };
    let (passed, skipped) = (ended("passed"), ended("skipped"));
    let run = ["the device", "tests of the library", "tests of the device", "conformance", "a training run"];
    for name in run.into_iter().chain(["the choice of kernels", "benchmarks in one process"]) {
        ensure!(passed.contains(&name), "{name} did not run");
    }
    ensure!(passed.iter().any(|name| name.starts_with("benchmarks")), "no benchmark ran");
    ensure!(skipped == ["memcheck", "racecheck", "initcheck", "synccheck"], "skipped: {skipped:?}");
    ensure!(passed.len() + skipped.len() == steps.len(), "a step neither passed nor was skipped");
    let reasoned = |step: &&Value| step["why"].as_str().is_some_and(|why| !why.is_empty());
    ensure!(
        steps.iter().filter(|s| s["state"] == "skipped").all(|s| reasoned(&s)),
        "a skip without a reason"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary() -> Value {
        let passed = |name: &str| json!({"step": name, "state": "passed"});
        let skipped = |name: &str| json!({"step": name, "state": "skipped", "why": "no GPU"});
        json!({"passed": true, "emulated": true, "device": "cuda:0 (emulator)", "steps": [
            passed("the device"), passed("tests of the library"), passed("tests of the device"),
            passed("conformance"), passed("a training run"), skipped("memcheck"), skipped("racecheck"), skipped("initcheck"),
            skipped("synccheck"), passed("benchmarks alone"), passed("the choice of kernels"),
            passed("benchmarks in one process"),
        ]})
    }

    #[test]
    fn every_way_to_go_wrong_is_seen() {
        right(&summary()).unwrap();
        let broken = |path: &str, value: Value| {
            let mut summary = summary();
            *summary.pointer_mut(path).unwrap() = value;
            right(&summary).unwrap_err();
        };
        broken("/passed", false.into());
        broken("/device", "unknown".into());
        broken("/steps/0/state", "failed".into());
        broken("/steps/3/step", "another".into());
        broken("/steps/5/state", "passed".into());
        broken("/steps/6/why", "".into());
        broken("/steps/9/state", "skipped".into());
        broken("/steps/10/state", "skipped".into());
        broken("/steps/11/state", "skipped".into());
    }

    #[test]
    fn a_row_without_rounds_is_seen() {
        let row = |warm: Value| json!({"case": "unfold", "warm": warm});
        agree(&json!({"rows": [row(json!([{"ours": [1.0, 0.5]}]))]})).unwrap();
        for rows in
            [json!([]), json!([row(json!([]))]), json!([{"case": "unfold", "failed": "wrong: 2 apart"}])]
        {
            agree(&json!({ "rows": rows })).unwrap_err();
        }
    }
}
