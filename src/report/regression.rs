//! How near the predictions of a model of numbers are to the true ones.

use ndarray::{ArrayD, ArrayViewD, Axis};

use crate::scalar::Scalar;

/// Values of a sample up to which each is told by itself; of more, such as those of an image, all are told together.
const SEPARATE: usize = 4;

/// Points in a picture, at most.
const SHOWN: usize = 1000;

/// One value that the model puts out, or all of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Output {
    /// `output`, or `output 0`, `output 1`, … of several.
    pub(super) name: String,
    /// True and predicted values, evenly spaced over the test data.
    pub(super) points: Vec<(f64, f64)>,
    pub(super) values: usize,
    /// Of the `values`, how many are no finite number, or were to be none; the rest is told without them.
    pub(super) undefined: usize,
    pub(super) mean_absolute_error: f64,
    pub(super) root_mean_squared_error: f64,
    /// 1 − Σ(t − p)² / Σ(t − t̄)²; none where all true values are the same.
    pub(super) r2: Option<f64>,
}

/// What there is to tell of predictions and targets of one shape, `[samples, …]`.
pub(super) fn outputs<T: Scalar>(predictions: &ArrayD<T>, targets: &ArrayViewD<'_, T>) -> Vec<Output> {
    let of_a_sample = predictions.len() / predictions.len_of(Axis(0)).max(1);
    let number = |value: &T| value.to_f64().expect("f32 and f64 are f64s");
    let pairs: Vec<(f64, f64)> = targets.iter().map(number).zip(predictions.iter().map(number)).collect();
    match of_a_sample {
        2..=SEPARATE => (0..of_a_sample)
            .map(|output| {
                let own = pairs.iter().copied().skip(output).step_by(of_a_sample);
                Output::new(format!("output {output}"), own.collect())
            })
            .collect(),
        _ => vec![Output::new("output".to_owned(), pairs)],
    }
}

impl Output {
    fn new(name: String, pairs: Vec<(f64, f64)>) -> Self {
        let values = pairs.len();
        let pairs: Vec<(f64, f64)> = pairs.into_iter().filter(|(t, p)| t.is_finite() && p.is_finite()).collect();
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
        let square = mean(&|(t, p)| (t - p).powi(2));
        let center = mean(&|(t, _)| *t);
        let variance = mean(&|(t, _)| (t - center).powi(2));
        Self {
            name,
            values,
            undefined: values - pairs.len(),
            mean_absolute_error: mean(&|(t, p)| (t - p).abs()),
            root_mean_squared_error: square.sqrt(),
            r2: (variance > 0.0).then(|| 1.0 - square / variance),
            points: pairs.iter().copied().step_by(pairs.len().div_ceil(SHOWN).max(1)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn hand_values() {
        let predictions = array![[1.0, 10.0], [2.0, 20.0], [4.0, f64::NAN]].into_dyn();
        let targets = array![[1.0, 10.0], [3.0, 10.0], [5.0, 10.0]].into_dyn();
        let [first, second] = &outputs(&predictions, &targets.view())[..] else { unreachable!("two outputs") };
        assert_eq!((&*first.name, first.values, first.undefined), ("output 0", 3, 0));
        assert_eq!(first.points, [(1.0, 1.0), (3.0, 2.0), (5.0, 4.0)]);
        assert_relative_eq!(first.mean_absolute_error, 2.0 / 3.0, max_relative = 1e-15);
        assert_relative_eq!(first.root_mean_squared_error, (2.0_f64 / 3.0).sqrt(), max_relative = 1e-15);
        assert_relative_eq!(first.r2.unwrap(), 1.0 - 2.0 / 8.0, max_relative = 1e-15);
        assert_eq!((second.values, second.undefined, second.r2), (3, 1, None));
        assert_eq!((second.points.len(), second.mean_absolute_error), (2, 5.0));
    }

    #[test]
    fn many_values_are_told_together_and_thinned_out() {
        let predictions = Array2::from_shape_fn((700, 9), |(i, j)| (i + j) as f32).into_dyn();
        let [all] = &outputs(&predictions, &predictions.view())[..] else { unreachable!("one for all") };
        assert_eq!((&*all.name, all.values, all.r2), ("output", 6300, Some(1.0)));
        assert!((SHOWN / 2..=SHOWN).contains(&all.points.len()), "{}", all.points.len());
    }
}
