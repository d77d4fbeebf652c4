//! How far something is: the bar of an epoch in training, and a spinner for what takes long.
//!
//! Both show on a terminal only, on standard output, and are gone when the work is done. They need the feature `progress`;
//! without it nothing is shown.
//!
//! ```
//! use plywood::ndarray::array;
//! use plywood::prelude::*;
//!
//! # let data = Dataset::new(array![[0.0_f32], [1.0]], array![0_usize, 1])?;
//! # let model = Sequential::input([1]).add(Dense::new(2)).add(Softmax::new()).build(42)?;
//! # let mut trainer = model.compile(RMSprop::new(0.1), CategoricalCrossentropy::default());
//! let history = trainer.fit(&data, &Fit::epochs(2).verbosity(Verbosity::Progress))?; // a bar, and two lines
//! assert_eq!(history.len(), 2);
//! # Ok::<(), plywood::Error>(())
//! ```

#[cfg(feature = "progress")]
mod bar;

use std::io::Write;
use std::time::Instant;

use crate::callbacks::{BatchEnd, Callback, Control, EpochEnd, TrainBegin};
use crate::error::Result;
use crate::model::{Trainer, Verbosity};
use crate::scalar::Scalar;

/// Shows a message with a spinner for as long as the work takes.
///
/// Nothing is shown where standard output is not a terminal, or without the feature `progress`.
///
/// ```
/// let sum = plywood::progress::spinner("adding", || (1..=10).sum::<i32>());
/// assert_eq!(sum, 55);
/// ```
pub fn spinner<R>(message: &str, work: impl FnOnce() -> R) -> R {
    #[cfg(feature = "progress")]
    let _spinner = bar::Spinner::new(message);
    #[cfg(not(feature = "progress"))]
    let _ = message;
    work()
}

/// What `fit` prints.
#[derive(Debug)]
pub(crate) struct Progress {
    verbosity: Verbosity,
    epochs: usize,
    /// When the epoch began.
    begin: Instant,
    #[cfg(feature = "progress")]
    bar: Option<bar::Bar>,
    /// Whether the epoch goes on that a checkpoint was made in.
    #[cfg(feature = "progress")]
    resumed: bool,
}

impl Progress {
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        Self {
            verbosity,
            epochs: 0,
            begin: Instant::now(),
            #[cfg(feature = "progress")]
            bar: None,
            #[cfg(feature = "progress")]
            resumed: false,
        }
    }
}

impl<T: Scalar> Callback<T> for Progress {
    fn train_begin(&mut self, _: &mut Trainer<T>, run: &TrainBegin<'_>) -> Result<()> {
        (self.epochs, self.begin) = (run.epochs, Instant::now());
        #[cfg(feature = "progress")]
        {
            self.resumed = run.batch > 0;
        }
        Ok(())
    }

    #[cfg(feature = "progress")]
    fn batch_end(&mut self, trainer: &mut Trainer<T>, batch: &BatchEnd) -> Result<Control> {
        if self.verbosity == Verbosity::Progress {
            if batch.batch == 1 || self.resumed {
                self.resumed = false;
                self.bar = bar::Bar::new(batch, self.epochs);
            }
            if let Some(bar) = &mut self.bar {
                bar.update(trainer, batch, self.begin);
            }
        }
        Ok(Control::Continue)
    }

    #[cfg(not(feature = "progress"))]
    fn batch_end(&mut self, _: &mut Trainer<T>, _: &BatchEnd) -> Result<Control> {
        Ok(Control::Continue)
    }

    fn epoch_end(&mut self, _: &mut Trainer<T>, epoch: &EpochEnd<'_>) -> Result<Control> {
        #[cfg(feature = "progress")]
        drop(self.bar.take());
        if self.verbosity != Verbosity::Silent {
            // unlike println, this does not panic when whoever reads the lines has gone
            let _ = writeln!(std::io::stdout(), "{}", epoch.line());
        }
        self.begin = Instant::now();
        Ok(Control::Continue)
    }
}
