//! Max-pooling of one image, forward and backward.
//!
//! Ties go to the first element in row-major order, and NaN wins over everything, as in Keras and PyTorch. Padding is −∞:
//! it is not read at all.

use std::ops::Range;

use super::dispatch::vectorized;
use crate::scalar::Scalar;
use crate::shape::Geometry;

/// Channels taken at a time, in registers.
const CHANNELS: usize = 16;

/// The input rows (`axis` 0) or columns (1) that output `o` looks at.
#[inline(always)]
fn reach(geometry: &Geometry, axis: usize, o: usize) -> Range<usize> {
    let start = o * geometry.strides[axis];
    let end = (start + geometry.size[axis]).saturating_sub(geometry.before[axis]);
    start.saturating_sub(geometry.before[axis])..end.min(geometry.input[axis])
}

/// Pools output rows `rows` of an image. `x` begins at input row `first`; `y` and `argmax` hold just those output rows.
/// `argmax` gets the pixel (row · width + column, in the whole image) that each output comes from.
pub(crate) fn max_pool<T: Scalar>(
    geometry: &Geometry,
    x: &[T],
    first: usize,
    rows: Range<usize>,
    y: &mut [T],
    argmax: Option<&mut [u32]>,
) {
    match argmax {
        Some(argmax) => vectorized(
            #[inline(always)]
            || pool_rows::<T, true>(geometry, x, first, rows, y, argmax),
        ),
        None => vectorized(
            #[inline(always)]
            || pool_rows::<T, false>(geometry, x, first, rows, y, &mut []),
        ),
    }
}

#[inline(always)]
fn pool_rows<T: Scalar, const ARGMAX: bool>(
    geometry: &Geometry,
    x: &[T],
    first: usize,
    rows: Range<usize>,
    y: &mut [T],
    argmax: &mut [u32],
) {
    let [_, width, channels] = geometry.input;
    let row_len = geometry.output[1] * channels;
    let in_pairs = geometry.size == [2, 2] && geometry.strides == [2, 2] && !geometry.is_padded();
    for (row, oy) in rows.enumerate() {
        let ys = reach(geometry, 0, oy);
        let y = &mut y[row * row_len..][..row_len];
        let argmax = if ARGMAX { &mut argmax[row * row_len..][..row_len] } else { &mut [] };
        let x = &x[(ys.start - first) * width * channels..][..ys.len() * width * channels];
        if in_pairs {
            let (top, bottom) = x.split_at(width * channels);
            pool_pairs::<T, ARGMAX>([top, bottom], ys.start * width, channels, y, argmax);
            continue;
        }
        for ox in 0..geometry.output[1] {
            let xs = reach(geometry, 1, ox);
            let y = &mut y[ox * channels..][..channels];
            let argmax = if ARGMAX { &mut argmax[ox * channels..][..channels] } else { &mut [] };
            let mut channel = 0;
            while channel < channels {
                // whole vectors as long as there are some, then one by one
                channel += if channels - channel >= CHANNELS {
                    largest::<T, CHANNELS, ARGMAX>(x, &ys, &xs, width, channels, channel, y, argmax)
                } else {
                    largest::<T, 1, ARGMAX>(x, &ys, &xs, width, channels, channel, y, argmax)
                };
            }
        }
    }
}

/// The largest value in a window and its pixel, for `C` channels; returns how many these are.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined into its one caller: the loop state of a window")]
fn largest<T: Scalar, const C: usize, const ARGMAX: bool>(
    x: &[T],
    ys: &Range<usize>,
    xs: &Range<usize>,
    width: usize,
    channels: usize,
    channel: usize,
    y: &mut [T],
    argmax: &mut [u32],
) -> usize {
    let mut best = [T::neg_infinity(); C];
    let mut index = [(ys.start * width + xs.start) as u32; C];
    for (row, iy) in ys.clone().enumerate() {
        let row = &x[(row * width + xs.start) * channels + channel..];
        for (i, ix) in xs.clone().enumerate() {
            let values = row[i * channels..].first_chunk().expect("the window lies in the image");
            improve::<T, C, ARGMAX>(&mut best, &mut index, values, iy * width + ix);
        }
    }
    y[channel..][..C].copy_from_slice(&best);
    if ARGMAX {
        argmax[channel..][..C].copy_from_slice(&index);
    }
    C
}

