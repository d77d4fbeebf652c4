//! The cross-entropy between classes, from logits or from probabilities.

use serde::{Deserialize, Serialize};

use super::rows::{RowTarget, Rows};
use super::{Loss, LossPass, check_class_targets};
use crate::data::TargetsView;
use crate::error::{Error, Result};
use crate::kernels::dispatch::vectorized;
use crate::kernels::reduce::{accumulate, maximum, sum};
use crate::scalar::Scalar;

const NAME: &str = "categorical_crossentropy";

/// The cross-entropy between predicted probabilities and the true class, for models that choose one of several classes.
///
/// Of a sample with K classes, probabilities p and targets y (1 at its class, 0 elsewhere):
///
/// > l = −Σₖ yₖ · ln pₖ
///
/// **From logits** x, with p = softmax(x), it is computed in one step that neither overflows nor takes the logarithm of 0:
///
/// > l = Σₖ yₖ · (ln Σⱼ e^(xⱼ − max x) − (xₖ − max x)); ∂/∂x of the batch's Σ w·l / B: (p·Σₖ yₖ − y) · w / B
///
/// A model that ends in Softmax is trained this way too, unless [`fuse_softmax`](Self::fuse_softmax) is off: the loss is
/// handed the logits in front of the Softmax.
///
/// **From probabilities** p, as they are or as a model's last layer makes them without Softmax:
///
/// > l = −Σₖ yₖ · ln clip(pₖ / Σⱼ pⱼ)
///
/// with clip to [ε, 1 − ε], ε = 1e-7. Where pₖ / Σⱼ pⱼ is clipped, it contributes no gradient; if only the true class
/// counts and is clipped, the sample's gradient is exactly 0.
///
/// # Shapes
///
/// Outputs `[batch, classes]`. Targets are class indices `[batch]` or rows `[batch, classes]`; a row with a single 1 gives
/// the same bits as the index of that 1. Rows may be other probabilities. If a row does not sum to 1, the gradient is still
/// that of the loss, as in PyTorch; TensorFlow's from logits is p − y.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | [`label_smoothing`](Self::label_smoothing) | 0 | \[0, 1) | α: targets become y·(1 − α) + α/K |
/// | [`from_logits`](Self::from_logits) | false | | the model puts out logits, with no Softmax at its end |
/// | [`fuse_softmax`](Self::fuse_softmax) | true | | a final Softmax is computed together with the loss |
///
/// Losses are in nats.
///
/// # Errors
///
/// [`Loss::check`] returns [`Error::InvalidParameter`] for a label smoothing out of range, [`Error::InputShape`] if the
/// model's outputs are not `[classes]`, [`Error::Targets`] for rows of another length, and [`Error::LabelOutOfRange`] for
/// the first class index that is not below the number of classes.
///
/// # Source
///
/// Keras 3, `keras/src/backend/tensorflow/nn.py` (`categorical_crossentropy`, `_get_logits`) and
/// `keras/src/losses/losses.py`. Class indices are treated as the rows they stand for, also from probabilities, where
/// Keras' `sparse_categorical_crossentropy` clips before it divides by the sum. Label smoothing: Szegedy et al.,
/// *Rethinking the Inception Architecture for Computer Vision* (2016), section 7.
///
/// # Example
///
/// ```
/// use plywood::data::TargetsView;
/// use plywood::losses::{CategoricalCrossentropy, Loss, LossPass};
/// use plywood::ndarray::{Array2, array};
///
/// let loss = CategoricalCrossentropy::new().from_logits(true);
/// let (logits, classes) = (array![[50.0_f32, 0.0], [0.0, 0.0]], array![1, 1]);
/// let targets = TargetsView::Classes(classes.view());
/// loss.check(&[2], &targets)?;
///
/// let (mut losses, mut gradient) = ([0.0; 2], Array2::zeros((2, 2)));
/// loss.evaluate(LossPass {
///     y: logits.view().into_dyn(),
///     from_logits: false,
///     targets,
///     weights: None,
///     batch: losses.len(),
///     losses: &mut losses,
///     dy: Some(gradient.view_mut().into_dyn()),
/// });
/// assert_eq!(losses, [50.0, std::f32::consts::LN_2]);
/// assert_eq!(gradient, array![[0.5, -0.5], [0.25, -0.25]]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "SparseCategoricalCrossentropy")]
#[doc(alias = "CrossEntropyLoss")]
#[doc(alias = "NLLLoss")]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CategoricalCrossentropy {
    label_smoothing: f64,
    from_logits: bool,
    fuse_softmax: bool,
}

