//! One table: how fast each pass of the layers runs, and how near that is to what the processor can do.
//!
//!     cargo bench --bench roofline
//!
//! The peak is measured in the same process, before and after each layer, with independent chains of fused multiply-adds
//! that fill the registers; shares are of the largest that was found. Times are lower quantiles: whatever else runs on the
//! machine can only add to them. An input gradient's time is that of a backward pass less that of one without it, and is not
//! shown where noise is larger. What the passes computed is checked: a layer is linear in its input and in its kernel, so
//! Σ dy·(y − bias), Σ dx·x and Σ dkernel·kernel are the same number. At the end of each table are the training steps of the
//! two models of the examples.
//!
//! No product is left out of the passes, whose inputs and gradients have no zeros. The step of the convolutional model
//! leaves out those with the zeros that pooling and ReLU make in gradients, so it has a time and no share of the peak.

mod measure;
mod models;

use std::hint::black_box;

use measure::{Line, Times, table, threads};
use models::models;
use plywood::layers::{Conv2D, Dense, Layer};
use plywood::model::SequentialBuilder;
use plywood::ndarray::{Array1, ArrayD};
use plywood::prelude::*;
use plywood::testing::{LayerRun, instruction_set};
use pulp::{Arch, Simd, WithSimd};
use rayon::ThreadPool;

/// Seconds for which each figure is measured.
const SECONDS: f64 = 0.08;

/// Twelve independent chains, so that neither of two units with a latency of 4 cycles waits.
struct Chains(usize);

impl WithSimd for Chains {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (a, b) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(1e-3)));
        let [mut c0, mut c1, mut c2, mut c3, mut c4, mut c5] = [a; 6];
        let [mut c6, mut c7, mut c8, mut c9, mut c10, mut c11] = [a; 6];
        for _ in 0..self.0 {
            c0 = simd.mul_add_f32s(c0, a, b);
            c1 = simd.mul_add_f32s(c1, a, b);
            c2 = simd.mul_add_f32s(c2, a, b);
            c3 = simd.mul_add_f32s(c3, a, b);
            c4 = simd.mul_add_f32s(c4, a, b);
            c5 = simd.mul_add_f32s(c5, a, b);
            c6 = simd.mul_add_f32s(c6, a, b);
            c7 = simd.mul_add_f32s(c7, a, b);
            c8 = simd.mul_add_f32s(c8, a, b);
            c9 = simd.mul_add_f32s(c9, a, b);
            c10 = simd.mul_add_f32s(c10, a, b);
            c11 = simd.mul_add_f32s(c11, a, b);
        }
        [c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11].into_iter().map(|c| simd.reduce_sum_f32s(c)).sum()
    }
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// GFLOP/s of fused multiply-adds on all threads of the pool.
fn peak(pool: &ThreadPool) -> f64 {
    const STEPS: usize = 1_000_000;
    let arch = Arch::new();
    let flop = 2.0 * 12.0 * (STEPS * arch.dispatch(Lanes) * pool.current_num_threads()) as f64;
    let [times] = Times::of(SECONDS / 4.0, |_| {
        pool.broadcast(|_| black_box(arch.dispatch(Chains(STEPS))));
    });
    flop / times.low() / 1e9
}

/// The three passes of a layer. The input gradient's time is that of a backward pass less that of one without it.
fn passes(
    name: &str,
    layer: impl Layer<f32>,
    sample: &[usize],
    batch: usize,
    macs: f64,
    pool: &ThreadPool,
) -> [Line; 3] {
    let mut run = LayerRun::<f32>::new(layer, sample, batch, 1).expect("the shapes fit");
    let pattern = |i: usize| ((i * 7919) % 101) as f32 / 101.0 - 0.5;
    run.x_mut().iter_mut().enumerate().for_each(|(i, x)| *x = pattern(i));
    let dy: Vec<f32> = (0..run.y().len()).map(|i| pattern(i + 13)).collect();
    run.dy_mut().iter_mut().zip(&dy).for_each(|(to, &dy)| *to = dy);
    pool.install(|| {
        let [forward, weights, both] = Times::of(3.0 * SECONDS, |pass| match pass {
            0 => run.forward(),
            1 => run.backward(false),
            _ => run.backward(true),
        });
        check(name, &run, &dy);
        let line = |pass: &str, seconds| Line {
            name: format!("{name}, {pass}"),
            images: batch,
            gflop: Some(2.0 * macs * batch as f64 / 1e9),
            seconds,
        };
        [
            line("forward", Some(forward.low())),
            line("weight gradient", Some(weights.low())),
            line("input gradient", both.longer_than(&weights)),
        ]
    })
}

