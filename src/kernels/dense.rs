//! Dense's three products, y = x·W + b, dW = xᵀ·dy and dx = dy·Wᵀ, cut into tasks.

use super::elementwise::mask_relu;
use super::pack::{pack, pack_and_sum, pack_transposed, packed_len, transpose, width};
use super::parallel::{Chunks, each_stretch, items_per_task};
use super::tile::{Epilogue, Lattice, Panels, Product, ROWS, Sums, Walk};
use crate::scalar::Scalar;

/// Tiles of rows of x that a task of the forward pass or the input gradient takes at the most: each panel of W is
/// fetched once for all of them, so they must be some.
const TILES: usize = 4;

/// Tiles of input features that a task of the weight gradient takes at the most.
const FEATURE_TILES: usize = 8;

/// Samples that are searched for zeros before a weight gradient.
const SAMPLES: usize = 8;

/// A matrix product with a bias and a ReLU, over `inputs` features, to `units`.
#[derive(Debug, Clone, Copy)]
pub struct DenseKernel {
    pub(crate) inputs: usize,
    pub(crate) units: usize,
    pub(crate) relu: bool,
}

impl DenseKernel {
    /// Length of the packed kernel.
    pub(crate) fn prepared_len<T: Scalar>(&self) -> usize {
        packed_len::<T>(self.inputs, self.units) + 1
    }

    /// Packs the kernel for the forward pass. Behind it comes 1 if it is finite, and 0 if not.
    pub(crate) fn prepare<T: Scalar>(&self, kernel: &[T], prepared: &mut [T]) {
        let finite = pack(kernel, self.units, prepared);
        prepared[packed_len::<T>(self.inputs, self.units)] = if finite { T::one() } else { T::zero() };
    }

    /// y = relu(x·W + b).
    pub(crate) fn forward<T: Scalar>(&self, x: &[T], prepared: &[T], bias: Option<&[T]>, y: &mut [T]) {
        let epilogue = Epilogue { bias, relu: self.relu };
        let (panels, finite) = prepared.split_at(packed_len::<T>(self.inputs, self.units));
        let skip_zeros = finite[0] == T::one() && rows_share_zeros(x, self.inputs);
        product(x, self.inputs, Panels::new(panels, self.inputs), skip_zeros, self.units, y, epilogue);
    }

    /// Values that `backward` needs to work with.
    pub(crate) fn backward_scratch<T: Scalar>(&self, batch: usize) -> usize {
        self.packed_dy_len::<T>(batch) + self.input_gradient_scratch::<T>(batch).iter().sum::<usize>()
    }

    /// dy, packed, up to the next cache line.
    fn packed_dy_len<T: Scalar>(&self, batch: usize) -> usize {
        packed_len::<T>(batch, self.units).next_multiple_of(16)
    }

    /// What the input gradient works with, as lengths: dyᵀ, packed, and the gradient's transpose; or Wᵀ, packed, if that is
    /// not more.
    fn input_gradient_scratch<T: Scalar>(&self, batch: usize) -> [usize; 2] {
        let of_batch = [packed_len::<T>(self.units, batch).next_multiple_of(16), batch * self.inputs];
        let of_kernel = packed_len::<T>(self.units, self.inputs);
        if of_batch[0] + of_batch[1] < of_kernel { of_batch } else { [of_kernel, 0] }
    }

    /// Gradients of kernel, bias and, if asked for, x.
    #[expect(clippy::too_many_arguments, reason = "the operands of a layer's backward pass, each of its own kind")]
    pub(crate) fn backward<T: Scalar>(
        &self,
        x: &[T],
        y: &[T],
        kernel: &[T],
        dy: &mut [T],
        dx: Option<&mut [T]>,
        dkernel: &mut [T],
        dbias: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        let batch = dy.len() / self.units;
        if self.relu {
            mask_relu(y, dy);
        }
        let (packed_dy, scratch) = scratch.split_at_mut(self.packed_dy_len::<T>(batch));
        let finite = match dbias {
            Some(dbias) => pack_and_sum(dy, self.units, packed_dy, dbias),
            None => pack(dy, self.units, packed_dy),
        };

        // dW: a row is a feature, whose values in the batch lie `inputs` apart
        let skip_zeros = finite && columns_share_zeros(x, self.inputs);
        let tiles = self.inputs.div_ceil(ROWS);
        let most = FEATURE_TILES.max(tiles_per_task(tiles, batch, self.units));
        each_stretch(0..tiles, most, Chunks::new(dkernel, ROWS * self.units), &|tiles, dkernel| {
            let rows = dkernel.slice.len() / self.units;
            Product {
                a: x,
                a_rows: Lattice::matrix(1).starting_at(tiles.start * ROWS),
                walk: Walk::line(batch, self.inputs),
                panels: Panels::new(packed_dy, batch),
                rows,
                columns: self.units,
                c: dkernel.slice,
                c_rows: Lattice::matrix(self.units),
                sums: Sums::of(batch),
                resume: false,
                skip_zeros,
                epilogue: Epilogue::default(),
            }
            .run();
        });
        if let Some(dx) = dx {
            self.input_gradient(kernel, dy, dx, scratch);
        }
    }

