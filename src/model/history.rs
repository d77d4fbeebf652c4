//! What was measured in each epoch of a run.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::curve::curve;
use crate::error::{Error, Result};
use crate::files::{read_text, write_text};
use crate::terminal::shows_unicode;

/// Bytes of a file that a history is read from: more than a million epochs take.
const LONGEST_FILE: u64 = 64 << 20;

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
///
/// With serde it is a map of columns, `{"epoch": [1], "seconds": [0.8], "loss": [0.257], …}`, in which what is NaN or
/// infinite is null. In this form and in CSV, what is called `epoch` or `seconds` itself is the column `_epoch` or
/// `_seconds`.
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

    /// The numbers of the epochs, from 1.
    pub fn epochs(&self) -> Vec<usize> {
        self.epochs.iter().map(|epoch| epoch.number).collect()
    }

    /// Seconds that each epoch took.
    pub fn seconds(&self) -> Vec<f64> {
        self.epochs.iter().map(|epoch| epoch.seconds).collect()
    }

    /// A small curve of one figure for the terminal, 7 lines high, with that of the validation data if there is one. It is
    /// drawn in braille where the locale is one of Unicode, otherwise in ASCII.
    ///
    /// ```
    /// use plywood::model::History;
    ///
    /// let mut history = History::new();
    /// for (epoch, loss) in [0.257, 0.104, 0.069, 0.050, 0.038].into_iter().enumerate() {
    ///     history.push(epoch + 1, 0.8, &[("loss", loss)]);
    /// }
    /// println!("{}", history.curve("loss").unwrap());
    /// ```
    pub fn curve(&self, name: &str) -> Option<String> {
        let mut lines = vec![self.get(name)?];
        lines.extend(self.get(&format!("val_{name}")));
        Some(curve(&lines, self.epochs.first().map_or(1, |epoch| epoch.number), shows_unicode()))
    }

    /// A table with a line an epoch: `epoch,seconds,loss,…`.
    pub fn to_csv(&self) -> String {
        let mut csv = csv_header(self.names.iter().map(String::as_str));
        for epoch in &self.epochs {
            csv.push_str(&csv_line(epoch.number, epoch.seconds, epoch.values.iter().copied()));
        }
        csv
    }

    /// Writes [`to_csv`](Self::to_csv) into a file, and makes its folder if there is none. The file is written whole or
    /// not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the path. The file that was there is as it was then.
    pub fn write_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        write_text(path.as_ref(), &self.to_csv())
    }

    /// The history that [`to_csv`](Self::to_csv) made this text of.
    ///
    /// # Errors
    ///
    /// [`Error::History`] with the line that is not as it should be.
    ///
    /// ```
    /// use plywood::model::History;
    ///
    /// let history = History::from_csv("epoch,seconds,loss\n1,0.8,0.257\n2,0.7,0.104\n")?;
    /// assert_eq!(history.get("loss"), Some(vec![0.257, 0.104]));
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn from_csv(csv: &str) -> Result<Self> {
        let wrong = |line: usize, problem: String| Error::History { path: None, line, problem };
        let mut lines = csv.lines().zip(1..);
        let header = csv_names(lines.next().map_or("", |(line, _)| line));
        let names = match header.split_first_chunk() {
            Some(([epoch, seconds], names)) if epoch == EPOCH && seconds == SECONDS => names,
            _ => return Err(wrong(1, format!("got {:?}, expected epoch,seconds,…", header.join(",")))),
        };
        let mut seen = HashSet::new();
        if let Some(name) = header.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(wrong(1, format!("{name:?} is there twice")));
        }
        let names = names.iter().map(|name| name_of_column(name).to_owned()).collect();
        let mut history = Self { names, epochs: vec![] };
        for (text, line) in lines.filter(|(text, _)| !text.is_empty()) {
            let fields: Vec<&str> = text.split(',').collect();
            let [number, seconds, values @ ..] = &fields[..] else {
                return Err(wrong(line, format!("got {text:?}, expected an epoch, its seconds and values")));
            };
            if values.len() != history.names.len() {
                let (got, expected) = (values.len(), history.names.len());
                return Err(wrong(line, format!("got {got} values, expected {expected}, one for each name")));
            }
            let float = |field: &str| {
                field.parse::<f64>().map_err(|_| wrong(line, format!("got {field:?}, expected a number")))
            };
            history.epochs.push(Epoch {
                number: number.parse().map_err(|_| wrong(line, format!("got {number:?}, expected an epoch")))?,
                seconds: float(seconds)?,
                values: values.iter().map(|field| float(field)).collect::<Result<_>>()?,
            });
        }
        Ok(history)
    }

    /// [`from_csv`](Self::from_csv) of a file, such as [`CsvLog`](crate::callbacks::CsvLog) and
    /// [`write_csv`](Self::write_csv) make.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::History`], both with the path.
    pub fn read_csv(path: impl AsRef<Path>) -> Result<Self> {
        read(path.as_ref(), Self::from_csv)
    }

    /// The history in JSON, a list for each column: `{"epoch":[1],"seconds":[0.8],"loss":[0.257]}`.
    #[cfg(feature = "json")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("lists of numbers by name are JSON")
    }

    /// Writes [`to_json`](Self::to_json) into a file, and makes its folder if there is none. The file is written whole or
    /// not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the path. The file that was there is as it was then.
    #[cfg(feature = "json")]
    pub fn write_json(&self, path: impl AsRef<Path>) -> Result<()> {
        write_text(path.as_ref(), &self.to_json())
    }

    /// The history that [`to_json`](Self::to_json) made this text of; null is read as NaN.
    ///
    /// # Errors
    ///
    /// [`Error::History`] with the line that is not as it should be.
    ///
    /// ```
    /// use plywood::model::History;
    ///
    /// let history = History::from_json(r#"{"epoch": [1, 2], "seconds": [0.8, 0.7], "loss": [0.257, 0.104]}"#)?;
    /// assert_eq!(history.get("loss"), Some(vec![0.257, 0.104]));
    /// # Ok::<(), plywood::Error>(())
    /// ```
    #[cfg(feature = "json")]
    pub fn from_json(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|error| Error::History {
            path: None,
            line: error.line(),
            problem: error.to_string(),
        })
    }

    /// [`from_json`](Self::from_json) of a file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::History`], both with the path.
    #[cfg(feature = "json")]
    pub fn read_json(path: impl AsRef<Path>) -> Result<Self> {
        read(path.as_ref(), Self::from_json)
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // what no JSON can hold is left out
        let finite = |value: f64| value.is_finite().then_some(value);
        let mut map = serializer.serialize_map(Some(2 + self.names.len()))?;
        map.serialize_entry(EPOCH, &self.epochs())?;
        map.serialize_entry(SECONDS, &self.seconds().into_iter().map(finite).collect::<Vec<_>>())?;
        for (column, name) in self.names.iter().enumerate() {
            let values: Vec<_> = self.epochs.iter().map(|epoch| finite(epoch.values[column])).collect();
            map.serialize_entry(&column_of_name(name), &values)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Columns)
    }
}

