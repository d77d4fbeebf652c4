//! NumPy's format of one array, and reading it from files that nobody vouches for.
//!
//! A file is a header and the values:
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 to 5 | `\x93NUMPY` |
//! | 6, 7 | version, 1.0 to 3.0 |
//! | 8, 9 (from 2.0 on to 11) | length of what follows, little-endian |
//! | as many | a Python dictionary with `descr`, `fortran_order` and `shape`, padded with spaces |
//! | the rest | the values |
//!
//! Nothing in a header is believed: memory grows with the bytes that are really there. The crate ndarray-npy, which
//! reads the same files, allocates what a header announces.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use ndarray::{Array, ArrayD, ArrayRef, Dimension, IxDyn, ShapeBuilder};

use super::archive::damage;
use super::failure::Failure;
use crate::error::{Result, shape_text};
use crate::files::{open, write_file};
use crate::shape::elements;

const MAGIC: [u8; 6] = *b"\x93NUMPY";
/// The longest header that NumPy itself reads from a file of unknown origin.
const LONGEST_HEADER: usize = 10_000;
/// As many dimensions as an array of NumPy can have.
const MOST_DIMENSIONS: usize = 64;
/// The file's data begin at a multiple of it.
const ALIGNMENT: usize = 64;
/// What errors call such a file.
pub(super) const FORMAT: &str = "NumPy file";

/// A number that arrays in NumPy's files can have.
///
/// | type | NumPy's name | `descr` |
/// |---|---|---|
/// | `f32`, `f64` | `float32`, `float64` | `<f4`, `<f8` |
/// | `i8`, `i16`, `i32`, `i64` | `int8` … | `|i1`, `<i2`, `<i4`, `<i8` |
/// | `u8`, `u16`, `u32`, `u64` | `uint8` … | `|u1`, `<u2`, `<u4`, `<u8` |
/// | `bool` | `bool` | `|b1` |
///
/// The trait is sealed.
pub trait Element: Copy + sealed::Bytes {
    /// The type's name, as NumPy spells it.
    const NAME: &'static str;
}

mod sealed {
    /// The bytes of a number in a file.
    pub trait Bytes: Sized {
        /// Kind and size, as `descr` has them after the byte order.
        const CODE: &'static str;
        const SIZE: usize;
        /// `None` if no value has these bytes.
        fn read(bytes: &[u8], big_endian: bool) -> Option<Self>;
        /// Little-endian.
        fn write(self, bytes: &mut Vec<u8>);
    }
}

macro_rules! element {
    ($($type:ty, $name:literal, $code:literal;)*) => {$(
        impl Element for $type {
            const NAME: &'static str = $name;
        }

        impl sealed::Bytes for $type {
            const CODE: &'static str = $code;
            const SIZE: usize = size_of::<$type>();

            fn read(bytes: &[u8], big_endian: bool) -> Option<Self> {
                let bytes = bytes.try_into().ok()?;
                Some(if big_endian { Self::from_be_bytes(bytes) } else { Self::from_le_bytes(bytes) })
            }

            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }
        }
    )*};
}

element! {
    f32, "float32", "f4";
    f64, "float64", "f8";
    i8, "int8", "i1";
    i16, "int16", "i2";
    i32, "int32", "i4";
    i64, "int64", "i8";
    u8, "uint8", "u1";
    u16, "uint16", "u2";
    u32, "uint32", "u4";
    u64, "uint64", "u8";
}

impl Element for bool {
    const NAME: &'static str = "bool";
}

impl sealed::Bytes for bool {
    const CODE: &'static str = "b1";
    const SIZE: usize = 1;

    fn read(bytes: &[u8], _: bool) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.push(self.into());
    }
}

/// Reads an array of NumPy from an `.npy` file, as `numpy.save` writes it.
///
/// The type that is asked for says which numbers the array must have, and how many dimensions: `Array2<f32>`, or
/// `ArrayD<f32>` for any number. See [`Element`] for the types of numbers.
///
/// # Shapes
///
/// As the file says, empty arrays included. The array has the file's order in memory, so one in Fortran's order is not
/// row-major.
///
/// # Format
///
/// Versions 1.0, 2.0 and 3.0, either byte order, C's and Fortran's order of the values.
///
/// # Errors
///
/// - [`Error::Io`](crate::Error::Io) if the file cannot be read.
/// - [`Error::Format`](crate::Error::Format) if it is damaged, or has another type or number of dimensions. A file that announces more than it
///   holds is such an error and costs no memory.
///
/// # Source
///
/// `numpy/lib/format.py`, NumPy 2.
///
/// # Example
///
/// ```
/// use plywood::ndarray::{Array2, array};
/// use plywood::persist::{read_npy, write_npy};
///
/// let path = std::env::temp_dir().join(format!("plywood-{}-read.npy", std::process::id()));
/// write_npy(&path, &array![[1.0_f32, 2.0], [3.0, 4.0]])?;
/// let x: Array2<f32> = read_npy(&path)?;
/// assert_eq!(x[[1, 0]], 3.0);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
pub fn read_npy<A: Element, D: Dimension>(path: impl AsRef<Path>) -> Result<Array<A, D>> {
    let path = path.as_ref();
    let read = || {
        let mut file = BufReader::new(open(path)?.0);
        Header::read(&mut file)?.values(&mut file)
    };
    read().map_err(|failure| failure.of(path, FORMAT))
}

