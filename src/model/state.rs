//! What metrics and callbacks remember, in a form that files can hold.

use crate::error::{Error, Result};

/// What a [`Metric`](crate::metrics::Metric) or a [`Callback`](crate::callbacks::Callback) remembers: values by name, in
/// order. Checkpoints keep them to the last bit.
///
/// ```
/// use plywood::model::State;
///
/// let state = State::new().with("wait", 3_u64).with("best", 0.25).with("weights", vec![1.0, f64::NAN]);
/// assert_eq!(state.integer("wait")?, 3);
/// assert_eq!(state.number("best")?, 0.25);
/// assert_eq!(state.array("weights")?.len(), 2);
/// assert_eq!(
///     state.text("best").unwrap_err().to_string(),
///     "saved state: best is the number 0.25, expected a text; it may be of another version of the program"
/// );
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    entries: Vec<(String, StateValue)>,
}

/// A value in a [`State`].
///
/// ```
/// use plywood::model::{State, StateValue};
///
/// let state = State::new().with("wait", 3_usize).with("figure", "val_loss");
/// assert_eq!(state.get("wait"), Some(&StateValue::Integer(3)));
/// assert_eq!(state.get("figure"), Some(&StateValue::Text("val_loss".to_owned())));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StateValue {
    /// A number; every `f32` is one too.
    Number(f64),
    /// A count.
    Integer(u64),
    /// A text.
    Text(String),
    /// Many numbers.
    Array(Vec<f64>),
}

impl From<f64> for StateValue {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for StateValue {
    fn from(integer: u64) -> Self {
        Self::Integer(integer)
    }
}

impl From<usize> for StateValue {
    fn from(integer: usize) -> Self {
        Self::Integer(integer as u64)
    }
}

impl From<&str> for StateValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for StateValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<f64>> for StateValue {
    fn from(array: Vec<f64>) -> Self {
        Self::Array(array)
    }
}

impl State {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value; a name that is there already gets this one.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<StateValue>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.entries.push((name, value)),
        }
        self
    }

    /// All values, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StateValue)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&StateValue> {
        self.iter().find(|&(known, _)| known == name).map(|(_, value)| value)
    }

    /// The number of this name.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] if there is none.
    pub fn number(&self, name: &'static str) -> Result<f64> {
        match self.get(name) {
            Some(&StateValue::Number(number)) => Ok(number),
            other => Err(wrong(name, other, "a number; it may be of another version of the program")),
        }
    }

    /// The count of this name.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] if there is none.
    pub fn integer(&self, name: &'static str) -> Result<u64> {
        match self.get(name) {
            Some(&StateValue::Integer(integer)) => Ok(integer),
            other => Err(wrong(name, other, "a count; it may be of another version of the program")),
        }
    }

    /// The text of this name.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] if there is none.
    pub fn text(&self, name: &'static str) -> Result<&str> {
        match self.get(name) {
            Some(StateValue::Text(text)) => Ok(text),
            other => Err(wrong(name, other, "a text; it may be of another version of the program")),
        }
    }

    /// The numbers of this name.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameter`] if there are none.
    pub fn array(&self, name: &'static str) -> Result<&[f64]> {
        match self.get(name) {
            Some(StateValue::Array(array)) => Ok(array),
            other => Err(wrong(name, other, "an array; it may be of another version of the program")),
        }
    }

    /// A count that a loop can go on counting up: far from where numbers end.
    pub(crate) fn count(&self, name: &'static str) -> Result<u64> {
        match self.integer(name)? {
            count if count <= 1 << 53 => Ok(count),
            count => Err(invalid(name, count, "at most 2⁵³")),
        }
    }

    /// Counts as [`counts`] makes an array of them.
    pub(crate) fn counts(&self, name: &'static str) -> Result<Vec<u64>> {
        let array = self.array(name)?;
        let is_count = |value: &f64| *value >= 0.0 && value.fract() == 0.0;
        // their sum is a count too
        if !array.iter().all(is_count) || array.iter().sum::<f64>() > (1_u64 << 53) as f64 {
            return Err(invalid(name, "other numbers", "counts that are at most 2⁵³ together"));
        }
        Ok(array.iter().map(|&value| value as u64).collect())
    }
}

/// An array of counts below 2⁵³, which an `f64` holds exactly.
pub(crate) fn counts<'a>(counts: impl IntoIterator<Item = &'a u64>) -> Vec<f64> {
    counts.into_iter().map(|&count| count as f64).collect()
}

/// An error about a value of a state.
pub(crate) fn invalid(name: &'static str, got: impl std::fmt::Display, expected: &'static str) -> Error {
    Error::invalid_parameter("saved state", name, got, expected)
}

fn wrong(name: &'static str, got: Option<&StateValue>, expected: &'static str) -> Error {
    let got = match got {
        None => "missing".to_owned(),
        Some(StateValue::Number(number)) => format!("the number {number}"),
        Some(StateValue::Integer(integer)) => format!("the count {integer}"),
        Some(StateValue::Text(text)) => format!("the text {text:?}"),
        Some(StateValue::Array(array)) => format!("an array of {}", array.len()),
    };
    invalid(name, got, expected)
}
