//! A file that grows with each epoch.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::{Callback, Control, EpochEnd, TrainBegin};
use crate::error::{Error, Result};
use crate::files::{check_target, write_text};
use crate::model::{State, Trainer, csv_header, csv_line};
use crate::scalar::Scalar;

/// Writes each epoch's figures into a file as soon as they are there: `epoch,seconds,loss,…`, a line an epoch.
///
/// The file has the form of [`History::to_csv`](crate::model::History::to_csv). It is begun anew by each call of `fit`
/// unless [`append`](Self::append) is set; its folder is made if there is none. A run that goes on from a checkpoint goes on
/// in the file, without the lines that came after the checkpoint.
///
/// # Errors
///
/// From `fit`, [`Error::Io`] with the path: before the first step if the file cannot be made or is not a regular one, after
/// an epoch if it cannot be written.
///
/// # Source
///
/// `keras.callbacks.CSVLogger`, which counts epochs from 0 and has no seconds.
///
/// # Example
///
/// ```
/// use plywood::callbacks::CsvLog;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// # let path = std::env::temp_dir().join(format!("plywood-doc-csv-log-{}.csv", std::process::id()));
/// let mut log = CsvLog::new(&path);
/// let history = trainer.fit_with(&data, &Fit::epochs(3), &mut [&mut log])?;
/// assert_eq!(History::read_csv(&path)?, history);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "CSVLogger")]
#[derive(Debug)]
pub struct CsvLog {
    path: PathBuf,
    append: bool,
    file: Option<File>,
    /// How long it was when the run ended.
    closed_at: Option<u64>,
}

impl CsvLog {
    /// A log in this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), append: false, file: None, closed_at: None }
    }

    /// Sets whether lines are added to what is in the file already. The head line is written into an empty file only.
    pub fn append(mut self, append: bool) -> Self {
        self.append = append;
        self
    }

    fn io<R>(&self, result: std::io::Result<R>) -> Result<R> {
        result.map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    /// The file; of a run that goes on, as long as it was at the checkpoint.
    fn open(&self, figures: &[String], length: Option<u64>) -> Result<File> {
        let open = || self.io(OpenOptions::new().append(true).open(&self.path));
        let length_now = |file: &File| self.io(file.metadata()).map(|about| about.len());
        if (self.append || length.is_some()) && self.path.exists() {
            let file = open()?;
            if let Some(length) = length
                && length_now(&file)? > length
            {
                self.io(file.set_len(length))?;
            }
            if length_now(&file)? > 0 {
                return Ok(file);
            }
        }
        // an old log is there until the new one has its first line
        write_text(&self.path, &csv_header(figures.iter().map(String::as_str)))?;
        open()
    }

    fn length(&self) -> Option<u64> {
        Some(self.file.as_ref()?.metadata().ok()?.len())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// How long the file was at the checkpoint from which a run goes on.
fn length_of(run: &TrainBegin<'_>) -> Result<Option<u64>> {
    run.state.map(|state| state.integer("length")).transpose()
}

impl<T: Scalar> Callback<T> for CsvLog {
    fn check(&self, _: &Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        length_of(run)?;
        // opening a FIFO would wait for a reader
        check_target(&self.path)?;
        // a file that is there is left as it is; one that is not is made when all callbacks have been asked
        match OpenOptions::new().append(true).open(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => self.io(Err(error)),
            _ => Ok(()),
        }
    }

    fn train_begin(&mut self, _: &mut Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        self.closed_at = None;
        check_target(&self.path)?;
        self.file = Some(self.open(run.figures, length_of(run)?)?);
        Ok(())
    }

    fn epoch_end(&mut self, _: &mut Trainer<T>, epoch: &EpochEnd<'_>) -> Result<Control> {
        if let Some(mut file) = self.file.as_ref() {
            let line = csv_line(epoch.epoch, epoch.seconds, epoch.values.iter().map(|&(_, value)| value));
            // a file without a buffer: the line is there, whole, for whoever looks
            self.io(file.write_all(line.as_bytes()))?;
        }
        Ok(Control::Continue)
    }

    fn train_end(&mut self, _: &mut Trainer<T>) -> Result<()> {
        // the checkpoints that are asked for at the end are written after this
        self.closed_at = self.length();
        self.file = None;
        Ok(())
    }

    fn state(&self) -> Option<State> {
        let length = self.length().or(self.closed_at)?;
        Some(State::new().with("length", length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::testing::{play, trainer};

    #[test]
    fn every_epoch_is_there_when_it_ends() {
        let folder = std::env::temp_dir().join(format!("plywood-csv-log-{}", std::process::id()));
        let path = folder.join("a/log.csv");
        let read = || std::fs::read_to_string(&path).unwrap();
        let mut log = CsvLog::new(&path);
        let mut seen = vec![];
        play(&mut trainer(), &mut log, "loss", &[0.5, 0.25], |_| seen.push(read()));
        assert_eq!(seen, ["epoch,seconds,loss\n", "epoch,seconds,loss\n1,0.5,0.5\n"]);
        assert_eq!(read(), "epoch,seconds,loss\n1,0.5,0.5\n2,0.5,0.25\n");

        play(&mut trainer(), &mut log.append(true), "loss", &[0.125], |_| {});
        assert_eq!(read(), "epoch,seconds,loss\n1,0.5,0.5\n2,0.5,0.25\n1,0.5,0.125\n");
        play(&mut trainer(), &mut CsvLog::new(&path), "loss", &[f64::NAN], |_| {});
        assert_eq!(read(), "epoch,seconds,loss\n1,0.5,NaN\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_made_is_told_before_training() {
        let figures = [];
        let run = TrainBegin { epochs: 1, batches: 1, samples: 1, figures: &figures, epoch: 0, batch: 0, state: None };
        let path = std::env::temp_dir();
        let error = CsvLog::new(&path).check(&trainer(), &run).unwrap_err();
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    }
}