impl CategoricalCrossentropy {
    /// The loss with Keras' defaults.
    pub fn new() -> Self {
        Self { label_smoothing: 0.0, from_logits: false, fuse_softmax: true }
    }

    /// Sets α, the share of each target that is spread evenly over all classes: y·(1 − α) + α/K. In [0, 1), 0 by default.
    pub fn label_smoothing(mut self, alpha: f64) -> Self {
        self.label_smoothing = alpha;
        self
    }

    /// Sets whether the model puts out logits, with no Softmax at its end. By default it puts out probabilities.
    ///
    /// On a model that does end in Softmax, this makes no difference as long as [`fuse_softmax`](Self::fuse_softmax) is on.
    pub fn from_logits(mut self, from_logits: bool) -> Self {
        self.from_logits = from_logits;
        self
    }

    /// Sets whether the loss of a model that ends in Softmax is computed from the logits before it, which is more accurate
    /// and faster. If not, it is computed from the probabilities, clipped.
    pub fn fuse_softmax(mut self, fuse: bool) -> Self {
        self.fuse_softmax = fuse;
        self
    }
}

impl Default for CategoricalCrossentropy {
    fn default() -> Self {
        Self::new()
    }
}

impl CategoricalCrossentropy {
    /// What [`Loss::evaluate`] does.
    pub(crate) fn run<T: Scalar>(&self, pass: LossPass<'_, T>) {
        let from_logits = self.from_logits || pass.from_logits;
        let batch = T::of(pass.batch as f64);
        let classes = pass.y.len() / pass.losses.len().max(1);
        let smoothing = Smoothing::new(self.label_smoothing, classes);
        Rows::run(pass, |rows| {
            vectorized(
                #[inline(always)]
                || if from_logits { logits(rows, smoothing, batch) } else { probabilities(rows, smoothing, batch) },
            );
        });
    }
}

impl<T: Scalar> Loss<T> for CategoricalCrossentropy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, output: &[usize], targets: &TargetsView<'_, T>) -> Result<()> {
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(Error::invalid_parameter(NAME, "label_smoothing", self.label_smoothing, "0 to below 1"));
        }
        check_class_targets(NAME, output, targets)
    }

    fn fuses_softmax(&self) -> bool {
        self.fuse_softmax
    }

    fn evaluate(&self, pass: LossPass<'_, T>) {
        T::categorical_crossentropy(self, pass);
    }
}

/// A target y becomes y·keep + floor.
#[derive(Clone, Copy)]
struct Smoothing<T> {
    alpha: T,
    keep: T,
    floor: T,
}

impl<T: Scalar> Smoothing<T> {
    fn new(alpha: f64, classes: usize) -> Self {
        Self { alpha: T::of(alpha), keep: T::of(1.0 - alpha), floor: T::of(alpha / classes as f64) }
    }

    #[inline(always)]
    fn apply(self, y: T) -> T {
        y * self.keep + self.floor
    }
}

#[inline(always)]
fn logits<T: Scalar>(mut rows: Rows<'_, T>, smoothing: Smoothing<T>, batch: T) {
    let Some(gradient) = rows.dy.take() else {
        for sample in 0..rows.len() {
            let x = rows.y(sample);
            let max = maximum(x);
            let log_sum = accumulate(x, x, |sum, x, _| sum + (x - max).exponential()).logarithm();
            rows.losses[sample] =
                rows.weight(sample) * loss_from_logits(x, rows.target(sample), smoothing, max, log_sum);
        }
        return;
    };

    // All exponentials in one loop, for its vectors to be full even if there are few classes. Each row's maximum is kept
    // where its loss will be.
    for sample in 0..rows.len() {
        let x = rows.y(sample);
        let max = maximum(x);
        rows.losses[sample] = max;
        gradient[rows.range(sample)].iter_mut().zip(x).for_each(|(dy, &x)| *dy = x - max);
    }
    gradient.iter_mut().for_each(|dy| *dy = dy.exponential());

    for sample in 0..rows.len() {
        let (x, target, weight, max) = (rows.y(sample), rows.target(sample), rows.weight(sample), rows.losses[sample]);
        let exponentials = &mut gradient[rows.range(sample)];
        let total = sum(exponentials);
        rows.losses[sample] = weight * loss_from_logits(x, target, smoothing, max, total.logarithm());

        // What the targets add up to: Σ (y·keep + α/K) = keep·Σ y + α.
        let mass = match target {
            RowTarget::Class(_) => T::one(),
            RowTarget::Values(y) => sum(y),
        };
        let mass = mass * smoothing.keep + smoothing.alpha;
        let scale = weight / batch;
        write_gradient(exponentials, target, |e, y| (e / total * mass - smoothing.apply(y)) * scale);
    }
}

