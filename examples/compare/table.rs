//! The table of a comparison, as Markdown and CSV, and the rows of finished runs.

use crate::arguments::Plan;
use foveate::{Error, Result, checkpoint::write_whole, train::Target};
use std::{collections::HashMap, fs, path::Path};

/// What one run of a system gave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) system: String,
    pub(crate) seed: u64,
    /// The share right of each task.
    pub(crate) accuracy: Vec<f64>,
    /// Multiply-adds of an image.
    pub(crate) macs: u64,
    /// Peak of a training step beyond the network, in bytes, and on images of twice the side.
    pub(crate) memory: usize,
    pub(crate) memory_double: usize,
    /// Milliseconds that an image took in evaluation.
    pub(crate) milliseconds: f64,
}

impl Row {
    fn fields(&self) -> String {
        let accuracy: Vec<String> = self.accuracy.iter().map(f64::to_string).collect();
        let (macs, flops) = (self.macs, 2 * self.macs);
        let [system, memory, double] =
            [&self.system, &self.memory.to_string(), &self.memory_double.to_string()];
        let time = self.milliseconds;
        format!("{system},{},{macs},{flops},{memory},{double},{time},{}", self.seed, accuracy.join(","))
    }

    /// The row as its run's folder keeps it: what it is about, and its fields.
    pub(crate) fn text(&self, about: &str) -> String {
        format!("{about}\n{}\n", self.fields())
    }

    /// The row that [`Row::text`] wrote for the same run.
    pub(crate) fn read(path: &Path, about: &str) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        let Some((then, fields)) = text.split_once('\n') else {
            return Err(Error::file(path, "is no result of a run"));
        };
        if then != about {
            return Err(Error::file(path, "is of a run with other settings: use another --out"));
        }
        let fields: Vec<&str> = fields.trim().split(',').collect();
        let row = || {
            let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
            Some(Row {
                system: (*fields.first()?).to_owned(),
                seed: fields.get(1)?.parse().ok()?,
                macs: fields.get(2)?.parse().ok()?,
                memory: fields.get(4)?.parse().ok()?,
                memory_double: fields.get(5)?.parse().ok()?,
                milliseconds: number(6)?,
                accuracy: (7..fields.len()).map(number).collect::<Option<_>>()?,
            })
        };
        row().ok_or_else(|| Error::file(path, "is no result of a run"))
    }
}

/// All rows so far, and what guessing would give.
pub(crate) struct Table {
    tasks: Vec<String>,
    chance: Vec<f64>,
    rows: Vec<Row>,
}

impl Table {
    /// An empty table. Guessing is always answering what is most frequent among the test images.
    pub(crate) fn new(plan: &Plan) -> Result<Self> {
        let test = plan.data.test()?;
        let mut answers: Vec<HashMap<String, usize>> = vec![HashMap::new(); plan.tasks.len()];
        for index in 0..test.len() {
            for (seen, target) in answers.iter_mut().zip(test.example(index)?.targets) {
                let answer = match target {
                    Target::Class(class) => class.to_string(),
                    Target::Classes(classes) => format!("{classes:?}"),
                };
                *seen.entry(answer).or_default() += 1;
            }
        }
        let most = |seen: &HashMap<String, usize>| seen.values().copied().max().unwrap_or(0) as f64;
        Ok(Table {
            tasks: plan.tasks.iter().map(|task| task.name.clone()).collect(),
            chance: answers.iter().map(|seen| most(seen) / test.len() as f64).collect(),
            rows: Vec::new(),
        })
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Writes `table.md` and `table.csv`.
    pub(crate) fn write(&self, out: &Path) -> Result<()> {
        write_whole(&out.join("table.md"), self.markdown().as_bytes())?;
        let mut csv = format!(
            "system,seed,macs,flops,step_bytes,step_bytes_at_twice_the_side,milliseconds,{}\n",
            self.tasks.join(",")
        );
        self.rows.iter().for_each(|row| csv.push_str(&format!("{}\n", row.fields())));
        write_whole(&out.join("table.csv"), csv.as_bytes())
    }

    /// Means over seeds with the deviation of a sample.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "| system | {} | seeds | MMAC | MFLOP | step, MB | at twice the side | ms per image |\n|{}\n",
            self.tasks.iter().map(|task| format!("{task}, %")).collect::<Vec<_>>().join(" | "),
            " --- |".repeat(self.tasks.len() + 7)
        );
        let chance: Vec<String> = self.chance.iter().map(|share| format!("{:.1}", 100.0 * share)).collect();
        text.push_str(&format!("| most frequent answer | {} | | | | | | |\n", chance.join(" | ")));
        let mut systems: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !systems.contains(&row.system.as_str()) {
                systems.push(&row.system);
            }
        }
        for system in systems {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.system == system).collect();
            text.push_str(&self.line(system, &rows));
        }
        text
    }

    fn line(&self, system: &str, rows: &[&Row]) -> String {
        let mean = |of: &dyn Fn(&Row) -> f64| rows.iter().map(|row| of(row)).sum::<f64>() / rows.len() as f64;
        let accuracy = |task: usize| {
            let of = |row: &Row| 100.0 * row.accuracy.get(task).copied().unwrap_or(f64::NAN);
            let middle = mean(&of);
            let squares: f64 = rows.iter().map(|row| (of(row) - middle).powi(2)).sum();
            match rows.len() {
                1 => format!("{middle:.1}"),
                n => format!("{middle:.1} ± {:.1}", (squares / (n as f64 - 1.0)).sqrt()),
            }
        };
        let accuracies: Vec<String> = (0..self.tasks.len()).map(accuracy).collect();
        let macs = mean(&|row| row.macs as f64) / 1e6;
        let megabytes = |of: &dyn Fn(&Row) -> usize| mean(&|row| of(row) as f64) / 1e6;
        format!(
            "| {system} | {} | {} | {macs:.1} | {:.1} | {:.1} | {:.1} | {:.2} |\n",
            accuracies.join(" | "),
            rows.len(),
            2.0 * macs,
            megabytes(&|row| row.memory),
            megabytes(&|row| row.memory_double),
            mean(&|row| row.milliseconds)
        )
    }
}
