//! The table that describes a model.

use std::fmt;

use super::sequential::Sequential;
use crate::scalar::Scalar;

/// A table of a model's layers, their output shapes and parameters, as Keras prints it.
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([784]).add(Dense::new(512)).add(ReLU::new()).add(Dense::new(10)).build(42)?;
/// let text = model.summary().to_string();
/// assert!(text.contains("│ dense_1 (Dense)"));
/// assert!(text.ends_with(" Non-trainable params: 0 (0.00 B)\n"));
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    rows: Vec<[String; 3]>,
    parameters: usize,
    bytes: usize,
}

impl Summary {
    pub(crate) fn of<T: Scalar>(model: &Sequential<T>) -> Self {
        let rows = model.layers().iter().map(|layer| {
            let shape: Vec<String> = layer.output_shape().iter().map(usize::to_string).collect();
            [
                format!("{} ({})", layer.name(), layer.layer().type_name()),
                format!("(None, {})", shape.join(", ")),
                thousands(layer.parameter_count()),
            ]
        });
        let parameters = model.parameter_count();
        Self { rows: rows.collect(), parameters, bytes: parameters * size_of::<T>() }
    }
}

const HEADER: [&str; 3] = ["Layer (type)", "Output Shape", "Param #"];

/// Columns are at least as wide as Keras makes them in 80 columns.
const WIDTHS: [usize; 3] = [31, 24, 13];

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: [usize; 3] = std::array::from_fn(|c| {
            self.rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0).max(WIDTHS[c])
        });
        let rule = |f: &mut fmt::Formatter<'_>, [left, line, middle, right]: [&str; 4]| {
            let cells: Vec<String> = widths.iter().map(|width| line.repeat(width + 2)).collect();
            writeln!(f, "{left}{}{right}", cells.join(middle))
        };
        let row = |f: &mut fmt::Formatter<'_>, bar: &str, [name, shape, count]: [&str; 3]| {
            let [a, b, c] = widths;
            writeln!(f, "{bar} {name:<a$} {bar} {shape:<b$} {bar} {count:>c$} {bar}")
        };
        rule(f, ["┏", "━", "┳", "┓"])?;
        row(f, "┃", HEADER)?;
        rule(f, ["┡", "━", "╇", "┩"])?;
        for (i, [name, shape, count]) in self.rows.iter().enumerate() {
            if i > 0 {
                rule(f, ["├", "─", "┼", "┤"])?;
            }
            row(f, "│", [name, shape, count])?;
        }
        rule(f, ["└", "─", "┴", "┘"])?;
        let (count, size) = (thousands(self.parameters), size(self.bytes));
        writeln!(f, " Total params: {count} ({size})")?;
        writeln!(f, " Trainable params: {count} ({size})")?;
        writeln!(f, " Non-trainable params: 0 (0.00 B)")
    }
}

/// `407,050`
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits are ASCII")).collect();
    groups.join(",")
}

/// `1.55 MB`, in powers of 1024 as Keras counts.
fn size(bytes: usize) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().expect("there are units");
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, next);
    }
    format!("{value:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    // the figures of keras.Model.summary()
    #[test]
    fn sizes_are_written_as_in_keras() {
        assert_eq!((thousands(407_050), size(407_050 * 4)), ("407,050".to_owned(), "1.55 MB".to_owned()));
        assert_eq!((thousands(93_322), size(93_322 * 4)), ("93,322".to_owned(), "364.54 KB".to_owned()));
        assert_eq!((thousands(0), size(0)), ("0".to_owned(), "0.00 B".to_owned()));
        assert_eq!(thousands(1_000_007), "1,000,007");
    }
}
