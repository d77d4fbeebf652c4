//! One chart: lines and dots over the epochs, with axes and a legend.

use std::ops::Range;

use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, LabelAreaPosition, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{Circle, DashedPathElement, IntoDynElement, PathElement};
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::{BLACK, Color as _, IntoFont, RGBColor, ShapeStyle};

use super::Ground;

/// Values over the epochs, which are counted from 1: the epoch from left to right, the value upwards.
///
/// Values that are not finite are left out.
///
/// ```
/// use plywood::plot::{Chart, Color, Figure};
///
/// let chart = Chart::new("Training").axes("Epochs", "Accuracy and loss");
/// let chart = chart.dots("accuracy", Color::RED, [0.92, 0.97, 0.98]).line("loss", Color::RED, [0.26, 0.10, 0.07]);
/// let svg = Figure::from(chart).to_svg();
/// assert!(svg.contains("Accuracy and loss"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    title: String,
    x_label: String,
    y_label: String,
    series: Vec<Series>,
    /// Whether the horizontal axis is that of epochs.
    epochs: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Series {
    /// In the legend, unless it is empty.
    label: String,
    color: Color,
    mark: Mark,
    points: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Line,
    Dashed,
    Dots,
    /// Hollow dots, through which those of another series can be seen.
    Rings,
    /// Many, small and translucent.
    Cloud,
}

/// A colour that is readable on white and on black.
///
/// ```
/// use plywood::plot::{Chart, Color, Figure};
///
/// let teal = Color::new(0x12, 0x8c, 0x8c);
/// let svg = Figure::from(Chart::new("Loss").line("training", teal, [0.26, 0.10, 0.07])).to_svg();
/// assert!(svg.contains("#128C8C") && !Color::ALL.contains(&teal));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color {
    /// Red, from 0 to 255.
    pub red: u8,
    /// Green.
    pub green: u8,
    /// Blue.
    pub blue: u8,
}

impl Color {
    /// A colour from its parts, each from 0 to 255.
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self { red, green, blue }
    }

    /// Blue.
    pub const BLUE: Self = Self::new(0x3b, 0x82, 0xd6);
    /// Orange.
    pub const ORANGE: Self = Self::new(0xe0, 0x7b, 0x1a);
    /// Green.
    pub const GREEN: Self = Self::new(0x22, 0x99, 0x4f);
    /// Red.
    pub const RED: Self = Self::new(0xdc, 0x35, 0x45);
    /// Purple.
    pub const PURPLE: Self = Self::new(0x95, 0x62, 0xd0);
    /// Brown.
    pub const BROWN: Self = Self::new(0xa0, 0x6a, 0x4f);

    /// All of these, in the order in which runs get them.
    pub const ALL: [Self; 6] = [Self::BLUE, Self::ORANGE, Self::GREEN, Self::RED, Self::PURPLE, Self::BROWN];

    fn style(self) -> ShapeStyle {
        RGBColor(self.red, self.green, self.blue).stroke_width(2)
    }
}

/// Values that are written at the vertical axis, about.
const Y_LABELS: usize = 8;

/// Where the legend may be: at the right, which part of the height.
const LEGENDS: [(SeriesLabelPosition, Range<f64>); 3] = [
    (SeriesLabelPosition::UpperRight, 0.67..1.01),
    (SeriesLabelPosition::MiddleRight, 0.33..0.67),
    (SeriesLabelPosition::LowerRight, -0.01..0.33),
];

