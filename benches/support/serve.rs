//! The server: one JSON object a line, the protocol of `peers/README.md`.

use super::{Call, Case, others::Others};
use foveate::{DType, Tensor};
use serde_json::{Value, json};
use std::{
    error::Error,
    io::{BufRead, Write},
    time::{Duration, Instant},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a case runs before its first measurement.
const WARM_UP: Duration = Duration::from_millis(250);
/// Idle threads spin for a while after their last task: they are asleep before the peer's turn comes.
const SETTLE: Duration = Duration::from_millis(20);

/// Answers one request a line until stdin ends; a bad request is answered with its error.
pub(crate) fn serve(cases: &[Case]) -> Result<()> {
    let names: serde_json::Map<String, Value> =
        cases.iter().map(|case| (case.name.clone(), case.about.clone().into())).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", json!({"ready": true, "foveate": env!("CARGO_PKG_VERSION"), "cases": names}))?;
    let mut server = Server { cases, threads: None, prepared: None };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let request: Value = serde_json::from_str(&line).unwrap_or_default();
        let answer = server
            .answer(&request)
            .unwrap_or_else(|error| json!({"case": request["case"], "error": error.to_string()}));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

struct Server<'a> {
    cases: &'a [Case],
    /// Set by the first request: the pool of threads can be made once.
    threads: Option<u64>,
    /// The case of the last request.
    prepared: Option<Prepared<'a>>,
}

struct Prepared<'a> {
    case: &'a Case,
    call: Call,
    /// Sum and sum of magnitudes of the first call's results.
    checksum: Option<[f64; 2]>,
}

impl<'a> Server<'a> {
    fn answer(&mut self, request: &Value) -> Result<Value> {
        let name = request["case"].as_str().ok_or("a request needs the name of a case")?;
        let threads = request["threads"].as_u64().unwrap_or(2);
        let rounds = request["rounds"].as_u64().unwrap_or(1);
        let seconds = request["min_time"].as_f64().unwrap_or(0.3);
        self.use_threads(threads)?;
        let prepared = self.prepare(name)?;
        let (mut medians, mut calls, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let watch = Others::watch();
            let times = burst(&mut prepared.call, Duration::try_from_secs_f64(seconds)?)?;
            others.push(watch.cores());
            calls.push(times.len());
            medians.push(median(times));
        }
        std::thread::sleep(SETTLE);
        Ok(json!({
            "case": name, "peer": "foveate", "threads": threads, "seconds": medians, "calls": calls, "others": others,
            "checksum": prepared.checksum, "flops": prepared.case.flops,
        }))
    }

    fn use_threads(&mut self, threads: u64) -> Result<()> {
        match self.threads {
            Some(have) if have == threads => Ok(()),
            Some(have) => {
                Err(format!("{threads} threads: this server runs with {have} since its first request").into())
            }
            None => {
                foveate::cpu::join_pool(usize::try_from(threads)?)?;
                self.threads = Some(threads);
                Ok(())
            }
        }
    }

    /// The case with its inputs made and warmed up.
    fn prepare(&mut self, name: &str) -> Result<&mut Prepared<'a>> {
        if self.prepared.as_ref().is_none_or(|prepared| prepared.case.name != name) {
            self.prepared = None;
            let case = self.cases.iter().find(|case| case.name == name);
            let case = case.ok_or_else(|| format!("no case {name:?}"))?;
            let mut call = (case.build)()?;
            let first = call()?;
            let checksum = if case.random { None } else { Some(checksum(&first)?) };
            drop(first);
            burst(&mut call, WARM_UP)?;
            self.prepared = Some(Prepared { case, call, checksum });
        }
        self.prepared.as_mut().ok_or_else(|| format!("no case {name:?}").into())
    }
}

/// Times of single calls in seconds, at least three, until `least` has passed.
fn burst(call: &mut Call, least: Duration) -> Result<Vec<f64>> {
    call()?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || start.elapsed() < least {
        let before = Instant::now();
        let done = call()?;
        drop(done);
        times.push(before.elapsed().as_secs_f64());
    }
    Ok(times)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    if times.len() % 2 == 1 { times[middle] } else { 0.5 * (times[middle - 1] + times[middle]) }
}

/// [sum, sum of magnitudes] over all elements of all tensors, in f64.
fn checksum(results: &[Tensor]) -> Result<[f64; 2]> {
    let mut sums = [0.0, 0.0];
    for tensor in results {
        let values: Vec<f64> = match tensor.dtype() {
            DType::F32 => tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
            DType::I32 => tensor.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
            other => return Err(format!("no checksum of a tensor of {other}").into()),
        };
        for value in values {
            sums[0] += value;
            sums[1] += value.abs();
        }
    }
    Ok(sums)
}
