//! Class indices as rows of zeros and a one.

use ndarray::{Array2, ArrayRef1};

use crate::error::{Error, Result};
use crate::scalar::Scalar;
use crate::shape::elements;

/// Class indices as rows that are 1 at the sample's class and 0 elsewhere.
///
/// y\[i, c\] = 1 if `classes`\[i\] = c, otherwise 0.
///
/// # Shapes
///
/// `classes`: `[samples]`, of any unsigned integer that widens to `usize` (`u8`, `u16`, `usize`); the result:
/// `[samples, count]`.
///
/// | parameter | default | range | meaning |
/// |---|---|---|---|
/// | `classes` | none | each below `count` | the class of each sample, counted from 0 |
/// | `count` | none | above the largest class | number of classes |
///
/// # Errors
///
/// - [`Error::LabelOutOfRange`], naming the first class that is not below `count`.
/// - [`Error::TooLarge`] if the rows do not fit into memory.
///
/// # Source
///
/// `keras.utils.to_categorical` of Keras 3, which has `num_classes` for `count` and guesses it where it is left out; a
/// guess from one part of the data can differ from that of another, so here it is always given.
///
/// # Example
///
/// ```
/// use plywood::data::one_hot;
/// use plywood::ndarray::{Array2, array};
///
/// let rows: Array2<f32> = one_hot(&array![2_u8, 0], 3)?;
/// assert_eq!(rows, array![[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
///
/// let error = one_hot::<f32>(&array![2_u8, 3], 3).unwrap_err();
/// assert_eq!(error.to_string(), "the label at index 1 is 3, expected a class below 3");
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "to_categorical")]
pub fn one_hot<T: Scalar>(classes: &ArrayRef1<impl Copy + Into<usize>>, count: usize) -> Result<Array2<T>> {
    for (index, &class) in classes.iter().enumerate() {
        let label = class.into();
        if label >= count {
            return Err(Error::LabelOutOfRange { index, label, classes: count });
        }
    }
    let too_large = || Error::TooLarge { owner: "one_hot".to_owned(), what: "the array" };
    let shape = [classes.len(), count];
    let len = elements(&shape).ok_or_else(too_large)?;
    let mut values = Vec::new();
    // `Array2::zeros` would abort the program where a wild `count` asks for more memory than there is.
    values.try_reserve_exact(len).map_err(|_| too_large())?;
    values.resize(len, T::zero());
    let mut rows = Array2::from_shape_vec(shape, values).expect("as many values as the shape has elements");
    for (mut row, &class) in rows.rows_mut().into_iter().zip(classes) {
        row[class.into()] = T::one();
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Axis, Slice, array};

    use super::*;

    #[test]
    fn each_row_has_a_one_at_its_class() {
        let classes = Array1::from_iter((0..50).map(|i| i * 7 % 11));
        let rows: Array2<f64> = one_hot(&classes, 11).unwrap();
        let expected = Array2::from_shape_fn((50, 11), |(i, class)| if classes[i] == class { 1.0 } else { 0.0 });
        assert_eq!(rows, expected);
    }

    #[test]
    fn views_that_are_not_contiguous_are_read_in_their_order() {
        let classes = array![0_usize, 9, 1, 9, 2];
        let every_second_from_the_end = classes.slice_axis(Axis(0), Slice::from(..).step_by(-2));
        let rows: Array2<f32> = one_hot(&every_second_from_the_end, 3).unwrap();
        assert_eq!(rows, array![[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]);
    }

    #[test]
    fn the_first_label_out_of_range_is_named() {
        for (classes, count, expected) in [
            (vec![0_usize, 1, 3, 7], 3, "the label at index 2 is 3, expected a class below 3"),
            (vec![0, 2], 2, "the label at index 1 is 2, expected a class below 2"),
            (vec![0], 0, "the label at index 0 is 0, expected a class below 0"),
        ] {
            let error = one_hot::<f32>(&Array1::from(classes), count).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_wild_count_is_an_error() {
        for count in [usize::MAX, usize::MAX / 2, isize::MAX as usize / 16, isize::MAX as usize / 64] {
            let error = one_hot::<f64>(&array![0_u8, 1], count).unwrap_err();
            assert_eq!(
                error.to_string(),
                "one_hot: the array would have more elements than fit into memory; use fewer",
                "count {count}"
            );
        }
    }

    #[test]
    fn no_samples_give_no_rows() {
        assert_eq!(one_hot::<f32>(&Array1::<u8>::zeros(0), 10).unwrap().dim(), (0, 10));
    }
}
