//! The IDX format, in which MNIST is distributed: reading it from files that nobody vouches for.
//!
//! A file is a header and the values, big-endian, without padding:
//!
//! | bytes | meaning |
//! |---|---|
//! | 0, 1 | 0 |
//! | 2 | type of the values; 8 is the unsigned byte |
//! | 3 | number of dimensions d |
//! | 4 to 4 + 4·d | size of each dimension, a `u32` each |
//! | the rest | the values, row-major |
//!
//! Nothing in a header is believed: memory grows with the bytes that are really there, never with what is announced.

use std::io::{self, BufReader, Cursor, Read};
use std::ops::RangeInclusive;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ndarray::{Array, ArrayD, Dimension, IxDyn};

use crate::error::{Error, Result, shape_text};
use crate::files::open;
use crate::shape::elements;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const UNSIGNED_BYTE: u8 = 0x08;
/// From labels to images with channels. No data set has more, so that a header which says so is a damaged one.
const DIMENSIONS: RangeInclusive<usize> = 1..=4;
/// How many times as large as the compressed file an array may be. MNIST's images are 5 times as large, but gzip makes a
/// thousandth of zeros.
const MOST_TIMES: u64 = 100;
/// Bytes that an array may have however small the file is.
const SMALL: u64 = 1 << 20;

/// What is wrong with an IDX file.
///
/// ```
/// use plywood::Error;
/// use plywood::data::{IdxProblem, read_idx};
/// use plywood::ndarray::Ix1;
///
/// # let path = std::env::temp_dir().join(format!("plywood-doc-idx-{}", std::process::id()));
/// std::fs::write(&path, [0, 0, 8, 1, 0, 0, 0, 5, 7, 2, 1]).unwrap(); // 5 labels, of which 3 are there
/// let Err(Error::Idx { problem, .. }) = read_idx::<Ix1>(&path) else { unreachable!() };
/// assert_eq!(problem, IdxProblem::Truncated { part: "data", got: 3, expected: 5 });
/// # std::fs::remove_file(&path).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdxProblem {
    /// The file does not begin as an IDX file does.
    #[error("not an IDX file: it begins with the bytes {}, expected 00 00 08", hexadecimal(begins_with))]
    NotIdx {
        /// The first bytes, at most four; of a compressed file, after decompression.
        begins_with: Vec<u8>,
    },
    /// The values are not unsigned bytes.
    #[error("its values are of type 0x{code:02x}{}, expected 0x08 (unsigned byte)", type_name(*code))]
    ElementType {
        /// The type's code.
        code: u8,
    },
    /// The array has another number of dimensions than what is read from it: a file of images in place of labels, or the
    /// other way round.
    #[error("it holds {}, expected {}", contents(*got), contents(*expected))]
    Dimensions {
        /// Number of dimensions.
        got: usize,
        /// Number that was asked for.
        expected: usize,
    },
    /// The array has none, or more than any data set has.
    #[error(
        "its header announces {got} dimensions, expected {} to {}; the file may be damaged",
        DIMENSIONS.start(),
        DIMENSIONS.end()
    )]
    UnsupportedDimensions {
        /// Number of dimensions.
        got: usize,
    },
    /// The array has no elements.
    #[error("its header announces an array of shape {}, which is empty", shape_text(shape))]
    Empty {
        /// The announced shape, at least one size of which is 0.
        shape: Vec<usize>,
    },
    /// The array would have more elements than memory has addresses.
    #[error(
        "its header announces an array of shape {}, more than can be addressed; the file may be damaged",
        shape_text(shape)
    )]
    TooLarge {
        /// The announced shape.
        shape: Vec<usize>,
    },
    /// The file ends before its header or its values do.
    #[error("its {part} ends after {got} bytes, expected {expected}; the file may have been cut short: get it again")]
    Truncated {
        /// `header` or `data`.
        part: &'static str,
        /// Bytes of this part there are.
        got: usize,
        /// Bytes of this part there should be.
        expected: usize,
    },
    /// The file goes on after the last value.
    #[error(
        "it goes on after the {expected} bytes of data that its header announces; the file may be damaged: get it again"
    )]
    TrailingBytes {
        /// Bytes of data that the header announces.
        expected: usize,
    },
    /// The file is gzip-compressed, and the array is more than a hundred times as large as the file: images and labels do
    /// not come near that.
    #[error(
        "its header announces {announced} bytes of data, packed into {packed}: a gzip bomb; if it is none, unpack it with \
         gunzip"
    )]
    Bomb {
        /// Bytes of data that the header announces.
        announced: usize,
        /// Bytes of the compressed file.
        packed: u64,
    },
    /// The file is gzip-compressed and cannot be decompressed.
    #[error("its gzip compression is damaged ({reason}); get it again")]
    Gzip {
        /// What the decompressor said.
        reason: String,
    },
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn type_name(code: u8) -> &'static str {
    match code {
        0x09 => " (signed byte)",
        0x0b => " (16-bit integer)",
        0x0c => " (32-bit integer)",
        0x0d => " (32-bit float)",
        0x0e => " (64-bit float)",
        _ => "",
    }
}

