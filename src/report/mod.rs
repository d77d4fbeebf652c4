//! A page that tells what a model is, how it was trained, and where it is wrong.
//!
//! ```
//! use plywood::ndarray::array;
//! use plywood::prelude::*;
//! use plywood::report::Report;
//!
//! # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
//! # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
//! # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
//! let history = trainer.fit(&data, &Fit::epochs(3))?;
//! let page = Report::new("Two classes", &mut trainer, &history, &data)?.to_html();
//! assert!(page.starts_with("<!doctype html>"));
//! # Ok::<(), plywood::Error>(())
//! ```

mod bitmap;
mod page;
mod regression;

use std::fmt::Display;
use std::path::Path;

use ndarray::{ArrayD, ArrayViewD, Axis};

use crate::data::{Dataset, TargetsView};
use crate::error::Result;
use crate::files::write_text;
use crate::losses::check_class_targets;
use crate::metrics::{ConfusionMatrix, largest};
use crate::model::{Fit, History, Summary, Trainer, Validation};
use crate::scalar::Scalar;
use regression::Output;

/// Test samples that are shown, of those that the model is wrong about.
const SHOWN: usize = 24;

/// One self-contained HTML file about a training run: summary, settings, curves and figures. For models that choose one of
/// several classes also the confusion matrix, precision, recall and F1 of each class, and the test samples that the model is
/// most confidently wrong about, with the probabilities it gave; for models of numbers the predicted against the true ones,
/// and the errors.
///
/// Figures of training and validation are those of the epoch whose weights the model has: of the last one, or of the best if
/// [`EarlyStopping`](crate::callbacks::EarlyStopping) brought that back. Targets name classes if they are class indices, or
/// rows of shares that add up to 1.
///
/// The file needs neither network nor scripts, follows the reader's choice of light or dark, and fits a phone. Samples of
/// shape `[height, width, 1]`, `[height, width, 3]` or a square number of features are drawn as images, from the
/// darkest to the brightest value among those shown.
///
/// ```
/// use plywood::ndarray::{Array1, Array2};
/// use plywood::prelude::*;
/// use plywood::report::Report;
///
/// let data = Dataset::new(Array2::from_shape_fn((90, 16), |(i, j)| ((i + j) % 3) as f32), (0..90).map(|i| i % 3).collect::<Array1<usize>>())?;
/// let model = Sequential::input([16]).add(Dense::new(3)).add(Softmax::new()).build(42)?;
/// let mut trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::default()).metric(Accuracy::new());
/// let fit = Fit::epochs(3).batch_size(10);
/// let history = trainer.fit(&data, &fit)?;
///
/// let report = Report::new("Three patterns", &mut trainer, &history, &data)?
///     .fit(&fit)
///     .setting("seed", 42)
///     .classes(["first", "second", "third"]);
/// # let path = std::env::temp_dir().join(format!("plywood-doc-report-{}.html", std::process::id()));
/// report.write(&path)?;
/// assert!(report.to_html().contains("Three patterns"));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    title: String,
    summary: Summary,
    settings: Vec<(String, String)>,
    history: History,
    /// Loss and metrics of the test data.
    figures: Vec<(String, f64)>,
    /// The epoch whose weights the model has, if it is not the last one of the history.
    epoch: Option<usize>,
    classes: Option<Classes>,
    /// Of a model of numbers.
    outputs: Vec<Output>,
}

/// What there is to tell of a model that chooses one of several classes.
#[derive(Debug, Clone, PartialEq)]
struct Classes {
    names: Vec<String>,
    confusion: ConfusionMatrix,
    mistakes: Vec<Mistake>,
}

/// A test sample that the model is wrong about.
#[derive(Debug, Clone, PartialEq)]
struct Mistake {
    /// Where it is in the data.
    index: usize,
    class: usize,
    probabilities: Vec<f64>,
    /// A bitmap of the sample, as an address that holds its data; none if the sample is no image.
    image: Option<String>,
}

