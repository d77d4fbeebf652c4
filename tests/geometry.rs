//! Windows over images, in shapes that chance picks: convolution and max-pooling against loops written straight from the
//! definition, beyond the tables of `layers.rs`.
//!
//! All numbers are small integers, so that every sum is exact and results must agree to the last bit, in whatever order
//! they are summed.

mod common;

use std::ops::RangeInclusive;

use common::Joined;
use ndarray_rand::rand::{Rng, SeedableRng};
use plywood::layers::{Conv2D, Dense, Layer, MaxPooling2D, Phase};
use plywood::testing::LayerRun;
use plywood::{Error, Padding};
use rand_chacha::ChaCha8Rng;

/// Shapes that are tried.
const CASES: u64 = 500;

/// A window over images.
#[derive(Debug, Clone, Copy)]
struct Window {
    image: [usize; 2],
    size: [usize; 2],
    strides: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
}

/// How the window moves along one axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    input: usize,
    output: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

impl Axis {
    /// The input under element `k` of window `o`, if it is not padding.
    fn input(&self, o: usize, k: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.before).filter(|&i| i < self.input)
    }
}

impl Window {
    /// Both axes, or none if the window does not fit.
    fn axes(&self) -> Option<[Axis; 2]> {
        let sides = match self.padding {
            Padding::Explicit { top, bottom, left, right } => [(top, bottom), (left, right)],
            _ => [(0, 0); 2],
        };
        let mut axes = [None; 2];
        for axis in 0..2 {
            let (input, stride, dilation) = (self.image[axis], self.strides[axis], self.dilation[axis]);
            let reach = (self.size[axis] - 1) * dilation + 1;
            axes[axis] = if self.padding == Padding::Same {
                let output = input.div_ceil(stride);
                let total = ((output - 1) * stride + reach).saturating_sub(input);
                Some(Axis { input, output, stride, dilation, before: total / 2 })
            } else {
                let (before, after) = sides[axis];
                let room = (input + before + after).checked_sub(reach);
                room.map(|room| Axis { input, output: room / stride + 1, stride, dilation, before })
            };
        }
        Some([axes[0]?, axes[1]?])
    }
}

/// Integers from −5 to 5 without a pattern.
fn integers(len: usize, seed: usize) -> Vec<f64> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 11) as f64 - 5.0).collect()
}

/// A layer's output and gradients for given numbers.
struct Made {
    y: Vec<f64>,
    dx: Vec<f64>,
    gradients: Vec<f64>,
}

fn run(layer: impl Layer<f64>, sample: [usize; 3], batch: usize, x: &[f64], parameters: &[f64], dy: &[f64]) -> Made {
    let mut run = LayerRun::<f64>::new(layer, sample, batch, 0).unwrap();
    run.x_mut().iter_mut().zip(x).for_each(|(to, from)| *to = *from);
    assert_eq!(run.y().len(), dy.len(), "the output is of another size");
    run.dy_mut().iter_mut().zip(dy).for_each(|(to, from)| *to = *from);
    run.parameters_mut().copy_from_slice(parameters);
    run.spoil();
    run.forward();
    run.backward(true);
    Made {
        y: run.y().iter().copied().collect(),
        dx: run.dx().iter().copied().collect(),
        gradients: run.gradients().to_vec(),
    }
}

/// A window up to this large, in an image, with dilations from this range.
fn window(generator: &mut ChaCha8Rng, largest: usize, dilation: RangeInclusive<usize>) -> Window {
    let mut pair = |range: RangeInclusive<usize>| [range.clone(), range].map(|range| generator.random_range(range));
    let (image, size) = (pair(1..=14), pair(1..=largest));
    let (strides, dilation) = (pair(1..=4), pair(dilation));
    let ([top, bottom], [left, right]) = (pair(0..=3), pair(0..=3));
    let paddings = [Padding::Valid, Padding::Same, Padding::Explicit { top, bottom, left, right }];
    Window { image, size, strides, dilation, padding: paddings[generator.random_range(0..3)] }
}

/// Runs a test with one generator after the other.
fn cases(test: fn(&mut ChaCha8Rng)) {
    for seed in 0..CASES {
        test(&mut ChaCha8Rng::seed_from_u64(seed));
    }
}