/// Reads a history from its columns, in the order in which they come.
struct Columns;

impl<'de> Visitor<'de> for Columns {
    type Value = History;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a map of columns: epoch, seconds, loss, …")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<History, A::Error> {
        let (mut numbers, mut seconds) = (None::<Vec<usize>>, None::<Vec<Option<f64>>>);
        let (mut seen, mut names, mut columns) = (HashSet::new(), vec![], vec![]);
        while let Some(column) = map.next_key::<String>()? {
            match column.as_str() {
                _ if seen.contains(&column) => return Err(de::Error::custom(format!("{column:?} is there twice"))),
                EPOCH => numbers = Some(map.next_value()?),
                SECONDS => seconds = Some(map.next_value()?),
                name => {
                    columns.push(map.next_value::<Vec<Option<f64>>>()?);
                    names.push(name_of_column(name).to_owned());
                }
            }
            seen.insert(column);
        }
        let numbers = numbers.ok_or_else(|| de::Error::missing_field("epoch"))?;
        let seconds = seconds.ok_or_else(|| de::Error::missing_field("seconds"))?;
        if let Some(column) = columns.iter().chain([&seconds]).find(|column| column.len() != numbers.len()) {
            return Err(de::Error::invalid_length(column.len(), &"as many values as epochs in each column"));
        }
        let value = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let epochs = numbers.into_iter().zip(seconds).enumerate().map(|(i, (number, seconds))| Epoch {
            number,
            seconds: value(seconds),
            values: columns.iter().map(|column| value(column[i])).collect(),
        });
        Ok(History { epochs: epochs.collect(), names })
    }
}