/// Writes an array to an `.npy` file, which `numpy.load` reads.
///
/// The values are little-endian and in C's order. The file is there whole or not at all: it takes the place of an old one
/// when it has been written.
///
/// # Errors
///
/// [`Error::Io`](crate::Error::Io) if the file cannot be written.
///
/// # Source
///
/// `numpy/lib/format.py`, NumPy 2: version 1.0.
///
/// # Example
///
/// ```
/// use plywood::ndarray::array;
/// use plywood::persist::write_npy;
///
/// let path = std::env::temp_dir().join(format!("plywood-{}-write.npy", std::process::id()));
/// write_npy(&path, &array![[1_i64, 2], [3, 4]])?;
/// assert!(std::fs::read(&path).unwrap().starts_with(b"\x93NUMPY"));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
pub fn write_npy<A: Element, D: Dimension>(path: impl AsRef<Path>, array: &ArrayRef<A, D>) -> Result<()> {
    write_file(path.as_ref(), |file| write(file, array))
}

/// Writes header and values.
pub(super) fn write<A: Element, D: Dimension>(file: &mut impl Write, array: &ArrayRef<A, D>) -> io::Result<()> {
    let order = if A::SIZE == 1 { '|' } else { '<' };
    let sizes: String = array.shape().iter().map(|size| format!("{size}, ")).collect();
    // `(3, 4)`, but `(3,)` of one dimension
    let sizes = if array.ndim() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let mut text = format!("{{'descr': '{order}{}', 'fortran_order': False, 'shape': ({sizes}), }}", A::CODE);
    let before = MAGIC.len() + 4;
    let padding = ALIGNMENT - (before + text.len() + 1) % ALIGNMENT;
    text.extend(std::iter::repeat_n(' ', padding % ALIGNMENT));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("as many sizes as an array of ndarray has make a short text");
    file.write_all(&MAGIC)?;
    file.write_all(&[1, 0])?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(text.as_bytes())?;

    let mut bytes = Vec::with_capacity(PIECE);
    for &value in array {
        value.write(&mut bytes);
        if bytes.len() >= PIECE {
            file.write_all(&bytes)?;
            bytes.clear();
        }
    }
    file.write_all(&bytes)
}

/// Bytes that are read or written at a time: a multiple of every element's size.
const PIECE: usize = 1 << 16;

