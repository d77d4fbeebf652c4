//! What the tests of callbacks share: a trainer, and a run whose figures are given.

use super::{BatchEnd, Callback, Control, EpochEnd, TrainBegin};
use crate::layers::Dense;
use crate::losses::MeanSquaredError;
use crate::model::{Sequential, Trainer};
use crate::optimizers::SGD;

/// A model of one weight and a bias, at a learning rate of 1.
pub(super) fn trainer() -> Trainer {
    let model = Sequential::input([1]).add(Dense::new(1)).build(0).expect("the model is a good one");
    model.compile(SGD::new(1.0), MeanSquaredError)
}

/// Lets a callback see one epoch after the other in which a figure has these values, until it wants to stop; `train` goes
/// before each. Returns how many epochs there were.
pub(super) fn play(
    trainer: &mut Trainer,
    callback: &mut dyn Callback,
    figure: &str,
    values: &[f64],
    mut train: impl FnMut(&mut Trainer),
) -> usize {
    let figures = [figure.to_owned()];
    let epochs = values.len();
    callback
        .train_begin(
            trainer,
            &TrainBegin { epochs, batches: 1, samples: 1, figures: &figures, epoch: 0, batch: 0, state: None },
        )
        .unwrap();
    let mut ran = 0;
    for &value in values {
        train(trainer);
        ran += 1;
        let batch = BatchEnd { epoch: ran, batch: 1, batches: 1, samples: 1, loss: value, mean_loss: value };
        let stop = callback.batch_end(trainer, &batch).unwrap() == Control::Stop;
        let end = EpochEnd { epoch: ran, epochs, seconds: 0.5, values: &[(figure, value)] };
        if callback.epoch_end(trainer, &end).unwrap() == Control::Stop || stop {
            break;
        }
    }
    callback.train_end(trainer).unwrap();
    ran
}