/// The columns that every table has.
const EPOCH: &str = "epoch";
const SECONDS: &str = "seconds";

/// Whether a name is one of those columns, whatever number of underscores is before it.
fn is_reserved(name: &str) -> bool {
    [EPOCH, SECONDS].contains(&name.trim_start_matches('_'))
}

/// The column of what goes by this name: `_epoch` for a metric called `epoch`, `__epoch` for one called `_epoch`.
fn column_of_name(name: &str) -> Cow<'_, str> {
    if is_reserved(name) { format!("_{name}").into() } else { name.into() }
}

/// The other way round.
fn name_of_column(column: &str) -> &str {
    column.strip_prefix('_').filter(|name| is_reserved(name)).unwrap_or(column)
}

/// The first line of a history in CSV. A name with a comma or quotes is put into quotes.
pub(crate) fn csv_header<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut line = format!("{EPOCH},{SECONDS}");
    for name in names.map(column_of_name) {
        match name.contains([',', '"', '\n', '\r']) {
            true => write!(line, ",\"{}\"", name.replace('"', "\"\"").replace(['\n', '\r'], " ")),
            false => write!(line, ",{name}"),
        }
        .expect("a String takes everything");
    }
    line + "\n"
}

/// The line of an epoch.
pub(crate) fn csv_line(epoch: usize, seconds: f64, values: impl Iterator<Item = f64>) -> String {
    let mut line = format!("{epoch},{seconds}");
    values.for_each(|value| write!(line, ",{value}").expect("a String takes everything"));
    line + "\n"
}

/// The names in the first line.
fn csv_names(line: &str) -> Vec<String> {
    let (mut names, mut quoted) = (vec![String::new()], false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let name = names.last_mut().expect("there is one from the start");
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => name.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(String::new()),
            other => name.push(other),
        }
    }
    names
}