/// What an array of this many dimensions is in the data sets of the format.
fn contents(dimensions: usize) -> String {
    match dimensions {
        1 => "1 dimension (labels)".to_owned(),
        3 => "3 dimensions (images)".to_owned(),
        other => format!("{other} dimensions"),
    }
}

/// Reads an array of unsigned bytes from an IDX file, such as the images or the labels of MNIST, gzip-compressed or not.
///
/// Whether it is compressed is told by its first bytes, not by its name. The type that is asked for says how many
/// dimensions the array must have: `Array1<u8>` for labels, `Array3<u8>` for images, `ArrayD<u8>` for any from 1 to 4.
///
/// A gzip file may consist of several members, as `cat a.gz b.gz` makes them; their contents follow each other. The
/// checksum of each is verified.
///
/// # Shapes
///
/// As the file says; every size is at least 1, because an empty array can only be a mistake. Row-major.
///
/// # Errors
///
/// - [`Error::Io`] if the file cannot be opened or read.
/// - [`Error::Idx`] if it is not what it should be, with the [`IdxProblem`]. A file that announces more than it holds is
///   such an error and costs no memory; no more is decompressed than announced, nor than 100 times the file's bytes.
///
/// # Source
///
/// Y. LeCun, C. Cortes, C. Burges, *The MNIST database of handwritten digits*: "The IDX file format". gzip: RFC 1952.
///
/// # Example
///
/// ```
/// use plywood::data::read_idx;
/// use plywood::ndarray::{Array1, Array3};
///
/// let labels: Array1<u8> = read_idx("data/mnist/t10k-labels-idx1-ubyte.gz")?;
/// let images: Array3<u8> = read_idx("data/mnist/t10k-images-idx3-ubyte.gz")?;
/// assert_eq!(labels.len(), 10_000);
/// assert_eq!(images.dim(), (10_000, 28, 28));
/// # Ok::<(), plywood::Error>(())
/// ```
pub fn read_idx<D: Dimension>(path: impl AsRef<Path>) -> Result<Array<u8, D>> {
    let path = path.as_ref();
    let read = || {
        let (file, length) = open(path)?;
        decode(file, length, D::NDIM)
    };
    match read() {
        Ok(array) => Ok(array.into_dimensionality().expect("the number of dimensions has been checked")),
        Err(Failure::Io(source)) => Err(Error::Io { path: path.to_owned(), source }),
        Err(Failure::Problem(problem)) => Err(Error::Idx { path: path.to_owned(), problem }),
    }
}

/// Why reading failed: the file cannot be read, or should not have been written so.
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    Problem(IdxProblem),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<IdxProblem> for Failure {
    fn from(problem: IdxProblem) -> Self {
        Self::Problem(problem)
    }
}

/// Reads an array from the bytes of a file of this length, compressed or not.
fn decode(file: impl Read, length: u64, dimensions: Option<usize>) -> Result<ArrayD<u8>, Failure> {
    let mut file = BufReader::new(file);
    let magic = read_at_most(&mut file, GZIP_MAGIC.len())?;
    let compressed = magic == GZIP_MAGIC;
    let file = Cursor::new(magic).chain(file);
    if !compressed {
        return parse(file, None, dimensions);
    }
    // Not GzDecoder, which stops after the first member and would take what follows it for the end of the file.
    parse(MultiGzDecoder::new(file), Some(length), dimensions).map_err(|failure| match failure {
        // The decompressor reports damage as an I/O error of one of these kinds; what the operating system says while the
        // file is read keeps its own kind.
        Failure::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            IdxProblem::Gzip { reason: error.to_string() }.into()
        }
        other => other,
    })
}

