//! The one place that reads and writes safetensors files.
//!
//! Reading trusts nothing: the header is checked before the rest is read, and no more memory is taken than the file has
//! bytes. Source: the crate `safetensors` 0.8 and its `README.md` for the format.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::tensor::{TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::json::from_json;
use crate::error::{Error, Result, shape_text};
use crate::files::{open, write_file};
use crate::scalar::Scalar;
use crate::shape::elements;

/// Bytes before the header, which say how long it is.
const LENGTH: usize = size_of::<u64>();

/// The longest header that the format allows.
const MOST_HEADER: u64 = 100_000_000;

/// What is done with numbers of 64 bits where 32 are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Narrowing {
    /// They are refused.
    Refused,
    /// They are rounded to the nearest.
    Rounded,
}

/// A safetensors file in memory, checked: names, shapes and sizes fit each other and the file.
#[derive(Debug)]
pub(crate) struct TensorFile {
    path: PathBuf,
    format: &'static str,
    bytes: Vec<u8>,
    tensors: Vec<Place>,
    /// Where each name is in `tensors`.
    index: HashMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Place {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
}

/// A tensor of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tensor<'f> {
    file: &'f TensorFile,
    place: &'f Place,
}

impl TensorFile {
    /// Reads a file; errors call it by this format, such as `safetensors file`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Format`].
    pub(crate) fn read(path: &Path, format: &'static str) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let wrong = |problem: String| Error::Format { path: path.to_owned(), format, problem };
        let (file, length) = open(path).map_err(io)?;
        // first the header alone: a file whose header does not account for its length is not read any further
        let mut bytes = vec![];
        (&file).take(LENGTH as u64).read_to_end(&mut bytes).map_err(io)?;
        let header = header_length(&bytes, length).map_err(wrong)?;
        (&file).take(header as u64).read_to_end(&mut bytes).map_err(io)?;
        Header::check(&bytes, header, length).map_err(wrong)?;
        let rest = length - bytes.len() as u64;
        let missing = usize::try_from(rest).ok().filter(|&rest| bytes.try_reserve_exact(rest).is_ok());
        missing.ok_or_else(|| wrong(format!("its {} bytes do not fit into memory", length)))?;
        file.take(rest).read_to_end(&mut bytes).map_err(io)?;
        Self::from_bytes(path, format, bytes)
    }

    /// The same of bytes that have been read already.
    ///
    /// # Errors
    ///
    /// [`Error::Format`].
    pub(crate) fn from_bytes(path: &Path, format: &'static str, bytes: Vec<u8>) -> Result<Self> {
        let wrong = |problem: String| Error::Format { path: path.to_owned(), format, problem };
        let length = bytes.len() as u64;
        let header = header_length(&bytes, length).map_err(wrong)?;
        let Header { metadata, .. } = Header::check(&bytes, header, length).map_err(wrong)?;
        let (_, contents) = SafeTensors::read_metadata(&bytes).map_err(|error| wrong(error.to_string()))?;
        let place = |name: String| {
            let info = contents.info(&name).expect("the name is one of the header's");
            let (start, end) = info.data_offsets;
            let range = LENGTH + header + start..LENGTH + header + end;
            Place { dtype: info.dtype, shape: info.shape.clone(), range, name }
        };
        let tensors: Vec<Place> = contents.offset_keys().into_iter().map(place).collect();
        if let Some(large) = tensors.iter().find(|tensor| elements(&tensor.shape).is_none()) {
            return Err(wrong(format!("{:?} has a shape with too many elements", large.name)));
        }
        let index = tensors.iter().enumerate().map(|(index, tensor)| (tensor.name.clone(), index)).collect();
        Ok(Self { path: path.to_owned(), format, bytes, tensors, index, metadata: metadata.unwrap_or_default() })
    }

    /// What the file says about itself under this key.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// All bytes of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All tensors, in the order in which they lie in the file.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|place| Tensor { file: self, place })
    }

    /// The tensor of this name.
    pub(crate) fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.index.get(name).map(|&index| Tensor { file: self, place: &self.tensors[index] })
    }

    /// An [`Error::Format`] about this file.
    pub(crate) fn error(&self, problem: impl Into<String>) -> Error {
        Error::Format { path: self.path.clone(), format: self.format, problem: problem.into() }
    }
}

