//! One side of the comparison: a program that times a case on request. The protocol is in `benches/peers/README.md`.

use super::turns;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

/// A running server. It ends when this is dropped, by the end of its input.
pub(crate) struct Server {
    /// For messages.
    pub(crate) name: &'static str,
    /// Cases and their shapes.
    pub(crate) cases: BTreeMap<String, String>,
    /// The greeting, which also names versions.
    pub(crate) greeting: Value,
    /// How long an answer may take; then the program is killed.
    pub(crate) limit: Option<Duration>,
    /// It was.
    pub(crate) late: bool,
    child: Child,
    requests: Option<ChildStdin>,
    /// Lines, from a thread that reads them.
    answers: Receiver<std::io::Result<String>>,
}

/// What to time, and for how long.
pub(crate) struct Request<'a> {
    pub(crate) case: &'a str,
    /// A form's name, or `torch` or `best` for the fastest.
    pub(crate) peer: &'a str,
    pub(crate) threads: u32,
    pub(crate) min_time: f64,
}

/// One round.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Answer {
    /// The form that ran.
    pub(crate) peer: String,
    /// Per round: seconds of the median call.
    pub(crate) seconds: Vec<f64>,
    /// Per round: cores that other processes kept busy, if that is known.
    pub(crate) others: Vec<Option<f64>>,
    /// Sum and sum of magnitudes of the results; `None` where they are random.
    pub(crate) checksum: Option<[f64; 2]>,
    pub(crate) flops: u64,
    /// Seconds of the case's first call.
    #[serde(default)]
    pub(crate) first: f64,
    /// The forms there are.
    #[serde(default)]
    pub(crate) forms: BTreeMap<String, f64>,
}

impl Server {
    /// Starts the program and waits for its greeting.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{name} has no pipes");
        };
        let (to, lines) = channel();
        std::thread::spawn(move || BufReader::new(answers).lines().try_for_each(|line| to.send(line)));
        let mut server = Server {
            name,
            cases: BTreeMap::new(),
            greeting: Value::Null,
            limit: None,
            late: false,
            child,
            requests: Some(requests),
            answers: lines,
        };
        server.greeting = server.read()?;
        server.cases = Deserialize::deserialize(&server.greeting["cases"])
            .with_context(|| format!("{name} greets with no list of cases: {}", server.greeting))?;
        turns::stop(&server.child);
        Ok(server)
    }

    /// One round of a case. The program runs no longer than that.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Answer> {
        let Request { case, peer, threads, min_time } = request;
        let asked =
            json!({"case": case, "peer": peer, "rounds": 1, "threads": threads, "min_time": min_time});
        let Some(requests) = &mut self.requests else { bail!("{} was told to end", self.name) };
        turns::resume(&self.child);
        writeln!(requests, "{asked}").with_context(|| format!("{} ended early", self.name))?;
        let answer = self.read()?;
        turns::stop(&self.child);
        if let Some(error) = answer["error"].as_str() {
            bail!("{}: {error}", self.name);
        }
        let read: Answer =
            serde_json::from_value(answer).with_context(|| format!("{}: not an answer", self.name))?;
        if read.seconds.len() != 1 || read.others.len() != 1 || !read.seconds[0].is_finite() {
            bail!("{}: one round was asked for, the answer is {read:?}", self.name);
        }
        Ok(read)
    }

    /// All cases' names, for messages.
    pub(crate) fn names(&self) -> String {
        self.cases.keys().cloned().collect::<Vec<_>>().join(", ")
    }

    /// Whether the program is no more.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn read(&mut self) -> Result<Value> {
        let next = match self.limit {
            Some(limit) => self.answers.recv_timeout(limit),
            None => self.answers.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let line = match next {
            Ok(line) => line?,
            Err(RecvTimeoutError::Disconnected) => bail!("{} ended early, {}", self.name, self.child.wait()?),
            Err(RecvTimeoutError::Timeout) => {
                self.late = true;
                self.child.kill()?;
                bail!("{} gave no answer in {:.0?}", self.name, self.limit.unwrap_or_default())
            }
        };
        serde_json::from_str(&line).with_context(|| format!("{} says {line:?}, which is not JSON", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.requests.take());
        turns::resume(&self.child);
        let _ = self.child.wait();
    }
}