/// Reads an array of `dimensions` dimensions, or any supported number, from the bytes of an IDX file, unpacked from so many.
fn parse(mut file: impl Read, packed: Option<u64>, dimensions: Option<usize>) -> Result<ArrayD<u8>, Failure> {
    let magic = read_at_most(&mut file, 4)?;
    if magic.iter().take(2).any(|&byte| byte != 0) {
        return Err(IdxProblem::NotIdx { begins_with: magic }.into());
    }
    let &[_, _, code, got] = magic.as_slice() else {
        return Err(IdxProblem::Truncated { part: "header", got: magic.len(), expected: 4 }.into());
    };
    if code != UNSIGNED_BYTE {
        return Err(IdxProblem::ElementType { code }.into());
    }
    let got = usize::from(got);
    if !DIMENSIONS.contains(&got) {
        return Err(IdxProblem::UnsupportedDimensions { got }.into());
    }
    if let Some(expected) = dimensions.filter(|&expected| expected != got) {
        return Err(IdxProblem::Dimensions { got, expected }.into());
    }

    let sizes = read_at_most(&mut file, 4 * got)?;
    if sizes.len() < 4 * got {
        return Err(IdxProblem::Truncated { part: "header", got: 4 + sizes.len(), expected: 4 + 4 * got }.into());
    }
    let (sizes, _) = sizes.as_chunks::<4>();
    let shape: Vec<usize> = sizes.iter().map(|&size| u32::from_be_bytes(size) as usize).collect();
    if shape.contains(&0) {
        return Err(IdxProblem::Empty { shape }.into());
    }
    let Some(expected) = elements(&shape) else {
        return Err(IdxProblem::TooLarge { shape }.into());
    };

    // One byte more than there should be, so that a longer file is told from a whole one without being read to its end.
    // For a compressed file this read also reaches the end of the stream, where its checksum is verified.
    let most = packed.map_or(u64::MAX, |packed| SMALL.max(packed.saturating_mul(MOST_TIMES)));
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let values = read_at_most(&mut file, most.min(expected) + 1)?;
    if let Some(packed) = packed.filter(|_| most < expected && most < values.len()) {
        return Err(IdxProblem::Bomb { announced: expected, packed }.into());
    }
    if values.len() < expected {
        return Err(IdxProblem::Truncated { part: "data", got: values.len(), expected }.into());
    }
    if values.len() > expected {
        return Err(IdxProblem::TrailingBytes { expected }.into());
    }
    Ok(ArrayD::from_shape_vec(IxDyn(&shape), values).expect("as many values as the shape has elements"))
}

/// The next `limit` bytes, or fewer where the file ends before. The vector grows as bytes arrive: `limit` is only what a
/// header says.
fn read_at_most(file: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the bytes that are read from it.
    struct Counted<R>(R, u64);

    impl<R: Read> Read for Counted<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.read(buffer)?;
            self.1 += bytes as u64;
            Ok(bytes)
        }
    }

    #[test]
    fn of_an_endless_file_only_what_is_announced_is_read() {
        let header: &[u8] = &[0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 5];
        let mut file = Counted(header.chain(io::repeat(7)), 0);
        let failure = parse(&mut file, None, None).unwrap_err();
        assert!(matches!(failure, Failure::Problem(IdxProblem::TrailingBytes { expected: 15 })), "{failure:?}");
        assert_eq!(file.1, 12 + 15 + 1);
    }

    #[test]
    fn memory_grows_with_the_bytes_that_are_there() {
        let bytes = read_at_most(&mut &[1, 2, 3][..], usize::MAX).unwrap();
        assert!(bytes.capacity() < 1024, "{}", bytes.capacity());
        let bytes = read_at_most(&mut io::repeat(0).take(1 << 20), 1 << 40).unwrap();
        assert!(bytes.capacity() <= 2 << 20, "{}", bytes.capacity());
    }

    /// Hands out one byte at a time, as a pipe may, and then an error of the operating system.
    struct Failing<'a>(&'a [u8], io::ErrorKind);

    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((&first, rest)) = self.0.split_first() else { return Err(self.1.into()) };
            (buffer[0], self.0) = (first, rest);
            Ok(1)
        }
    }

    #[test]
    fn failures_of_the_system_are_not_taken_for_damage() {
        let compressed: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        for bytes in [&[0, 0, 8, 1, 0, 0, 0, 9, 1, 2][..], compressed, &[], &[0x1f]] {
            let failure = decode(Failing(bytes, io::ErrorKind::PermissionDenied), 10, None).unwrap_err();
            let Failure::Io(error) = failure else { panic!("{bytes:?}: {failure:?}") };
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{bytes:?}");
        }
    }
}