impl<'f> Tensor<'f> {
    /// Its name.
    pub(crate) fn name(&self) -> &'f str {
        &self.place.name
    }

    /// Its shape.
    pub(crate) fn shape(&self) -> &'f [usize] {
        &self.place.shape
    }

    /// The type of its numbers.
    pub(crate) fn dtype(&self) -> Dtype {
        self.place.dtype
    }

    /// The bytes of its numbers, in little-endian order.
    pub(crate) fn bytes(&self) -> &'f [u8] {
        &self.file.bytes[self.place.range.clone()]
    }

    /// Whether its numbers can be read as such of a model of `T`.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] with the types and a way out.
    pub(crate) fn check_type<T: Scalar>(&self, narrowing: Narrowing) -> Result<()> {
        match self.dtype() {
            Dtype::F32 => Ok(()),
            Dtype::F64 if size_of::<T>() == size_of::<f64>() || narrowing == Narrowing::Rounded => Ok(()),
            Dtype::F64 => Err(self.file.error(format!(
                "{:?} has numbers of type F64, expected F32 for a model of {}; load it into a model of f64, or have its \
                 numbers rounded (LoadWeights::round)",
                self.name(),
                T::NAME
            ))),
            other => {
                let name = self.name();
                let problem = format!("{name:?} has numbers of type {other}, expected F32 or F64; convert it before");
                Err(self.file.error(problem))
            }
        }
    }

    /// Whether it has this shape.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] with both shapes.
    pub(crate) fn check_shape(&self, shape: &[usize]) -> Result<()> {
        if self.shape() == shape {
            return Ok(());
        }
        let (name, got, expected) = (self.name(), shape_text(self.shape()), shape_text(shape));
        Err(self.file.error(format!("{name:?} has the shape {got}, expected {expected}")))
    }

    /// Its numbers, appended to `values`, exactly unless they are rounded.
    ///
    /// # Errors
    ///
    /// Those of [`check_type`](Self::check_type).
    pub(crate) fn append_to<T: Scalar>(&self, values: &mut Vec<T>, narrowing: Narrowing) -> Result<()> {
        self.check_type::<T>(narrowing)?;
        match self.dtype() {
            Dtype::F32 => values.extend(self.bytes().as_chunks().0.iter().map(|&bytes| {
                let value = f32::from_le_bytes(bytes);
                <T as num_traits::NumCast>::from(value).expect("every f32 is a number of a model")
            })),
            _ => values.extend(self.bytes().as_chunks().0.iter().map(|&bytes| T::of(f64::from_le_bytes(bytes)))),
        }
        Ok(())
    }
}

/// A tensor that is going to be written.
#[derive(Debug)]
pub(crate) struct NewTensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl NewTensor {
    /// One of numbers of a model, as many as the shape has elements.
    pub(crate) fn new<T: Scalar>(name: impl Into<String>, shape: &[usize], values: &[T]) -> Self {
        debug_assert_eq!(Some(values.len()), elements(shape), "as many values as elements");
        let dtype = if size_of::<T>() == size_of::<f32>() { Dtype::F32 } else { Dtype::F64 };
        Self { name: name.into(), dtype, shape: shape.to_vec(), bytes: little_endian(values) }
    }

    /// The bytes of its numbers.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// One of bytes. They lie behind all numbers, in the order of their names.
    pub(crate) fn of_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), dtype: Dtype::U8, shape: vec![bytes.len()], bytes }
    }
}

/// The bytes of these numbers, as files have them.
pub(crate) fn little_endian<'v, T: Scalar>(values: impl IntoIterator<Item = &'v T>) -> Vec<u8> {
    let values = values.into_iter();
    let mut bytes = Vec::with_capacity(values.size_hint().0 * size_of::<T>());
    if size_of::<T>() == size_of::<f32>() {
        values.for_each(|value| bytes.extend_from_slice(&own(value.to_f32()).to_le_bytes()));
    } else {
        values.for_each(|value| bytes.extend_from_slice(&own(value.to_f64()).to_le_bytes()));
    }
    bytes
}

fn own<F>(value: Option<F>) -> F {
    value.expect("f32 and f64 have all values of themselves")
}

