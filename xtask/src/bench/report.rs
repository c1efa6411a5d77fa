//! The table of times, and of ratios where there is a peer: as text for a terminal, as Markdown and as JSON for a file.

use super::{
    On,
    compare::{CALM, Measured},
    goals::{self, Goal},
};
use serde_json::{Value, json};
use std::fmt::Write;

/// Everything that one run measured.
pub(crate) struct Report {
    pub(crate) on: On,
    /// Whether this crate ran alone.
    pub(crate) alone: bool,
    /// Lines that describe the machine, the versions and the run.
    pub(crate) machine: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// Cases that could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

/// One case, and one form of the peer if it has one.
pub(crate) struct Row {
    pub(crate) case: String,
    /// Its shapes.
    pub(crate) about: String,
    pub(crate) goal: Goal,
    pub(crate) measured: Measured,
}

const COLUMNS: [&str; 10] =
    ["case", "ours ms", "GFLOP/s", "peer", "peer ms", "ratio", "of rounds", "goal", "verdict", "others"];

impl Row {
    pub(crate) fn new(on: On, case: &str, about: &str, measured: Measured) -> Self {
        let form = measured.against.as_ref().map_or("", |against| &against.form);
        Row { goal: goals::goal(on, case, form), case: case.into(), about: about.into(), measured }
    }

    /// Floating-point operations a second; 0 where they do not decide.
    fn rate(&self) -> f64 {
        self.measured.flops as f64 / self.measured.ours
    }

    fn cells(&self) -> [String; 10] {
        let m = &self.measured;
        let rate = match self.rate() * 1e-9 {
            0.0 => String::new(),
            slow @ ..20.0 => format!("{slow:.1}"),
            rate => format!("{rate:.0}"),
        };
        let others = if m.repeated > 0 {
            format!("{:.2} ({} repeated)", m.others, m.repeated)
        } else {
            format!("{:.2}", m.others)
        };
        let [form, peer, ratio, range, goal, verdict] = match &m.against {
            None => Default::default(),
            Some(against) => [
                against.form.clone(),
                milliseconds(against.seconds),
                format!("{:.2}", against.ratio()),
                format!("{:.2}-{:.2}", against.range[0], against.range[1]),
                self.goal.to_string(),
                self.verdict().into(),
            ],
        };
        [self.case.clone(), milliseconds(m.ours), rate, form, peer, ratio, range, goal, verdict, others]
    }

    fn verdict(&self) -> &'static str {
        match &self.measured.against {
            None => "",
            Some(against) if goals::agree(&self.case, against) => self.goal.verdict(&self.measured, against),
            Some(_) => "RESULTS DIFFER",
        }
    }

    /// The row as a line of the terminal's table.
    pub(crate) fn line(&self) -> String {
        aligned(&self.cells())
    }

    /// What is wrong with the results, if anything is.
    pub(crate) fn disagreement(&self) -> Option<String> {
        let against = self.measured.against.as_ref().filter(|against| !goals::agree(&self.case, against))?;
        Some(format!(
            "{} and {}: the checksums are {:.1e} of the sum of magnitudes apart, {:.0e} is allowed",
            self.case,
            against.form,
            against.apart.unwrap_or(0.0),
            goals::tolerance(&self.case, &against.form)
        ))
    }

