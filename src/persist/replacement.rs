//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file in the making, beside the one that it will replace. What was there stays until [`commit`](Self::commit); without
/// it nothing is left behind.
#[derive(Debug)]
pub(super) struct Replacement {
    file: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl Replacement {
    pub(super) fn of(path: &Path) -> Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Ok(Self { file: BufWriter::new(file), temporary, path: path.to_owned(), committed: false })
    }

    /// Puts the file in its place.
    pub(super) fn commit(mut self) -> Result<()> {
        let commit = |this: &mut Self| {
            this.file.flush()?;
            this.file.get_ref().sync_all()?;
            fs::rename(&this.temporary, &this.path)
        };
        commit(&mut self).map_err(|source| Error::Io { path: self.path.clone(), source })?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.committed {
            // there is nobody to tell if this fails
            fs::remove_file(&self.temporary).ok();
        }
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Replacement {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}
