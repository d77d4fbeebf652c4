//! What is promised of sums: long ones stay exact, none is −0, and what is not finite is not lost. The bits are the same in
//! any batch, for any vector width, and whether layers are joined or apart.

mod common;

use std::hash::Hasher;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};

use common::{Fnv, Joined};
use plywood::layers::Layer;
use plywood::prelude::*;
use plywood::testing::LayerRun;

/// Terms of the longest sums.
const MANY: usize = 1_000_000;

/// How far a sum in f32 may be off, relative to Σ |terms|.
const ERROR: f64 = 1e-4;

/// Numbers between −1 and 1 without a pattern.
fn fractions(len: usize, seed: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(2 * seed as u32 + 1);
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / 2.0_f32.powi(31) - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What a layer is given: its input, its parameters, and the gradient of its output.
#[derive(Debug, Clone)]
struct Given {
    x: Vec<f32>,
    parameters: Vec<f32>,
    dy: Vec<f32>,
}

/// What layers one after the other make of it.
#[derive(Debug, Clone, PartialEq)]
struct Made {
    y: Vec<f32>,
    dx: Vec<f32>,
    gradients: Vec<f32>,
}

impl Made {
    /// Compares all bits, and says where the first is that differs.
    #[track_caller]
    fn is_same(&self, other: &Made, context: impl Fn() -> String) {
        for (what, (got, want)) in ["y", "dx", "gradients"].iter().zip(self.bits().iter().zip(&other.bits())) {
            assert_eq!(got.len(), want.len(), "{what}, {}", context());
            let first = got.iter().zip(want).position(|(got, want)| got != want);
            assert_eq!(first, None, "{what}, {}", context());
        }
    }

    /// All bits, one NaN like the other.
    fn bits(&self) -> [Vec<u32>; 3] {
        let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
        [&self.y, &self.dx, &self.gradients].map(|values| values.iter().map(bits).collect())
    }
}

fn layer_run(layer: impl Layer<f32>, sample: &[usize], batch: usize) -> LayerRun<f32> {
    LayerRun::new(layer, sample, batch, 0).expect("the shapes fit")
}

/// Runs layers one after the other, each on its own, of which only the first has parameters.
fn run(mut runs: Vec<LayerRun<f32>>, given: &Given) -> Made {
    runs.iter_mut().for_each(LayerRun::spoil);
    runs[0].parameters_mut().copy_from_slice(&given.parameters);
    let mut x = given.x.clone();
    for run in &mut runs {
        run.x_mut().iter_mut().zip(&x).for_each(|(to, &from)| *to = from);
        run.forward();
        x = run.y().iter().copied().collect();
    }
    let mut dy = given.dy.clone();
    assert_eq!(x.len(), dy.len());
    for run in runs.iter_mut().rev() {
        run.dy_mut().iter_mut().zip(&dy).for_each(|(to, &from)| *to = from);
        run.backward(true);
        dy = run.dx().iter().copied().collect();
    }
    Made { y: x, dx: dy, gradients: runs[0].gradients().to_vec() }
}

/// A sum and the sum of its terms' absolute values.
#[derive(Debug, Clone, Copy, Default)]
struct Sum(f64, f64);

impl Sum {
    fn add(&mut self, a: f32, b: f32) {
        let term = f64::from(a) * f64::from(b);
        *self = Self(self.0 + term, self.1 + term.abs());
    }
}

/// Fails if sums in f32 are off by more than is promised.
#[track_caller]
fn compare(what: &str, got: &[f32], want: &[Sum]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let error = |(&got, want): (&f32, &Sum)| (f64::from(got) - want.0).abs() / want.1;
    let largest = got.iter().zip(want).map(error).fold(0.0, f64::max);
    println!("{what}: {largest:.1e}");
    assert!(largest <= ERROR, "{what} is off by {largest:.1e} of its terms");
}

/// The same numbers, or numbers without a pattern.
fn values(equal: bool, len: usize, seed: usize) -> Vec<f32> {
    if equal { vec![0.1; len] } else { fractions(len, seed) }
}

/// A Dense layer's sums against the same in f64.
fn long_dense(equal: bool, batch: usize, inputs: usize, units: usize) -> Made {
    let kernel = values(equal, inputs * units, 2);
    let parameters = [&kernel[..], &vec![0.0; units]].concat();
    let given = Given { x: values(equal, batch * inputs, 1), parameters, dy: values(equal, batch * units, 3) };
    let made = run(vec![layer_run(Dense::new(units), &[inputs], batch)], &given);
    let mut y = vec![Sum::default(); batch * units];
    let mut dx = vec![Sum::default(); batch * inputs];
    let mut gradients = vec![Sum::default(); inputs * units + units];
    for n in 0..batch {
        for u in 0..units {
            let dy = given.dy[n * units + u];
            gradients[inputs * units + u].add(dy, 1.0);
            for i in 0..inputs {
                y[n * units + u].add(given.x[n * inputs + i], kernel[i * units + u]);
                dx[n * inputs + i].add(dy, kernel[i * units + u]);
                gradients[i * units + u].add(dy, given.x[n * inputs + i]);
            }
        }
    }
    let what = |sums| format!("{sums} of Dense, {batch}×{inputs}→{units}");
    compare(&what("y"), &made.y, &y);
    compare(&what("dx"), &made.dx, &dx);
    compare(&what("gradients"), &made.gradients, &gradients);
    made
}

/// The same for convolutions of one image without padding, pooled or not: of `pool` pixels the largest has the gradient.
fn long_conv(equal: bool, [height, width, channels]: [usize; 3], filters: usize, kernel: usize, pool: usize) -> Made {
    let weights = values(equal, kernel * kernel * channels * filters, 2);
    let [rows, columns] = [height, width].map(|input| input - kernel + 1);
    let [pooled_rows, pooled_columns] = [rows / pool, columns / pool];
    let given = Given {
        x: values(equal, height * width * channels, 1),
        parameters: [&weights[..], &vec![0.0; filters]].concat(),
        dy: values(equal, pooled_rows * pooled_columns * filters, 3),
    };
    let (layer, sample) = (Conv2D::new(filters, kernel), [height, width, channels]);
    let made = if pool == 1 {
        run(vec![layer_run(layer, &sample, 1)], &given)
    } else {
        run(vec![layer_run(Joined(layer, MaxPooling2D::new(pool)), &sample, 1)], &given)
    };
    let mut y = vec![];
    let mut dx = vec![Sum::default(); given.x.len()];
    let mut gradients = vec![Sum::default(); given.parameters.len()];
    let taps = |o: usize, p: usize, f: usize| {
        (0..kernel * kernel * channels).map(move |tap| {
            let (i, j, c) = (tap / channels / kernel, tap / channels % kernel, tap % channels);
            (((o + i) * width + p + j) * channels + c, tap * filters + f)
        })
    };
    for (o, p) in (0..pooled_rows).flat_map(|o| (0..pooled_columns).map(move |p| (o, p))) {
        for f in 0..filters {
            let windows = (0..pool * pool).map(|at| {
                let (o, p) = (o * pool + at / pool, p * pool + at % pool);
                let mut sum = Sum::default();
                taps(o, p, f).for_each(|(i, w)| sum.add(given.x[i], weights[w]));
                ((o, p), sum)
            });
            // the first of the largest
            let ((o, p), sum) = windows.reduce(|best, next| if next.1.0 > best.1.0 { next } else { best }).unwrap();
            let dy = given.dy[y.len()];
            y.push(sum);
            gradients[weights.len() + f].add(dy, 1.0);
            for (i, w) in taps(o, p, f) {
                dx[i].add(dy, weights[w]);
                gradients[w].add(dy, given.x[i]);
            }
        }
    }
    let what = |sums| format!("{sums} of Conv2D {kernel}×{kernel}, {height}×{width}×{channels}→{filters} by {pool}");
    compare(&what("y"), &made.y, &y);
    // where the gradient goes depends on the last bits of what is compared: here, numbers that are far from one another
    compare(&what("gradients"), &made.gradients, &gradients);
    let touched =
        |sums: &[Sum]| sums.iter().map(|sum| if sum.1 == 0.0 { Sum(0.0, 1.0) } else { *sum }).collect::<Vec<_>>();
    compare(&what("dx"), &made.dx, &touched(&dx));
    made
}

/// All sums that are long, of equal numbers and of others; what they are is hashed.
fn long_sums() -> u64 {
    let mut hash = Fnv::default();
    let mut note = |made: Made| made.bits().iter().flatten().for_each(|&bits| hash.write_u32(bits));
    for equal in [true, false] {
        // many features, for a single row and for tiles; many units; a large batch
        note(long_dense(equal, 1, MANY, 1));
        note(long_dense(equal, 1, 200_000, 70));
        note(long_dense(equal, 7, MANY, 1));
        note(long_dense(equal, 2, 1, MANY));
        note(long_dense(equal, MANY, 2, 3));
        note(long_dense(equal, 2000, 3, 140));
        // many pixels; many channels; many filters; rows that are longer than stretches
        note(long_conv(equal, [1024, 1024, 1], 1, 1, 1));
        note(long_conv(equal, [300, 260, 2], 3, 3, 1));
        note(long_conv(equal, [2, 2, 300_000], 1, 1, 1));
        note(long_conv(equal, [2, 1, 1], 300_000, 1, 1));
        note(long_conv(equal, [5, 7, 2], 700, 3, 1));
        note(long_conv(equal, [3, 70_000, 1], 1, 1, 1));
    }
    // most of dy is zero and left out
    note(long_conv(false, [700, 500, 32], 1, 1, 2));
    note(long_conv(false, [4, 30_000, 12], 2, 3, 2));
    note(long_conv(false, [12, 12, 12], 400, 3, 2));

    for n in [1 << 20, 3_000_001] {
        let given = Given { x: vec![0.1; n], parameters: vec![], dy: vec![1.0; n] };
        let made = run(vec![layer_run(Softmax::new(), &[n], 1)], &given);
        compare("Softmax of equal numbers", &made.y[..1], &[Sum(1.0 / n as f64, 1.0 / n as f64)]);
        // Σ y·dy is 1, and so dx is y·(1 − 1)
        compare("Softmax's gradient", &made.dx[..1], &[Sum(0.0, 1.0 / n as f64)]);
        note(made);
    }
    hash.finish()
}

/// The hash of [`long_sums`], for which they are computed and compared once.
static LONG_SUMS: LazyLock<u64> = LazyLock::new(long_sums);

#[test]
fn long_sums_stay_exact() {
    LazyLock::force(&LONG_SUMS);
}

/// Numbers of which products are too small for the type, zeros of both signs, and ordinary ones.
fn tiny(len: usize, seed: usize) -> Vec<f32> {
    let kinds = [0.0, -0.0, 1e-30, -1e-30, 1e-30, -1e-30, -1e-20, 0.5];
    let shown = |x: f32| if x > 0.9 { -1.0 } else { kinds[((x + 1.0) * 4.0) as usize % 8] };
    fractions(len, seed).into_iter().map(shown).collect()
}

/// Nothing but numbers whose products are too small, most of them negative, and zeros.
fn vanishing(len: usize, seed: usize) -> Vec<f32> {
    let kinds = [0.0, -0.0, 1e-30, 1e-30, -1e-30, 1e-30, 1e-30, 1e-30];
    fractions(len, seed).into_iter().map(|x| kinds[((x + 1.0) * 4.0) as usize % 8]).collect()
}

/// Draws numbers of this kind.
type Draw = fn(usize, usize) -> Vec<f32>;

fn given(layer: &(impl Layer<f32> + Clone), sample: &[usize], batch: usize, draws: [Draw; 3]) -> Given {
    let run = layer_run(layer.clone(), sample, batch);
    let lengths = [run.x().len(), run.parameters().len(), run.y().len()];
    let [x, parameters, dy] = std::array::from_fn(|i| draws[i](lengths[i], i + 1));
    Given { x, parameters, dy }
}

fn negative(draw: Draw) -> impl Fn(usize, usize) -> Vec<f32> {
    move |len, seed| draw(len, seed).into_iter().map(|x| -x).collect()
}

const DRAWS: [[Draw; 3]; 3] = [
    [tiny, tiny, tiny],
    [vanishing, |len, seed| negative(vanishing)(len, seed), vanishing],
    [vanishing, vanishing, |len, seed| negative(vanishing)(len, seed)],
];

/// Every spelling of a convolution, a ReLU and a pooling.
fn spellings(
    conv: &Conv2D,
    pool: &MaxPooling2D,
    sample: &[usize],
    batch: usize,
) -> Vec<(&'static str, Vec<LayerRun<f32>>)> {
    let chain = |layers: Vec<Arc<dyn Layer<f32>>>| {
        let mut sample = sample.to_vec();
        let run = |layer: Arc<dyn Layer<f32>>| {
            let output = layer.plan(&sample).expect("the shapes fit").output;
            layer_run(Shared(layer), &std::mem::replace(&mut sample, output), batch)
        };
        layers.into_iter().map(run).collect::<Vec<_>>()
    };
    let relu = conv.clone().activation(Activation::ReLU);
    let (linear, pool) = (Arc::new(conv.clone()) as Arc<dyn Layer<f32>>, Arc::new(pool.clone()) as Arc<dyn Layer<f32>>);
    let cut_off = || Arc::new(ReLU::new()) as Arc<dyn Layer<f32>>;
    let joined_relu = Arc::new(relu.clone()) as Arc<dyn Layer<f32>>;
    let joined_pool = linear.absorb(&*pool).expect("the two can be joined");
    let joined = joined_relu.absorb(&*pool).expect("the two can be joined");
    vec![
        ("apart", chain(vec![linear.clone(), cut_off(), pool.clone()])),
        ("apart, ReLU last", chain(vec![linear, pool.clone(), cut_off()])),
        ("ReLU joined", chain(vec![joined_relu, pool])),
        ("pooling joined", chain(vec![joined_pool, cut_off()])),
        ("joined", chain(vec![joined])),
    ]
}

/// A layer that is joined already.
#[derive(Debug, Clone)]
struct Shared(Arc<dyn Layer<f32>>);

impl Layer<f32> for Shared {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn plan(&self, input: &[usize]) -> Result<plywood::layers::Plan> {
        self.0.plan(input)
    }
    fn scratch(&self, input: &[usize], batch: usize, phase: plywood::layers::Phase) -> plywood::layers::Scratch {
        self.0.scratch(input, batch, phase)
    }
    fn prepared_len(&self, input: &[usize]) -> usize {
        self.0.prepared_len(input)
    }
    fn prepare(&self, input: &[usize], parameters: plywood::model::Block<'_, f32>, prepared: &mut [f32]) {
        self.0.prepare(input, parameters, prepared);
    }
    fn forward(&self, pass: plywood::layers::Forward<'_, f32>) {
        self.0.forward(pass);
    }
    fn backward(&self, pass: plywood::layers::Backward<'_, f32>) {
        self.0.backward(pass);
    }
}

/// Convolutions and poolings whose kernel rows are short and long, with outputs that no pooling window reads.
fn pooled() -> Vec<(Conv2D, MaxPooling2D, [usize; 3], usize)> {
    let asymmetric = Padding::Explicit { top: 2, bottom: 0, left: 1, right: 3 };
    vec![
        (Conv2D::new(20, 3), MaxPooling2D::new(2), [13, 13, 16], 3),
        (Conv2D::new(5, 3).bias(false), MaxPooling2D::new(2), [9, 12, 2], 2),
        (Conv2D::new(8, 3).padding(Padding::Same), MaxPooling2D::new(2), [7, 9, 12], 2),
        (Conv2D::new(7, 2).padding(asymmetric), MaxPooling2D::new((2, 3)).strides((3, 3)), [11, 12, 17], 2),
        (Conv2D::new(6, 3), MaxPooling2D::new(3).strides(2), [12, 11, 12], 5),
        (Conv2D::new(190, 3), MaxPooling2D::new(2), [9, 8, 11], 1),
        (Conv2D::new(3, 3).strides(2), MaxPooling2D::new(2), [40, 87, 11], 1),
    ]
}

/// Signs of zero in all spellings; what comes out is hashed.
fn signs() -> u64 {
    let mut hash = Fnv::default();
    for draws in DRAWS {
        for (conv, pool, sample, batch) in pooled() {
            let input = given(&Joined(conv.clone(), pool.clone()), &sample, batch, draws);
            let mut expected = None;
            for (spelling, layers) in spellings(&conv, &pool, &sample, batch) {
                let made = run(layers, &input);
                let expected = expected.get_or_insert_with(|| made.clone());
                made.is_same(expected, || format!("{conv:?}, {pool:?}, {spelling}"));
                // only what goes through a ReLU alone can keep a sign
                assert!(
                    made.y.iter().chain(&made.gradients).all(|x| x.to_bits() != (-0.0_f32).to_bits()),
                    "{spelling}"
                );
                made.bits().iter().flatten().for_each(|&bits| hash.write_u32(bits));
            }
        }
        for (inputs, units) in [(9, 3), (40, 33), (40, 140), (700, 70), (30, 300)] {
            for layer in [Dense::new(units), Dense::new(units).bias(false).activation(Activation::ReLU)] {
                let input = given(&layer, &[inputs], 13, draws);
                let all = run(vec![layer_run(layer.clone(), &[inputs], 13)], &input);
                for batch in 1..13 {
                    let some = Given {
                        x: input.x[..batch * inputs].to_vec(),
                        dy: input.dy[..batch * units].to_vec(),
                        ..input.clone()
                    };
                    let made = run(vec![layer_run(layer.clone(), &[inputs], batch)], &some);
                    let [y, dx, _] = made.bits();
                    let what = format!("{layer:?} of {inputs}, batch {batch}");
                    assert_eq!(y, all.bits()[0][..batch * units], "y, {what}");
                    assert_eq!(dx, all.bits()[1][..batch * inputs], "dx, {what}");
                    made.bits().iter().flatten().for_each(|&bits| hash.write_u32(bits));
                }
                let zeros = all.y.iter().chain(&all.dx).chain(&all.gradients).filter(|&&x| x == 0.0);
                assert!(zeros.clone().count() > 0 && zeros.clone().all(|zero| zero.is_sign_positive()), "{layer:?}");
            }
        }
    }
    hash.finish()
}

#[test]
fn no_sum_is_negative_zero() {
    signs();
}

#[test]
fn cutting_off_before_pooling_is_cutting_off_after_it() {
    let x = [-0.0, 0.0, -1.0, -0.0, -0.0, -0.0, f32::NAN, -2.0, 3.0, -0.0, -3.0, -0.0];
    let run = |layers: [Arc<dyn Layer<f32>>; 2]| {
        let [first, second] = layers.map(Shared);
        let shape = first.plan(&[2, 6, 1]).unwrap().output;
        let runs = vec![layer_run(first, &[2, 6, 1], 1), layer_run(second, &shape, 1)];
        run(runs, &Given { x: x.to_vec(), parameters: vec![], dy: vec![1.0; 3] })
    };
    let (relu, pool) = (Arc::new(ReLU::new()), Arc::new(MaxPooling2D::new(2)));
    let (before, after) = (run([relu.clone(), pool.clone()]), run([pool, relu]));
    assert_eq!(before.bits(), after.bits());
    assert_eq!(before.bits()[0], [f32::NAN, 3.0, 0.0].map(f32::to_bits));
}

/// What is not finite, anywhere: nothing is left out of a product that would have been NaN.
#[test]
fn what_is_not_finite_is_the_same_joined_and_apart() {
    let mut with_nan = 0;
    for (conv, pool, sample, batch) in pooled() {
        let input = given(&Joined(conv.clone(), pool.clone()), &sample, batch, [fractions; 3]);
        for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            for place in 0..3 {
                // the last element is where pooling reads nothing; others are anywhere
                for at in [usize::MAX, 0, 4711, 1234] {
                    let mut input = input.clone();
                    let values = [&mut input.x, &mut input.parameters, &mut input.dy];
                    let values = values.into_iter().nth(place).expect("there are three");
                    let at = at.min(values.len() - 1 + usize::from(at < usize::MAX) * at) % values.len();
                    values[at] = value;
                    let mut expected: Option<Made> = None;
                    for (spelling, layers) in spellings(&conv, &pool, &sample, batch) {
                        let made = run(layers, &input);
                        let expected = expected.get_or_insert_with(|| made.clone());
                        made.is_same(expected, || {
                            format!("{conv:?}, {pool:?}, {spelling}: {value} at {at} of {place}")
                        });
                    }
                    with_nan += usize::from(expected.is_some_and(|made| made.gradients.iter().any(|x| x.is_nan())));
                }
            }
        }
    }
    assert!(with_nan > 50, "{with_nan}");
}

/// What [`vector_widths_change_nothing`] runs in other processes.
#[test]
#[ignore = "prints what another test compares"]
fn print_digests() {
    println!("digests {:x} {:x}", *LONG_SUMS, signs());
}

#[test]
fn vector_widths_change_nothing() {
    let expected = format!("digests {:x} {:x}", *LONG_SUMS, signs());
    for simd in common::instruction_sets() {
        let output = Command::new(std::env::current_exe().expect("this test is a program"))
            .args(["print_digests", "--exact", "--ignored", "--nocapture"])
            .env("PLYWOOD_SIMD", simd)
            .stderr(Stdio::inherit())
            .output()
            .expect("this test can be run again");
        assert!(String::from_utf8_lossy(&output.stdout).contains(&expected), "{simd}");
    }
}