    fn json(&self) -> Value {
        let m = &self.measured;
        let mut row = json!({
            "case": self.case, "shapes": self.about, "seconds": m.ours, "others": m.others, "repeated": m.repeated,
        });
        if m.flops > 0 {
            row["flops_per_second"] = self.rate().into();
        }
        if let Some(against) = &m.against {
            row["peer"] = json!({
                "form": against.form, "seconds": against.seconds, "ratio": against.ratio(), "ratios": against.range,
                "apart": against.apart, "agrees": goals::agree(&self.case, against),
                "goal": self.goal.to_string(), "verdict": self.verdict(),
            });
        }
        row
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
    /// Prints and keeps a row, unless it is of a form that has one already: the fastest may also be asked for by name.
    pub(crate) fn add(&mut self, row: Row) {
        let form = |row: &Row| row.measured.against.as_ref().map(|against| against.form.clone());
        if !self.rows.iter().any(|other| other.case == row.case && form(other) == form(&row)) {
            println!("{}", row.line());
            self.rows.push(row);
        }
    }

    /// The first line of the terminal's table.
    pub(crate) fn head() -> String {
        aligned(&COLUMNS.map(str::to_owned))
    }

    /// How many rows met their goals, and how noisy the machine was.
    pub(crate) fn summary(&self) -> String {
        let noisy = self.rows.iter().filter(|row| row.measured.others > CALM).count();
        let repeated: usize = self.rows.iter().map(|row| row.measured.repeated).sum();
        let busy = format!(
            "Other processes kept more than {CALM} cores busy in {repeated} rounds that were repeated, and in rounds that \
             count of {noisy} rows."
        );
        if self.alone {
            return format!("{} rows. {busy}", self.rows.len());
        }
        let verdicts: Vec<&str> = self.rows.iter().map(Row::verdict).collect();
        let count = |word: &str| verdicts.iter().filter(|verdict| **verdict == word).count();
        format!(
            "{} rows: {} meet their aim, {} their goal, {} are below an aim, {} miss their goal. {busy}",
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
            On::Cuda => ("CUDA", " --device cuda"),
        };
        let mut text = format!("# Benchmarks on {title}\n\nWritten by `cargo xtask bench{option}");
        text += if self.alone {
            " --alone --save`. Each time is the median over rounds of the median call. `others` is how many cores other \
             processes kept busy in the busiest round that counts.\n\n"
        } else {
            " --peers --save`. Ratio = the peer's time / ours, \
             each the median over rounds in turns of the median call; beside it the least and greatest ratio of a single \
             round. `others` is how many cores other processes kept busy in the busiest round that counts. Both sides \
             compute the same from the same inputs: their checksums agree within 1e-5 of the sum of magnitudes (2e-4 for \
             the training step).\n\n"
        };
        if self.on == On::Cuda {
            text += "Calls are launched until they take 20 ms together, and then waited for once. Forms that end in `-tf32` \
                     may round the operands of products to 10 bits, and their checksums may be 2e-2 apart; all others, \
                     and all of ours, compute in f32.\n\n";
        }
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

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "machine": self.machine,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "failures": self.failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: Option<(&str, f64)>, apart: Option<f64>) -> Row {
        let mut measured = Measured::of(2e-3, peer);
        (measured.repeated, measured.flops) = (2, 4_000_000_000);
        if let Some(against) = &mut measured.against {
            against.apart = apart;
        }
        Row::new(On::Cpu, "linear/a", "2x3", measured)
    }

    fn report(alone: bool, row: Row) -> Report {
        Report { on: On::Cpu, alone, machine: vec!["here".into()], rows: vec![row], failures: Vec::new() }
    }

    #[test]
    fn a_row_of_differing_results_says_so() {
        let different = row(Some(("torch-eager", 1e-3)), Some(0.5));
        assert!(different.line().contains("RESULTS DIFFER") && different.disagreement().is_some());
        let same = row(Some(("torch-eager", 1e-3)), Some(1e-7));
        assert_eq!(same.disagreement(), None);
        let report = report(false, same);
        let want = "| linear/a | 2.000 | 2000 | torch-eager | 1.000 | 0.50 | 0.50-0.50 | 0.7, aim 1 | missed | 0.00 (2 repeated) | 2x3 |";
        assert!(report.markdown().contains(want), "{}", report.markdown());
        let json = report.json();
        assert_eq!(json["rows"][0]["peer"]["ratio"], 0.5);
        assert_eq!(json["rows"][0]["flops_per_second"], 2e12);
    }

    #[test]
    fn a_row_alone_has_no_peer() {
        let report = report(true, row(None, None));
        let want = "| linear/a | 2.000 | 2000 |  |  |  |  |  |  | 0.00 (2 repeated) | 2x3 |";
        assert!(report.markdown().contains(want), "{}", report.markdown());
        assert!(report.json()["rows"][0].get("peer").is_none());
    }

    #[test]
    fn four_digits() {
        let shown = [1.23456, 0.0123456, 0.00123456, 0.00000123456].map(milliseconds);
        assert_eq!(shown, ["1235", "12.35", "1.235", "0.0012"]);
    }
}
