//! Two-dimensional max-pooling.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels::parallel::{Chunks, MIN_ELEMENTS, each_task};
use crate::kernels::pooling::scatter_to_argmax;
use crate::layers::{Backward, Forward, Layer, Op, Phase, Plan, Scratch, single_input};
use crate::scalar::Scalar;
use crate::shape::{Geometry, Padding, Size2D, Window};

/// Keeps the largest value of each window.
///
/// `y[o, p, c] = max x[o·s + i − t, p·s + j − l, c]` over the pool's rows i and columns j, with strides s, and t rows and l
/// columns of padding before the image. Padding counts as −∞. Where several elements are the largest, the first in
/// row-major order gets the whole gradient; NaN counts as larger than everything.
///
/// # Shapes
///
/// x `[batch, height, width, channels]`, y `[batch, height', width', channels]` with the sizes of [`Padding`]. No parameters.
///
/// # Parameters
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `pool_size` | | ≥ 1 | height and width of a window: `2`, `(2, 3)` |
/// | [`strides`](Self::strides) | the pool size | ≥ 1 | pixels from one window to the next; smaller than the pool, windows overlap |
/// | [`padding`](Self::padding) | [`Valid`](Padding::Valid) | explicit: less than the pool on each side | around the image |
///
/// With [`Padding::Valid`] rows and columns that fill no window are dropped: 11 becomes 5 under a pool of 2.
///
/// # Errors
///
/// At build: [`Error::InvalidParameter`] for a zero pool or strides or too much padding, [`Error::InputShape`] for samples
/// that are not images, [`Error::WindowTooLarge`] for a pool that does not fit.
///
/// # Source
///
/// `keras/src/layers/pooling/max_pooling2d.py`, Keras 3.15; gradient at ties and NaN as in TensorFlow and PyTorch.
///
/// ```
/// use plywood::prelude::*;
///
/// let model = Sequential::input([11, 11, 64]).add(MaxPooling2D::new(2)).build(42)?;
/// assert_eq!(model.output_shape(), [5, 5, 64]);
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "MaxPool2d")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPooling2D {
    pub(crate) pool_size: Size2D,
    pub(crate) strides: Option<Size2D>,
    pub(crate) padding: Padding,
}

impl MaxPooling2D {
    /// Creates a pooling over windows of this size that do not overlap, without padding.
    pub fn new(pool_size: impl Into<Size2D>) -> Self {
        Self { pool_size: pool_size.into(), strides: None, padding: Padding::Valid }
    }

    /// Sets how far a window is from the next.
    #[doc(alias = "stride")]
    pub fn strides(mut self, strides: impl Into<Size2D>) -> Self {
        self.strides = Some(strides.into());
        self
    }

    /// Sets the padding around the image.
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    pub(crate) fn geometry(&self, input: &[usize]) -> Result<Geometry> {
        let size = self.pool_size;
        if let Padding::Explicit { top, bottom, left, right } = self.padding
            && (top.max(bottom) >= size.height.max(1) || left.max(right) >= size.width.max(1))
        {
            return Err(Error::invalid_parameter(
                "max_pooling2d",
                "padding",
                format!("top {top}, bottom {bottom}, left {left}, right {right}"),
                "less than the pool on each side, or a window would see nothing but padding",
            ));
        }
        let strides = self.strides.unwrap_or(size);
        Window { size, strides, dilation: 1.into(), padding: self.padding }.over(input, "max_pooling2d", "pool")
    }
}

impl<T: Scalar> Layer<T> for MaxPooling2D {
    fn kind(&self) -> &'static str {
        "max_pooling2d"
    }

    fn plan(&self, inputs: &[&[usize]]) -> Result<Plan<T>> {
        let input = single_input("max_pooling2d", inputs)?;
        let geometry = self.geometry(input)?;
        let Geometry { input: [.., channels], output: [height, width], .. } = geometry;
        if input[0].checked_mul(input[1]).is_none_or(|pixels| u32::try_from(pixels).is_err()) {
            return Err(Error::TooLarge { owner: "max_pooling2d".to_owned(), what: "the image" });
        }
        Ok(Plan::new([height, width, channels], MaxPoolingOp { geometry }))
    }
}

/// Max-pooling over images of one shape.
#[derive(Debug, Clone)]
pub(crate) struct MaxPoolingOp {
    pub(crate) geometry: Geometry,
}

impl MaxPoolingOp {
    /// Elements of an input, and of an output.
    fn lens(&self) -> [usize; 2] {
        [self.geometry.input_len(), self.geometry.pixels() * self.geometry.input[2]]
    }
}

impl<T: Scalar> Op<T> for MaxPoolingOp {
    fn scratch(&self, batch: usize, phase: Phase) -> Scratch {
        let indices = match phase {
            Phase::Inference => 0,
            Phase::Training => batch * self.lens()[1],
        };
        Scratch { values: 0, indices }
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        let [input_len, output_len] = self.lens();
        let (x, y) = (pass.x.slice(), pass.y.slice_mut());
        let images = MIN_ELEMENTS.div_ceil(input_len.max(1));
        let tasks = (y.len() / output_len).div_ceil(images);
        let argmax = pass.training.map(|_| Chunks::new(&mut pass.scratch.indices[..y.len()], images * output_len));
        each_task(0..tasks, (Chunks::new(y, images * output_len), argmax), &|task, (y, argmax)| {
            let mut argmax = argmax.map(|argmax| argmax.slice);
            for (i, y) in y.slice.chunks_exact_mut(output_len).enumerate() {
                let x = &x[(task * images + i) * input_len..][..input_len];
                let argmax = argmax.as_deref_mut().map(|argmax| &mut argmax[i * output_len..][..output_len]);
                T::max_pool(&self.geometry, x, 0, 0..self.geometry.output[0], y, argmax);
            }
        });
    }

    fn backward(&self, mut pass: Backward<'_, T>) {
        let Some(dx) = pass.dx.into_slice() else { return };
        let [input_len, output_len] = self.lens();
        let (dy, argmax) = (&*pass.dy.slice_mut(), &*pass.scratch.indices);
        let images = MIN_ELEMENTS.div_ceil(input_len.max(1));
        let tasks = (dy.len() / output_len).div_ceil(images);
        each_task(0..tasks, Chunks::new(dx, images * input_len), &|task, dx| {
            for (i, dx) in dx.slice.chunks_exact_mut(input_len).enumerate() {
                let range = (task * images + i) * output_len..(task * images + i + 1) * output_len;
                dx.fill(T::zero());
                scatter_to_argmax(self.geometry.input[2], &argmax[range.clone()], &dy[range], dx);
            }
        });
    }
}
