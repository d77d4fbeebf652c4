//! How parameters lie where images are channels first, as in PyTorch and ONNX.
//!
//! | layer | here | there |
//! |---|---|---|
//! | Conv2D | `[height, width, channels, filters]` | `[filters, channels, height, width]` |
//! | Dense | `[features, units]` | `[units, features]` |
//! | Dense after a Flatten of images | features in the order of rows, columns, channels | channels, rows, columns |
//!
//! All of them reverse the order of the same four groups of axes, so one permutation serves reading and writing.

use ndarray::{ArrayBase, IxDyn, RawData};

/// Where a parameter of this crate is in a channels-first library.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChannelsFirst {
    /// The parameter's shape, with features of a flattened image apart.
    apart: Vec<usize>,
    /// What to make of these axes.
    axes: &'static [usize],
    /// Its shape there.
    pub(super) shape: Vec<usize>,
}

impl ChannelsFirst {
    /// The place of a parameter of this shape. `image` is the shape of the images whose flattening, channels first, the
    /// layer is given, if it is given any.
    pub(super) fn of(shape: &[usize], image: Option<[usize; 3]>) -> Self {
        match (shape, image) {
            (&[features, units], None) => {
                Self { apart: vec![features, units], axes: &[1, 0], shape: vec![units, features] }
            }
            (&[features, units], Some([height, width, channels])) => {
                Self { apart: vec![height, width, channels, units], axes: &[3, 2, 0, 1], shape: vec![units, features] }
            }
            (&[height, width, channels, filters], _) => {
                Self { apart: shape.to_vec(), axes: &[3, 2, 0, 1], shape: vec![filters, channels, height, width] }
            }
            _ => Self { apart: shape.to_vec(), axes: &[0], shape: shape.to_vec() },
        }
    }

    /// The parameter with its elements in the order they have there; the axes may be more than [`shape`](Self::shape)'s.
    pub(super) fn view<S: RawData>(&self, parameter: ArrayBase<S, IxDyn>) -> ArrayBase<S, IxDyn> {
        let apart = parameter.into_shape_with_order(IxDyn(&self.apart));
        apart.expect("as many elements, and parameters are contiguous").permuted_axes(IxDyn(self.axes))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, array};

    use super::*;

    /// Numbers that tell where in the array they are.
    fn numbered(shape: &[usize]) -> ArrayD<usize> {
        let count = shape.iter().product();
        ArrayD::from_shape_vec(shape, (0..count).collect()).unwrap()
    }

    #[test]
    fn kernels_of_convolutions_have_filters_first() {
        let kernel = numbered(&[2, 3, 4, 5]);
        let place = ChannelsFirst::of(kernel.shape(), None);
        assert_eq!(place.shape, [5, 4, 2, 3]);
        let there = place.view(kernel.view());
        for ((filter, channel, row, column), &value) in
            there.view().into_dimensionality::<ndarray::Ix4>().unwrap().indexed_iter()
        {
            assert_eq!(value, kernel[[row, column, channel, filter]]);
        }
    }

    #[test]
    fn kernels_of_dense_layers_are_transposed() {
        let place = ChannelsFirst::of(&[2, 3], None);
        assert_eq!(place.shape, [3, 2]);
        assert_eq!(place.view(numbered(&[2, 3])), array![[0, 3], [1, 4], [2, 5]].into_dyn());
    }

    // an image of 1×2 pixels with 3 channels: r₀ g₀ b₀ r₁ g₁ b₁ here, r₀ r₁ g₀ g₁ b₀ b₁ there
    #[test]
    fn features_of_flattened_images_are_channels_first() {
        let place = ChannelsFirst::of(&[6, 1], Some([1, 2, 3]));
        assert_eq!(place.shape, [1, 6]);
        let there: Vec<usize> = place.view(numbered(&[6, 1])).iter().copied().collect();
        assert_eq!(there, [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn biases_stay() {
        let place = ChannelsFirst::of(&[3], Some([1, 1, 3]));
        assert_eq!((place.view(numbered(&[3])), place.shape), (numbered(&[3]), vec![3]));
    }
}
