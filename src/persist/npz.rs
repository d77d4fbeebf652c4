//! NumPy's format of several arrays: a zip archive of `.npy` files. With it, the weights of a model as arrays.

use std::collections::BTreeSet;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use ndarray::{Array, ArrayD, ArrayRef, Dimension};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::archive::{Archive, Member};
use super::failure::Failure;
use super::npy::{self, Element, FORMAT, Header};
use crate::error::{Error, Result, shape_text};
use crate::files::write_file;
use crate::model::Sequential;
use crate::scalar::Scalar;

/// An `.npz` file to read arrays from, as `numpy.savez` and `numpy.savez_compressed` write it.
///
/// # Format
///
/// A zip archive with a file `NAME.npy` for each array. Names may have slashes in them: `conv2d/kernel`. Other files in
/// the archive are left alone.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, [`Error::Format`] if it is damaged. Two arrays of one name are such damage.
///
/// # Source
///
/// `numpy/lib/_npyio_impl.py`, NumPy 2.
///
/// # Example
///
/// ```
/// use plywood::ndarray::{Array1, Array2, array};
/// use plywood::persist::{Npz, NpzWriter};
///
/// let path = std::env::temp_dir().join(format!("plywood-{}-open.npz", std::process::id()));
/// let mut arrays = NpzWriter::new(&path);
/// arrays.add("x", &array![[1.0_f32, 2.0], [3.0, 4.0]])?;
/// arrays.add("y", &array![0_i64, 1])?;
/// arrays.finish()?;
///
/// let mut arrays = Npz::open(&path)?;
/// assert_eq!(arrays.names(), ["x", "y"]);
/// let x: Array2<f32> = arrays.read("x")?;
/// let y: Array1<i64> = arrays.read("y")?;
/// assert_eq!((x[[1, 0]], y[1]), (3.0, 1));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug)]
pub struct Npz {
    path: PathBuf,
    archive: Archive,
}

impl Npz {
    /// Opens the file and reads its directory.
    ///
    /// # Errors
    ///
    /// Those of [`Npz`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        match Archive::open(&path) {
            Ok(archive) => Ok(Self { path, archive }),
            Err(failure) => Err(failure.of(&path, FORMAT)),
        }
    }

    /// The names of the arrays, in the file's order.
    pub fn names(&self) -> Vec<String> {
        self.archive.names().filter_map(|name| Some(name.strip_suffix(".npy")?.to_owned())).collect()
    }

    /// Reads the array of this name, as [`read_npy`](super::read_npy) does.
    ///
    /// # Errors
    ///
    /// Those of [`read_npy`](super::read_npy); [`Error::Format`] with all names there are if there is no such array.
    pub fn read<A: Element, D: Dimension>(&mut self, name: &str) -> Result<Array<A, D>> {
        self.with(name, |header, mut member| header.values(&mut member))
    }

    /// What `read` makes of an array, whose name its problems are told with.
    pub(crate) fn with<R>(
        &mut self,
        name: &str,
        read: impl FnOnce(Header, Member<'_>) -> Result<R, Failure>,
    ) -> Result<R> {
        let read = || match self.archive.member(&format!("{name}.npy"))? {
            Some(mut member) => Ok(Some(read(Header::read(&mut member)?, member)?)),
            None => Ok(None),
        };
        let read = match read() {
            Ok(Some(array)) => Ok(array),
            Ok(None) => Err(Failure::Problem(format!("there is none, but {}", self.names().join(", ")))),
            Err(failure) => Err(failure),
        };
        read.map_err(|failure| match failure {
            Failure::Problem(problem) => self.problem(format!("array {name:?}: {problem}")),
            failure => failure.of(&self.path, FORMAT),
        })
    }

    pub(crate) fn problem(&self, problem: String) -> Error {
        Failure::Problem(problem).of(&self.path, FORMAT)
    }
}

/// An `.npz` file to write arrays to, which `numpy.load` reads.
///
/// The arrays are kept in memory until [`finish`](Self::finish), which writes the file whole or not at all. The same
/// arrays give the same bytes.
///
/// # Parameters
///
/// | parameter | default | meaning |
/// |---|---|---|
/// | [`compressed`](Self::compressed) | `false` | whether arrays are deflated, as by `numpy.savez_compressed` |
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be written.
///
/// # Example
///
/// ```
/// use plywood::ndarray::array;
/// use plywood::persist::{Npz, NpzWriter};
///
/// let path = std::env::temp_dir().join(format!("plywood-{}-writer.npz", std::process::id()));
/// let mut arrays = NpzWriter::new(&path).compressed(true);
/// arrays.add("x", &array![[1.0_f32, 2.0], [3.0, 4.0]])?;
/// arrays.finish()?;
/// assert_eq!(Npz::open(&path)?.names(), ["x"]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug)]
pub struct NpzWriter {
    path: PathBuf,
    zip: ZipWriter<Cursor<Vec<u8>>>,
    compressed: bool,
}

