//! The table of ratios, as text for a terminal and as Markdown for a file.

use super::{
    On,
    compare::{CALM, Measured},
    goals::{self, goal},
};
use std::fmt::Write;

/// Everything that one run measured.
pub(crate) struct Report {
    pub(crate) on: On,
    /// Lines that describe the machine, the versions and the run.
    pub(crate) machine: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// Cases that could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

/// One case against one form of the peer.
pub(crate) struct Row {
    pub(crate) case: String,
    /// Its shapes.
    pub(crate) about: String,
    pub(crate) measured: Measured,
}

const COLUMNS: [&str; 10] =
    ["case", "ours ms", "GFLOP/s", "peer", "peer ms", "ratio", "of rounds", "goal", "verdict", "others"];

impl Row {
    fn cells(&self) -> [String; 10] {
        let m = &self.measured;
        let goal = goal(&self.case, &m.form);
        let rate = match m.flops as f64 / m.ours * 1e-9 {
            0.0 => String::new(),
            slow @ ..20.0 => format!("{slow:.1}"),
            rate => format!("{rate:.0}"),
        };
        let others = if m.repeated > 0 {
            format!("{:.2} ({} repeated)", m.others, m.repeated)
        } else {
            format!("{:.2}", m.others)
        };
        [
            self.case.clone(),
            milliseconds(m.ours),
            rate,
            m.form.clone(),
            milliseconds(m.peer),
            format!("{:.2}", m.ratio()),
            format!("{:.2}-{:.2}", m.range[0], m.range[1]),
            goal.to_string(),
            self.verdict().into(),
            others,
        ]
    }

    fn verdict(&self) -> &'static str {
        let m = &self.measured;
        if m.agrees(&self.case) { goal(&self.case, &m.form).verdict(m) } else { "RESULTS DIFFER" }
    }

    /// The row as a line of the terminal's table.
    pub(crate) fn line(&self) -> String {
        aligned(&self.cells())
    }

    /// What is wrong with the results, if anything is.
    pub(crate) fn disagreement(&self) -> Option<String> {
        let m = &self.measured;
        (!m.agrees(&self.case)).then(|| {
            format!(
                "{} and {}: the checksums are {:.1e} of the sum of magnitudes apart, {:.0e} is allowed",
                self.case,
                m.form,
                m.apart.unwrap_or(0.0),
                goals::tolerance(&self.case)
            )
        })
    }
}

/// Four significant digits.
fn milliseconds(seconds: f64) -> String {
    let ms = seconds * 1e3;
    match ms {
        1000.0.. => format!("{ms:.0}"),
        100.0.. => format!("{ms:.1}"),
        10.0.. => format!("{ms:.2}"),
        1.0.. => format!("{ms:.3}"),
        _ => format!("{ms:.4}"),
    }
}

fn aligned(cells: &[String; 10]) -> String {
    let [case, ours, rate, form, peer, ratio, range, goal, verdict, others] = cells;
    format!(
        "{case:32} {ours:>8} {rate:>7} {form:24} {peer:>8} {ratio:>6} {range:>12} {goal:12} {verdict:9} {others}"
    )
}

impl Report {
    /// The first line of the terminal's table.
    pub(crate) fn head() -> String {
        aligned(&COLUMNS.map(str::to_owned))
    }

    /// How many rows met their goals, and how noisy the machine was.
    pub(crate) fn summary(&self) -> String {
        let verdicts: Vec<&str> = self.rows.iter().map(Row::verdict).collect();
        let count = |word: &str| verdicts.iter().filter(|verdict| **verdict == word).count();
        let noisy = self.rows.iter().filter(|row| row.measured.others > CALM).count();
        let repeated: usize = self.rows.iter().map(|row| row.measured.repeated).sum();
        format!(
            "{} rows: {} meet their aim, {} their goal, {} are below an aim, {} miss their goal. Other processes kept \
             more than {CALM} cores busy in {repeated} rounds that were repeated, and in rounds that count of {noisy} rows.",
            self.rows.len(),
            count("aim met"),
            count("met"),
            count("below aim"),
            count("missed"),
        )
    }

    /// The whole report as a Markdown file.
    pub(crate) fn markdown(&self) -> String {
        let (title, option) = match self.on {
            On::Cpu => ("the CPU", ""),
            On::Wgpu => ("wgpu", " --device wgpu"),
        };
        let mut text = format!(
            "# Benchmarks on {title}\n\nWritten by `cargo xtask bench{option} --peers --save`. Ratio = the peer's time / ours, \
             each the median over rounds in turns of the median call; beside it the least and greatest ratio of a single \
             round. `others` is how many cores other processes kept busy in the busiest round that counts. Both sides \
             compute the same from the same inputs: their checksums agree within 1e-5 of the sum of magnitudes (2e-4 for \
             the training step).\n\n",
        );
        for line in &self.machine {
            let _ = writeln!(text, "* {line}");
        }
        let _ = writeln!(text, "\n{}\n", self.summary());
        let _ = writeln!(text, "| {} | shapes |", COLUMNS.join(" | "));
        let _ = writeln!(text, "| --- | ---: | ---: | --- | ---: | ---: | ---: | --- | --- | ---: | --- |");
        for row in &self.rows {
            let _ = writeln!(text, "| {} | {} |", row.cells().join(" | "), row.about);
        }
        if !self.failures.is_empty() {
            let _ = writeln!(text, "\nNot measured:\n\n* {}", self.failures.join("\n* "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_differing_results_says_so() {
        let measured = Measured {
            form: "torch-eager".into(),
            ours: 2e-3,
            peer: 1e-3,
            range: [0.4, 0.6],
            others: 0.0,
            repeated: 2,
            flops: 4_000_000_000,
            first: 0.0,
            apart: Some(0.5),
        };
        let mut row = Row { case: "linear/a".into(), about: "2x3".into(), measured };
        let report = |row| {
            Report { on: On::Cpu, machine: vec!["here".into()], rows: vec![row], failures: Vec::new() }
                .markdown()
        };
        assert!(row.line().contains("RESULTS DIFFER") && row.disagreement().is_some());
        row.measured.apart = Some(1e-7);
        assert_eq!(row.disagreement(), None);
        let text = report(row);
        let want = "| linear/a | 2.000 | 2000 | torch-eager | 1.000 | 0.50 | 0.40-0.60 | 0.7, aim 1 | missed | 0.00 (2 repeated) | 2x3 |";
        assert!(text.contains(want), "{text}");
    }

    #[test]
    fn four_digits() {
        let shown = [1.23456, 0.0123456, 0.00123456, 0.00000123456].map(milliseconds);
        assert_eq!(shown, ["1235", "12.35", "1.235", "0.0012"]);
    }
}
