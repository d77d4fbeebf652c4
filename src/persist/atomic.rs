//! Files that are replaced whole or not at all, whatever happens in between.
//!
//! A file is written under a temporary name in the folder of its target, synced, and renamed; then the folder is synced.
//! Who is killed in between leaves the old file, and a temporary one that the next write of the same target removes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// How temporary names end. They begin with a dot and the target's name: `.m.safetensors.1234-0.plywood-tmp`.
const SUFFIX: &str = ".plywood-tmp";

/// Writes a file through `write`, or leaves the one that is there as it is. Its folder is made if there is none; where
/// the path is a link, the file behind it is replaced.
///
/// # Errors
///
/// [`Error::Io`] with the path. Nothing is left behind then.
pub(crate) fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    replace(path, write).map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path names no file"))?;
    let prefix = format!(".{}.", name.to_string_lossy());
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    remove_leftovers(folder, &prefix);

    let (temporary, file) = create(folder, &prefix)?;
    let written = (|| {
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        writer.flush()?;
        // the lock goes with the file: not before it has its name
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    })();
    if written.is_err() {
        // the first error is the one to tell
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_folder(folder)
}

/// A new file that is locked for as long as it is open: so others know that it is no leftover.
fn create(folder: &Path, prefix: &str) -> io::Result<(PathBuf, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{prefix}{}-{count}{SUFFIX}", std::process::id()));
        let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            file => file?,
        };
        match file.lock() {
            // where files cannot be locked, nobody takes this one for a leftover either
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            locked => locked?,
        }
        // someone may have taken it for a leftover before it was locked
        if fs::exists(&path)? {
            return Ok((path, file));
        }
    }
}

/// Removes what earlier writes of the same target left behind: temporary files that nobody holds locked any more. What
/// cannot be looked at or removed stays.
fn remove_leftovers(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name().to_string_lossy(), prefix)
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(file) = OpenOptions::new().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether this is a name as [`create`] makes them.
fn is_temporary(name: &str, prefix: &str) -> bool {
    let numbers = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.and_then(|numbers| numbers.split_once('-')).is_some_and(|(a, b)| is_number(a) && is_number(b))
}

/// Brings a folder's names onto the disk; where folders cannot be opened, the system sees to it.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(folder)?.sync_all(),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("plywood-atomic-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn leftovers_go_and_strangers_stay() {
        let folder = folder("leftovers");
        fs::create_dir_all(&folder).unwrap();
        let strangers = [
            ".m.bin.1-x.plywood-tmp",
            ".m.bin.7-1.plywood-tmp.txt",
            ".other.bin.7-1.plywood-tmp",
            "m.bin.7-1.plywood-tmp",
        ];
        for name in [&strangers[..], &[".m.bin.7-1.plywood-tmp", ".m.bin.99999999-12.plywood-tmp"]].concat() {
            fs::write(folder.join(name), "half").unwrap();
        }
        // the write of another process that is still at it
        let busy = File::create(folder.join(".m.bin.8-1.plywood-tmp")).unwrap();
        busy.lock().unwrap();

        write_file(&folder.join("m.bin"), |file| file.write_all(b"new")).unwrap();
        let mut expected = [&strangers[..], &[".m.bin.8-1.plywood-tmp", "m.bin"]].concat();
        expected.sort();
        assert_eq!(names(&folder), expected);
        drop(busy);
        write_file(&folder.join("m.bin"), |file| file.write_all(b"newer")).unwrap();
        assert!(!folder.join(".m.bin.8-1.plywood-tmp").exists());
        assert_eq!(fs::read(folder.join("m.bin")).unwrap(), b"newer");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_write_that_fails_changes_nothing() {
        let folder = folder("fails");
        let path = folder.join("made/m.bin");
        write_file(&path, |file| file.write_all(b"old")).unwrap();
        let error = write_file(&path, |file| {
            file.write_all(b"new")?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(error.unwrap_err().to_string(), format!("{}: no more", path.display()));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(path.parent().unwrap()), ["m.bin"]);
        write_file(Path::new("/"), |_| Ok(())).unwrap_err();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn many_at_once_do_not_disturb_each_other() {
        let folder = folder("many");
        let path = folder.join("m.bin");
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        write_file(path, |file| file.write_all(&[thread; 1000])).unwrap();
                        let bytes = fs::read(path).unwrap();
                        assert!(bytes.len() == 1000 && bytes.iter().all(|&byte| byte == bytes[0]));
                    }
                });
            }
        });
        assert_eq!(names(&folder), ["m.bin"]);
        fs::remove_dir_all(folder).unwrap();
    }
}