#[test]
fn convolutions_are_those_of_the_definition() {
    cases(|generator| {
        let window = window(generator, 6, 1..=3);
        let (channels, filters) = (generator.random_range(1..=20), generator.random_range(1..=40));
        let (batch, bias) = (generator.random_range(1..=4), generator.random());
        let Window { image: [height, width], size: [rows, columns], .. } = window;
        let layer = Conv2D::new(filters, window.size)
            .strides(window.strides)
            .dilation(window.dilation)
            .padding(window.padding)
            .bias(bias);
        let sample = [height, width, channels];
        let Some([vertical, horizontal]) = window.axes() else {
            let error = Layer::<f64>::plan(&layer, &sample).unwrap_err();
            assert!(matches!(error, Error::WindowTooLarge { .. }), "{error}");
            return;
        };

        let weights = rows * columns * channels * filters;
        let parameters = integers(weights + if bias { filters } else { 0 }, 1);
        let x = integers(batch * height * width * channels, 2);
        let dy = integers(batch * vertical.output * horizontal.output * filters, 3);
        let mut want = Made { y: vec![], dx: vec![0.0; x.len()], gradients: vec![0.0; parameters.len()] };
        for n in 0..batch {
            for (o, p) in (0..vertical.output).flat_map(|o| (0..horizontal.output).map(move |p| (o, p))) {
                for f in 0..filters {
                    let g = dy[want.y.len()];
                    let mut sum = if bias { parameters[weights + f] } else { 0.0 };
                    if bias {
                        want.gradients[weights + f] += g;
                    }
                    for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                        let (Some(row), Some(column)) = (vertical.input(o, i), horizontal.input(p, j)) else {
                            continue;
                        };
                        for c in 0..channels {
                            let at = ((n * height + row) * width + column) * channels + c;
                            let weight = ((i * columns + j) * channels + c) * filters + f;
                            sum += x[at] * parameters[weight];
                            want.dx[at] += g * parameters[weight];
                            want.gradients[weight] += g * x[at];
                        }
                    }
                    want.y.push(sum);
                }
            }
        }
        let got = run(layer, sample, batch, &x, &parameters, &dy);
        assert_eq!(got.y, want.y, "y of {window:?}");
        assert_eq!(got.dx, want.dx, "dx of {window:?}");
        assert_eq!(got.gradients, want.gradients, "gradients of {window:?}");
    });
}

#[test]
fn poolings_are_those_of_the_definition() {
    cases(|generator| {
        let window = window(generator, 5, 1..=1);
        let (channels, batch) = (generator.random_range(1..=40), generator.random_range(1..=4));
        let Window { image: [height, width], size: [rows, columns], .. } = window;
        let layer = MaxPooling2D::new(window.size).strides(window.strides).padding(window.padding);
        let sample = [height, width, channels];
        if let Padding::Explicit { top, bottom, left, right } = window.padding
            && (top.max(bottom) >= rows || left.max(right) >= columns)
        {
            let error = Layer::<f64>::plan(&layer, &sample).unwrap_err();
            assert!(matches!(error, Error::InvalidParameter { parameter: "padding", .. }), "{error}");
            return;
        }
        let Some([vertical, horizontal]) = window.axes() else {
            let error = Layer::<f64>::plan(&layer, &sample).unwrap_err();
            assert!(matches!(error, Error::WindowTooLarge { .. }), "{error}");
            return;
        };

        let x = integers(batch * height * width * channels, 2);
        let dy = integers(batch * vertical.output * horizontal.output * channels, 3);
        let mut want = Made { y: vec![], dx: vec![0.0; x.len()], gradients: vec![] };
        for n in 0..batch {
            for (o, p) in (0..vertical.output).flat_map(|o| (0..horizontal.output).map(move |p| (o, p))) {
                for c in 0..channels {
                    let mut largest: Option<usize> = None;
                    for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                        let (Some(row), Some(column)) = (vertical.input(o, i), horizontal.input(p, j)) else {
                            continue;
                        };
                        let at = ((n * height + row) * width + column) * channels + c;
                        if largest.is_none_or(|largest| x[at] > x[largest]) {
                            largest = Some(at);
                        }
                    }
                    let largest = largest.expect("padding is less than the pool");
                    want.dx[largest] += dy[want.y.len()];
                    want.y.push(x[largest]);
                }
            }
        }
        let got = run(layer, sample, batch, &x, &[], &dy);
        assert_eq!(got.y, want.y, "y of {window:?}");
        assert_eq!(got.dx, want.dx, "dx of {window:?}");
    });
}

/// A model's memory is made for the largest batch, and serves all smaller ones.
#[test]
fn scratch_never_shrinks_with_the_batch() {
    cases(|generator| {
        let window = window(generator, 5, 1..=2);
        let few_channels = generator.random();
        let channels = generator.random_range(if few_channels { 1..=8 } else { 16..=160 });
        let few_filters = generator.random();
        let filters = generator.random_range(if few_filters { 1..=20 } else { 64..=256 });
        let [height, width] = window.image;
        let sample = [height * generator.random_range(1..=24), width * generator.random_range(1..=8), channels];
        let conv =
            Conv2D::new(filters, window.size).strides(window.strides).dilation(window.dilation).padding(window.padding);
        let pooling = MaxPooling2D::new(generator.random_range(1..=3)).strides(generator.random_range(1..=3));
        let batch = generator.random_range(1..=40);
        never_shrinks(&conv, &sample, batch);
        never_shrinks(&pooling, &sample, batch);
        let joined = Joined(conv.clone(), pooling.clone());
        if Layer::<f32>::plan(&joined, &sample).is_ok() {
            never_shrinks(&joined, &sample, batch);
        }
        never_shrinks(&Dense::new(filters), &[channels * height], batch);
    });
}

/// Compares the scratch of a batch with that of the next, from one sample up to some more than these.
fn never_shrinks(layer: &impl Layer<f32>, sample: &[usize], batch: usize) {
    if layer.plan(sample).is_err() {
        return;
    }
    for phase in [Phase::Training, Phase::Inference] {
        let lengths = |batch| {
            let scratch = layer.scratch(sample, batch, phase);
            [scratch.values, scratch.indices]
        };
        for batch in (1..4).chain([batch, 7 * batch]) {
            let (less, more) = (lengths(batch), lengths(batch + 1));
            assert!(less[0] <= more[0] && less[1] <= more[1], "{phase:?}, {batch} samples: {less:?}, then {more:?}");
        }
    }
}
