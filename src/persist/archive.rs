//! Zip archives from files that nobody vouches for.
//!
//! What an archive says about itself is not believed: two members of one name, encryption and members that lie over each
//! other are errors, checksums are verified, and memory grows with the bytes that are really there.

use std::fs::File;
use std::io::{self, BufReader, Read};
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
        Ok(Self { zip })
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
    /// All of a member of at most `limit` bytes; it is compressed to no less than a hundredth, or small.
    ///
    /// Deflate makes a thousandth of zeros. Weights and texts do not come near that, and Keras itself does not compress.
    pub(super) fn bytes(mut self, limit: u64) -> Result<Vec<u8>, Failure> {
        const SMALL: u64 = 1 << 20;
        let (stated, stored) = (self.file.size(), self.file.compressed_size());
        if stated > limit {
            return Err(Failure::Problem(format!("{} has {stated} bytes, expected at most {limit}", self.name())));
        }
        if stated > SMALL.max(stored.saturating_mul(100)) {
            let name = self.name();
            return Err(Failure::Problem(format!(
                "{name} has {stated} bytes, packed into {stored}: a zip bomb, or not weights; store it uncompressed"
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