    /// dx = dy·Wᵀ, or (W·dyᵀ)ᵀ where a small batch is sooner transposed, twice, than the kernel: the same sums in the same
    /// order.
    fn input_gradient<T: Scalar>(&self, kernel: &[T], dy: &[T], dx: &mut [T], scratch: &mut [T]) {
        let (units, inputs, batch) = (self.units, self.inputs, dy.len() / self.units);
        let [packed_len, transposed_len] = self.input_gradient_scratch::<T>(batch);
        let (packed, transposed) = scratch[..packed_len + transposed_len].split_at_mut(packed_len);
        let epilogue = Epilogue::default();
        if transposed_len > 0 {
            pack_transposed(dy, units, batch, |_| 0, packed);
            product(kernel, units, Panels::new(packed, units), false, batch, transposed, epilogue);
            transpose(transposed, batch, dx);
        } else {
            pack_transposed(kernel, units, inputs, |_| 0, packed);
            product(dy, units, Panels::new(packed, units), false, inputs, dx, epilogue);
        }
    }
}

/// Whether zeros of neighbouring rows meet so often that it pays to leave them out, as far as the first tile can tell.
fn rows_share_zeros<T: Scalar>(x: &[T], inputs: usize) -> bool {
    let rows = &x[..x.len().min(ROWS * inputs)];
    let kept = (0..inputs).filter(|&i| rows[i..].iter().step_by(inputs).any(|&x| x != T::zero())).count();
    4 * kept <= 3 * inputs
}

/// The same for neighbouring columns, as far as the first samples can tell.
fn columns_share_zeros<T: Scalar>(x: &[T], inputs: usize) -> bool {
    let tiles = || x.chunks_exact(inputs).take(SAMPLES).flat_map(|row| row.chunks(ROWS));
    let kept = tiles().filter(|tile| tile.iter().any(|&x| x != T::zero())).count();
    4 * kept <= 3 * tiles().count()
}

/// Tiles of rows that are worth a task, of a product of this depth.
fn tiles_per_task(tiles: usize, depth: usize, columns: usize) -> usize {
    items_per_task(tiles, ROWS * depth * columns)
}

/// Panels that are worth a task, for a single row.
fn panels_per_task<T: Scalar>(panels: usize, depth: usize) -> usize {
    items_per_task(panels, depth * width::<T>())
}

