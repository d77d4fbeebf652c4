//! Pictures of how training went, in SVG.
//!
//! [`History::plot`] draws one run, [`runs`] several in one figure, and a [`Chart`] whatever else there is to compare.
//!
//! ```
//! use plywood::model::History;
//! use plywood::plot;
//!
//! let run = |factor: f64| {
//!     let mut history = History::new();
//!     for epoch in 1..=10 {
//!         let loss = factor / epoch as f64;
//!         history.push(epoch, 0.8, &[("loss", loss), ("accuracy", 1.0 - loss), ("val_loss", 1.2 * loss)]);
//!     }
//!     history
//! };
//! let svg = plot::runs([("dense", &run(0.3)), ("convolutional", &run(0.2))]).to_svg();
//! assert!(svg.contains("convolutional: validation"));
//! ```

mod chart;

use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::drawing::IntoDrawingArea;
use plotters::style::{BLACK, Color as _, RGBAColor, WHITE};

use crate::error::Result;
use crate::files::write_text;
use crate::model::History;

pub use chart::{Chart, Color};

/// Charts side by side.
///
/// ```
/// use plywood::plot::{Chart, Color, Figure};
///
/// let chart = |title: &str, values: [f64; 3]| Chart::new(title).line("training", Color::BLUE, values);
/// let charts = [chart("Loss", [0.26, 0.10, 0.07]), chart("Accuracy", [0.92, 0.97, 0.98])];
/// let svg = Figure::from_iter(charts).to_svg();
/// assert!(svg.contains("Loss") && svg.contains("Accuracy"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    charts: Vec<Chart>,
}

/// What a picture is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// A page of its own.
    White,
    /// The page it is part of, whose colour of text it takes.
    Page,
}

impl Ground {
    /// Pixels of a chart. On a page it is shown as wide as there is room, down to half of that on a phone, and its text
    /// should be readable still.
    fn chart(self) -> (u32, u32) {
        match self {
            Self::White => (720, 480),
            Self::Page => (500, 360),
        }
    }

    fn behind_text(self) -> RGBAColor {
        match self {
            Self::White => WHITE.mix(0.85),
            Self::Page => BLACK.mix(0.0),
        }
    }
}

impl From<Chart> for Figure {
    fn from(chart: Chart) -> Self {
        Self { charts: vec![chart] }
    }
}

impl FromIterator<Chart> for Figure {
    fn from_iter<I: IntoIterator<Item = Chart>>(charts: I) -> Self {
        Self { charts: charts.into_iter().collect() }
    }
}

impl Figure {
    /// The picture as SVG, two charts in a row.
    pub fn to_svg(&self) -> String {
        self.draw(Ground::White, 2)
    }

    /// Its charts, one by one.
    pub(crate) fn into_charts(self) -> impl Iterator<Item = Chart> {
        self.charts.into_iter()
    }

    /// The picture as a part of an HTML page: no ground of its own, text in the page's colour, one chart in a row.
    pub(crate) fn to_inline_svg(&self) -> String {
        self.draw(Ground::Page, 1).replace("#000000", "currentColor")
    }

    fn draw(&self, ground: Ground, in_a_row: usize) -> String {
        let columns = self.charts.len().clamp(1, in_a_row);
        let rows = self.charts.len().div_ceil(columns).max(1);
        let (width, height) = ground.chart();
        let size = (width * columns as u32, height * rows as u32);
        let mut svg = String::new();
        let never = "drawing into a String does not fail";
        {
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            if ground == Ground::White {
                root.fill(&WHITE).expect(never);
            }
            for (chart, area) in self.charts.iter().zip(root.split_evenly((rows, columns))) {
                chart.draw(&area, ground).expect(never);
            }
            root.present().expect(never);
        }
        svg
    }

    /// Writes the picture into a file, and makes its folder if there is none. The file is written whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) with the path. The file that was there is as it was then.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        write_text(path.as_ref(), &self.to_svg())
    }
}

/// A chart for each figure that was measured, such as the loss, with all runs in it: each in a colour of its own, training
/// as a line, validation dashed. A run without a name is told by `training` and `validation` alone.
///
/// ```
/// use plywood::model::History;
/// use plywood::plot;
///
/// let (mut dense, mut convolutional) = (History::new(), History::new());
/// for epoch in 1..=5 {
///     dense.push(epoch, 0.8, &[("loss", 0.3 / epoch as f64)]);
///     convolutional.push(epoch, 4.5, &[("loss", 0.2 / epoch as f64)]);
/// }
/// let svg = plot::runs([("dense", &dense), ("convolutional", &convolutional)]).to_svg();
/// assert!(svg.contains("dense: training") && svg.contains("convolutional: training"));
/// ```
pub fn runs<'a>(runs: impl IntoIterator<Item = (&'a str, &'a History)>) -> Figure {
    let runs: Vec<(&str, &History)> = runs.into_iter().collect();
    let mut names: Vec<&str> = vec![];
    for name in runs.iter().flat_map(|(_, history)| history.names()) {
        let name = name.strip_prefix("val_").unwrap_or(name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| of_figure(name, &runs)).collect()
}