/// Compares the three passes with one another, and fails if they do not fit together.
fn check(name: &str, run: &LayerRun<f32>, dy: &[f32]) {
    let dot = |a: &mut dyn Iterator<Item = &f32>, b: &mut dyn Iterator<Item = &f32>| -> (f64, f64) {
        a.zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()))
    };
    let units = run.y().shape()[run.y().ndim() - 1];
    let (kernel, bias) = run.parameters().split_at(run.parameters().len() - units);
    let output = dot(&mut dy.iter(), &mut run.y().iter());
    let (shift, _) = dot(&mut dy.iter(), &mut bias.iter().cycle());
    let input = dot(&mut run.dx().iter(), &mut run.x().iter());
    let weights = dot(&mut run.gradients().iter(), &mut kernel.iter());
    let expected = output.0 - shift;
    assert!(output.1 > 0.0, "{name}: computed nothing");
    for (pass, (got, size)) in [("input gradient", input), ("weight gradient", weights)] {
        assert!((got - expected).abs() < 1e-4 * size.max(output.1), "{name}, {pass}: {got}, expected {expected}");
    }
}

/// The training step of a model.
fn step(name: &str, model: SequentialBuilder, batch: usize, pool: &ThreadPool) -> Line {
    let model = model.build(1).expect("the shapes fit");
    let shape = [&[batch], model.input_shape()].concat();
    let x = (0..shape.iter().product()).map(|i: usize| (i * 7919 % 101 + 1) as f32 / 101.0).collect();
    let x = ArrayD::from_shape_vec(shape, x).expect("as many numbers as the shape has");
    let y = Array1::from_shape_fn(batch, |i| i % 10);
    let mut trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::default());
    let mut losses = vec![];
    let [times] =
        pool.install(|| Times::of(SECONDS, |_| losses.push(trainer.train_step(&x, &y).expect("the batch fits"))));
    assert!(losses.len() > 1 && losses.iter().all(|loss| loss.is_finite()) && losses.last() < losses.first());
    Line { name: format!("{name} model, training step"), images: batch, gflop: None, seconds: Some(times.low()) }
}

/// What has been measured on a number of threads.
struct Measured<'p> {
    pool: &'p ThreadPool,
    peaks: Vec<f64>,
    lines: Vec<Line>,
}

impl Measured<'_> {
    /// A convolution of square images `[size, channels]` that makes `[filters, output]` of them, with a kernel of 3×3.
    fn convolution(
        &mut self,
        name: &str,
        layer: Conv2D,
        [size, channels]: [usize; 2],
        batch: usize,
        [filters, output]: [usize; 2],
    ) {
        let macs = (output * output * 9 * channels * filters) as f64;
        self.lines.extend(passes(name, layer, &[size, size, channels], batch, macs, self.pool));
        self.peaks.push(peak(self.pool));
    }

    fn dense(&mut self, name: &str, features: usize, units: usize, batch: usize) {
        let macs = (features * units) as f64;
        self.lines.extend(passes(name, Dense::new(units), &[features], batch, macs, self.pool));
        self.peaks.push(peak(self.pool));
    }
}

fn main() {
    let all = std::thread::available_parallelism().map_or(1, |n| n.get());
    for count in if all > 1 { vec![1, all] } else { vec![1] } {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().expect("threads can be made");
        let mut measured = Measured { pool: &pool, peaks: vec![peak(&pool)], lines: vec![] };
        measured.convolution("conv1 28×28×1→32", Conv2D::new(32, 3), [28, 1], 64, [32, 26]);
        measured.convolution("conv2 13×13×32→64", Conv2D::new(64, 3), [13, 32], 64, [64, 11]);
        measured.convolution("conv3 5×5×64→64", Conv2D::new(64, 3), [5, 64], 64, [64, 3]);
        measured.convolution("conv 56×56×64→64", Conv2D::new(64, 3), [56, 64], 8, [64, 54]);
        measured.convolution("conv 224×224×64→64", Conv2D::new(64, 3), [224, 64], 8, [64, 222]);
        measured.convolution("conv 56×56×64→64, strides 2", Conv2D::new(64, 3).strides(2), [56, 64], 8, [64, 27]);
        measured.dense("dense 784→512", 784, 512, 128);
        measured.dense("dense 512→10", 512, 10, 128);
        measured.lines.extend(models().map(|(name, model, batch)| step(name, model, batch, &pool)));
        let Measured { mut peaks, lines, .. } = measured;
        peaks.push(peak(&pool));
        let [low, high] = [f64::min, f64::max].map(|of| peaks.iter().copied().reduce(of).expect("just measured"));
        println!("{}, {}, peak {high:.1} GFLOP/s, {low:.1} at the worst time", threads(count), instruction_set());
        println!("{}", table(&lines, high));
    }
    println!("noise: what else runs here hides the time. Steps have no share: they leave out products with zeros.");
}