/// A row of the commonest windows, 2×2 side by side, over two rows of the input that begin with this pixel.
#[inline(always)]
fn pool_pairs<T: Scalar, const ARGMAX: bool>(
    rows: [&[T]; 2],
    pixel: usize,
    channels: usize,
    y: &mut [T],
    argmax: &mut [u32],
) {
    let width = rows[0].len() / channels;
    let windows = rows[0].chunks_exact(2 * channels).zip(rows[1].chunks_exact(2 * channels));
    for (ox, ((top, bottom), y)) in windows.zip(y.chunks_exact_mut(channels)).enumerate() {
        let argmax = if ARGMAX { &mut argmax[ox * channels..][..channels] } else { &mut [] };
        let (top, bottom) = (top.split_at(channels), bottom.split_at(channels));
        let values = [top.0, top.1, bottom.0, bottom.1];
        let pixels = [0, 1, width, width + 1].map(|to| pixel + 2 * ox + to);
        let mut channel = 0;
        while channel < channels {
            channel += if channels - channel >= CHANNELS {
                largest_of_four::<T, CHANNELS, ARGMAX>(values, pixels, channel, y, argmax)
            } else {
                largest_of_four::<T, 1, ARGMAX>(values, pixels, channel, y, argmax)
            };
        }
    }
}

/// The largest of four values and its pixel, for `C` channels; returns how many these are.
#[inline(always)]
fn largest_of_four<T: Scalar, const C: usize, const ARGMAX: bool>(
    values: [&[T]; 4],
    pixels: [usize; 4],
    channel: usize,
    y: &mut [T],
    argmax: &mut [u32],
) -> usize {
    let mut best = [T::neg_infinity(); C];
    let mut index = [pixels[0] as u32; C];
    for (values, pixel) in values.into_iter().zip(pixels) {
        let values = values[channel..].first_chunk().expect("channels are left");
        improve::<T, C, ARGMAX>(&mut best, &mut index, values, pixel);
    }
    y[channel..][..C].copy_from_slice(&best);
    if ARGMAX {
        argmax[channel..][..C].copy_from_slice(&index);
    }
    C
}

/// What is larger, and from which pixel.
#[inline(always)]
fn improve<T: Scalar, const C: usize, const ARGMAX: bool>(
    best: &mut [T; C],
    index: &mut [u32; C],
    values: &[T; C],
    pixel: usize,
) {
    for c in 0..C {
        let larger = (values[c] > best[c]) | values[c].is_nan();
        best[c] = if larger { values[c] } else { best[c] };
        if ARGMAX {
            index[c] = if larger { pixel as u32 } else { index[c] };
        }
    }
}

/// `dx[pixel] += dy` for each output's pixel, row-major. `dx` is a whole image, already zero (or a sum to go on with).
pub(crate) fn scatter_to_argmax<T: Scalar>(channels: usize, argmax: &[u32], dy: &[T], dx: &mut [T]) {
    for (dy, pixels) in dy.chunks_exact(channels).zip(argmax.chunks_exact(channels)) {
        for (c, (&dy, &pixel)) in dy.iter().zip(pixels).enumerate() {
            dx[pixel as usize * channels + c] += dy;
        }
    }
}