#[inline(always)]
fn loss_from_logits<T: Scalar>(x: &[T], target: RowTarget<'_, T>, smoothing: Smoothing<T>, max: T, log_sum: T) -> T {
    loss(x, target, smoothing, |x| log_sum - (x - max))
}

#[inline(always)]
fn probabilities<T: Scalar>(mut rows: Rows<'_, T>, smoothing: Smoothing<T>, batch: T) {
    const EPSILON: f64 = 1e-7;
    let (low, high) = (T::of(EPSILON), T::of(1.0 - EPSILON));
    for sample in 0..rows.len() {
        let (p, target, weight) = (rows.y(sample), rows.target(sample), rows.weight(sample));
        let total = sum(p);
        // Comparisons that let NaN pass.
        let surprise = |p: T| {
            let p = p / total;
            let p = if p < low { low } else { p };
            let p = if p > high { high } else { p };
            -p.logarithm()
        };
        rows.losses[sample] = weight * loss(p, target, smoothing, surprise);

        let range = rows.range(sample);
        let Some(gradient) = &mut rows.dy else { continue };
        let gradient = &mut gradient[range];
        // With q = p / Σp: ∂l/∂qₖ = −yₖ/qₖ where q is not clipped, and ∂l/∂pⱼ = (∂l/∂qⱼ − Σₖ qₖ·∂l/∂qₖ) / Σp.
        let inside = |p: T| p / total >= low && p / total <= high;
        let inner = match target {
            RowTarget::Class(class) => {
                if inside(p[class]) {
                    T::one()
                } else {
                    T::zero()
                }
            }
            RowTarget::Values(y) => accumulate(p, y, |sum, p, y| if inside(p) { sum + y } else { sum }),
        };
        let count = accumulate(p, p, |sum, p, _| if inside(p) { sum + T::one() } else { sum });
        let inner = inner * smoothing.keep + count * smoothing.floor;
        let scale = weight / batch;
        gradient.copy_from_slice(p);
        write_gradient(gradient, target, |p, y| {
            let own = if inside(p) { smoothing.apply(y) / (p / total) } else { T::zero() };
            (inner - own) / total * scale
        });
    }
}

/// Σ yₖ · surprise(xₖ) with smoothed targets: keep · Σ yₖ · surprise(xₖ) + α/K · Σ surprise(xₖ).
#[inline(always)]
fn loss<T: Scalar>(x: &[T], target: RowTarget<'_, T>, smoothing: Smoothing<T>, surprise: impl Fn(T) -> T) -> T {
    let own = match target {
        RowTarget::Class(class) => surprise(x[class]),
        // A class that is impossible (p = 0) and not wanted (y = 0) costs nothing, though 0 · ∞ is NaN.
        RowTarget::Values(y) => {
            accumulate(x, y, |sum, x, y| if y == T::zero() { sum } else { y.mul_add(surprise(x), sum) })
        }
    };
    if smoothing.alpha == T::zero() {
        return own;
    }
    own * smoothing.keep + accumulate(x, x, |sum, x, _| sum + surprise(x)) * smoothing.floor
}

