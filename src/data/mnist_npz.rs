//! MNIST, and every data set in the same four arrays, from one of NumPy's files.

use std::path::Path;

use ndarray::{Array1, Array3};

use super::mnist::scaled;
use crate::data::{Dataset, Mnist};
use crate::error::{Result, shape_text};
use crate::persist::{Element, Failure, Header, Member, Npz};
use crate::scalar::Scalar;

impl<T: Scalar> Mnist<T> {
    /// Loads the four arrays of an `.npz` file, such as Keras's `mnist.npz`.
    ///
    /// What comes out is the same as from [`Mnist::load`] of the same data. It needs the feature `npz`.
    ///
    /// # Format
    ///
    /// | array | shape | dtype |
    /// |---|---|---|
    /// | `x_train`, `x_test` | `[samples, height, width]` | `uint8` |
    /// | `y_train`, `y_test` | `[samples]` | any integer |
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if the file cannot be read; [`Error::Format`](crate::Error::Format) if it is
    /// damaged, or has not these arrays, or not as many labels as images.
    ///
    /// # Source
    ///
    /// `keras/src/datasets/mnist.py`, Keras 3.15.
    ///
    /// # Example
    ///
    /// ```
    /// use plywood::data::Mnist;
    /// use plywood::ndarray::{Array1, Array3};
    /// use plywood::persist::NpzWriter;
    ///
    /// let path = std::env::temp_dir().join(format!("plywood-{}-mnist.npz", std::process::id()));
    /// let mut arrays = NpzWriter::new(&path);
    /// for (part, samples) in [("train", 6), ("test", 1)] {
    ///     arrays.add(&format!("x_{part}"), &Array3::from_elem((samples, 28, 28), 255_u8))?;
    ///     arrays.add(&format!("y_{part}"), &Array1::<u8>::zeros(samples))?;
    /// }
    /// arrays.finish()?;
    ///
    /// let mnist = Mnist::<f32>::from_npz(&path)?;
    /// assert_eq!(mnist.train.inputs().shape(), [6, 28, 28, 1]);
    /// assert_eq!(mnist.test.inputs()[[0, 7, 6, 0]], 1.0);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn from_npz(path: impl AsRef<Path>) -> Result<Self> {
        let mut npz = Npz::open(path)?;
        Ok(Self { train: part(&mut npz, "train")?, test: part(&mut npz, "test")? })
    }
}

/// One of the two parts.
fn part<T: Scalar>(npz: &mut Npz, part: &str) -> Result<Dataset<T>> {
    let labels = npz.with(&format!("y_{part}"), classes)?;
    let images: Array3<u8> = npz.with(&format!("x_{part}"), |header, mut member| {
        // before the pixels are read
        let shape = header.shape();
        if shape.contains(&0) || shape.first() != Some(&labels.len()) {
            let (got, labels) = (shape_text(shape), labels.len());
            return Err(format!("it has the shape {got}, expected {labels}×height×width, an image a label").into());
        }
        header.values(&mut member)
    })?;
    Dataset::new(scaled(images), labels)
}

/// Labels of any integer type.
fn classes(header: Header, member: Member<'_>) -> Result<Array1<usize>, Failure> {
    fn read<A: Element + TryInto<usize>>(header: Header, mut member: Member<'_>) -> Result<Array1<usize>, Failure> {
        let labels: Array1<A> = header.values(&mut member)?;
        let class = |label: A| label.try_into().map_err(|_| "it has a label below 0".to_owned().into());
        labels.into_iter().map(class).collect()
    }
    macro_rules! first_that_fits {
        ($($type:ty)*) => {
            $(if header.holds::<$type>() {
                return read::<$type>(header, member);
            })*
        };
    }
    first_that_fits!(u8 i8 u16 i16 u32 i32 u64 i64);
    Err(format!("its labels are {}, expected integers", header.dtype()).into())
}
