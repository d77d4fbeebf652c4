//! How long each layer takes.

use std::time::{Duration, Instant};

use super::sequential::Sequential;
use super::workspace::Workspace;
use crate::losses::MeanSquaredError;
use crate::scalar::Scalar;

/// Passes of which the fastest counts, after one that warms up.
const PASSES: usize = 5;

/// What the layers of a model took for one batch: see [`Sequential::time_layers`].
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([28, 28, 1]).add(Flatten::new()).add(Dense::new(10)).build(42)?;
/// let times = model.time_layers(16);
/// assert_eq!((times.batch(), times.layers().len()), (16, 2));
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerTimes {
    pub(super) batch: usize,
    pub(super) layers: Vec<LayerTime>,
}

/// What one layer took for a batch.
///
/// ```
/// use std::time::Duration;
///
/// use plywood::model::LayerTime;
/// use plywood::prelude::*;
///
/// let model = Sequential::input([784]).add(Dense::new(100)).add(ReLU::new()).build(42)?;
/// let times = model.time_layers(64);
/// let backward = times.layers().iter().map(|time| match *time {
///     LayerTime::Own { backward, .. } => backward,
///     _ => Duration::ZERO,
/// });
/// assert!(backward.sum::<Duration>() > Duration::ZERO);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerTime {
    /// It was computed by itself, or with the layers after it that are [`Joined`](Self::Joined).
    Own {
        /// From input to output.
        forward: Duration,
        /// From the output's gradient to those of the parameters and, but for the first layer with parameters, of the input.
        /// Layers before that one have nothing to do.
        backward: Duration,
    },
    /// It was computed together with the layer before it, which has the time of both.
    Joined,
    /// There was nothing to compute: it only gives its data another shape.
    Nothing,
}

impl LayerTimes {
    /// The samples in the batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Each layer's time, in the order of the model's layers.
    pub fn layers(&self) -> &[LayerTime] {
        &self.layers
    }
}

impl<T: Scalar> Sequential<T> {
    /// Measures what each layer takes for a training step with so many samples, forward and backward: the fastest of a few
    /// passes on made-up inputs. The model stays as it is. A batch of which some layer's output would have more than 2²⁸
    /// elements is cut to that.
    ///
    /// What training joins is joined here too: a convolution, the ReLU and the pooling after it are one piece of work.
    /// Packing the parameters, once a step, belongs to no layer and is left out.
    ///
    /// ```
    /// use plywood::model::LayerTime;
    /// use plywood::prelude::*;
    ///
    /// let model = Sequential::input([28, 28, 1])
    ///     .add(Conv2D::new(8, 3).activation(Activation::ReLU))
    ///     .add(MaxPooling2D::new(2))
    ///     .add(Flatten::new())
    ///     .add(Dense::new(10))
    ///     .build(42)?;
    /// let times = model.time_layers(64);
    /// assert!(matches!(times.layers()[..], [LayerTime::Own { .. }, LayerTime::Joined, LayerTime::Nothing, LayerTime::Own { .. }]));
    /// println!("{}", model.summary().times(&times));
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn time_layers(&self, batch: usize) -> LayerTimes {
        let batch = self.batch_within_memory(batch);
        // a loss that leaves a final Softmax to the model
        let mut workspace = Workspace::new(self, &MeanSquaredError, batch)
            .expect("no array of it has more elements than were found to fit");
        let values = [-0.9, 0.3, 0.7, -0.2, 0.5];
        let mut made_up = values.into_iter().cycle().map(T::of);
        workspace.input_mut().fill_with(|| made_up.next().expect("a cycle does not end"));
        let mut gradients = vec![T::zero(); self.parameter_count()];

        let stages = self.stages();
        let mut fastest = vec![[Duration::MAX; 2]; stages.len()];
        rayon::scope(|_| {
            for pass in 0..=PASSES {
                workspace.prepare(self);
                let time = |fastest: &mut Duration, work: &mut dyn FnMut()| {
                    let start = Instant::now();
                    work();
                    if pass > 0 {
                        *fastest = start.elapsed().min(*fastest);
                    }
                };
                for (stage, [forward, _]) in fastest.iter_mut().enumerate() {
                    time(forward, &mut || workspace.forward_stage(self, stage, batch, 0));
                }
                workspace.start_backward(|| made_up.next().expect("a cycle does not end"));
                for (stage, [_, backward]) in fastest.iter_mut().enumerate().rev() {
                    time(backward, &mut || workspace.backward_stage(self, stage, batch, &mut gradients));
                }
            }
        });

        let layers = self.layers().iter().enumerate().map(|(owner, layer)| {
            let own = stages.iter().zip(&fastest).filter(|(stage, _)| stage.owner == owner);
            let sum = own.map(|(_, &time)| time).reduce(|[f, b], [forward, backward]| [f + forward, b + backward]);
            match sum {
                Some([forward, backward]) => LayerTime::Own { forward, backward },
                None if layer.layer().only_reshapes() => LayerTime::Nothing,
                None => LayerTime::Joined,
            }
        });
        LayerTimes { batch, layers: layers.collect() }
    }
}
