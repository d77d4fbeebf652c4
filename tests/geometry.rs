//! Windows over images, in shapes that chance picks: convolution and max-pooling against loops written straight from the
//! definition, beyond the tables of `layers.rs`.
//!
//! All numbers are small integers, so that every sum is exact and results must agree to the last bit, in whatever order
//! they are summed.

mod common;

use common::Joined;
use plywood::layers::{Conv2D, Dense, Layer, MaxPooling2D, Phase};
use plywood::testing::LayerRun;
use plywood::{Error, Padding};
use proptest::prelude::*;

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

fn window(largest: usize, dilation: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Window> {
    let size = || (1..=largest, 1..=largest).prop_map(|(height, width)| [height, width]);
    let sides = (0..=3_usize, 0..=3_usize, 0..=3_usize, 0..=3_usize);
    let explicit = sides.prop_map(|(top, bottom, left, right)| Padding::Explicit { top, bottom, left, right });
    let padding = prop_oneof![Just(Padding::Valid), Just(Padding::Same), explicit];
    let image = (1..=14_usize, 1..=14_usize).prop_map(|(height, width)| [height, width]);
    let strides = (1..=4_usize, 1..=4_usize).prop_map(|(height, width)| [height, width]);
    let dilation = (dilation.clone(), dilation).prop_map(|(height, width)| [height, width]);
    (image, size(), strides, dilation, padding).prop_map(|(image, size, strides, dilation, padding)| Window {
        image,
        size,
        strides,
        dilation,
        padding,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolutions_are_those_of_the_definition(
        window in window(6, 1..=3),
        channels in 1..=20_usize,
        filters in 1..=40_usize,
        batch in 1..=4_usize,
        bias: bool,
    ) {
        let Window { image: [height, width], size: [rows, columns], .. } = window;
        let layer = Conv2D::new(filters, window.size)
            .strides(window.strides)
            .dilation(window.dilation)
            .padding(window.padding)
            .bias(bias);
        let sample = [height, width, channels];
        let Some([vertical, horizontal]) = window.axes() else {
            let error = Layer::<f64>::plan(&layer, &sample).unwrap_err();
            prop_assert!(matches!(error, Error::WindowTooLarge { .. }), "{error}");
            return Ok(());
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
                        let (Some(row), Some(column)) = (vertical.input(o, i), horizontal.input(p, j)) else { continue };
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
        prop_assert_eq!(got.y, want.y, "y");
        prop_assert_eq!(got.dx, want.dx, "dx");
        prop_assert_eq!(got.gradients, want.gradients, "gradients");
    }

    #[test]
    fn poolings_are_those_of_the_definition(
        window in window(5, 1..=1),
        channels in 1..=40_usize,
        batch in 1..=4_usize,
    ) {
        let Window { image: [height, width], size: [rows, columns], .. } = window;
        let layer = MaxPooling2D::new(window.size).strides(window.strides).padding(window.padding);
        let sample = [height, width, channels];
        if let Padding::Explicit { top, bottom, left, right } = window.padding
            && (top.max(bottom) >= rows || left.max(right) >= columns)
        {
            let error = Layer::<f64>::plan(&layer, &sample).unwrap_err();
            prop_assert!(matches!(error, Error::InvalidParameter { parameter: "padding", .. }), "{error}");
            return Ok(());
        }
        let Some([vertical, horizontal]) = window.axes() else {
            let error = Layer::<f64>::plan(&layer, &sample).unwrap_err();
            prop_assert!(matches!(error, Error::WindowTooLarge { .. }), "{error}");
            return Ok(());
        };

        let x = integers(batch * height * width * channels, 2);
        let dy = integers(batch * vertical.output * horizontal.output * channels, 3);
        let mut want = Made { y: vec![], dx: vec![0.0; x.len()], gradients: vec![] };
        for n in 0..batch {
            for (o, p) in (0..vertical.output).flat_map(|o| (0..horizontal.output).map(move |p| (o, p))) {
                for c in 0..channels {
                    let mut largest: Option<usize> = None;
                    for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                        let (Some(row), Some(column)) = (vertical.input(o, i), horizontal.input(p, j)) else { continue };
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
        prop_assert_eq!(got.y, want.y, "y");
        prop_assert_eq!(got.dx, want.dx, "dx");
    }

    /// A model's memory is made for the largest batch, and serves all smaller ones.
    #[test]
    fn scratch_never_shrinks_with_the_batch(
        window in window(5, 1..=2),
        stretch in (1..=24_usize, 1..=8_usize),
        channels in prop_oneof![1..=8_usize, 16..=160_usize],
        filters in prop_oneof![1..=20_usize, 64..=256_usize],
        pool in (1..=3_usize, 1..=3_usize),
        batch in 1..=40_usize,
    ) {
        let Window { image: [height, width], .. } = window;
        let sample = [height * stretch.0, width * stretch.1, channels];
        let conv = Conv2D::new(filters, window.size)
            .strides(window.strides)
            .dilation(window.dilation)
            .padding(window.padding);
        let pooling = MaxPooling2D::new(pool.0).strides(pool.1);
        never_shrinks(&conv, &sample, batch)?;
        never_shrinks(&pooling, &sample, batch)?;
        let joined = Joined(conv.clone(), pooling.clone());
        if Layer::<f32>::plan(&joined, &sample).is_ok() {
            never_shrinks(&joined, &sample, batch)?;
        }
        never_shrinks(&Dense::new(filters), &[channels * height], batch)?;
    }
}

/// Compares the scratch of a batch with that of the next, from one sample up to some more than these.
fn never_shrinks(layer: &impl Layer<f32>, sample: &[usize], batch: usize) -> Result<(), TestCaseError> {
    if layer.plan(sample).is_err() {
        return Ok(());
    }
    for phase in [Phase::Training, Phase::Inference] {
        let lengths = |batch| {
            let scratch = layer.scratch(sample, batch, phase);
            [scratch.values, scratch.indices]
        };
        for batch in (1..4).chain([batch, 7 * batch]) {
            let (less, more) = (lengths(batch), lengths(batch + 1));
            prop_assert!(
                less[0] <= more[0] && less[1] <= more[1],
                "{phase:?}, {batch} samples: {less:?}, then {more:?}"
            );
        }
    }
    Ok(())
}