impl Chart {
    /// A chart without any lines yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), x_label: "Epochs".to_owned(), y_label: String::new(), series: vec![], epochs: true }
    }

    /// Sets what is written at the axes.
    pub fn axes(mut self, x: impl Into<String>, y: impl Into<String>) -> Self {
        (self.x_label, self.y_label) = (x.into(), y.into());
        self
    }

    /// Adds a line through the values of each epoch.
    pub fn line(self, label: impl Into<String>, color: Color, values: impl Into<Vec<f64>>) -> Self {
        self.add(Mark::Line, label, color, values)
    }

    /// Adds a dashed line.
    pub fn dashed(self, label: impl Into<String>, color: Color, values: impl Into<Vec<f64>>) -> Self {
        self.add(Mark::Dashed, label, color, values)
    }

    /// Adds a dot for each epoch.
    pub fn dots(self, label: impl Into<String>, color: Color, values: impl Into<Vec<f64>>) -> Self {
        self.add(Mark::Dots, label, color, values)
    }

    fn add(mut self, mark: Mark, label: impl Into<String>, color: Color, values: impl Into<Vec<f64>>) -> Self {
        let points = (1..).map(f64::from).zip(values.into()).collect();
        self.series.push(Series { label: label.into(), color, mark, points });
        self
    }

    /// A chart of predicted against true values, with the line on which they are the same.
    pub(crate) fn predicted_against_true(title: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        let mut chart = Self { epochs: false, ..Self::new(title).axes("true", "predicted") };
        let cloud = Series { label: String::new(), color: Color::BLUE, mark: Mark::Cloud, points };
        let (low, high) = range(cloud.points().map(|(x, _)| x));
        let diagonal = if low <= high { vec![(low, low), (high, high)] } else { vec![] };
        chart.series =
            vec![cloud, Series { label: String::new(), color: Color::ORANGE, mark: Mark::Dashed, points: diagonal }];
        chart
    }

    /// From the left to the right.
    fn x_range(&self) -> Range<f64> {
        if self.epochs {
            return 0.5..self.last_epoch() as f64 + 0.5;
        }
        with_room(self.series.iter().flat_map(Series::points).map(|(x, _)| x))
    }

    /// From the lowest to the highest value, with some room around them.
    fn y_range(&self) -> Range<f64> {
        with_room(self.series.iter().flat_map(Series::points).map(|(_, value)| value))
    }

    /// At least 1.
    fn last_epoch(&self) -> usize {
        self.series.iter().map(|series| series.points.len()).max().unwrap_or(0).max(1)
    }

    pub(super) fn draw(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
        ground: Ground,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let epochs = self.last_epoch();
        let (x, y) = (self.x_range(), self.y_range());
        let step = |range: &Range<f64>| (range.end - range.start) / Y_LABELS as f64;
        let (x_step, y_step) = (step(&x), step(&y));
        // between two epochs there is nothing to read
        let epoch = |x: f64| if x.fract() == 0.0 { format!("{x}") } else { String::new() };
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .caption(&self.title, ("sans-serif", 22))
            .set_label_area_size(LabelAreaPosition::Left, 68)
            .set_label_area_size(LabelAreaPosition::Bottom, 48)
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .x_labels(if self.epochs { epochs.min(12) } else { Y_LABELS })
            .y_labels(Y_LABELS)
            .x_label_formatter(&|x| if self.epochs { epoch(*x) } else { decimal(*x, x_step) })
            .y_label_formatter(&|y| decimal(*y, y_step))
            .label_style(("sans-serif", 15).into_font())
            .axis_desc_style(("sans-serif", 16).into_font())
            .bold_line_style(BLACK.mix(0.12))
            .light_line_style(BLACK.mix(0.0))
            .axis_style(BLACK.mix(0.5))
            .draw()?;

        for series in &self.series {
            let style = series.color.style();
            let points = series.points();
            let mark = series.seen_as();
            let drawn = match mark {
                Mark::Line => chart.draw_series(LineSeries::new(points, style))?,
                Mark::Dashed => chart.draw_series(DashedLineSeries::new(points, 6, 4, style))?,
                Mark::Dots => chart.draw_series(points.map(|point| Circle::new(point, 4, style.filled())))?,
                Mark::Rings => chart.draw_series(points.map(|point| Circle::new(point, 7, style)))?,
                Mark::Cloud => {
                    let style = ShapeStyle { color: style.color.mix(0.5), ..style }.filled();
                    chart.draw_series(points.map(|point| Circle::new(point, 2, style)))?
                }
            };
            if series.label.is_empty() {
                continue;
            }
            drawn.label(&series.label).legend(move |(x, y)| match mark {
                Mark::Line => PathElement::new([(x, y), (x + 24, y)], style).into_dyn(),
                Mark::Dashed => DashedPathElement::new([(x, y), (x + 24, y)], 6, 4, style).into_dyn(),
                Mark::Dots | Mark::Cloud => Circle::new((x + 12, y), 4, style.filled()).into_dyn(),
                Mark::Rings => Circle::new((x + 12, y), 7, style).into_dyn(),
            });
        }
        if self.series.iter().any(|series| !series.label.is_empty()) {
            chart
                .configure_series_labels()
                .position(self.legend(epochs, &y))
                .margin(12)
                .legend_area_size(32)
                .label_font(("sans-serif", 15).into_font())
                .background_style(ground.behind_text())
                .border_style(BLACK.mix(0.25))
                .draw()?;
        }
        Ok(())
    }

    /// Where there is least in the way of the legend.
    fn legend(&self, epochs: usize, y: &Range<f64>) -> SeriesLabelPosition {
        let points = self.series.iter().flat_map(Series::points).filter(|&(epoch, _)| epoch > 0.4 * epochs as f64);
        let heights: Vec<f64> = points.map(|(_, value)| (value - y.start) / (y.end - y.start)).collect();
        let in_the_way = |range: &Range<f64>| heights.iter().filter(|height| range.contains(height)).count();
        let (position, _) =
            LEGENDS.into_iter().min_by_key(|(_, range)| in_the_way(range)).expect("there are three places");
        position
    }
}