impl Mistake {
    /// Classes from the most to the least probable.
    fn ranking(&self) -> Vec<usize> {
        let mut ranking: Vec<usize> = (0..self.probabilities.len()).collect();
        ranking.sort_by(|&a, &b| self.probabilities[b].total_cmp(&self.probabilities[a]));
        ranking
    }
}

impl Report {
    /// A report on a trained model: evaluates and predicts the test data.
    ///
    /// # Errors
    ///
    /// Those of [`Trainer::evaluate`].
    pub fn new<T: Scalar>(
        title: impl Into<String>,
        trainer: &mut Trainer<T>,
        history: &History,
        test: &Dataset<T>,
    ) -> Result<Self> {
        let evaluation = trainer.evaluate(test)?;
        let mut figures = vec![("loss".to_owned(), evaluation.loss)];
        figures.extend_from_slice(evaluation.metrics());
        let model = trainer.model();
        let optimizer = format!("{:?}", trainer.optimizer());
        let settings = [("optimizer", optimizer), ("loss", format!("{:?}", trainer.loss()))];
        let targets = test.targets().view().for_output(model.output_shape());
        let predictions = model.predict(test.inputs())?;
        let (classes, outputs) = match &targets {
            _ if names_classes(model.output_shape(), &targets) => (Some(Classes::new(test, &predictions)), vec![]),
            TargetsView::Values(values) if values.shape() == predictions.shape() => {
                (None, regression::outputs(&predictions, values))
            }
            _ => (None, vec![]),
        };
        Ok(Self {
            title: title.into(),
            summary: model.summary(),
            settings: settings.map(|(name, value)| (name.to_owned(), value)).into(),
            history: history.clone(),
            figures,
            epoch: trainer.restored_epoch(),
            classes,
            outputs,
        })
    }

    /// Says of which epoch the model's weights are, and so which figures of training and validation belong to it. Needed only
    /// where neither the last epoch's are left nor [`EarlyStopping`](crate::callbacks::EarlyStopping) brought others back, as
    /// after loading a checkpoint.
    pub fn epoch(mut self, epoch: usize) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Adds the settings of `fit`.
    pub fn fit<T: Scalar>(mut self, fit: &Fit<'_, T>) -> Self {
        self = self.setting("epochs", fit.epochs).setting("batch size", fit.batch_size).setting("shuffle", fit.shuffle);
        match fit.validation {
            Validation::None => {}
            Validation::Data(data) => self = self.setting("validation", format!("{} samples", data.len())),
            Validation::Split(fraction) => self = self.setting("validation split", fraction),
        }
        if !fit.class_weights.is_empty() {
            let weights = fit.class_weights.iter().map(|(class, weight)| format!("{class}: {weight}"));
            self = self.setting("class weights", weights.collect::<Vec<_>>().join(", "));
        }
        self
    }

    /// Adds any other setting.
    pub fn setting(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Names the classes, in the order of their indices; by default they are called by these.
    pub fn classes<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        if let Some(classes) = &mut self.classes {
            classes.names.iter_mut().zip(names).for_each(|(name, new)| *name = new.into());
        }
        self
    }

    /// The page.
    pub fn to_html(&self) -> String {
        page::html(self)
    }

    /// Writes the page into a file, and makes its folder if there is none. The file is written whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) with the path. The file that was there is as it was then.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        write_text(path.as_ref(), &self.to_html())
    }
}

impl Classes {
    /// Of data and predictions that have passed the check of targets that name classes.
    fn new<T: Scalar>(test: &Dataset<T>, predictions: &ArrayD<T>) -> Self {
        let targets = test.targets().view();
        let mut confusion = ConfusionMatrix::new();
        confusion.add(predictions.view(), &targets).expect("they fit together");

        let mut mistakes: Vec<Mistake> = predictions
            .outer_iter()
            .enumerate()
            .filter_map(|(index, row)| {
                let class = class_of(&targets, index)?;
                let predicted = largest(&row)?;
                let probabilities = probabilities(row);
                (predicted != class).then_some(Mistake { index, class, probabilities, image: None })
            })
            .collect();
        let confidence = |mistake: &Mistake| mistake.probabilities.iter().copied().fold(0.0, f64::max);
        mistakes.sort_by(|a, b| confidence(b).total_cmp(&confidence(a)));
        mistakes.truncate(SHOWN);
        draw(test, &mut mistakes);
        Self { names: (0..confusion.classes()).map(|class| class.to_string()).collect(), confusion, mistakes }
    }
}

