//! MNIST, and every data set that comes in the same four files.

use std::path::{Path, PathBuf};

use ndarray::{Array1, Array3, Array4, Axis};

use crate::data::{Dataset, read_idx};
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// The MNIST database of handwritten digits: 60,000 images to train with, 10,000 to test with.
///
/// Pixels are divided by 255: x = v / 255 for the byte v, rounded to the nearest `T`, as NumPy computes
/// `images.astype("float32") / 255`. Labels are class indices.
///
/// Any folder with files of these names will do, such as Fashion-MNIST or KMNIST; each may be there with `.gz` at its end
/// (which goes first) or without:
///
/// | file | contents |
/// |---|---|
/// | `train-images-idx3-ubyte` | images to train with |
/// | `train-labels-idx1-ubyte` | their labels |
/// | `t10k-images-idx3-ubyte` | images to test with |
/// | `t10k-labels-idx1-ubyte` | their labels |
///
/// # Shapes
///
/// Inputs are `[samples, height, width, 1]`, with the sizes that the files have: `[60_000, 28, 28, 1]` and
/// `[10_000, 28, 28, 1]`. Targets are [`Targets::Classes`](crate::data::Targets::Classes) from 0 to 9;
/// [`Dataset::one_hot`] makes rows of them, and [`Dataset::reshape_inputs`] makes `[784]` of an image. Labels are taken as
/// they are in the file, so another data set may have another number of classes.
///
/// # Source
///
/// LeCun, Bottou, Bengio, Haffner, *Gradient-based learning applied to document recognition* (1998). The order of the
/// samples is that of the files, as in `keras.datasets.mnist` and `torchvision.datasets.MNIST`.
///
/// # Example
///
/// ```
/// use plywood::data::Mnist;
///
/// let mnist = Mnist::load("data/mnist")?;
/// assert_eq!(mnist.train.inputs().shape(), [60_000, 28, 28, 1]);
/// assert_eq!(mnist.test.len(), 10_000);
/// # Ok::<(), plywood::Error>(())
/// ```
#[doc(alias = "FashionMNIST")]
#[derive(Debug, Clone, PartialEq)]
pub struct Mnist<T = f32> {
    /// What to train with.
    pub train: Dataset<T>,
    /// What to test with.
    pub test: Dataset<T>,
}

impl Mnist {
    /// Loads the four files of the folder `dir`, as `f32`.
    ///
    /// # Errors
    ///
    /// - [`Error::MissingFile`] if one of the files is not there.
    /// - [`Error::Io`] if one cannot be read.
    /// - [`Error::Idx`] if one is not an IDX file, or holds labels in place of images.
    /// - [`Error::FileMismatch`] if there are not as many labels as images.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self> {
        Self::load_as(dir)
    }
}

impl<T: Scalar> Mnist<T> {
    /// As [`Mnist::load`], in another precision.
    ///
    /// # Errors
    ///
    /// Those of [`Mnist::load`].
    ///
    /// # Example
    ///
    /// ```
    /// use plywood::data::Mnist;
    ///
    /// let mnist = Mnist::<f64>::load_as("data/mnist")?;
    /// assert_eq!(mnist.test.inputs()[[0, 7, 6, 0]], 84.0 / 255.0);
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn load_as(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        // All four are looked for before the first is read, so that a missing one is told at once.
        let (train, test) = (Part::find(dir, "train")?, Part::find(dir, "t10k")?);
        // One after the other: of the bytes in the files, those of one part at a time are in memory. The test images are
        // a seventh of all, so reading both at once would not save much.
        Ok(Self { train: train.read()?, test: test.read()? })
    }
}

/// Where the images and labels of one of the two parts are.
struct Part {
    images: PathBuf,
    labels: PathBuf,
}

impl Part {
    fn find(dir: &Path, name: &str) -> Result<Self> {
        Ok(Self {
            images: find(dir, &format!("{name}-images-idx3-ubyte"))?,
            labels: find(dir, &format!("{name}-labels-idx1-ubyte"))?,
        })
    }

    fn read<T: Scalar>(self) -> Result<Dataset<T>> {
        let labels: Array1<u8> = read_idx(&self.labels)?;
        let images: Array3<u8> = read_idx(&self.images)?;
        if images.shape()[0] != labels.len() {
            return Err(Error::FileMismatch {
                images: self.images,
                image_count: images.shape()[0],
                labels: self.labels,
                label_count: labels.len(),
            });
        }
        Dataset::new(scaled(images), labels)
    }
}

/// The file of this name, with `.gz` or without. The compressed one goes first: it is the one that is distributed, and it
/// has a checksum.
fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    let (compressed, plain) = (dir.join(format!("{name}.gz")), dir.join(name));
    for path in [&compressed, &plain] {
        if path.try_exists().map_err(|source| Error::Io { path: path.clone(), source })? {
            return Ok(path.clone());
        }
    }
    let help = if dir.is_dir() {
        "nor one without .gz; Mnist::load needs train-images-idx3-ubyte, train-labels-idx1-ubyte, \
         t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte there, each with or without .gz, such as those of \
         https://ossci-datasets.s3.amazonaws.com/mnist/"
            .to_owned()
    } else {
        format!("{} is not a folder; a relative path starts at the working directory", dir.display())
    };
    Err(Error::MissingFile { path: compressed, help })
}

/// Pixels from 0 to 1, with one channel.
pub(super) fn scaled<T: Scalar>(images: Array3<u8>) -> Array4<T> {
    // 256 divisions rather than one a pixel, with the same bits.
    let quotients: [T; 256] = std::array::from_fn(|value| T::of(value as f64) / T::of(255.0));
    images.mapv(|pixel| quotients[usize::from(pixel)]).insert_axis(Axis(3))
}