/// Replaces each element by a function of it and of its target.
#[inline(always)]
fn write_gradient<T: Scalar>(gradient: &mut [T], target: RowTarget<'_, T>, function: impl Fn(T, T) -> T) {
    match target {
        RowTarget::Class(class) => {
            let own = function(gradient[class], T::one());
            gradient.iter_mut().for_each(|element| *element = function(*element, T::zero()));
            gradient[class] = own;
        }
        RowTarget::Values(y) => {
            gradient.iter_mut().zip(y).for_each(|(element, &y)| *element = function(*element, y));
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Axis, array};

    use super::*;
    use crate::data::Targets;
    use crate::losses::testing::{Case, check_gradient, evaluate};

    const PROBABILITIES: CategoricalCrossentropy =
        CategoricalCrossentropy { label_smoothing: 0.0, from_logits: false, fuse_softmax: true };
    const LOGITS: CategoricalCrossentropy = CategoricalCrossentropy { from_logits: true, ..PROBABILITIES };

    fn one_hot<T: Scalar>(classes: &Array1<usize>, count: usize) -> Array2<T> {
        Array2::from_shape_fn((classes.len(), count), |(i, k)| if classes[i] == k { T::one() } else { T::zero() })
    }

    /// Numbers between 0 and 1 without a pattern.
    fn numbers<T: Scalar>(rows: usize, columns: usize) -> Array2<T> {
        Array2::from_shape_fn((rows, columns), |(i, k)| T::of(((i * columns + k) as f64 * 12.9898).sin().abs()))
    }

    fn single<T: Scalar>(loss: &CategoricalCrossentropy, y: [T; 3], class: usize) -> (T, Vec<T>) {
        let (losses, dy) = evaluate(&Case::new(loss, &array![y], &array![class].into()));
        (losses[0], dy.into_raw_vec_and_offset().0)
    }

    /// What is clipped is the share of a sum, however small the numbers are: l = −ln(p₀/Σp), so ∂l/∂p₀ = 1/Σp − 1/p₀ and
    /// ∂l/∂pₖ = 1/Σp.
    #[test]
    fn small_numbers_are_shares_too() {
        let p = [2_f64.powi(-30), 2_f64.powi(-29), 2_f64.powi(-30)];
        let (loss, gradient) = single(&PROBABILITIES, p, 0);
        approx::assert_relative_eq!(loss, 4_f64.ln(), max_relative = 1e-15);
        let (total, own) = (2_f64.powi(28), 2_f64.powi(30));
        approx::assert_relative_eq!(&*gradient, &[total - own, total, total][..], max_relative = 1e-15);
    }

    // The values of Keras 3.15.1 on TensorFlow.
    #[test]
    fn values_of_keras() {
        let (loss, gradient) = single(&PROBABILITIES, [1.0_f32, 0.0, 0.0], 1);
        approx::assert_relative_eq!(loss, 16.118_095, max_relative = 1e-6);
        assert_eq!(gradient, [0.0; 3]);

        let (loss, gradient) = single(&PROBABILITIES, [0.0_f32, 1.0, 0.0], 1);
        approx::assert_relative_eq!(loss, 1.192_093e-7, max_relative = 1e-6);
        assert_eq!(gradient, [0.0; 3]);

        let (loss, gradient) = single(&LOGITS, [50.0_f32, 0.0, 0.0], 1);
        assert_eq!(loss, 50.0);
        approx::assert_relative_eq!(&*gradient, &[1.0, -1.0, (-50.0_f32).exp()][..], max_relative = 1e-6);
    }

    // ∂l/∂p by hand: (1 − 1/0.5, 1, 1). The clipped third still takes part in the sum that p is divided by.
    #[test]
    fn the_gradient_goes_through_the_division_by_the_sum() {
        assert_eq!(single(&PROBABILITIES, [0.5_f64, 0.5, 0.0], 0), (std::f64::consts::LN_2, vec![-1.0, 1.0, 1.0]));
        let (loss, gradient) = single(&PROBABILITIES, [2.0_f64, 2.0, 0.0], 0);
        assert_eq!((loss, gradient), (std::f64::consts::LN_2, vec![-0.25, 0.25, 0.25]));

        // Smoothed targets 0.8, 0.1, 0.1, of which the last is clipped away: what is left adds up to 0.9.
        let (_, gradient) = single(&PROBABILITIES.label_smoothing(0.3), [0.5_f64, 0.5, 0.0], 0);
        approx::assert_relative_eq!(&*gradient, &[0.9 - 1.6, 0.9 - 0.2, 0.9][..], max_relative = 1e-14);
    }

    #[test]
    fn the_pass_can_say_that_it_brings_logits() {
        let (y, targets) = (numbers::<f32>(4, 10), array![0_usize, 9, 3, 3].into());
        let told = evaluate(&Case { from_logits: true, ..Case::new(&PROBABILITIES, &y, &targets) });
        assert_eq!(told, evaluate(&Case::new(&LOGITS, &y, &targets)));
        assert_ne!(told, evaluate(&Case::new(&PROBABILITIES, &y, &targets)));
        assert!(Loss::<f32>::fuses_softmax(&CategoricalCrossentropy::default()));
        assert!(!Loss::<f32>::fuses_softmax(&CategoricalCrossentropy::new().fuse_softmax(false)));
    }

    #[test]
    fn agrees_with_the_formulas() {
        for (alpha, weights) in [(0.0, [1.0; 5]), (0.1, [0.5, 0.0, 2.0, 1.0, 3.0]), (0.9, [1.0; 5])] {
            let (x, y) = (numbers::<f64>(5, 7) * 12.0 - 6.0, numbers::<f64>(5, 7).mapv(|y| y * y));
            let p = x.mapv(f64::exp);
            let p = &p / &p.sum_axis(Axis(1)).insert_axis(Axis(1));
            let smooth = y.mapv(|y| y * (1.0 - alpha) + alpha / 7.0);
            let mass = smooth.sum_axis(Axis(1)).insert_axis(Axis(1));
            let weight = Array1::from(weights.to_vec());
            let expected = -(p.mapv(f64::ln) * &smooth).sum_axis(Axis(1)) * &weight;
            let expected_gradient = (&p * &mass - &smooth) * (&weight / 5.0).insert_axis(Axis(1));

            let targets = y.into();
            let loss = LOGITS.label_smoothing(alpha);
            let (losses, dy) = evaluate(&Case { weights: Some(&weights), ..Case::new(&loss, &x, &targets) });
            approx::assert_relative_eq!(&*losses, expected.as_slice().unwrap(), max_relative = 1e-13);
            approx::assert_relative_eq!(
                dy.as_slice().unwrap(),
                expected_gradient.as_slice().unwrap(),
                max_relative = 1e-11,
                epsilon = 1e-15
            );

            let loss = PROBABILITIES.label_smoothing(alpha);
            let (losses, _) = evaluate(&Case { weights: Some(&weights), ..Case::new(&loss, &(p * 3.0), &targets) });
            approx::assert_relative_eq!(&*losses, expected.as_slice().unwrap(), max_relative = 1e-13);
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let classes = array![2_usize, 0, 5, 5];
        for targets in [Targets::from(classes.clone()), one_hot(&classes, 6).into(), numbers(4, 6).into()] {
            for alpha in [0.0, 0.2] {
                for weights in [None, Some(&[0.5, 2.0, 0.0, 1.0][..])] {
                    let (logits, probabilities) = (LOGITS.label_smoothing(alpha), PROBABILITIES.label_smoothing(alpha));
                    let (x, p) = (numbers(4, 6) * 8.0 - 4.0, numbers(4, 6) + 0.1);
                    check_gradient(Case { weights, ..Case::new(&logits, &x, &targets) });
                    check_gradient(Case { weights, ..Case::new(&probabilities, &p, &targets) });
                }
            }
        }
    }

    // Rows shorter and longer than the lanes of a sum, and a batch of more than one piece.
    #[test]
    fn class_indices_and_one_hot_rows_give_the_same_bits() {
        for (batch, count) in [(6, 10), (5, 37), (900, 40)] {
            let classes = Array1::from_shape_fn(batch, |i| (i * 7) % count);
            let (rows, classes) = (Targets::from(one_hot::<f32>(&classes, count)), Targets::from(classes));
            let y = numbers::<f32>(batch, count) * 3.0;
            for loss in [LOGITS, PROBABILITIES, LOGITS.label_smoothing(0.1), PROBABILITIES.label_smoothing(0.1)] {
                let bits = |targets| {
                    let (losses, dy) = evaluate(&Case::new(&loss, &y, targets));
                    losses.iter().chain(&dy).map(|value| value.to_bits()).collect::<Vec<_>>()
                };
                assert_eq!(bits(&classes), bits(&rows), "{loss:?}, {count} classes");
            }
        }
    }

    #[test]
    fn a_sample_does_not_depend_on_its_batch() {
        let (y, weights) = (numbers::<f32>(900, 40), vec![0.3; 900]);
        let targets = numbers::<f32>(900, 40);
        for loss in [LOGITS, PROBABILITIES] {
            let all = Targets::from(targets.clone());
            let (losses, dy) = evaluate(&Case { weights: Some(&weights), ..Case::new(&loss, &y, &all) });
            for sample in [0, 449, 450, 899] {
                let row = |array: &Array2<f32>| array.select(Axis(0), &[sample]);
                // The weight makes up for the division by the number of samples.
                let (one, target, weight) = (row(&y), row(&targets).into(), [0.3]);
                let (loss, gradient) = evaluate(&Case { weights: Some(&weight), ..Case::new(&loss, &one, &target) });
                assert_eq!(loss[0].to_bits(), losses[sample].to_bits());
                let gradient = gradient.mapv(|gradient| gradient / 900.0);
                let of_all = &dy.as_slice().unwrap()[sample * 40..][..40];
                approx::assert_relative_eq!(gradient.as_slice().unwrap(), of_all, max_relative = 1e-6);
            }
        }
    }

    #[test]
    fn extreme_logits() {
        let infinity = f32::INFINITY;
        assert_eq!(single(&LOGITS, [1e30, -1e30, 0.0], 0).0, 0.0);
        assert_eq!(single(&LOGITS, [-1000.0, -1000.0, -1000.0], 0).0, 3.0_f32.ln());
        // A class that is impossible costs nothing if it is another, and everything if it is the true one.
        assert_eq!(single(&LOGITS, [0.0, -infinity, -infinity], 0), (0.0, vec![0.0; 3]));
        let (y, row) = (array![[0.0, -infinity, -infinity]], array![[1.0, 0.0, 0.0]].into());
        assert_eq!(evaluate(&Case::new(&LOGITS, &y, &row)).0, [0.0]);
        assert_eq!(single(&LOGITS, [0.0, -infinity, 0.0], 1).0, infinity);
        // What is not a number shows, in its own row.
        for (loss, bad) in [(LOGITS, infinity), (LOGITS, f32::NAN), (PROBABILITIES, f32::NAN)] {
            let (y, targets) = (array![[1.0, bad, 0.0], [1.0, 0.5, 0.5]], array![0_usize, 0].into());
            let (losses, dy) = evaluate(&Case::new(&loss, &y, &targets));
            assert!(losses[0].is_nan() && dy.index_axis(Axis(0), 0).iter().all(|dy| dy.is_nan()), "{loss:?} {bad}");
            assert!(losses[1].is_finite() && dy.index_axis(Axis(0), 1).iter().all(|dy| dy.is_finite()));
        }
    }

    #[test]
    fn nothing_happens_on_an_empty_batch() {
        let (losses, dy) =
            evaluate(&Case::new(&LOGITS, &Array2::<f32>::zeros((0, 3)), &Array1::<usize>::zeros(0).into()));
        assert!(losses.is_empty() && dy.is_empty());
    }

    #[test]
    fn check_refuses_what_cannot_be_computed() {
        let check = |loss: CategoricalCrossentropy, targets: Targets<f32>| loss.check(&[3], &targets.view());
        for alpha in [1.0, -0.1, f64::NAN, f64::INFINITY] {
            let error = check(LOGITS.label_smoothing(alpha), array![0_usize].into()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("categorical_crossentropy: label_smoothing is {alpha}, expected 0 to below 1")
            );
        }
        let error = check(LOGITS, array![0_usize, 1, 3].into()).unwrap_err();
        assert!(matches!(error, Error::LabelOutOfRange { index: 2, label: 3, classes: 3 }));
        let error = check(LOGITS, array![[0.0, 1.0]].into()).unwrap_err();
        assert!(matches!(error, Error::Targets { owner: NAME, .. }));
    }
}