/// Whether the targets are classes of such an output: class indices, or rows of shares.
fn names_classes<T: Scalar>(output: &[usize], targets: &TargetsView<'_, T>) -> bool {
    let shares = |row: ArrayViewD<'_, T>| {
        row.iter().all(|&share| share >= T::zero()) && (row.sum() - T::one()).abs() < T::of(1e-3)
    };
    let may_be = match targets {
        TargetsView::Classes(_) => true,
        TargetsView::Values(rows) => rows.ndim() == 2 && rows.outer_iter().all(shares),
    };
    may_be && check_class_targets("report", output, targets).is_ok()
}

fn class_of<T: Scalar>(targets: &TargetsView<'_, T>, index: usize) -> Option<usize> {
    match targets {
        TargetsView::Classes(classes) => Some(classes[index]),
        TargetsView::Values(rows) => largest(rows.index_axis(Axis(0), index)),
    }
}

/// The predictions as they are if they are probabilities, otherwise what softmax makes of them.
fn probabilities<T: Scalar>(row: ArrayViewD<'_, T>) -> Vec<f64> {
    let values: Vec<f64> = row.iter().map(|value| value.to_f64().expect("f32 and f64 are f64s")).collect();
    let sum: f64 = values.iter().sum();
    if values.iter().all(|&value| value >= 0.0) && (sum - 1.0).abs() < 1e-3 {
        return values;
    }
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = values.iter().map(|value| (value - max).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Gives each mistake the image of its sample, if samples are images.
fn draw<T: Scalar>(test: &Dataset<T>, mistakes: &mut [Mistake]) {
    let Some([height, width, channels]) = image_shape(&test.inputs().shape()[1..]) else { return };
    let sample = |index: usize| test.inputs().index_axis(Axis(0), index);
    let shown = mistakes.iter().flat_map(|mistake| sample(mistake.index)).copied().filter(|value| value.is_finite());
    let (low, high) = shown.fold((T::infinity(), T::neg_infinity()), |(l, h), value| (l.min(value), h.max(value)));
    for mistake in mistakes {
        let byte = |&value: &T| {
            let share = (value - low) / (high - low).max(T::min_positive_value());
            (share * T::of(255.0)).round().to_u8().unwrap_or(0)
        };
        let pixels: Vec<u8> = sample(mistake.index).iter().map(byte).collect();
        mistake.image = Some(bitmap::data_url(&pixels, [height, width, channels]));
    }
}

/// Height, width and channels of samples that can be drawn.
fn image_shape(sample: &[usize]) -> Option<[usize; 3]> {
    match *sample {
        [height, width, channels @ (1 | 3)] => Some([height, width, channels]),
        [height, width] => Some([height, width, 1]),
        [features] => {
            (features.isqrt().pow(2) == features && features > 1).then(|| [features.isqrt(), features.isqrt(), 1])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, array};

    use super::*;
    use crate::callbacks::EarlyStopping;
    use crate::layers::Dense;
    use crate::losses::{CategoricalCrossentropy, MeanSquaredError};
    use crate::metrics::Accuracy;
    use crate::model::Sequential;
    use crate::optimizers::SGD;

    /// A model that puts out what it is given.
    fn mirror() -> Trainer {
        let model = Sequential::input([4]).add(Dense::new(4)).build(0).unwrap();
        let loss = CategoricalCrossentropy::new().from_logits(true);
        let mut trainer = model.compile(SGD::new(0.1), loss).metric(Accuracy::new());
        trainer.model_mut().parameter_mut("dense/kernel").unwrap().assign(&Array2::eye(4));
        trainer
    }

    fn history() -> History {
        let mut history = History::new();
        history.push(1, 0.5, &[("loss", 0.5), ("accuracy", 0.75), ("val_loss", 0.625)]);
        history
    }

    #[test]
    fn the_most_confident_mistakes_come_first() {
        let inputs = array![[3.0, 0.0, 0.0, 0.0], [0.0, 5.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0], [0.1, 0.0, 0.0, 0.0]];
        let test = Dataset::new(inputs, array![0_usize, 0, 1, 3]).unwrap();
        let report = Report::new("Mirror", &mut mirror(), &history(), &test).unwrap();
        let classes = report.classes.unwrap();
        assert_eq!(classes.mistakes.iter().map(|mistake| mistake.index).collect::<Vec<_>>(), [2, 1, 3]);
        let mistake = &classes.mistakes[1];
        assert_eq!((mistake.class, &mistake.ranking()[..2]), (0, &[1, 0][..]));
        approx::assert_relative_eq!(mistake.probabilities[1], 5_f64.exp() / (5_f64.exp() + 3.0), max_relative = 1e-12);
        assert_eq!(report.figures[1], ("accuracy".to_owned(), 0.25));
    }

    #[test]
    fn the_page_has_everything_and_hides_nothing_in_markup() {
        let inputs = Array2::from_shape_fn((40, 4), |(i, j)| ((3 * i + 5 * j) % 7) as f32);
        let test = Dataset::new(inputs, (0..40_usize).map(|i| i % 4).collect::<Array1<usize>>()).unwrap();
        let fit = Fit::<f32>::epochs(1).validation_split(0.25).class_weights([(2, 1.5)]);
        let report = Report::new("<Mirror> & co", &mut mirror(), &history(), &test).unwrap().fit(&fit);
        let html = report.setting("seed", 7).classes(["zero", "one", "<two>"]).to_html();
        for text in [
            "<title>&lt;Mirror&gt; &amp; co</title>",
            "dense (Dense)",
            "SGD {",
            "validation split",
            "2: 1.5",
            "<svg",
            "&lt;two&gt;",
            "data:image/bmp;base64,",
            "Precision",
            "prefers-color-scheme: dark",
            "width=device-width",
        ] {
            assert!(html.contains(text), "{text} is not in {html}");
        }
        assert!(html.contains("<table class=\"confusion upright\">"), "{html}");
        for text in ["<two>", "<script", "http://", "https://", "src=\"/"] {
            let html = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
            assert!(!html.contains(text), "{text} is in {html}");
        }
        let count = |text: String| html.matches(text.as_str()).count();
        for tag in ["table", "tr", "td", "th", "div", "section", "figure", "p", "h2"] {
            let opened = count(format!("<{tag}>")) + count(format!("<{tag} "));
            assert_eq!(opened, count(format!("</{tag}>")), "{tag}");
        }
    }

    #[test]
    fn a_model_may_have_no_classes() {
        // two values a sample are two classes if they are shares; the output of a model that keeps its images never is
        for (targets, classes) in [(array![[0.0, 1.0], [0.25, 0.75]], true), (array![[0.0, 1.0], [-1.0, 2.0]], false)] {
            let model = Sequential::input([4]).add(Dense::new(2)).build(0).unwrap();
            let mut trainer = model.compile(SGD::new(0.1), MeanSquaredError);
            let test = Dataset::new(Array2::<f32>::ones((2, 4)), targets).unwrap();
            let report = Report::new("Numbers", &mut trainer, &History::new(), &test).unwrap();
            assert_eq!((report.classes.is_some(), report.outputs.len()), (classes, if classes { 0 } else { 2 }));
            assert_eq!(report.to_html().matches("Predicted against true: output").count(), report.outputs.len());
        }
        let model = Sequential::input([2, 2, 1]).add(crate::layers::ReLU::new()).build(0).unwrap();
        let mut trainer = model.compile(SGD::new(0.1), MeanSquaredError);
        let images = ndarray::Array4::<f32>::zeros((3, 2, 2, 1));
        let test = Dataset::new(images.clone(), images).unwrap();
        let report = Report::new("Images", &mut trainer, &history(), &test).unwrap();
        assert!(report.classes.is_none() && !report.to_html().contains("Confusion"));
    }

    #[test]
    fn numbers_are_told_against_the_true_ones() {
        let inputs = Array2::from_shape_fn((50, 1), |(i, _)| i as f32 / 10.0);
        let test = Dataset::new(inputs, Array1::from_shape_fn(50, |i| i as f32 / 5.0 + 1.0)).unwrap();
        let model = Sequential::input([1]).add(Dense::new(1)).build(0).unwrap();
        let mut trainer = model.compile(SGD::new(0.01), MeanSquaredError);
        trainer.model_mut().parameter_mut("dense/kernel").unwrap().fill(2.0);
        let report = Report::new("A line", &mut trainer, &History::new(), &test).unwrap();
        let [output] = &report.outputs[..] else { unreachable!("one output") };
        assert_eq!(output.points.len(), 50);
        approx::assert_relative_eq!(output.mean_absolute_error, 1.0, max_relative = 1e-6);
        let html = report.to_html();
        for text in ["Predicted against true", "<h2>Errors</h2>", "<td class=\"number\">1.0000</td>"] {
            assert!(html.contains(text), "{text} is not in {html}");
        }
        assert!(!html.contains("Confusion"));
    }

    /// A history of four epochs, and the cards of its report.
    fn cards(epoch: Option<usize>, trainer: &mut Trainer, history: &History) -> String {
        let test = Dataset::new(Array2::<f32>::ones((2, 4)), array![0_usize, 1]).unwrap();
        let mut report = Report::new("Cards", trainer, history, &test).unwrap();
        report.epoch = epoch.or(report.epoch);
        let html = report.to_html();
        let (_, cards) = html.split_once("<div class=\"cards\">").unwrap();
        cards.split_once("</div>\n</div>").unwrap().0.to_owned()
    }

    #[test]
    fn figures_are_those_of_the_weights_that_are_left() {
        let mut history = History::new();
        for (epoch, loss) in [0.5, 0.25, 0.375, 0.625].into_iter().enumerate() {
            history.push(epoch + 1, 0.5, &[("loss", loss), ("val_loss", 2.0 * loss)]);
        }
        let card =
            |name: &str, value: &str| format!("<span class=\"quiet\">{name}</span><span class=\"value\">{value}<");
        let last = cards(None, &mut mirror(), &history);
        assert!(last.contains(&card("training loss", "0.6250")), "{last}");
        assert!(last.contains(&card("validation loss", "1.2500")) && !last.contains("epoch 4"), "{last}");
        let best = cards(Some(2), &mut mirror(), &history);
        assert!(best.contains(&card("training loss, epoch 2", "0.2500")), "{best}");
        assert!(best.contains(&card("validation loss, epoch 2", "0.5000")), "{best}");
        assert!(best.contains(&card("weights of epoch", "2")) && best.contains(&card("epochs", "4")), "{best}");
        assert!(!best.contains("0.6250"), "{best}");
        let unknown = cards(Some(9), &mut mirror(), &history);
        assert!(!unknown.contains("training loss"), "{unknown}");
    }

    #[test]
    fn weights_that_early_stopping_brought_back_are_known() {
        let data = Dataset::new(Array2::<f32>::eye(4), array![0_usize, 1, 2, 3]).unwrap();
        let mut trainer = mirror();
        let mut early = EarlyStopping::new().monitor("loss").patience(1).restore_best(true);
        let history = trainer.fit_with(&data, &Fit::epochs(3), &mut [&mut early]).unwrap();
        let best = early.best_epoch();
        assert_eq!(trainer.restored_epoch(), best);
        assert_eq!(Report::new("", &mut trainer, &history, &data).unwrap().epoch, best);
        trainer.fit(&data, &Fit::epochs(1)).unwrap();
        assert_eq!(trainer.restored_epoch(), None);
    }

    #[test]
    fn samples_that_can_be_drawn_are() {
        for (sample, image) in [
            (&[28, 28, 1][..], Some([28, 28, 1])),
            (&[8, 9, 3], Some([8, 9, 3])),
            (&[8, 9, 4], None),
            (&[8, 9], Some([8, 9, 1])),
            (&[784], Some([28, 28, 1])),
            (&[785], None),
            (&[1], None),
        ] {
            assert_eq!(image_shape(sample), image, "{sample:?}");
        }
    }
}
