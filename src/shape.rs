//! Shapes, and the arithmetic of windows that slide over an image: padding, strides, dilation.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, shape_text};

/// Number of elements of a shape, or `None` where they have no place in a memory of 2⁴⁷ bytes, all that a program can
/// address today. What is computed with numbers below that, such as the bytes of some buffers, does not overflow.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    let most = (isize::MAX as u64 / 8).min(1 << 44);
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n as u64 <= most)
}

/// A height and a width: of a kernel, a pool, a stride, a dilation.
///
/// Wherever one is asked for, a single number stands for a square and a pair for (height, width).
///
/// ```
/// use plywood::Size2D;
///
/// assert_eq!(Size2D::from(3), Size2D::from((3, 3)));
/// assert_eq!(Size2D::from([1, 5]), Size2D { height: 1, width: 5 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size2D {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl From<usize> for Size2D {
    fn from(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

impl From<(usize, usize)> for Size2D {
    fn from((height, width): (usize, usize)) -> Self {
        Self { height, width }
    }
}

impl From<[usize; 2]> for Size2D {
    fn from([height, width]: [usize; 2]) -> Self {
        Self { height, width }
    }
}

/// What surrounds an image before a window slides over it.
///
/// | padding | output size for input n, window k (dilation included), stride s |
/// |---|---|
/// | [`Valid`](Padding::Valid) (default) | ⌊(n − k) / s⌋ + 1; rows and columns that no window reaches are not read |
/// | [`Same`](Padding::Same) | ⌈n / s⌉; the odd row or column of padding goes to the bottom or right, as in Keras |
/// | [`Explicit`](Padding::Explicit) | ⌊(n + before + after − k) / s⌋ + 1 |
///
/// A convolution pads with zeros, max-pooling with −∞.
///
/// ```
/// use plywood::prelude::*;
///
/// let output = |padding| {
///     let model = Sequential::input([28, 28, 1]).add(Conv2D::new(8, 3).strides(2).padding(padding)).build(42)?;
///     Ok::<_, Error>(model.output_shape().to_vec())
/// };
/// assert_eq!(output(Padding::Valid)?, [13, 13, 8]);
/// assert_eq!(output(Padding::Same)?, [14, 14, 8]);
/// assert_eq!(output(Padding::symmetric(2))?, [15, 15, 8]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Padding {
    /// None.
    #[default]
    Valid,
    /// As much as makes the output as large as the input divided by the stride.
    Same,
    /// Given by hand, for each side.
    Explicit {
        /// Rows above.
        top: usize,
        /// Rows below.
        bottom: usize,
        /// Columns to the left.
        left: usize,
        /// Columns to the right.
        right: usize,
    },
}

impl Padding {
    /// The same number of rows above and below, and of columns left and right, as PyTorch's `padding=(rows, columns)`.
    pub fn symmetric(size: impl Into<Size2D>) -> Self {
        let Size2D { height, width } = size.into();
        Self::Explicit { top: height, bottom: height, left: width, right: width }
    }
}

/// A window that slides over images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) size: Size2D,
    pub(crate) strides: Size2D,
    pub(crate) dilation: Size2D,
    pub(crate) padding: Padding,
}

/// A window over images of one shape: everything a kernel needs to know, all sizes checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Input height, width and channels.
    pub(crate) input: [usize; 3],
    /// Output height and width.
    pub(crate) output: [usize; 2],
    pub(crate) size: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Rows above and columns to the left.
    pub(crate) before: [usize; 2],
    /// Height and width of the input with its padding.
    pub(crate) padded: [usize; 2],
}

