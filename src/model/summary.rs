//! The table that describes a model.

use std::fmt;
use std::time::Duration;

use super::sequential::Sequential;
use super::timing::{LayerTime, LayerTimes};
use crate::scalar::Scalar;
use crate::terminal::shows_unicode;

/// A table of a model's layers, their output shapes and parameters, as Keras prints it.
///
/// More columns on request:
///
/// | method | column |
/// |---|---|
/// | [`multiply_adds`](Self::multiply_adds) | multiplications with addition in one sample's forward pass |
/// | [`activation_memory`](Self::activation_memory) | size of one sample's output |
/// | [`times`](Self::times) | milliseconds for a batch, forward and backward |
///
/// Its frame is drawn with lines where the locale is one of Unicode (`LC_ALL`, `LC_CTYPE` or `LANG` says UTF-8), otherwise in
/// ASCII; [`ascii`](Self::ascii) chooses.
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([784]).add(Dense::new(512)).add(ReLU::new()).add(Dense::new(10)).build(42)?;
/// let text = model.summary().ascii(true).to_string();
/// assert!(text.contains("| dense_1 (Dense)"));
/// assert!(text.ends_with(" Non-trainable params: 0 (0.00 B)\n"));
/// println!("{}", model.summary().multiply_adds().activation_memory());
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    layers: Vec<Row>,
    parameters: usize,
    bytes: usize,
    multiply_adds: bool,
    activation_memory: bool,
    times: Option<LayerTimes>,
    ascii: bool,
}

/// What there is to say of a layer.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    name: String,
    shape: String,
    parameters: usize,
    multiply_adds: usize,
    /// Of one sample's output.
    bytes: usize,
}

impl Summary {
    pub(crate) fn of<T: Scalar>(model: &Sequential<T>) -> Self {
        let rows = model.layers().iter().map(|layer| {
            let shape: Vec<String> = layer.output_shape().iter().map(usize::to_string).collect();
            Row {
                name: format!("{} ({})", layer.name(), layer.layer().type_name()),
                shape: format!("(None, {})", shape.join(", ")),
                parameters: layer.parameter_count(),
                multiply_adds: layer.multiply_adds(),
                bytes: layer.output_shape().iter().product::<usize>() * size_of::<T>(),
            }
        });
        let parameters = model.parameter_count();
        Self {
            layers: rows.collect(),
            parameters,
            bytes: parameters * size_of::<T>(),
            multiply_adds: false,
            activation_memory: false,
            times: None,
            ascii: !shows_unicode(),
        }
    }

    /// Whether to use ASCII alone. By default, the locale says.
    pub fn ascii(mut self, ascii: bool) -> Self {
        self.ascii = ascii;
        self
    }

    /// Adds a column of the multiplications with addition that one sample's forward pass takes.
    #[doc(alias = "flops")]
    pub fn multiply_adds(mut self) -> Self {
        self.multiply_adds = true;
        self
    }

    /// Adds a column of the sizes of one sample's outputs.
    pub fn activation_memory(mut self) -> Self {
        self.activation_memory = true;
        self
    }

    /// Adds two columns of the times measured by [`Sequential::time_layers`], in milliseconds for a batch. A layer that is
    /// computed together with the one above it has an arrow there.
    pub fn times(mut self, times: &LayerTimes) -> Self {
        self.times = Some(times.clone());
        self
    }

