//! Zip archives from files that nobody vouches for.
//!
//! What an archive says about itself is not believed: two members of one name, encryption, members that lie over each
//! other, a directory that leaves members out or gives them other names than they have are errors, checksums are verified,
//! and memory grows with the bytes that are really there.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::failure::Failure;
use crate::files::open;

/// A zip archive whose directory has been read.
#[derive(Debug)]
pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let mut zip = ZipArchive::new(BufReader::new(open(path)?.0))?;
        if zip.has_duplicate_names() {
            return Err(Failure::Problem("two of its members have the same name".to_owned()));
        }
        if zip.has_overlapping_entries()? {
            return Err(Failure::Problem("its members lie over each other; it may be a zip bomb".to_owned()));
        }
        for name in zip.file_names() {
            name?;
        }
        zip.validate_header_consistency()?;
        let (members, start) = (zip.len(), zip.central_directory_start());
        let mut file = zip.into_inner();
        check_end(&mut file, start, members)?;
        Ok(Self { zip: ZipArchive::new(file)? })
    }

    /// The members, in the archive's order.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.zip.file_names().filter_map(|name| Some(name.ok()?.into_owned()))
    }

    /// The member of this name, to be read.
    pub(super) fn member(&mut self, name: &str) -> Result<Option<Member<'_>>, Failure> {
        match self.zip.by_name(name) {
            Ok(file) => Ok(Some(Member { file })),
            Err(ZipError::FileNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A file in an archive. Its checksum is verified when its end is read.
pub(crate) struct Member<'a> {
    file: ZipFile<'a, BufReader<File>>,
}

#[cfg(feature = "keras")]
impl Member<'_> {
    /// All of a member of at most `limit` bytes, which is at most so many times as long as it is compressed, or small.
    ///
    /// Deflate makes a thousandth of zeros. Weights and texts do not come near that, and Keras itself does not compress.
    pub(super) fn bytes(mut self, limit: u64, most_times: u64) -> Result<Vec<u8>, Failure> {
        const SMALL: u64 = 1 << 20;
        let (stated, stored) = (self.file.size(), self.file.compressed_size());
        if stated > limit {
            return Err(Failure::Problem(format!("{} has {stated} bytes, expected at most {limit}", self.name())));
        }
        if stated > SMALL.max(stored.saturating_mul(most_times)) {
            let name = self.name();
            return Err(Failure::Problem(format!(
                "{name} has {stated} bytes, packed into {stored}: a zip bomb; if it is none, store it uncompressed"
            )));
        }
        let mut bytes = Vec::new();
        // one byte more than stated: a longer member is told from a whole one without being read to its end
        (&mut self).take(stated.saturating_add(1)).read_to_end(&mut bytes).map_err(damage)?;
        if bytes.len() as u64 != stated {
            let name = self.name();
            return Err(Failure::Problem(format!("{name} has not the {stated} bytes that the archive states")));
        }
        Ok(bytes)
    }

    fn name(&self) -> String {
        self.file.name().map(String::from).unwrap_or_default()
    }
}

impl Read for Member<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

/// Whether the directory that begins here has so many members, and the file ends with it: an end record that says less than
/// there is would hide members.
fn check_end(file: &mut BufReader<File>, start: u64, members: usize) -> Result<(), Failure> {
    const MEMBER: &[u8] = b"PK\x01\x02";
    const END_64: &[u8] = b"PK\x06\x06";
    const END: &[u8] = b"PK\x05\x06";
    let wrong = || Failure::Problem("its end record does not agree with its directory; get it again".to_owned());
    let skip = |file: &mut BufReader<File>, bytes: u64| {
        file.seek_relative(i64::try_from(bytes).map_err(|_| wrong())?).map_err(damage)
    };
    fn field<const SIZE: usize>(record: &[u8], at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..SIZE].copy_from_slice(&record[at..at + SIZE]);
        u64::from_le_bytes(bytes)
    }

    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(start))?;
    for _ in 0..members {
        let mut record = [0; 46];
        file.read_exact(&mut record).map_err(damage)?;
        if !record.starts_with(MEMBER) {
            return Err(wrong());
        }
        // name, extra fields, comment
        skip(file, field::<2>(&record, 28) + field::<2>(&record, 30) + field::<2>(&record, 32))?;
    }
    let mut end = [0; 22];
    file.read_exact(&mut end).map_err(damage)?;
    if end.starts_with(END_64) {
        // the length of what follows it; after that, a locator of 20 bytes
        let rest = (12 + 20_u64).checked_add(field::<8>(&end, 4)).and_then(|end_64| end_64.checked_sub(22));
        skip(file, rest.ok_or_else(wrong)?)?;
        file.read_exact(&mut end).map_err(damage)?;
    }
    let comment = field::<2>(&end, 20);
    match end.starts_with(END) && file.stream_position()? + comment == length {
        true => Ok(()),
        false => Err(wrong()),
    }
}

/// What the operating system says while a file is read stays as it is; what the decompressor and the checksum report as
/// errors of the same type is damage.
pub(super) fn damage(error: io::Error) -> Failure {
    match error.raw_os_error().is_some() || error.kind() == io::ErrorKind::OutOfMemory {
        true => Failure::Io(error),
        false => Failure::Problem(format!("it is damaged ({error}); get it again")),
    }
}

impl From<ZipError> for Failure {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::Io(error) => damage(error),
            ZipError::InvalidArchive(problem) => Self::Problem(format!("it is not a sound zip archive ({problem})")),
            other => Self::Problem(format!("its zip archive cannot be used ({other})")),
        }
    }
}