/// What an array's header says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Header {
    /// Byte order, kind and size of the values, such as `<f4`.
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether the values are of this type, in either byte order.
    pub(crate) fn holds<A: Element>(&self) -> bool {
        self.descr.strip_prefix(['<', '>', '|']) == Some(A::CODE)
    }

    /// The values' type as NumPy calls it.
    pub(crate) fn dtype(&self) -> String {
        format!("of dtype {:?}", self.descr)
    }

    /// Reads the header, and leaves the file where the values begin.
    pub(super) fn read(file: &mut impl Read) -> Result<Self, Failure> {
        let magic = read_at_most(file, MAGIC.len() + 2)?;
        if !magic.starts_with(&MAGIC) {
            return Err("it does not begin as an .npy file does, with \\x93NUMPY".to_owned().into());
        }
        let wide = match magic[MAGIC.len()..] {
            [1, 0] => false,
            [2 | 3, 0] => true,
            [major, minor] => return Err(format!("its version is {major}.{minor}, expected 1.0, 2.0 or 3.0").into()),
            _ => return Err(cut_short("header")),
        };
        let length = read_at_most(file, if wide { 4 } else { 2 })?;
        let length = match length[..] {
            [a, b] if !wide => usize::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]) as usize,
            _ => return Err(cut_short("header")),
        };
        if length > LONGEST_HEADER {
            return Err(format!("its header has {length} bytes, expected at most {LONGEST_HEADER}").into());
        }
        let text = read_at_most(file, length)?;
        if text.len() < length {
            return Err(cut_short("header"));
        }
        let text = String::from_utf8(text).map_err(|_| "its header is not a text".to_owned())?;
        Self::parse(&text).map_err(|problem| Failure::Problem(format!("its header {problem}; it may be damaged")))
    }

    /// Reads the dictionary.
    fn parse(text: &str) -> Result<Self, String> {
        let mut literal = Literal { rest: text.trim_end_matches([' ', '\n', '\0']) };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        literal.expect('{')?;
        while !literal.accept('}') {
            let key = literal.string()?;
            literal.expect(':')?;
            let twice = match key {
                "descr" => descr.replace(literal.string()?.to_owned()).is_some(),
                "fortran_order" => fortran_order.replace(literal.boolean()?).is_some(),
                "shape" => shape.replace(literal.sizes()?).is_some(),
                other => return Err(format!("has the key {other:?}, expected descr, fortran_order and shape")),
            };
            if twice {
                return Err(format!("has the key {key:?} twice"));
            }
            if !literal.accept(',') {
                literal.expect('}')?;
                break;
            }
        }
        if !literal.rest.trim().is_empty() {
            return Err(format!("goes on with {:?} after its dictionary", start(literal.rest)));
        }
        let missing = |key: &str| format!("lacks the key {key:?}");
        Ok(Self {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }

    /// Reads the values; the file must end with them.
    pub(crate) fn values<A: Element, D: Dimension>(self, file: &mut impl Read) -> Result<Array<A, D>, Failure> {
        if !self.holds::<A>() {
            let (got, expected) = (self.dtype(), A::NAME);
            return Err(format!("its array is {got}, expected {expected}: in NumPy, x.astype({expected:?})").into());
        }
        let too_large = || format!("its array of shape {} is more than can be addressed", shape_text(&self.shape));
        // an empty array's other sizes must not overflow either: they make strides
        let nonzero: Vec<usize> = self.shape.iter().copied().filter(|&size| size > 0).collect();
        elements(&nonzero).filter(|&len| len.checked_mul(A::SIZE).is_some()).ok_or_else(too_large)?;
        let count = elements(&self.shape).ok_or_else(too_large)?;
        if let Some(expected) = D::NDIM.filter(|&expected| expected != self.shape.len()) {
            let got = shape_text(&self.shape);
            return Err(format!("its array has the shape {got}, expected {expected} dimensions").into());
        }

        let big_endian = self.descr.starts_with('>');
        let mut values = Vec::new();
        while values.len() < count {
            let bytes = read_at_most(file, PIECE.min((count - values.len()) * A::SIZE))?;
            let (numbers, rest) = bytes.split_at(bytes.len() - bytes.len() % A::SIZE);
            values.try_reserve(numbers.len() / A::SIZE).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            for number in numbers.chunks_exact(A::SIZE) {
                let value = A::read(number, big_endian);
                values
                    .push(value.ok_or_else(|| format!("its array has the byte {number:?}, which is no {}", A::NAME))?);
            }
            if !rest.is_empty() || numbers.is_empty() {
                let (got, expected) = (values.len(), shape_text(&self.shape));
                return Err(format!(
                    "its array ends after {got} elements, expected {expected}; it may have been cut \
                                    short: get it again"
                )
                .into());
            }
        }
        // in an archive, this also reaches the member's end, where its checksum is verified
        if !read_at_most(file, 1)?.is_empty() {
            return Err(format!("it goes on after its array of shape {}", shape_text(&self.shape)).into());
        }
        values.shrink_to_fit();
        let shape = IxDyn(&self.shape).set_f(self.fortran_order);
        let array = ArrayD::from_shape_vec(shape, values).expect("as many values as the shape has elements");
        Ok(array.into_dimensionality().expect("the number of dimensions has been checked"))
    }
}

/// The next `limit` bytes, or fewer where the file ends before.
fn read_at_most(file: &mut impl Read, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes).map_err(damage)?;
    Ok(bytes)
}

fn cut_short(part: &str) -> Failure {
    Failure::Problem(format!("its {part} ends early; it may have been cut short: get it again"))
}

/// As much of a text as a message shows.
fn start(text: &str) -> String {
    text.chars().take(20).collect()
}

/// The part of Python's literals that headers are written in.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn accept(&mut self, token: char) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: char) -> Result<(), String> {
        if self.accept(token) { Ok(()) } else { Err(self.instead_of(&token.to_string())) }
    }

    fn instead_of(&self, expected: &str) -> String {
        format!("has {:?} where {expected} was expected", start(self.rest.trim_start()))
    }

    /// A string in quotes, without escapes: no type's name has any.
    fn string(&mut self) -> Result<&'a str, String> {
        for quote in ['\'', '"'] {
            if self.accept(quote) {
                let (string, rest) = self.rest.split_once(quote).ok_or_else(|| self.instead_of("a string"))?;
                self.rest = rest;
                return Ok(string);
            }
        }
        // a list of fields
        let help = if self.rest.trim_start().starts_with('[') { " (structured arrays are not supported)" } else { "" };
        Err(self.instead_of(&format!("a string{help}")))
    }

    fn boolean(&mut self) -> Result<bool, String> {
        for (name, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.trim_start().strip_prefix(name) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.instead_of("True or False"))
    }

    /// A tuple of sizes.
    fn sizes(&mut self) -> Result<Vec<usize>, String> {
        let mut sizes = vec![];
        self.expect('(')?;
        while !self.accept(')') {
            let text = self.rest.trim_start();
            let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
            sizes.push(digits.parse().map_err(|_| self.instead_of("a size"))?);
            // NumPy of Python 2 wrote 3L
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if sizes.len() > MOST_DIMENSIONS {
                return Err(format!("has more than {MOST_DIMENSIONS} dimensions"));
            }
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(sizes)
    }
}