/// C = A·B for row-major A and C of so many columns, rows in parallel; a single row is cut by panels.
fn product<T: Scalar>(
    a: &[T],
    depth: usize,
    panels: Panels<'_, T>,
    skip_zeros: bool,
    columns: usize,
    c: &mut [T],
    epilogue: Epilogue<'_, T>,
) {
    let rows = c.len() / columns;
    if rows == 1 {
        let width = width::<T>();
        let panels_of_c = columns.div_ceil(width);
        let most = panels_per_task::<T>(panels_of_c, depth);
        each_stretch(0..panels_of_c, most, Chunks::new(c, width), &|stretch, c| {
            let first = stretch.start * width;
            let columns = c.slice.len();
            let bias = epilogue.bias.map(|bias| &bias[first..][..columns]);
            Product {
                a,
                a_rows: Lattice::matrix(depth),
                walk: Walk::line(depth, 1),
                panels: panels.skip_columns(first),
                rows: 1,
                columns,
                c: c.slice,
                c_rows: Lattice::matrix(columns),
                sums: Sums::of(depth),
                resume: false,
                skip_zeros,
                epilogue: Epilogue { bias, ..epilogue },
            }
            .run();
        });
        return;
    }
    let tiles = rows.div_ceil(ROWS);
    let most = TILES.max(tiles_per_task(tiles, depth, columns));
    each_stretch(0..tiles, most, Chunks::new(c, ROWS * columns), &|tiles, c| {
        Product {
            a,
            a_rows: Lattice::matrix(depth).starting_at(tiles.start * ROWS),
            walk: Walk::line(depth, 1),
            panels,
            rows: c.slice.len() / columns,
            columns,
            c: c.slice,
            c_rows: Lattice::matrix(columns),
            sums: Sums::of(depth),
            resume: false,
            skip_zeros,
            epilogue,
        }
        .run();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 11) as f64 - 5.0).collect()
    }

    /// Integers, whose sums are exact: results must agree to the last bit.
    #[test]
    fn agrees_with_plain_loops() {
        for (batch, inputs, units) in [
            (1, 1, 1),
            (1, 700, 70),
            (3, 5, 2),
            (7, 50, 10),
            (50, 33, 65),
            (26, 100, 97),
            (13, 90, 300),
            (50, 300, 200),
            (1, 2100, 1100),
        ] {
            for (relu, margins) in [(false, false), (true, false), (false, true), (true, true)] {
                let (mut x, kernel, bias) = (numbers(batch * inputs, 1), numbers(inputs * units, 2), numbers(units, 3));
                if margins {
                    // most of what tiles take at a time is zero, for the forward pass and the weight gradient
                    x.iter_mut().enumerate().filter(|(i, _)| i % inputs % 20 < 14).for_each(|(_, x)| *x = 0.0);
                    assert!(inputs < 30 || rows_share_zeros(&x, inputs) && columns_share_zeros(&x, inputs));
                }
                let layer = DenseKernel { inputs, units, relu };
                let mut prepared = vec![0.0; layer.prepared_len::<f64>()];
                layer.prepare(&kernel, &mut prepared);
                let mut y = vec![f64::NAN; batch * units];
                layer.forward(&x, &prepared, Some(&bias), &mut y);
                let (mut dy, mut dx) = (numbers(batch * units, 4), vec![f64::NAN; x.len()]);
                let (mut dkernel, mut dbias) = (vec![f64::NAN; kernel.len()], vec![f64::NAN; units]);
                let given = dy.clone();
                let mut scratch = vec![f64::NAN; layer.backward_scratch::<f64>(batch)];
                layer.backward(&x, &y, &kernel, &mut dy, Some(&mut dx), &mut dkernel, Some(&mut dbias), &mut scratch);

                let (mut want_dx, mut want_dkernel, mut want_dbias) =
                    (vec![0.0; x.len()], vec![0.0; kernel.len()], vec![0.0; units]);
                for n in 0..batch {
                    for u in 0..units {
                        let mut sum = bias[u];
                        for i in 0..inputs {
                            sum += x[n * inputs + i] * kernel[i * units + u];
                        }
                        let alive = !relu || sum > 0.0;
                        assert_eq!(y[n * units + u], if alive { sum } else { 0.0 });
                        let g = if alive { given[n * units + u] } else { 0.0 };
                        want_dbias[u] += g;
                        for i in 0..inputs {
                            want_dx[n * inputs + i] += g * kernel[i * units + u];
                            want_dkernel[i * units + u] += g * x[n * inputs + i];
                        }
                    }
                }
                assert_eq!(dx, want_dx, "dx {batch} {inputs} {units} {relu}");
                assert_eq!(dkernel, want_dkernel, "dkernel {batch} {inputs} {units} {relu}");
                assert_eq!(dbias, want_dbias, "dbias {batch} {inputs} {units} {relu}");
            }
        }
    }

    /// How work is cut changes no result, but how long it takes.
    #[test]
    fn work_is_cut_to_fit() {
        // of 6 rows each: half a million multiply-adds are 100 tiles of 5,243, or 2¹⁹ / (6 · 32 · 40)
        assert_eq!(tiles_per_task(1000, 32, 40), 69);
        // a 64th of a large product; all of a small one
        assert_eq!([tiles_per_task(6400, 200, 100), tiles_per_task(20, 100, 100)], [100, 20]);
        let width = width::<f32>();
        assert_eq!(panels_per_task::<f32>(1 << 12, 256), (2048 / width).max(64));
        assert_eq!(panels_per_task::<f32>(20, 100), 20);
    }

    /// The smaller one of batch and kernel is transposed, and memory taken for that alone.
    #[test]
    fn what_is_smaller_is_transposed() {
        let layer = DenseKernel { inputs: 784, units: 512, relu: true };
        let kernel = packed_len::<f32>(512, 784);
        for batch in [16, 64, 128, 256] {
            let lengths = layer.input_gradient_scratch::<f32>(batch);
            assert_eq!(lengths, [512 * batch, 784 * batch], "{batch}");
            assert!(lengths[0] + lengths[1] < kernel);
        }
        for batch in [320, 1000] {
            assert_eq!(layer.input_gradient_scratch::<f32>(batch), [kernel, 0], "{batch}");
        }
        // with dy, packed: 128 · 512
        assert_eq!(layer.backward_scratch::<f32>(128), 128 * (512 + 512 + 784));
    }

    /// Zeros are looked for where at least a quarter of what tiles read is nothing else, as far as the first can tell.
    #[test]
    fn zeros_are_left_out_where_they_are_many() {
        const INPUTS: usize = 8;
        let with_zeros = |is_zero: &dyn Fn(usize, usize) -> bool| -> Vec<f32> {
            let element = |i: usize| if is_zero(i / INPUTS, i % INPUTS) { 0.0 } else { 1.0 };
            (0..2 * ROWS * INPUTS).map(element).collect()
        };
        let rows = |is_zero: &dyn Fn(usize, usize) -> bool| rows_share_zeros(&with_zeros(is_zero), INPUTS);
        assert!(rows(&|row, column| row < ROWS && column < 2));
        assert!(rows(&|row, column| row < ROWS && (2..7).contains(&column)));
        assert!(!rows(&|row, column| row < ROWS && column < 1));
        assert!(!rows(&|row, column| row != 3 && column < 7 || row >= ROWS));
        assert!(rows_share_zeros(&[0.0, 0.0, 1.0, 1.0], 4), "a single row");

        // a row of eight tiles, of which these are zero in the first samples
        let columns = |is_zero: &dyn Fn(usize, usize) -> bool| {
            let element = |i: usize| if is_zero(i / (8 * ROWS), i % (8 * ROWS) / ROWS) { 0.0_f32 } else { 1.0 };
            let x: Vec<f32> = (0..2 * SAMPLES * 8 * ROWS).map(element).collect();
            columns_share_zeros(&x, 8 * ROWS)
        };
        assert!(columns(&|sample, tile| sample < SAMPLES && tile < 2));
        assert!(columns(&|sample, _| sample < SAMPLES / 2));
        assert!(!columns(&|sample, tile| sample < SAMPLES && tile < 1));
        assert!(!columns(&|sample, _| sample >= SAMPLES));
    }

    /// The last batch of an epoch is smaller, and works in the memory of a full one.
    #[test]
    fn smaller_batches_need_no_more_scratch() {
        for (inputs, units) in [(784, 512), (512, 10), (20, 512), (1, 1)] {
            let layer = DenseKernel { inputs, units, relu: false };
            let lengths: Vec<usize> = (1..300).map(|batch| layer.backward_scratch::<f32>(batch)).collect();
            assert!(lengths.is_sorted(), "{inputs} to {units}");
        }
    }

    /// 0 · ∞ is NaN: zeros are left out of finite products only.
    #[test]
    fn what_is_not_finite_is_not_left_out() {
        let (batch, inputs, units) = (7, 40, 200);
        let layer = DenseKernel { inputs, units, relu: false };
        let x = vec![0.0; batch * inputs];
        for (value, is_lost) in [(1.0, true), (f64::INFINITY, false), (f64::NEG_INFINITY, false), (f64::NAN, false)] {
            let mut kernel = numbers(inputs * units, 2);
            (kernel[17 * units + 111], kernel[18 * units + 111]) = (value, value);
            let mut prepared = vec![f64::NAN; layer.prepared_len::<f64>()];
            layer.prepare(&kernel, &mut prepared);
            let mut y = vec![f64::INFINITY; batch * units];
            layer.forward(&x, &prepared, None, &mut y);
            for (i, y) in y.iter().enumerate() {
                assert_eq!(y.is_nan(), i % units == 111 && !is_lost, "{value}: output {i} is {y}");
            }

            let mut dy = numbers(batch * units, 4);
            (dy[3 * units + 5], dy[4 * units + 5]) = (value, value);
            let (mut dkernel, mut scratch) = (vec![0.0; kernel.len()], vec![0.0; layer.backward_scratch::<f64>(batch)]);
            for mut dbias in [None, Some(vec![0.0; units])] {
                layer.backward(&x, &y, &kernel, &mut dy, None, &mut dkernel, dbias.as_deref_mut(), &mut scratch);
                for (i, dw) in dkernel.iter().enumerate() {
                    assert_eq!(dw.is_nan(), i % units == 5 && !is_lost, "{value}: gradient {i} is {dw}");
                }
            }
        }
    }
}