/// The bytes of a file with these tensors, whose names differ, and a text under one key of its metadata: with more than
/// one key, the format's crate would write them in an order that changes from run to run.
pub(crate) fn to_bytes(tensors: &[NewTensor], metadata: Option<(&str, String)>) -> Vec<u8> {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (tensor.name.as_str(), view.expect("as many bytes as the shape and the type say"))
    });
    let metadata = metadata.map(|(key, text)| HashMap::from([(key.to_owned(), text)]));
    safetensors::serialize(views, metadata).expect("names and shapes of a model make no header of 100 MB")
}

/// Writes a file of these tensors, whole or not at all; see [`to_bytes`].
///
/// # Errors
///
/// [`Error::Io`].
pub(crate) fn write_tensors(path: &Path, tensors: &[NewTensor], metadata: Option<(&str, String)>) -> Result<()> {
    let bytes = to_bytes(tensors, metadata);
    write_file(path, |file| file.write_all(&bytes))
}

/// The length of the header as the first bytes say it, which a file of this length can have.
fn header_length(bytes: &[u8], file: u64) -> Result<usize, String> {
    let Some(&length) = bytes.first_chunk() else {
        return Err(format!("it has {file} bytes, expected at least {LENGTH}; is it complete?"));
    };
    let length = u64::from_le_bytes(length);
    if length > MOST_HEADER {
        return Err(format!(
            "its header would have {length} bytes, expected at most {MOST_HEADER}; is it another format?"
        ));
    }
    if length > file - LENGTH as u64 {
        return Err(format!("its header has {length} bytes, but the file only {file}; is it complete?"));
    }
    Ok(length as usize)
}

/// What a header says.
#[derive(Debug, Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    tensors: BTreeMap<String, TensorInfo>,
}

