//! Opening files for reading: only regular ones, which end, and which nobody has to write to at the same time.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Opens a regular file, or a link to one. Also returns its length.
///
/// # Errors
///
/// Those of the operating system; [`ErrorKind::InvalidInput`] if it is a folder, a FIFO, a device or a socket. Opening a
/// FIFO would wait for somebody to write, and reading a device might never end.
pub(crate) fn open(path: &Path) -> io::Result<(File, u64)> {
    // before it is opened: that is what waits
    is_regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    let about = file.metadata()?;
    is_regular(&about)?;
    Ok((file, about.len()))
}

/// Reads a text of at most `limit` bytes from a regular file.
///
/// # Errors
///
/// Those of [`open`]; [`ErrorKind::InvalidData`] if the file is longer or is no text.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let (file, length) = open(path)?;
    if length > limit {
        let problem = format!("it has {length} bytes, expected at most {limit}; is it another file?");
        return Err(io::Error::new(ErrorKind::InvalidData, problem));
    }
    let mut text = String::new();
    // a file that grows meanwhile is read as far as it went
    file.take(length).read_to_string(&mut text)?;
    Ok(text)
}

/// Whether this is a regular file.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] with what it is.
pub(crate) fn is_regular(about: &Metadata) -> io::Result<()> {
    if about.is_file() {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::InvalidInput, format!("it is {}, expected a regular file", kind(about))))
}

#[cfg(unix)]
fn kind(about: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;

    match about.file_type() {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "no file",
    }
}

#[cfg(not(unix))]
fn kind(about: &Metadata) -> &'static str {
    if about.is_dir() { "a folder" } else { "no file" }
}