impl NpzWriter {
    /// A file of this name without arrays.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { zip: ZipWriter::new(Cursor::default()), path: path.as_ref().to_owned(), compressed: false }
    }

    /// Sets whether the arrays that follow are deflated.
    pub fn compressed(mut self, compressed: bool) -> Self {
        self.compressed = compressed;
        self
    }

    /// Appends an array.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is an array of this name already.
    pub fn add<A: Element, D: Dimension>(&mut self, name: &str, array: &ArrayRef<A, D>) -> Result<()> {
        let method = if self.compressed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        // sizes beyond 4 GiB need a field that has to be there from the start
        let options = SimpleFileOptions::default().compression_method(method).large_file(true);
        let mut add = || {
            self.zip.start_file(format!("{name}.npy"), options)?;
            npy::write(&mut self.zip, array)
        };
        add().map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    /// Writes the file; it takes the place of an old one when it has been written.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be written.
    pub fn finish(self) -> Result<()> {
        let bytes = self.zip.finish().map_err(|error| Error::Io { path: self.path.clone(), source: error.into() })?;
        write_file(&self.path, |file| file.write_all(bytes.get_ref()))
    }
}

impl<T: Scalar> Sequential<T> {
    /// Writes all parameters to an `.npz` file, under their names: `conv2d_1/kernel`.
    ///
    /// # Format
    ///
    /// An array for each of [`parameters`](Self::parameters), in the model's type. In NumPy,
    /// `numpy.load(path)["conv2d_1/kernel"]`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be written.
    ///
    /// # Example
    ///
    /// ```
    /// use plywood::prelude::*;
    ///
    /// let path = std::env::temp_dir().join(format!("plywood-{}-weights.npz", std::process::id()));
    /// let model = Sequential::input([3]).add(Dense::new(2)).build(42)?;
    /// model.save_npz(&path)?;
    ///
    /// let mut other = Sequential::input([3]).add(Dense::new(2)).build(43)?;
    /// other.load_npz(&path)?;
    /// assert_eq!(other.values(), model.values());
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    pub fn save_npz(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut npz = NpzWriter::new(path);
        for (name, values) in self.parameters() {
            match T::NAME {
                "float32" => npz.add(name, &values.mapv(|x| x.to_f32().expect("it is one")))?,
                _ => npz.add(name, &values.mapv(|x| x.to_f64().expect("it is one")))?,
            }
        }
        npz.finish()
    }

    /// Reads all parameters from an `.npz` file, as [`save_npz`](Self::save_npz) writes it.
    ///
    /// The file must have an array of the same shape and type for each parameter, and no other. All is checked before
    /// one weight changes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is damaged, or of another model.
    pub fn load_npz(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let mut npz = Npz::open(path)?;
        let names = npz.names();
        let got: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let expected: BTreeSet<&str> = self.layout().entries().iter().map(|entry| entry.name()).collect();
        if got != expected {
            let list = |names: &mut dyn Iterator<Item = &&str>| names.copied().collect::<Vec<_>>().join(", ");
            let missing = list(&mut expected.difference(&got));
            let unexpected = list(&mut got.difference(&expected));
            return Err(npz.problem(match (missing.as_str(), unexpected.as_str()) {
                (missing, "") => format!("it lacks {missing}"),
                ("", unexpected) => format!("it has {unexpected}, which the model has not"),
                (missing, unexpected) => format!("it lacks {missing}, and has {unexpected}, which the model has not"),
            }));
        }
        let mut values = vec![];
        for entry in self.layout().entries() {
            let array: ArrayD<T> = npz.with(entry.name(), |header, mut member| {
                if header.shape() != entry.shape() {
                    let (got, expected) = (shape_text(header.shape()), shape_text(entry.shape()));
                    return Err(format!("it has the shape {got}, expected {expected}").into());
                }
                Ok(match T::NAME {
                    "float32" => header.values::<f32, _>(&mut member)?.mapv(|x| T::of(x.into())),
                    _ => header.values::<f64, _>(&mut member)?.mapv(T::of),
                })
            })?;
            values.extend(&array);
        }
        self.values_mut().copy_from_slice(&values);
        Ok(())
    }
}