/// The gradient of what was pooled, for windows that do not overlap and have no padding: each pixel gets its window's
/// gradient if it was the largest, zero if not.
pub(crate) fn unpool<T: Scalar>(geometry: &Geometry, argmax: &[u32], dy: &[T], dx: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            let [_, width, channels] = geometry.input;
            if geometry.strides != geometry.size {
                dx.fill(T::zero());
            }
            let windows = dy.chunks_exact(channels).zip(argmax.chunks_exact(channels));
            for (window, (dy, argmax)) in windows.enumerate() {
                let (oy, ox) = (window / geometry.output[1], window % geometry.output[1]);
                for ky in 0..geometry.size[0] {
                    let row = (oy * geometry.strides[0] + ky) * width + ox * geometry.strides[1];
                    let pixels = &mut dx[row * channels..][..geometry.size[1] * channels];
                    for (pixel, dx) in (row as u32..).zip(pixels.chunks_exact_mut(channels)) {
                        for ((dx, &dy), &at) in dx.iter_mut().zip(dy).zip(argmax) {
                            *dx = if at == pixel { dy } else { T::zero() };
                        }
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{Padding, Window};

    /// Windows of 2×2 side by side have loops of their own; the others share theirs. Both against the definition, with ties,
    /// NaN and what is infinite.
    #[test]
    fn windows_give_the_first_of_the_largest() {
        for (size, strides) in [((2, 2), (2, 2)), ((2, 2), (1, 2)), ((2, 3), (2, 2)), ((3, 2), (3, 3))] {
            for channels in [1, 16, 19, 40] {
                let window =
                    Window { size: size.into(), strides: strides.into(), dilation: 1.into(), padding: Padding::Valid };
                let g = window.over(&[9, 11, channels], "max_pooling2d", "pool").unwrap();
                let special = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY];
                let x: Vec<f32> = (0..g.input_len())
                    .map(|i| special.get(i * 7919 % 37).copied().unwrap_or((i * 104_729 % 5) as f32 - 2.0))
                    .collect();
                let (mut y, mut argmax) = (vec![0.0; g.pixels() * channels], vec![0; g.pixels() * channels]);
                max_pool(&g, &x, 0, 0..g.output[0], &mut y, Some(&mut argmax));
                let mut alone = vec![0.0; y.len()];
                max_pool(&g, &x, 0, 0..g.output[0], &mut alone, None);
                for (i, (&y, &at)) in y.iter().zip(&argmax).enumerate() {
                    let (oy, ox, c) = (i / channels / g.output[1], i / channels % g.output[1], i % channels);
                    let pixels = (0..size.0).flat_map(|ky| (0..size.1).map(move |kx| (ky, kx)));
                    let mut want = (oy * strides.0 * 11 + ox * strides.1, f32::NEG_INFINITY);
                    for (ky, kx) in pixels {
                        let pixel = (oy * strides.0 + ky) * 11 + ox * strides.1 + kx;
                        let value = x[pixel * channels + c];
                        if value > want.1 || value.is_nan() {
                            want = (pixel, value);
                        }
                    }
                    let name = format!("{size:?} by {strides:?}, {channels} channels, output {i}");
                    assert_eq!((y.to_bits(), at as usize), (want.1.to_bits(), want.0), "{name}");
                    assert_eq!(alone[i].to_bits(), y.to_bits(), "{name}");
                }
            }
        }
    }

    #[test]
    fn unpooling_is_scattering_where_windows_do_not_overlap() {
        for (size, strides) in [((2, 2), (2, 2)), ((3, 2), (3, 2)), ((1, 2), (2, 3)), ((2, 2), (3, 2))] {
            let window =
                Window { size: size.into(), strides: strides.into(), dilation: 1.into(), padding: Padding::Valid };
            let mut g = window.over(&[11, 9, 19], "max_pooling2d", "pool").unwrap();
            // as a joined convolution has it: nothing beyond the last window
            let read: [usize; 2] = std::array::from_fn(|i| (g.output[i] - 1) * g.strides[i] + g.size[i]);
            g.input = [read[0], read[1], 19];
            let x: Vec<f32> = (0..g.input_len()).map(|i| (i * 7919 % 31) as f32).collect();
            let (mut y, mut argmax) = (vec![0.0; g.pixels() * 19], vec![0; g.pixels() * 19]);
            max_pool(&g, &x, 0, 0..g.output[0], &mut y, Some(&mut argmax));
            let dy: Vec<f32> = (0..y.len()).map(|i| i as f32 + 1.0).collect();
            let (mut want, mut got) = (vec![0.0; x.len()], vec![f32::NAN; x.len()]);
            scatter_to_argmax(19, &argmax, &dy, &mut want);
            unpool(&g, &argmax, &dy, &mut got);
            assert_eq!(got, want, "{g:?}");
        }
    }

    /// The plain version: one output at a time, padding as −∞.
    fn reference(g: &Geometry, x: &[f32]) -> (Vec<f32>, Vec<u32>) {
        let [height, width, channels] = g.input;
        let (mut y, mut argmax) = (vec![], vec![]);
        for oy in 0..g.output[0] {
            for ox in 0..g.output[1] {
                for c in 0..channels {
                    let (mut best, mut index) = (f32::NEG_INFINITY, None);
                    for ky in 0..g.size[0] {
                        for kx in 0..g.size[1] {
                            let (iy, ix) = (oy * g.strides[0] + ky, ox * g.strides[1] + kx);
                            let (Some(iy), Some(ix)) = (iy.checked_sub(g.before[0]), ix.checked_sub(g.before[1]))
                            else {
                                continue;
                            };
                            if iy >= height || ix >= width {
                                continue;
                            }
                            let value = x[(iy * width + ix) * channels + c];
                            if index.is_none() || value > best || value.is_nan() {
                                (best, index) = (value, Some(iy * width + ix));
                            }
                        }
                    }
                    y.push(best);
                    argmax.push(index.expect("no window lies in the padding alone") as u32);
                }
            }
        }
        (y, argmax)
    }

    #[test]
    fn agrees_with_the_plain_version() {
        for (size, strides) in
            [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 2), (1, 3)), ((1, 1), (2, 1)), ((2, 3), (3, 3))]
        {
            for padding in [Padding::Valid, Padding::Same, Padding::Explicit { top: 1, bottom: 0, left: 0, right: 1 }] {
                if size == (1, 1) && matches!(padding, Padding::Explicit { .. }) {
                    continue;
                }
                for (height, width, channels) in [(5, 7, 1), (11, 11, 3), (6, 4, 16), (7, 5, 19), (4, 4, 40)] {
                    let window = Window { size: size.into(), strides: strides.into(), dilation: 1.into(), padding };
                    let g = window.over(&[height, width, channels], "max_pooling2d", "pool").unwrap();
                    // few different values, so that there are ties; all negative, so that zero padding would show
                    let x: Vec<f32> = (0..g.input_len()).map(|i| -1.0 - (i * 7919 % 5) as f32).collect();
                    let (want, want_argmax) = reference(&g, &x);
                    let (mut y, mut argmax) = (vec![0.0; want.len()], vec![0; want.len()]);
                    max_pool(&g, &x, 0, 0..g.output[0], &mut y, Some(&mut argmax));
                    assert_eq!((&y, &argmax), (&want, &want_argmax), "{g:?}");
                    y.fill(0.0);
                    max_pool(&g, &x, 0, 0..g.output[0], &mut y, None);
                    assert_eq!(y, want, "without argmax, {g:?}");
                }
            }
        }
    }

    #[test]
    fn nan_wins() {
        let window = Window { size: 2.into(), strides: 2.into(), dilation: 1.into(), padding: Padding::Valid };
        let g = window.over(&[2, 2, 1], "max_pooling2d", "pool").unwrap();
        for at in 0..4 {
            let mut x = [1.0f32, 2.0, 3.0, 4.0];
            x[at] = f32::NAN;
            let (mut y, mut argmax) = ([0.0], [9]);
            max_pool(&g, &x, 0, 0..1, &mut y, Some(&mut argmax));
            assert!(y[0].is_nan(), "{y:?}");
            assert_eq!(argmax[0] as usize, at);
        }
    }

    /// In Keras and PyTorch too, where nothing is larger than −∞ the first element is taken.
    #[test]
    fn of_infinitely_small_elements_the_first_wins() {
        for (size, first) in [(2, vec![0, 2, 4, 14, 16, 18, 28, 30, 32]), (3, vec![0, 3, 21, 24])] {
            let window =
                Window { size: size.into(), strides: size.into(), dilation: 1.into(), padding: Padding::Valid };
            let g = window.over(&[6, 7, 1], "max_pooling2d", "pool").unwrap();
            let (mut y, mut argmax) = (vec![0.0; g.pixels()], vec![99; g.pixels()]);
            max_pool(&g, &[f32::NEG_INFINITY; 42], 0, 0..g.output[0], &mut y, Some(&mut argmax));
            assert_eq!((y, argmax), (vec![f32::NEG_INFINITY; first.len()], first));
        }
    }

    #[test]
    fn overlapping_windows_lose_no_gradient() {
        let mut dx = [0.0; 3];
        scatter_to_argmax(1, &[1, 1, 2], &[1.0, 2.0, 4.0], &mut dx);
        assert_eq!(dx, [0.0, 3.0, 4.0]);
    }
}