/// A value with as many digits as tell it from one that is a step away.
fn decimal(value: f64, step: f64) -> String {
    match -step.log10().floor() {
        digits @ -5.0..=6.0 => format!("{value:.*}", digits.max(0.0) as usize),
        _ => format!("{value:.1e}"),
    }
}

impl Series {
    /// Epochs with their values, where these are finite.
    fn points(&self) -> impl Iterator<Item = (f64, f64)> + Clone {
        self.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    /// How it is drawn: a line needs two points to be seen.
    fn seen_as(&self) -> Mark {
        match self.mark {
            Mark::Line if self.points().nth(1).is_none() => Mark::Dots,
            // around the dot of the line that it goes with, should both have the same value
            Mark::Dashed if self.points().nth(1).is_none() => Mark::Rings,
            mark => mark,
        }
    }
}

/// The smallest and the largest of these values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), value| (l.min(value), h.max(value)))
}

/// From the smallest to the largest of these values, with some room around them.
fn with_room(values: impl Iterator<Item = f64>) -> Range<f64> {
    // half of the largest number is as good as any: twice that, the range would be infinite
    let most = f64::MAX / 4.0;
    let (low, high) = range(values.map(|value| value.clamp(-most, most)));
    match high - low {
        room if room > 1e-9 * high.abs().max(low.abs()) && room > 1e-300 => low - 0.05 * room..high + 0.05 * room,
        room if room >= 0.0 => low - (0.1 * low.abs()).max(1e-3)..low + (0.1 * low.abs()).max(1e-3),
        _ => 0.0..1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_at_the_axis_have_the_digits_they_need() {
        for (value, step, text) in [
            (0.2, 0.125, "0.2"),
            (0.25, 0.026, "0.25"),
            (3.0, 1.0, "3"),
            (1500.0, 130.0, "1500"),
            (1e-9, 1e-10, "1.0e-9"),
        ] {
            assert_eq!(decimal(value, step), text);
        }
    }

    #[test]
    fn the_legend_goes_where_nothing_is() {
        let place = |chart: &Chart| format!("{:?}", chart.legend(4, &chart.y_range()));
        let falling = Chart::new("").line("", Color::RED, [4.0, 1.0, 0.5, 0.0]);
        assert_eq!(place(&falling), "UpperRight");
        let rising = Chart::new("").line("", Color::RED, [0.0, 2.0, 3.5, 4.0]);
        assert_eq!(place(&rising), "LowerRight");
        assert_eq!(place(&rising.line("", Color::BLUE, [0.0; 4])), "MiddleRight");
    }

    #[test]
    fn a_single_epoch_shows_both_dots() {
        let chart = Chart::new("").line("training", Color::RED, [0.5]).dashed("validation", Color::RED, [0.5]);
        let marks: Vec<Mark> = chart.series.iter().map(Series::seen_as).collect();
        assert_eq!(marks, [Mark::Dots, Mark::Rings]);
        let svg = crate::plot::Figure::from(chart).to_svg();
        // each in the chart and in the legend, and no line
        assert_eq!(svg.matches("<circle").count(), 4, "{svg}");
        assert_eq!(svg.matches("fill=\"none\" stroke=\"#DC3545\"").count(), 2, "{svg}");
        let two = Chart::new("").line("", Color::RED, [0.5, 0.4]).dashed("", Color::RED, [0.5, f64::NAN]);
        assert_eq!(two.series.iter().map(Series::seen_as).collect::<Vec<_>>(), [Mark::Line, Mark::Rings]);
    }

    #[test]
    fn values_are_drawn_against_values() {
        for points in [vec![(1.0, 1.5), (-3.0, 2.0), (f64::NAN, 0.0)], vec![(2.0, 2.0)], vec![]] {
            let finite = points.iter().filter(|(x, _)| x.is_finite()).count();
            let chart = Chart::predicted_against_true("Price", points);
            let (x, y) = (chart.x_range(), chart.y_range());
            assert!(chart.series.iter().flat_map(Series::points).all(|(a, b)| x.contains(&a) && y.contains(&b)));
            let svg = crate::plot::Figure::from(chart).to_svg();
            let small = svg.matches(" r=\"2\"").count();
            assert_eq!(small, finite, "{svg}");
        }
    }
}
