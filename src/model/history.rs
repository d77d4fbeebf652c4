//! What was measured in each epoch of a run.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Loss and metrics of each epoch, by name: `loss`, `accuracy`, and `val_loss`, `val_accuracy` with validation data.
///
/// ```
/// use plywood::model::History;
///
/// let mut history = History::new();
/// history.push(1, 0.8, &[("loss", 0.257), ("accuracy", 0.925)]);
/// assert_eq!(history.get("accuracy"), Some(vec![0.925]));
/// assert_eq!(history.to_csv(), "epoch,seconds,loss,accuracy\n1,0.8,0.257,0.925\n");
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    names: Vec<String>,
    epochs: Vec<Epoch>,
}

#[derive(Debug, Clone, PartialEq)]
struct Epoch {
    number: usize,
    seconds: f64,
    values: Vec<f64>,
}

impl History {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an epoch, counted from 1. A name not seen before is NaN in the epochs before; one that is missing, in
    /// this one.
    pub fn push(&mut self, epoch: usize, seconds: f64, values: &[(&str, f64)]) {
        for (name, _) in values {
            if !self.names.iter().any(|known| known == name) {
                self.names.push((*name).to_owned());
                self.epochs.iter_mut().for_each(|epoch| epoch.values.push(f64::NAN));
            }
        }
        let find = |name: &String| values.iter().find(|(n, _)| n == name).map_or(f64::NAN, |&(_, value)| value);
        let values = self.names.iter().map(find).collect();
        self.epochs.push(Epoch { number: epoch, seconds, values });
    }

    /// Number of epochs.
    pub fn len(&self) -> usize {
        self.epochs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// The names that were measured.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// One figure over the epochs.
    pub fn get(&self, name: &str) -> Option<Vec<f64>> {
        let column = self.names.iter().position(|known| known == name)?;
        Some(self.epochs.iter().map(|epoch| epoch.values[column]).collect())
    }

    /// The last epoch's figure.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.get(name)?.last().copied()
    }

    /// Seconds that each epoch took.
    pub fn seconds(&self) -> Vec<f64> {
        self.epochs.iter().map(|epoch| epoch.seconds).collect()
    }

    /// A table with a line an epoch: `epoch,seconds,loss,…`.
    pub fn to_csv(&self) -> String {
        let mut csv = "epoch,seconds".to_owned();
        self.names.iter().for_each(|name| {
            csv.push(',');
            csv.push_str(name);
        });
        csv.push('\n');
        for epoch in &self.epochs {
            write!(csv, "{},{}", epoch.number, epoch.seconds).expect("a String takes everything");
            epoch.values.iter().for_each(|value| write!(csv, ",{value}").expect("a String takes everything"));
            csv.push('\n');
        }
        csv
    }

    /// Writes [`to_csv`](Self::to_csv) into a file, and makes its folder if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the path.
    pub fn write_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        folder
            .and_then(|()| std::fs::write(path, self.to_csv()))
            .map_err(|source| Error::Io { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_may_measure_different_things() {
        let mut history = History::new();
        history.push(1, 1.0, &[("loss", 0.5)]);
        history.push(2, 1.5, &[("loss", 0.25), ("val_loss", 0.75)]);
        assert_eq!(history.to_csv(), "epoch,seconds,loss,val_loss\n1,1,0.5,NaN\n2,1.5,0.25,0.75\n");
        assert_eq!(history.last("val_loss"), Some(0.75));
        assert_eq!(history.get("accuracy"), None);
    }
}
