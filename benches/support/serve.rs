//! The server: one JSON object a line, the protocol of `peers/README.md`. It knows no library: what a case, a call and
//! its results are, the module that includes it says.

use super::{Call, Case, checksum, others::Others, runs_ahead, settle, use_threads, versions};
use serde_json::{Map, Value, json};
use std::{
    error::Error,
    io::{BufRead, Write},
    time::{Duration, Instant},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a form runs before its first measurement.
const WARM_UP: Duration = Duration::from_millis(250);
/// Calls that are waited for together take at least so long.
const TOGETHER: Duration = Duration::from_millis(20);
/// A round of at least three measurements ends early once this has passed: then its calls are few but long.
const LONG: Duration = Duration::from_secs(4);
/// Idle threads spin for a while after their last task: they are asleep before the peer's turn comes.
const SETTLE: Duration = Duration::from_millis(20);

/// Answers one request a line until stdin ends; a bad request is answered with its error.
pub(crate) fn serve(cases: &[Case]) -> Result<()> {
    let names: Map<String, Value> =
        cases.iter().map(|case| (case.name.clone(), case.about.clone().into())).collect();
    let mut greeting = versions();
    greeting["ready"] = true.into();
    greeting["cases"] = names.into();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{greeting}")?;
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
    forms: Vec<PreparedForm>,
}

struct PreparedForm {
    name: &'static str,
    call: Call,
    timing: Timing,
    /// Sum and sum of magnitudes of the first call's results.
    checksum: Option<[f64; 2]>,
    /// Seconds of the first call, in which kernels are compiled and tuned.
    first: f64,
    /// Seconds of the median call in the warm-up.
    warm: f64,
}

/// What one measurement is.
#[derive(Clone, Copy)]
struct Timing {
    /// So many calls are waited for together: more than one where the device runs behind the host.
    calls: u32,
    /// The clock stops before the wait.
    host: bool,
}

impl<'a> Server<'a> {
    fn answer(&mut self, request: &Value) -> Result<Value> {
        let name = request["case"].as_str().ok_or("a request needs the name of a case")?;
        let threads = request["threads"].as_u64().unwrap_or(2);
        let rounds = request["rounds"].as_u64().unwrap_or(1);
        let seconds = request["min_time"].as_f64().unwrap_or(0.3);
        self.use_threads(threads)?;
        let least = Duration::try_from_secs_f64(seconds)?;
        let prepared = self.prepare(name, least)?;
        let forms: Map<String, Value> =
            prepared.forms.iter().map(|form| (form.name.into(), form.warm.into())).collect();
        let first: f64 = prepared.forms.iter().map(|form| form.first).sum();
        let form = prepared.form(request["peer"].as_str()).ok_or("the case has no form")?;
        let (mut medians, mut calls, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let watch = Others::watch();
            let times = burst(&mut form.call, form.timing, least)?;
            others.push(watch.cores());
            calls.push(times.len() * form.timing.calls as usize);
            medians.push(median(times));
        }
        std::thread::sleep(SETTLE);
        let (peer, checksum) = (form.name, form.checksum);
        Ok(json!({
            "case": name, "peer": peer, "threads": threads, "seconds": medians, "calls": calls, "others": others,
            "checksum": checksum, "forms": forms, "first": first, "flops": prepared.case.flops,
        }))
    }

    fn use_threads(&mut self, threads: u64) -> Result<()> {
        match self.threads {
            Some(have) if have == threads => Ok(()),
            Some(have) => {
                Err(format!("{threads} threads: this server runs with {have} since its first request").into())
            }
            None => {
                use_threads(usize::try_from(threads)?)?;
                self.threads = Some(threads);
                Ok(())
            }
        }
    }

    /// The case with its inputs made and all its forms warmed up, unless rounds of no time show that the wish is to see it
    /// run.
    fn prepare(&mut self, name: &str, least: Duration) -> Result<&mut Prepared<'a>> {
        if self.prepared.as_ref().is_none_or(|prepared| prepared.case.name != name) {
            self.prepared = None;
            let case = self.cases.iter().find(|case| case.name == name);
            let case = case.ok_or_else(|| format!("no case {name:?}"))?;
            let mut forms = Vec::new();
            for form in &case.forms {
                let call = (form.build)()?;
                forms.push(PreparedForm::new(form.name, call, case, least)?);
            }
            self.prepared = Some(Prepared { case, forms });
        }
        self.prepared.as_mut().ok_or_else(|| format!("no case {name:?}").into())
    }
}

impl PreparedForm {
    fn new(name: &'static str, mut call: Call, case: &Case, least: Duration) -> Result<Self> {
        let start = Instant::now();
        let results = call()?;
        settle(&results)?;
        let first = start.elapsed();
        let checksum = if case.random { None } else { Some(checksum(&results)?) };
        drop(results);
        let mut timing = Timing { calls: 1, host: case.host };
        let mut warm = first.as_secs_f64();
        if first < LONG && !least.is_zero() {
            if runs_ahead() && !case.host {
                timing.calls = enough(&mut call)?;
            }
            warm = median(burst(&mut call, timing, WARM_UP)?);
        }
        Ok(PreparedForm { name, call, timing, checksum, first: first.as_secs_f64(), warm })
    }
}

impl Prepared<'_> {
    /// The form of that name, or the one that was fastest in the warm-up.
    fn form(&mut self, name: Option<&str>) -> Option<&mut PreparedForm> {
        let named = self.forms.iter().position(|form| Some(form.name) == name);
        let fastest =
            || (0..self.forms.len()).min_by(|a, b| self.forms[*a].warm.total_cmp(&self.forms[*b].warm));
        let at = named.or_else(fastest)?;
        self.forms.get_mut(at)
    }
}

/// How many calls take long enough together.
fn enough(call: &mut Call) -> Result<u32> {
    let mut timing = Timing { calls: 1, host: false };
    while timed(call, timing)? * f64::from(timing.calls) < TOGETHER.as_secs_f64() && timing.calls < 1 << 16 {
        timing.calls *= 2;
    }
    Ok(timing.calls)
}

/// Seconds of a call in measurements one after the other: one if no time is asked for, else at least three unless they are
/// long, until `least` has passed. A first one brings back what the caches lost while the other side ran, and counts only
/// if it is so long that this is nothing.
fn burst(call: &mut Call, timing: Timing, least: Duration) -> Result<Vec<f64>> {
    let mut start = Instant::now();
    let mut times = vec![timed(call, timing)?];
    if least.is_zero() {
        return Ok(times);
    }
    if start.elapsed() < LONG / 4 {
        times.clear();
        start = Instant::now();
    }
    while times.len() < 3 && (times.is_empty() || start.elapsed() < LONG) || start.elapsed() < least {
        times.push(timed(call, timing)?);
    }
    Ok(times)
}

/// Seconds of a call, the mean of those that are waited for together. Results are dropped before the next call, which may
/// write where they were.
fn timed(call: &mut Call, timing: Timing) -> Result<f64> {
    let before = Instant::now();
    for _ in 1..timing.calls {
        drop(call()?);
    }
    let results = call()?;
    let launched = before.elapsed();
    settle(&results)?;
    drop(results);
    let time = if timing.host { launched } else { before.elapsed() };
    Ok(time.as_secs_f64() / f64::from(timing.calls))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    if times.len() % 2 == 1 { times[middle] } else { 0.5 * (times[middle - 1] + times[middle]) }
}
