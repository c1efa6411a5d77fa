//! What the runs gave: a table of rows as CSV, one of means beside the published figures as Markdown, and a plot in the shape
//! of the paper's.

use crate::{
    grid::{Grid, Point},
    published::{Published, published, remarks},
    study::Study,
};
use foveate::{Error, Result, checkpoint::write_whole, plot};
use foveate_examples::{mean_and_deviation, percent};
use std::path::Path;

/// What one run gave.
pub(crate) struct Row {
    pub(crate) point: Point,
    pub(crate) seed: u64,
    /// Shares right of each task on test images, and over the last epoch of training.
    pub(crate) test: Vec<f64>,
    pub(crate) train: Vec<f64>,
}

impl Row {
    /// The row as its run's folder keeps it; the point and the seed are the folder's.
    pub(crate) fn fields(&self) -> String {
        let fields: Vec<String> = self.test.iter().chain(&self.train).map(f64::to_string).collect();
        fields.join(",")
    }

    /// The row that [`Row::fields`] wrote into a folder.
    pub(crate) fn read(fields: &str, point: Point, seed: u64, folder: &Path) -> Result<Self> {
        let shares: Option<Vec<f64>> = fields.split(',').map(|field| field.parse().ok()).collect();
        match shares {
            Some(shares) if shares.len().is_multiple_of(2) => {
                let (test, train) = shares.split_at(shares.len() / 2);
                Ok(Row { point, seed, test: test.to_vec(), train: train.to_vec() })
            }
            _ => Err(Error::file(folder, "holds no result of a study")),
        }
    }
}

/// All rows so far.
pub(crate) struct Results<'a> {
    pub(crate) study: Study,
    pub(crate) grid: &'a Grid,
    pub(crate) tasks: Vec<String>,
    /// What the settings were, in a line.
    pub(crate) settings: String,
    /// The share right of always answering what is most frequent, over the test images of the first point.
    pub(crate) chance: Vec<f64>,
    pub(crate) rows: Vec<Row>,
}

/// The seeds of one point.
struct Cell<'a> {
    line: String,
    x: f64,
    rows: Vec<&'a Row>,
}