impl Window {
    /// Lays the window over samples of shape `[height, width, channels]`. Errors speak of a layer `kind`, whose window is
    /// a `what`.
    pub(crate) fn over(&self, input: &[usize], kind: &'static str, what: &'static str) -> Result<Geometry> {
        let &[height, width, channels] = input else {
            return Err(Error::InputShape {
                layer: kind.to_owned(),
                got: input.to_vec(),
                expected: "[height, width, channels]",
                help: "give the model's input as e.g. [28, 28, 1]".to_owned(),
            });
        };
        if input.contains(&0) {
            let expected = "at least 1 in height, width and channels";
            return Err(Error::invalid_parameter(kind, "input", shape_text(input), expected));
        }
        let at_least_one = |parameter, size: Size2D| match size {
            Size2D { height: 1.., width: 1.. } => Ok([size.height, size.width]),
            _ => Err(Error::invalid_parameter(
                kind,
                parameter,
                format!("({}, {})", size.height, size.width),
                "at least 1 in height and width",
            )),
        };
        let size = at_least_one(what, self.size)?;
        let mut strides = at_least_one("strides", self.strides)?;
        let mut dilation = at_least_one("dilation", self.dilation)?;
        let too_large = |what| Error::TooLarge { owner: kind.to_owned(), what };

        let (n, explicit) = (
            [height, width],
            match self.padding {
                Padding::Explicit { top, bottom, left, right } => [(top, bottom), (left, right)],
                _ => [(0, 0); 2],
            },
        );
        let (mut before, mut padded, mut output, mut reach) = ([0; 2], [0; 2], [0; 2], [0; 2]);
        for axis in 0..2 {
            reach[axis] = (size[axis] - 1)
                .checked_mul(dilation[axis])
                .and_then(|r| r.checked_add(1))
                .ok_or_else(|| too_large("the dilated window"))?;
            let total = if self.padding == Padding::Same {
                let last = (n[axis].div_ceil(strides[axis]).saturating_sub(1)) * strides[axis];
                let total =
                    last.checked_add(reach[axis]).ok_or_else(|| too_large("the padding"))?.saturating_sub(n[axis]);
                before[axis] = total / 2;
                total
            } else {
                let (first, second) = explicit[axis];
                before[axis] = first;
                first.checked_add(second).ok_or_else(|| too_large("the padding"))?
            };
            padded[axis] = n[axis].checked_add(total).ok_or_else(|| too_large("the padding"))?;
        }
        if (0..2).any(|axis| reach[axis] > padded[axis]) {
            return Err(Error::WindowTooLarge {
                layer: kind.to_owned(),
                what,
                window: size,
                reach,
                input: input.to_vec(),
                largest: [0, 1].map(|axis| (padded[axis] - 1) / dilation[axis] + 1),
            });
        }
        for axis in 0..2 {
            output[axis] = (padded[axis] - reach[axis]) / strides[axis] + 1;
        }
        elements(&[padded[0], padded[1], channels]).ok_or_else(|| too_large("the padded input"))?;
        for axis in 0..2 {
            // a window that goes nowhere, or a pixel that has no neighbour, may have been given any distance to the next
            strides[axis] = strides[axis].min(padded[axis]);
            dilation[axis] = dilation[axis].min(padded[axis]);
        }
        Ok(Geometry { input: [height, width, channels], output, size, strides, dilation, before, padded })
    }
}

impl Geometry {
    /// Output pixels.
    pub(crate) fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    pub(crate) fn is_padded(&self) -> bool {
        self.padded != [self.input[0], self.input[1]]
    }

    /// Elements of an input image with its padding.
    pub(crate) fn padded_len(&self) -> usize {
        self.padded[0] * self.padded[1] * self.input[2]
    }

    /// Elements of an input image.
    pub(crate) fn input_len(&self) -> usize {
        self.input.iter().product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(n: usize, k: usize, s: usize, d: usize, padding: Padding) -> Geometry {
        let window = Window { size: k.into(), strides: s.into(), dilation: d.into(), padding };
        window.over(&[n, n, 1], "conv2d", "kernel").unwrap()
    }

    #[test]
    fn valid_takes_the_floor() {
        assert_eq!(over(11, 2, 2, 1, Padding::Valid).output, [5, 5]);
        assert_eq!(over(28, 3, 1, 1, Padding::Valid).output, [26, 26]);
        assert_eq!(over(7, 3, 1, 2, Padding::Valid).output, [3, 3]);
    }

    // keras/src/backend: out = ⌈n/s⌉, total = max(0, (out − 1)·s + (k − 1)·d + 1 − n), the odd one after
    #[test]
    fn same_pads_the_odd_row_below() {
        let g = over(4, 3, 2, 1, Padding::Same);
        assert_eq!((g.output, g.before, g.padded), ([2, 2], [0, 0], [5, 5]));
        let even = over(5, 2, 1, 1, Padding::Same);
        assert_eq!((even.output, even.before, even.padded), ([5, 5], [0, 0], [6, 6]));
        let strided = over(5, 1, 3, 1, Padding::Same);
        assert_eq!((strided.output, strided.padded), ([2, 2], [5, 5]));
    }

    #[test]
    fn what_does_not_fit_is_told_with_a_way_out() {
        let window = Window { size: 5.into(), strides: 1.into(), dilation: 1.into(), padding: Padding::Valid };
        let error = window.over(&[3, 3, 64], "conv2d", "kernel").unwrap_err().in_layer("conv2d_2");
        assert_eq!(
            error.to_string(),
            "conv2d_2: a 5×5 kernel does not fit into its input of 3×3×64; use Padding::Same or a kernel of at most 3×3"
        );
    }

    #[test]
    fn distances_that_lead_out_of_the_image_are_cut() {
        let far = Size2D::from(usize::MAX);
        let window = Window { size: 1.into(), strides: far, dilation: far, padding: Padding::Valid };
        let g = window.over(&[4, 5, 1], "conv2d", "kernel").unwrap();
        assert_eq!((g.output, g.strides, g.dilation), ([1, 1], [4, 5], [4, 5]));
    }

    #[test]
    fn sizes_that_overflow_are_errors() {
        let huge = Padding::Explicit { top: usize::MAX, bottom: 1, left: 0, right: 0 };
        for (dilation, padding) in [(usize::MAX, Padding::Valid), (1, huge)] {
            let window = Window { size: 3.into(), strides: 1.into(), dilation: dilation.into(), padding };
            assert!(matches!(window.over(&[4, 4, 1], "conv2d", "kernel"), Err(Error::TooLarge { .. })));
        }
    }
}