    /// Number of parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters
    }

    /// The table without its frame: each column's heading, whether it is aligned to the right, and its cells.
    #[cfg(feature = "plot")]
    pub(crate) fn cells(&self) -> Vec<(&'static str, bool, Vec<String>)> {
        self.columns().into_iter().map(|column| (column.heading, column.right, column.cells)).collect()
    }

    /// What points to the layer above.
    fn arrow(&self) -> &'static str {
        if self.ascii { "^" } else { "↑" }
    }

    /// The columns: heading, cells, and a last cell with the sum if there is any sense in one.
    fn columns(&self) -> Vec<Column> {
        let cells = |text: &dyn Fn(&Row) -> String| self.layers.iter().map(text).collect::<Vec<_>>();
        let mut columns = vec![
            Column::left("Layer (type)", cells(&|row| row.name.clone())),
            Column::left("Output Shape", cells(&|row| row.shape.clone())),
            Column::right("Param #", cells(&|row| thousands(row.parameters))),
        ];
        if self.multiply_adds {
            let sum = self.layers.iter().map(|row| row.multiply_adds).fold(0, usize::saturating_add);
            let column = Column::right("Multiply-adds", cells(&|row| thousands(row.multiply_adds)));
            columns.push(column.sum(thousands(sum)));
        }
        if self.activation_memory {
            let sum = self.layers.iter().map(|row| row.bytes).fold(0, usize::saturating_add);
            columns.push(Column::right("Activations", cells(&|row| size(row.bytes))).sum(size(sum)));
        }
        if let Some(times) = &self.times {
            let mut column = |heading, of: fn(&LayerTime) -> Option<Duration>| {
                let cells = times.layers.iter().map(|time| match time {
                    LayerTime::Own { .. } => of(time).map(milliseconds).unwrap_or_default(),
                    LayerTime::Joined => self.arrow().to_owned(),
                    LayerTime::Nothing => "0".to_owned(),
                });
                let sum = milliseconds(times.layers.iter().filter_map(of).sum());
                columns.push(Column::right(heading, cells.collect()).sum(sum));
            };
            column("Forward ms", |time| match time {
                LayerTime::Own { forward, .. } => Some(*forward),
                _ => None,
            });
            column("Backward ms", |time| match time {
                LayerTime::Own { backward, .. } => Some(*backward),
                _ => None,
            });
        }
        if let [name, shape, count] = &mut columns[..] {
            // as wide as Keras makes them in 80 columns
            (name.width, shape.width, count.width) = (name.width.max(31), shape.width.max(24), count.width.max(13));
        }
        columns
    }
}

/// A column of the table.
struct Column {
    heading: &'static str,
    cells: Vec<String>,
    sum: String,
    width: usize,
    right: bool,
}

impl Column {
    fn left(heading: &'static str, cells: Vec<String>) -> Self {
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0).max(heading.len());
        Self { heading, cells, sum: String::new(), width, right: false }
    }

    fn right(heading: &'static str, cells: Vec<String>) -> Self {
        Self { right: true, ..Self::left(heading, cells) }
    }

    fn sum(self, sum: String) -> Self {
        Self { width: self.width.max(sum.chars().count()), sum, ..self }
    }

    fn pad(&self, cell: &str) -> String {
        let width = self.width;
        if self.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        let rule = |f: &mut fmt::Formatter<'_>, [left, line, middle, right]: [&str; 4]| {
            let cells: Vec<String> = columns.iter().map(|column| line.repeat(column.width + 2)).collect();
            writeln!(f, "{left}{}{right}", cells.join(middle))
        };
        // in ASCII, `line` for all lines of a rule
        let frame = |line, lines| if self.ascii { ["+", line, "+", "+"] } else { lines };
        let row = |f: &mut fmt::Formatter<'_>, bar: &str, cell: &dyn Fn(&Column) -> String| {
            let bar = if self.ascii { "|" } else { bar };
            let cells: Vec<String> = columns.iter().map(|column| column.pad(&cell(column))).collect();
            writeln!(f, "{bar} {} {bar}", cells.join(&format!(" {bar} ")))
        };
        rule(f, frame("-", ["┏", "━", "┳", "┓"]))?;
        row(f, "┃", &|column| column.heading.to_owned())?;
        rule(f, frame("=", ["┡", "━", "╇", "┩"]))?;
        for i in 0..self.layers.len() {
            if i > 0 {
                rule(f, frame("-", ["├", "─", "┼", "┤"]))?;
            }
            row(f, "│", &|column| column.cells.get(i).cloned().unwrap_or_default())?;
        }
        if columns.len() > 3 {
            rule(f, frame("=", ["┢", "━", "╈", "┪"]))?;
            row(f, "┃", &|column| {
                if column.heading == "Layer (type)" { "Sum".to_owned() } else { column.sum.clone() }
            })?;
            rule(f, frame("-", ["┗", "━", "┻", "┛"]))?;
        } else {
            rule(f, frame("-", ["└", "─", "┴", "┘"]))?;
        }
        let (count, size) = (thousands(self.parameters), size(self.bytes));
        writeln!(f, " Total params: {count} ({size})")?;
        writeln!(f, " Trainable params: {count} ({size})")?;
        writeln!(f, " Non-trainable params: 0 (0.00 B)")?;
        if let Some(times) = &self.times {
            let (samples, arrow) = (thousands(times.batch), self.arrow());
            writeln!(f, " Times: for {samples} samples; {arrow} is computed together with the layer above")?;
        }
        Ok(())
    }
}