fn of_figure(name: &str, runs: &[(&str, &History)]) -> Chart {
    let words = name.replace('_', " ");
    let mut chart = Chart::new(capitalized(&words)).axes("Epoch", words);
    for (&(run, history), color) in runs.iter().zip(Color::ALL.into_iter().cycle()) {
        let label = |part: &str| if run.is_empty() { part.to_owned() } else { format!("{run}: {part}") };
        if let Some(values) = history.get(name) {
            chart = chart.line(label("training"), color, values);
        }
        if let Some(values) = history.get(&format!("val_{name}")) {
            chart = chart.dashed(label("validation"), color, values);
        }
    }
    chart
}

fn capitalized(words: &str) -> String {
    let mut characters = words.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

impl History {
    /// Draws loss and metrics over the epochs into an SVG file: training as a line, validation dashed.
    ///
    /// Several runs are drawn together by [`plot::runs`](runs).
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) with the path.
    ///
    /// ```
    /// use plywood::model::History;
    ///
    /// let mut history = History::new();
    /// for (epoch, loss) in [0.257, 0.104, 0.069].into_iter().enumerate() {
    ///     history.push(epoch + 1, 0.8, &[("loss", loss), ("val_loss", loss + 0.02)]);
    /// }
    /// # let path = std::env::temp_dir().join(format!("plywood-doc-plot-{}.svg", std::process::id()));
    /// history.plot(&path)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        runs([("", self)]).write(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(values: &[(&str, f64)]) -> History {
        let mut history = History::new();
        history.push(1, 1.0, values);
        history.push(2, 1.0, values);
        history
    }

    #[test]
    fn each_figure_has_a_chart_and_each_run_its_lines() {
        let dense = history(&[("loss", 0.5), ("val_loss", 0.6)]);
        let convolutional = history(&[("loss", 0.25), ("top_2_accuracy", 0.75)]);
        let figure = runs([("dense", &dense), ("conv", &convolutional)]);
        assert_eq!(figure.charts.len(), 2);
        let svg = figure.to_svg();
        assert!(svg.starts_with("<svg width=\"1440\" height=\"480\""), "{svg}");
        for text in ["Loss", "Top 2 accuracy", "dense: training", "dense: validation", "conv: training", "Epoch"] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
        assert!(!svg.contains("conv: validation"));
        assert_eq!(runs([("", &dense)]).charts[0], of_figure("loss", &[("", &dense)]));
    }

    #[test]
    fn an_epoch_alone_is_a_dot() {
        let circles = |values: &[f64]| {
            let chart = Chart::new("").line("training", Color::RED, values).dashed("validation", Color::BLUE, values);
            Figure::from(chart).to_svg().matches("<circle").count()
        };
        // each in the chart and in the legend
        assert_eq!([circles(&[0.5]), circles(&[0.5, f64::NAN]), circles(&[0.5, 0.25])], [4, 4, 0]);
    }

    #[test]
    fn inline_pictures_leave_ground_and_text_to_the_page() {
        let inline = runs([("", &history(&[("loss", 0.5)]))]).to_inline_svg();
        assert!(!inline.contains("#000000") && !inline.to_uppercase().contains("#FFFFFF"), "{inline}");
        assert!(inline.contains("fill=\"currentColor\""));
    }

    #[test]
    fn whatever_was_measured_can_be_drawn() {
        let mut histories = vec![History::new()];
        for values in
            [[0.0, 0.0], [f64::NAN, 1.0], [f64::INFINITY, f64::NEG_INFINITY], [f64::MAX, f64::MIN], [1e-320; 2]]
        {
            histories.push(history(&[("loss", values[0]), ("<&>", values[1])]));
        }
        for history in &histories {
            let svg = runs([("\"<run>\"", history)]).to_svg();
            assert!(!svg.contains("<&>") && !svg.contains("<run>") && !svg.contains("NaN"), "{svg}");
        }
        assert!(runs([]).to_svg().starts_with("<svg"));
    }
}
