//! Closures as callbacks.

use std::fmt;

use super::{BatchEnd, Callback, Control, EpochEnd};
use crate::error::Result;
use crate::model::Trainer;
use crate::scalar::Scalar;

/// A callback that calls `tell` after each epoch. It may return a [`Control`], or nothing.
///
/// ```
/// use plywood::callbacks::on_epoch_end;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut print = on_epoch_end(|_, epoch| println!("{}", epoch.line()));
/// let mut stop = on_epoch_end(|trainer, epoch| {
///     trainer.optimizer_mut().set_learning_rate(0.1 / epoch.epoch as f64);
///     if epoch.get("loss") < Some(0.5) { Control::Stop } else { Control::Continue }
/// });
/// let history = trainer.fit_with(&data, &Fit::epochs(1000), &mut [&mut print, &mut stop])?;
/// assert!(history.last("loss") < Some(0.5));
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "LambdaCallback")]
pub fn on_epoch_end<T, F, R>(tell: F) -> OnEpochEnd<F>
where
    T: Scalar,
    F: FnMut(&mut Trainer<T>, &EpochEnd<'_>) -> R + Send,
    R: Into<Control>,
{
    OnEpochEnd { tell }
}

/// A callback that calls `tell` after each step. It may return a [`Control`], or nothing.
///
/// ```
/// use plywood::callbacks::on_batch_end;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut losses = vec![];
/// let mut keep = on_batch_end(|_, batch| losses.push(batch.loss));
/// trainer.fit_with(&data, &Fit::epochs(3).batch_size(1), &mut [&mut keep])?;
/// assert_eq!(losses.len(), 6);
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "LambdaCallback")]
pub fn on_batch_end<T, F, R>(tell: F) -> OnBatchEnd<F>
where
    T: Scalar,
    F: FnMut(&mut Trainer<T>, &BatchEnd) -> R + Send,
    R: Into<Control>,
{
    OnBatchEnd { tell }
}

/// What [`on_epoch_end`] makes.
///
/// ```
/// use plywood::callbacks::on_epoch_end;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut epochs = 0;
/// let mut count = on_epoch_end(|_, _| epochs += 1);
/// trainer.fit_with(&data, &Fit::epochs(3).batch_size(1), &mut [&mut count])?;
/// assert_eq!(epochs, 3);
/// # Ok::<(), plywood::Error>(())
/// ```
pub struct OnEpochEnd<F> {
    tell: F,
}

/// What [`on_batch_end`] makes.
///
/// ```
/// use plywood::callbacks::on_batch_end;
/// use plywood::ndarray::array;
/// use plywood::prelude::*;
///
/// # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
/// # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
/// # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
/// let mut steps = 0;
/// let mut count = on_batch_end(|_, _| steps += 1);
/// trainer.fit_with(&data, &Fit::epochs(3).batch_size(1), &mut [&mut count])?;
/// assert_eq!(steps, 6);
/// # Ok::<(), plywood::Error>(())
/// ```
pub struct OnBatchEnd<F> {
    tell: F,
}

impl<F> fmt::Debug for OnEpochEnd<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnEpochEnd")
    }
}

impl<F> fmt::Debug for OnBatchEnd<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnBatchEnd")
    }
}

impl<T, F, R> Callback<T> for OnEpochEnd<F>
where
    T: Scalar,
    F: FnMut(&mut Trainer<T>, &EpochEnd<'_>) -> R + Send,
    R: Into<Control>,
{
    fn epoch_end(&mut self, trainer: &mut Trainer<T>, epoch: &EpochEnd<'_>) -> Result<Control> {
        Ok((self.tell)(trainer, epoch).into())
    }
}

impl<T, F, R> Callback<T> for OnBatchEnd<F>
where
    T: Scalar,
    F: FnMut(&mut Trainer<T>, &BatchEnd) -> R + Send,
    R: Into<Control>,
{
    fn batch_end(&mut self, trainer: &mut Trainer<T>, batch: &BatchEnd) -> Result<Control> {
        Ok((self.tell)(trainer, batch).into())
    }
}