/// `407,050`
pub(crate) fn thousands(number: usize) -> String {
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

/// `0.123`
fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Activation, Conv2D, Dense, Flatten, MaxPooling2D};

    // the figures of keras.Model.summary()
    #[test]
    fn sizes_are_written_as_in_keras() {
        assert_eq!((thousands(407_050), size(407_050 * 4)), ("407,050".to_owned(), "1.55 MB".to_owned()));
        assert_eq!((thousands(93_322), size(93_322 * 4)), ("93,322".to_owned(), "364.54 KB".to_owned()));
        assert_eq!((thousands(0), size(0)), ("0".to_owned(), "0.00 B".to_owned()));
        assert_eq!(thousands(1_000_007), "1,000,007");
    }

    fn dense() -> Sequential {
        let layer = |units, activation| Dense::new(units).activation(activation);
        let model = Sequential::input([784]).add(layer(512, Activation::ReLU)).add(layer(10, Activation::Softmax));
        model.build(42).unwrap()
    }

    fn convolutional() -> Sequential {
        let convolution = |filters| Conv2D::new(filters, 3).activation(Activation::ReLU);
        let model = Sequential::input([28, 28, 1])
            .add(convolution(32))
            .add(MaxPooling2D::new(2))
            .add(convolution(64))
            .add(MaxPooling2D::new(2))
            .add(convolution(64))
            .add(Flatten::new())
            .add(Dense::new(64).activation(Activation::ReLU))
            .add(Dense::new(10).activation(Activation::Softmax));
        model.build(42).unwrap()
    }

    // the tables that keras.Model.summary() prints, without its heading
    #[test]
    fn the_dense_model_looks_as_in_keras() {
        let expected = "\
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape             ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ dense (Dense)                   │ (None, 512)              │       401,920 │
├─────────────────────────────────┼──────────────────────────┼───────────────┤
│ dense_1 (Dense)                 │ (None, 10)               │         5,130 │
└─────────────────────────────────┴──────────────────────────┴───────────────┘
 Total params: 407,050 (1.55 MB)
 Trainable params: 407,050 (1.55 MB)
 Non-trainable params: 0 (0.00 B)
";
        assert_eq!(dense().summary().ascii(false).to_string(), expected);
    }

    #[test]
    fn the_convolutional_model_looks_as_in_keras() {
        let expected = "\
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape             ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ conv2d (Conv2D)                 │ (None, 26, 26, 32)       │           320 │
├─────────────────────────────────┼──────────────────────────┼───────────────┤
│ max_pooling2d (MaxPooling2D)    │ (None, 13, 13, 32)       │             0 │
├─────────────────────────────────┼──────────────────────────┼───────────────┤
│ conv2d_1 (Conv2D)               │ (None, 11, 11, 64)       │        18,496 │
├─────────────────────────────────┼──────────────────────────┼───────────────┤
│ max_pooling2d_1 (MaxPooling2D)  │ (None, 5, 5, 64)         │             0 │
├─────────────────────────────────┼──────────────────────────┼───────────────┤
│ conv2d_2 (Conv2D)               │ (None, 3, 3, 64)         │        36,928 │
├─────────────────────────────────┼──────────────────────────┼───────────────┤
│ flatten (Flatten)               │ (None, 576)              │             0 │
├─────────────────────────────────┼──────────────────────────┼───────────────┤
│ dense (Dense)                   │ (None, 64)               │        36,928 │
├─────────────────────────────────┼──────────────────────────┼───────────────┤
│ dense_1 (Dense)                 │ (None, 10)               │           650 │
└─────────────────────────────────┴──────────────────────────┴───────────────┘
 Total params: 93,322 (364.54 KB)
 Trainable params: 93,322 (364.54 KB)
 Non-trainable params: 0 (0.00 B)
";
        assert_eq!(convolutional().summary().ascii(false).to_string(), expected);
    }

    #[test]
    fn more_columns_come_on_request() {
        let model = convolutional();
        let mut times = model.time_layers(2);
        let time = |forward, backward| LayerTime::Own {
            forward: Duration::from_micros(forward),
            backward: Duration::from_micros(backward),
        };
        for (i, layer) in times.layers.iter_mut().enumerate() {
            if matches!(layer, LayerTime::Own { .. }) {
                *layer = time(100 * i as u64 + 5, 1500);
            }
        }
        let expected = "\
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━━━━┓
┃ Layer (type)                   ┃ Output Shape       ┃ Param # ┃ Multiply-adds ┃ Activations ┃ Forward ms ┃ Backward ms ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━━━━━┩
│ conv2d (Conv2D)                │ (None, 26, 26, 32) │     320 │       194,688 │    84.50 KB │      0.005 │       1.500 │
├────────────────────────────────┼────────────────────┼─────────┼───────────────┼─────────────┼────────────┼─────────────┤
│ max_pooling2d (MaxPooling2D)   │ (None, 13, 13, 32) │       0 │             0 │    21.12 KB │          ↑ │           ↑ │
├────────────────────────────────┼────────────────────┼─────────┼───────────────┼─────────────┼────────────┼─────────────┤
│ conv2d_1 (Conv2D)              │ (None, 11, 11, 64) │  18,496 │     2,230,272 │    30.25 KB │      0.205 │       1.500 │
├────────────────────────────────┼────────────────────┼─────────┼───────────────┼─────────────┼────────────┼─────────────┤
│ max_pooling2d_1 (MaxPooling2D) │ (None, 5, 5, 64)   │       0 │             0 │     6.25 KB │          ↑ │           ↑ │
├────────────────────────────────┼────────────────────┼─────────┼───────────────┼─────────────┼────────────┼─────────────┤
│ conv2d_2 (Conv2D)              │ (None, 3, 3, 64)   │  36,928 │       331,776 │     2.25 KB │      0.405 │       1.500 │
├────────────────────────────────┼────────────────────┼─────────┼───────────────┼─────────────┼────────────┼─────────────┤
│ flatten (Flatten)              │ (None, 576)        │       0 │             0 │     2.25 KB │          0 │           0 │
├────────────────────────────────┼────────────────────┼─────────┼───────────────┼─────────────┼────────────┼─────────────┤
│ dense (Dense)                  │ (None, 64)         │  36,928 │        36,864 │    256.00 B │      0.605 │       1.500 │
├────────────────────────────────┼────────────────────┼─────────┼───────────────┼─────────────┼────────────┼─────────────┤
│ dense_1 (Dense)                │ (None, 10)         │     650 │           640 │     40.00 B │      0.705 │       1.500 │
┢━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╈━━━━━━━━━━━━━━━━━━━━╈━━━━━━━━━╈━━━━━━━━━━━━━━━╈━━━━━━━━━━━━━╈━━━━━━━━━━━━╈━━━━━━━━━━━━━┪
┃ Sum                            ┃                    ┃         ┃     2,794,240 ┃   146.91 KB ┃      1.925 ┃       7.500 ┃
┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┻━━━━━━━━━━━━━━━━━━━━┻━━━━━━━━━┻━━━━━━━━━━━━━━━┻━━━━━━━━━━━━━┻━━━━━━━━━━━━┻━━━━━━━━━━━━━┛
 Total params: 93,322 (364.54 KB)
 Trainable params: 93,322 (364.54 KB)
 Non-trainable params: 0 (0.00 B)
 Times: for 2 samples; ↑ is computed together with the layer above
";
        let summary = model.summary().multiply_adds().activation_memory().times(&times);
        assert_eq!(summary.clone().ascii(false).to_string(), expected);
        let plain = summary.ascii(true).to_string();
        assert!(plain.is_ascii(), "{plain}");
        // the same table, cell by cell
        let lines = |text: &str| text.lines().map(|line| line.chars().count()).collect::<Vec<_>>();
        assert_eq!(lines(&plain), lines(expected));
        assert!(plain.contains("\n| conv2d (Conv2D)                | (None, 26, 26, 32) |     320 | "), "{plain}");
    }
}
