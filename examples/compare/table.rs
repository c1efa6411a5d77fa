//! The table of a comparison, as Markdown and CSV, and the rows of finished runs.

use crate::arguments::Plan;
use foveate::{Error, Result, checkpoint::write_whole};
use foveate_examples::{most_frequent, percent};
use std::path::Path;

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
    /// The row as its run's folder keeps it.
    pub(crate) fn fields(&self) -> String {
        let accuracy: Vec<String> = self.accuracy.iter().map(f64::to_string).collect();
        let (macs, flops) = (self.macs, 2 * self.macs);
        let [system, memory, double] =
            [&self.system, &self.memory.to_string(), &self.memory_double.to_string()];
        let time = self.milliseconds;
        format!("{system},{},{macs},{flops},{memory},{double},{time},{}", self.seed, accuracy.join(","))
    }

    /// The row that [`Row::fields`] wrote into a folder.
    pub(crate) fn read(fields: &str, folder: &Path) -> Result<Self> {
        let fields: Vec<&str> = fields.split(',').collect();
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
        row().ok_or_else(|| Error::file(folder, "holds no result of a comparison"))
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
        Ok(Table {
            tasks: plan.tasks.iter().map(|task| task.name.clone()).collect(),
            chance: most_frequent(&*plan.data.test()?)?,
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
            let of = |row: &&Row| row.accuracy.get(task).copied().unwrap_or(f64::NAN);
            percent(&rows.iter().map(of).collect::<Vec<_>>())
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