fn read(path: &Path, parse: impl Fn(&str) -> Result<History>) -> Result<History> {
    let text = read_text(path, LONGEST_FILE).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    parse(&text).map_err(|error| match error {
        Error::History { line, problem, .. } => Error::History { path: Some(path.to_owned()), line, problem },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let mut history = History::new();
        history.push(1, 1.0, &[("loss", 0.1 + 0.2)]);
        history.push(2, 1.5, &[("loss", 1e-300), ("val_loss", 0.75)]);
        history
    }

    #[test]
    fn epochs_may_measure_different_things() {
        let mut history = History::new();
        history.push(1, 1.0, &[("loss", 0.5)]);
        history.push(2, 1.5, &[("loss", 0.25), ("val_loss", 0.75)]);
        assert_eq!(history.to_csv(), "epoch,seconds,loss,val_loss\n1,1,0.5,NaN\n2,1.5,0.25,0.75\n");
        assert_eq!(history.last("val_loss"), Some(0.75));
        assert_eq!(history.get("accuracy"), None);
        assert_eq!((history.epochs(), history.seconds()), (vec![1, 2], vec![1.0, 1.5]));
    }

    /// The same to the last bit; NaN equals itself in Debug's text only.
    fn assert_same(a: &History, b: &History) {
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }

    #[test]
    fn csv_brings_every_bit_back() {
        let mut history = history();
        history.push(7, f64::INFINITY, &[("a \"name\", with a comma", -0.0), ("loss", f64::NEG_INFINITY)]);
        assert_same(&History::from_csv(&history.to_csv()).unwrap(), &history);
        assert_same(&History::from_csv(&history.to_csv().replace('\n', "\r\n")).unwrap(), &history);
        assert_same(&History::from_csv("epoch,seconds\n").unwrap(), &History::new());
    }

    #[test]
    fn csv_that_is_no_history_is_refused() {
        let head = "epoch,seconds,loss\n1,0.5,0.25\n";
        for (csv, message) in [
            (String::new(), "the history, line 1: got \"\", expected epoch,seconds,…"),
            ("loss,accuracy\n".to_owned(), "the history, line 1: got \"loss,accuracy\", expected epoch,seconds,…"),
            ("epoch,seconds,a,loss,a\n".to_owned(), "the history, line 1: \"a\" is there twice"),
            (head.to_owned() + "2,0.5", "the history, line 3: got 0 values, expected 1, one for each name"),
            (head.to_owned() + "2,0.5,1,1", "the history, line 3: got 2 values, expected 1, one for each name"),
            (head.to_owned() + "\n2", "the history, line 4: got \"2\", expected an epoch, its seconds and values"),
            (head.to_owned() + "2,0.5,x", "the history, line 3: got \"x\", expected a number"),
            (head.to_owned() + "-2,0.5,1", "the history, line 3: got \"-2\", expected an epoch"),
        ] {
            assert_eq!(History::from_csv(&csv).unwrap_err().to_string(), message);
        }
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_brings_every_bit_back() {
        let json = history().to_json();
        assert_eq!(
            json,
            r#"{"epoch":[1,2],"seconds":[1.0,1.5],"loss":[0.30000000000000004,1e-300],"val_loss":[null,0.75]}"#
        );
        assert_same(&History::from_json(&json).unwrap(), &history());
        for (json, problem) in [
            ("", "EOF while parsing"),
            ("[1]", "a map of columns: epoch, seconds, loss, …"),
            (r#"{"seconds":[]}"#, "missing field `epoch`"),
            (r#"{"epoch":[1]}"#, "missing field `seconds`"),
            (r#"{"epoch":[-1],"seconds":[1]}"#, "invalid value: integer `-1`"),
            (r#"{"epoch":[1],"seconds":[1],"loss":[]}"#, "as many values as epochs in each column"),
            (r#"{"epoch":[],"seconds":[],"loss":[],"loss":[]}"#, "\"loss\" is there twice"),
            (r#"{"epoch":[1],"epoch":[2],"seconds":[1]}"#, "\"epoch\" is there twice"),
            (r#"{"epoch":[1],"seconds":[1],"seconds":[2]}"#, "\"seconds\" is there twice"),
        ] {
            let error = History::from_json(json).unwrap_err().to_string();
            assert!(error.contains(problem), "{json}: {error}");
        }
    }

    #[test]
    fn what_is_called_like_a_column_keeps_its_name() {
        let mut history = History::new();
        let names = ["epoch", "seconds", "_epoch", "___seconds", "_loss", "epochs", "_", ""];
        history.push(1, 0.5, &names.map(|name| (name, name.len() as f64)));
        let csv = history.to_csv();
        assert!(csv.starts_with("epoch,seconds,_epoch,_seconds,__epoch,____seconds,_loss,epochs,_,\n"), "{csv}");
        assert_same(&History::from_csv(&csv).unwrap(), &history);
        #[cfg(feature = "json")]
        assert_same(&History::from_json(&history.to_json()).unwrap(), &history);
        let error = History::from_csv("epoch,seconds,epoch\n").unwrap_err().to_string();
        assert_eq!(error, "the history, line 1: \"epoch\" is there twice");
    }

    // comparing each name with all others would take minutes
    #[test]
    fn many_names_take_no_time() {
        let names: Vec<String> = (0..200_000).map(|i| format!("m{i}")).collect();
        let started = std::time::Instant::now();
        let history = History::from_csv(&csv_header(names.iter().map(String::as_str))).unwrap();
        assert_eq!(history.names().len(), names.len());
        #[cfg(feature = "json")]
        assert_same(&History::from_json(&history.to_json()).unwrap(), &history);
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }

    #[test]
    fn files_are_named_in_errors() {
        let path = std::env::temp_dir().join(format!("plywood-history-{}", std::process::id())).join("history.csv");
        history().write_csv(&path).unwrap();
        assert_same(&History::read_csv(&path).unwrap(), &history());
        std::fs::write(&path, "epoch").unwrap();
        let error = History::read_csv(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}, line 1: got \"epoch\", expected epoch,seconds,…", path.display()));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert!(matches!(History::read_csv(&path), Err(Error::Io { .. })));
    }
}
