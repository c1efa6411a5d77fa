//! Series of runs, each in a folder of its own: what is finished is read back, what was stopped goes on from its checkpoint.

use crate::{Interrupt, Log, Shown, train};
use foveate::{
    Error, Result,
    checkpoint::write_whole,
    train::{Dataset, Target, TrainConfig, Trainer},
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What a program answers: an error is one line.
pub fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of one run, and what tells the run from others: a finished run of other settings is not taken for it.
pub struct RunFolder {
    path: PathBuf,
    about: String,
}

impl RunFolder {
    /// Of a run of `net` trained with `settings` on the first of the data sets and tested on the second.
    pub fn new<S: Shown>(path: PathBuf, net: &S, settings: &TrainConfig, data: [&dyn Dataset; 2]) -> Self {
        let [train, test] = data.map(|data| format!("{} of {}", data.len(), data.description()));
        RunFolder { path, about: format!("{}; {settings:?}; {train}; {test}", net.description()) }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What [`RunFolder::finish`] was given, if the run is finished.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is none of those, or is of a run with other settings.
    pub fn finished(&self) -> Result<Option<String>> {
        let path = self.path.join(RESULT);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(|e| Error::file(&path, e))?;
        match text.split_once('\n') {
            Some((then, fields)) if then == self.about => Ok(Some(fields.trim().to_owned())),
            Some(_) => Err(Error::file(&path, "is of a run with other settings: use another --out")),
            None => Err(Error::file(&path, "is no result of a run")),
        }
    }

    /// Trains to the end, from the checkpoint if there is one; nothing if Ctrl-C came first.
    ///
    /// # Errors
    ///
    /// Those of the trainer; files that cannot be read or written.
    pub fn train<S: Shown>(
        &self,
        net: S,
        settings: TrainConfig,
        data: &dyn Dataset,
        interrupt: &Interrupt,
    ) -> Result<Option<(S, Log)>> {
        fs::create_dir_all(&self.path).map_err(|e| Error::file(&self.path, e))?;
        let checkpoint = self.path.join("checkpoint.safetensors");
        let mut trainer = Trainer::new(net, settings, data)?;
        let mut log = Log::default();
        if checkpoint.exists() {
            trainer.resume(&checkpoint)?;
            log = Log::read(&self.path.join("training.csv"), trainer.steps_done())?;
        }
        let stop = trainer.steps();
        train(&mut trainer, data, &mut log, stop, interrupt, &self.path)?;
        let finished = trainer.steps_done() == stop;
        Ok(finished.then(|| (trainer.into_net(), log)))
    }

    /// Keeps the fields of a finished run, in one line.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn finish(&self, fields: &str) -> Result<()> {
        write_whole(&self.path.join(RESULT), format!("{}\n{fields}\n", self.about).as_bytes())
    }
}

const RESULT: &str = "result.csv";

/// The mean of what several seeds gave, and the deviation of a sample: none of a single one.
pub fn mean_and_deviation(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

/// Shares as a mean with its deviation, in percent.
pub fn percent(shares: &[f64]) -> String {
    match mean_and_deviation(shares) {
        (mean, None) => format!("{:.1}", 100.0 * mean),
        (mean, Some(deviation)) => format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * deviation),
    }
}

/// The share right of always answering what is most frequent, for each task.
///
/// # Errors
///
/// Those of the data.
pub fn most_frequent(data: &dyn Dataset) -> Result<Vec<f64>> {
    let mut answers: Vec<HashMap<String, usize>> = Vec::new();
    for index in 0..data.len() {
        let targets = data.example(index)?.targets;
        answers.resize(targets.len(), HashMap::new());
        for (seen, target) in answers.iter_mut().zip(targets) {
            let answer = match target {
                Target::Class(class) => class.to_string(),
                Target::Classes(classes) => format!("{classes:?}"),
            };
            *seen.entry(answer).or_default() += 1;
        }
    }
    let most = |seen: &HashMap<String, usize>| seen.values().copied().max().unwrap_or(0) as f64;
    Ok(answers.iter().map(|seen| most(seen) / data.len() as f64).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(super::percent(&[0.1, 0.3]), "20.0 ± 14.1");
        assert_eq!(super::percent(&[0.25]), "25.0");
        let (mean, deviation) = super::mean_and_deviation(&[2.0, 4.0, 9.0]);
        assert!(mean == 5.0 && (deviation.unwrap_or(0.0) - 13.0_f64.sqrt()).abs() < 1e-12);
    }
}