impl Results<'_> {
    /// Writes `results.csv`, `table.md`, `table.csv` and `study.png`.
    pub(crate) fn write(&self, out: &Path) -> Result<()> {
        write_whole(&out.join("results.csv"), self.runs().as_bytes())?;
        write_whole(&out.join("table.md"), self.markdown().as_bytes())?;
        write_whole(&out.join("table.csv"), self.means().as_bytes())?;
        plot::panels(out.join("study.png"), &self.panels())
    }

    /// A row for each run.
    fn runs(&self) -> String {
        let tasks = |of: &str| self.tasks.iter().map(|task| format!(",{of}_{task}")).collect::<String>();
        let mut csv = format!(
            "canvas,digit,patch,noise,thickness,drawn_thickness,noise_count,train_images,o2i_percent,o2p_percent,seed{}{}\n",
            tasks("test"),
            tasks("train")
        );
        for Row { point: p, seed, test, train } in &self.rows {
            let drawn = p.drawn_thickness().map(|drawn| drawn.to_string()).unwrap_or_default();
            let (o2i, o2p, noise) = (p.object_to_image(), p.object_to_patch(), p.noise.name());
            let Point { canvas, digit, patch, thickness, noise_count, train_images, .. } = p;
            csv.push_str(&format!(
                "{canvas},{digit},{patch},{noise},{thickness},{drawn},{noise_count},{train_images},{o2i},{o2p},{seed}"
            ));
            test.iter().chain(train).for_each(|share| csv.push_str(&format!(",{share}")));
            csv.push('\n');
        }
        csv
    }

    /// The runs by point, in the order of the grid.
    fn cells(&self) -> Vec<Cell<'_>> {
        let mut cells: Vec<Cell> = Vec::new();
        for row in &self.rows {
            let (line, x) = (self.study.line(&row.point, self.grid), self.study.x(&row.point));
            match cells.iter_mut().find(|cell| cell.line == line && cell.x == x) {
                Some(cell) => cell.rows.push(row),
                None => cells.push(Cell { line, x, rows: vec![row] }),
            }
        }
        cells
    }

    /// Means and deviations over seeds, a row for each point.
    fn means(&self) -> String {
        let columns: String =
            self.tasks.iter().map(|task| format!(",{task}_mean,{task}_deviation")).collect();
        let mut csv = format!("line,{},seeds{columns}\n", self.study.column());
        for cell in self.cells() {
            csv.push_str(&format!("{},{},{}", cell.line.replace(", ", " "), cell.x, cell.rows.len()));
            for task in 0..self.tasks.len() {
                let (mean, deviation) = mean_and_deviation(&cell.shares(task));
                let deviation = deviation.map(|deviation| deviation.to_string()).unwrap_or_default();
                csv.push_str(&format!(",{mean},{deviation}"));
            }
            csv.push('\n');
        }
        csv
    }

    /// The published figures and ours, line by line of the plot and along its axis.
    pub(crate) fn markdown(&self) -> String {
        let (name, axis) = (self.study.name(), self.study.axis());
        let mut text = format!(
            "# Study {name}: {} of Riffi-Aslett and Fell, arXiv 2412.11237\n\nShares of right answers in percent; ours: mean ± \
             deviation of a sample over seeds, after the last epoch. {}\n\n| line | {axis} | whose | {} |\n|{}\n",
            self.study.place(),
            self.settings,
            self.tasks.join(" | "),
            " --- |".repeat(3 + self.tasks.len())
        );
        let chance: Vec<String> = self.chance.iter().map(|share| format!("{:.1}", 100.0 * share)).collect();
        text.push_str(&format!("| most frequent answer | | ours | {} |\n", chance.join(" | ")));
        let (cells, published) = (self.cells(), published(self.study));
        let mut lines: Vec<&str> = Vec::new();
        let of_rows = published.iter().map(|row| row.line.as_str());
        for line in of_rows.chain(cells.iter().map(|cell| cell.line.as_str())) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        for line in lines {
            let mut rows: Vec<(f64, String)> = Vec::new();
            rows.extend(published.iter().filter(|row| row.line == line).map(|row| (row.x, row.markdown())));
            rows.extend(cells.iter().filter(|cell| cell.line == line).map(|cell| (cell.x, self.ours(cell))));
            // Stable: the published rows of a place come first.
            rows.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows.iter().for_each(|(x, row)| text.push_str(&format!("| {line} | {} | {row}\n", rounded(*x))));
        }
        text.push_str("\nOf the published figures:\n\n");
        remarks(self.study).iter().for_each(|remark| text.push_str(&format!("* {remark}\n")));
        text
    }

    fn ours(&self, cell: &Cell) -> String {
        let shares: Vec<String> = (0..self.tasks.len()).map(|task| percent(&cell.shares(task))).collect();
        let seeds = if cell.rows.len() == 1 { "seed" } else { "seeds" };
        format!("ours, {} {seeds} | {} |", cell.rows.len(), shares.join(" | "))
    }

    /// A panel for each task.
    fn panels(&self) -> Vec<plot::Panel> {
        let cells = self.cells();
        let mut lines: Vec<&str> = cells.iter().map(|cell| cell.line.as_str()).collect();
        lines.dedup();
        let series = |task: usize, line: &str| {
            let point = |cell: &Cell| {
                let (mean, deviation) = mean_and_deviation(&cell.shares(task));
                [cell.x, 100.0 * mean, 100.0 * deviation.unwrap_or(0.0)]
            };
            let mut points: Vec<_> = cells.iter().filter(|cell| cell.line == line).map(point).collect();
            points.sort_by(|a, b| a[0].total_cmp(&b[0]));
            (line.to_owned(), points)
        };
        let panel = |(task, name): (usize, &String)| plot::Panel {
            title: name.clone(),
            labels: [self.study.axis(), "right on test images, %"].map(str::to_owned),
            series: lines.iter().map(|line| series(task, line)).collect(),
        };
        self.tasks.iter().enumerate().map(panel).collect()
    }
}

impl Cell<'_> {
    /// The shares right of a task on test images.
    fn shares(&self, task: usize) -> Vec<f64> {
        self.rows.iter().map(|row| row.test.get(task).copied().unwrap_or(f64::NAN)).collect()
    }
}

impl Published {
    fn markdown(&self) -> String {
        let figure = |(mean, deviation): (&f64, &f64)| match (mean.is_nan(), deviation.is_nan()) {
            (true, _) => String::new(),
            (_, true) => format!("{mean:.1}"),
            _ => format!("{mean:.1} ± {deviation:.1}"),
        };
        let figures: Vec<String> = self.mean.iter().zip(&self.deviation).map(figure).collect();
        format!("{} | {} |", self.whose, figures.join(" | "))
    }
}

/// A place on the axis, to four digits after the point at most.
fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}