impl Header {
    /// The header of so many bytes that lies in `bytes`, if it accounts for a file of this length.
    fn check(bytes: &[u8], header: usize, file: u64) -> Result<Self, String> {
        let json = bytes.get(LENGTH..LENGTH + header).ok_or("it became shorter while it was read")?;
        let this: Self = from_json(json).map_err(|error| format!("its header is damaged: {error}"))?;
        let end = this.tensors.values().map(|tensor| tensor.data_offsets.1).max().unwrap_or(0);
        let expected = (LENGTH + header) as u64;
        match expected.checked_add(end as u64) {
            Some(expected) if expected == file => Ok(this),
            Some(expected) if expected < file => {
                Err(format!("it has {file} bytes, expected {expected}: there is more in it than its header says"))
            }
            expected => {
                let expected = expected.map_or("more than can be".to_owned(), |bytes| bytes.to_string());
                Err(format!("it has {file} bytes, expected {expected}; is it complete?"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "safetensors file";

    /// A file with this header, padded or not, and so many zeros.
    fn file(header: &str, data: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
    }

    fn problem(bytes: Vec<u8>) -> String {
        let error = TensorFile::from_bytes(Path::new("f"), FORMAT, bytes).unwrap_err().to_string();
        error.strip_prefix("f: not a safetensors file that can be used here: ").unwrap().to_owned()
    }

    #[test]
    fn what_is_written_is_read_to_the_last_bit() {
        let narrow = [0.1_f32, -0.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 4.0, f32::MAX];
        let wide = [0.1_f64, -0.0, f64::MIN_POSITIVE / 4.0];
        let tensors = [
            NewTensor::new("b", &[2, 3], &narrow),
            NewTensor::new("a", &[3], &wide),
            NewTensor::new("c", &[], &[1_f32]),
        ];
        let bytes = to_bytes(&tensors, Some(("key", "\"text\"".to_owned())));
        let file = TensorFile::from_bytes(Path::new("f"), FORMAT, bytes).unwrap();
        assert_eq!(file.tensors().map(|tensor| tensor.name()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((file.metadata("key"), file.metadata("other")), (Some("\"text\""), None));

        let b = file.tensor("b").unwrap();
        assert_eq!((b.shape(), b.dtype()), (&[2, 3][..], Dtype::F32));
        let mut values = vec![];
        b.append_to::<f32>(&mut values, Narrowing::Refused).unwrap();
        assert_eq!(values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), narrow.map(f32::to_bits));
        let mut values = vec![];
        b.append_to::<f64>(&mut values, Narrowing::Refused).unwrap();
        assert_eq!(values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), narrow.map(|v| f64::from(v).to_bits()));
        let mut values = vec![];
        file.tensor("a").unwrap().append_to::<f64>(&mut values, Narrowing::Refused).unwrap();
        assert_eq!(values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), wide.map(f64::to_bits));
        let mut values = vec![];
        file.tensor("a").unwrap().append_to::<f32>(&mut values, Narrowing::Rounded).unwrap();
        assert_eq!(values, [0.1_f32, -0.0, 0.0]);
        assert_eq!(
            file.tensor("a").unwrap().append_to::<f32>(&mut values, Narrowing::Refused).unwrap_err().to_string(),
            "f: not a safetensors file that can be used here: \"a\" has numbers of type F64, expected F32 for a model of \
             float32; load it into a model of f64, or have its numbers rounded (LoadWeights::round)"
        );
        assert!(file.tensor("b").unwrap().check_shape(&[3, 2]).is_err());
    }

    #[test]
    fn damaged_files_are_refused() {
        let one = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        TensorFile::from_bytes(Path::new("f"), FORMAT, file(one, 8)).unwrap();
        let tensor = |name: &str, shape: &str, from: u64, to: u64| {
            format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
        };
        let twice = format!("{{{},{}}}", tensor("a", "[2]", 0, 8), tensor("a", "[2]", 8, 16));
        let wrapping = format!("{{{}}}", tensor("a", "[4611686018427387904,4]", 0, 8));
        let far = u64::MAX - 7;
        for (bytes, message) in [
            (vec![], "it has 0 bytes, expected at least 8; is it complete?"),
            (file(one, 8)[..5].to_vec(), "it has 5 bytes, expected at least 8; is it complete?"),
            (file(one, 8)[..30].to_vec(), "its header has 54 bytes, but the file only 30; is it complete?"),
            (file(one, 7), "it has 69 bytes, expected 70; is it complete?"),
            (file(one, 9), "it has 71 bytes, expected 70: there is more in it than its header says"),
            (
                vec![0xff; 64],
                "its header would have 18446744073709551615 bytes, expected at most 100000000; is it another format?",
            ),
            (file(&twice, 16), "its header is damaged: \"a\" is there twice"),
            (file(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0), "its header is damaged: \"k\" is there twice"),
            (
                file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0),
                "its header is damaged: \"__metadata__\" is there twice",
            ),
            (file("[]", 0), "its header is damaged: invalid type: sequence, expected struct Header"),
            (file(&format!("{{{}}}", tensor("a", "[3]", 0, 8)), 8), "invalid shape, data type, or offset for tensor"),
            (file(&format!("{{{}}}", tensor("a", "[2]", 4, 12)), 12), "invalid offset for tensor `a`"),
            (file(&wrapping, 8), "overflow computing buffer size from shape and/or element type"),
            (
                file(&format!("{{{}}}", tensor("a", "[2]", far, u64::MAX)), 8),
                "it has 108 bytes, expected more than can be; is it complete?",
            ),
        ] {
            let problem = problem(bytes);
            assert!(problem.starts_with(message), "got {problem}, expected {message}");
        }
        let error = problem(file(&one.replace("F32", "F7"), 8));
        assert!(error.starts_with("its header is damaged: unknown variant `F7`"), "{error}");
        problem(file(&"[".repeat(1000), 0));
    }

    #[test]
    fn a_shape_of_nothing_is_no_way_around_the_limit() {
        let header = r#"{"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}"#;
        let file = TensorFile::from_bytes(Path::new("f"), FORMAT, file(header, 0)).unwrap();
        assert!(file.tensor("a").unwrap().bytes().is_empty());
    }

    #[test]
    fn only_files_are_read() {
        let error = TensorFile::read(&std::env::temp_dir(), FORMAT).unwrap_err();
        assert!(error.to_string().ends_with(": it is a folder, expected a regular file"), "{error}");
        let missing = TensorFile::read(Path::new("/no/such/file"), FORMAT).unwrap_err();
        assert!(matches!(missing, Error::Io { .. }), "{missing}");
        #[cfg(unix)]
        assert!(matches!(TensorFile::read(Path::new("/dev/zero"), FORMAT).unwrap_err(), Error::Io { .. }));
    }
}
