//! The course of training: a CSV file that resuming reads back, a line of text, and two pictures.

use foveate::{Error, Result, checkpoint::write_whole, nn::Task, plot, train::StepReport};
use std::{io::ErrorKind, path::Path};

/// The course of training: a row per step, smoothed for display.
#[derive(Default)]
pub struct Log {
    /// step, loss, share right per task.
    rows: Vec<(usize, f32, Vec<f32>)>,
}

impl Log {
    const WINDOW: usize = 100;

    /// Adds a step.
    pub fn push(&mut self, report: &StepReport) {
        let right = report.correct.iter().map(|c| *c as f32 / report.images as f32).collect();
        self.rows.push((report.step, report.loss, right));
    }

    /// Means over the last rows up to `end`: loss, then the tasks.
    fn smoothed(&self, end: usize) -> Vec<f32> {
        let rows = &self.rows[end.saturating_sub(Self::WINDOW)..end];
        let mut means = vec![0.0; 1 + rows.first().map_or(0, |r| r.2.len())];
        for (_, loss, right) in rows {
            means[0] += loss / rows.len() as f32;
            means[1..].iter_mut().zip(right).for_each(|(m, r)| *m += r / rows.len() as f32);
        }
        means
    }

    /// The share right of a task over the last `steps` steps; NaN where there is no row.
    pub fn right(&self, task: usize, steps: usize) -> f64 {
        let last = &self.rows[self.rows.len().saturating_sub(steps)..];
        let right = last.iter().filter_map(|(_, _, right)| right.get(task));
        right.map(|share| f64::from(*share)).sum::<f64>() / last.len() as f64
    }

    /// The loss and the shares of right answers of late, for a progress bar.
    pub fn message(&self, tasks: &[Task]) -> String {
        let means = self.smoothed(self.rows.len());
        let shares: Vec<String> = means[1..].iter().map(|m| format!("{:.0}", 100.0 * m)).collect();
        format!("loss {:.3}  {} {} %", means[0], names(tasks).join("/"), shares.join("/"))
    }

    /// Writes all rows.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn write(&self, path: &Path, tasks: &[Task]) -> Result<()> {
        let mut text = format!("step,loss,{}\n", names(tasks).join(","));
        for (step, loss, right) in &self.rows {
            let right: Vec<String> = right.iter().map(f32::to_string).collect();
            text.push_str(&format!("{step},{loss},{}\n", right.join(",")));
        }
        write_whole(path, text.as_bytes())
    }

    /// The rows before `step` of an earlier run; none where it left no log.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is no such log.
    pub fn read(path: &Path, step: usize) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Log::default()),
            text => text.map_err(|e| Error::file(path, e))?,
        };
        let mut log = Log::default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let number = |at: usize| fields.get(at).and_then(|f| f.parse::<f32>().ok());
            let row = fields.first().and_then(|f| f.parse::<usize>().ok()).zip(number(1));
            let (at, loss) =
                row.ok_or_else(|| Error::file(path, format!("a line that is not a row of the log: {line}")))?;
            if at < step {
                log.rows.push((at, loss, (2..fields.len()).filter_map(number).collect()));
            }
        }
        Ok(log)
    }

    /// Draws `curves.png` and `loss.png` into a folder.
    ///
    /// # Errors
    ///
    /// Files that cannot be written.
    pub fn draw(&self, out: &Path, tasks: &[Task]) -> Result<()> {
        let accuracies: Vec<plot::Series> =
            tasks.iter().enumerate().map(|(at, task)| self.series(&task.name, at + 1)).collect();
        plot::curves(out.join("curves.png"), "accuracy in training", ["step", "share right"], &accuracies)?;
        plot::curves(out.join("loss.png"), "training loss", ["step", "loss"], &[self.series("loss", 0)])
    }

    /// A smoothed column as a curve called `name`: 0 is the loss, then come the tasks.
    pub fn series(&self, name: &str, column: usize) -> plot::Series {
        let every = (self.rows.len() / 400).max(1);
        let point = |end: usize| {
            let value = self.smoothed(end).get(column).copied().unwrap_or(f32::NAN);
            (self.rows[end - 1].0 as f64, f64::from(value))
        };
        let points = (every..=self.rows.len()).step_by(every).map(point).collect();
        plot::Series { name: name.to_owned(), points }
    }
}

fn names(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.name.as_str()).collect()
}
