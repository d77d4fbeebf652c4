//! Files that are replaced whole or not at all, whatever happens in between.
//!
//! A file is written under a temporary name in the folder of its target, synced, and renamed; then the folder is synced.
//! Who is killed in between leaves the old file, and a temporary one that the next write of the same target removes.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::open::is_regular;
use crate::error::{Error, Result};

/// How temporary names end. They begin with a dot and the target's name: `.m.safetensors.1234-0.plywood-tmp`.
const SUFFIX: &str = ".plywood-tmp";

/// Bytes of the target's name that a temporary name has: a name of 255 bytes, the most there can be, leaves no room.
const MAX_STEM: usize = 200;

/// What may fail although the file can be replaced. Tests make it fail.
#[derive(Clone, Copy)]
struct System {
    lock: fn(&File) -> io::Result<()>,
    sync_folder: fn(&Path) -> io::Result<()>,
}

const SYSTEM: System = System { lock: File::lock, sync_folder };

/// Writes a file through `write`, or leaves the one that is there as it is. Its folder is made if there is none; where
/// the path is a link, the file behind it is replaced. A file that is replaced passes its permissions on, and its owner
/// where the system allows it.
///
/// # Errors
///
/// [`Error::Io`] with the path. The file that was there is as it was then, and nothing else is left behind. What is there
/// must be a regular file: a folder, FIFO or device is such an error, and so is a link that leads nowhere.
pub(crate) fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    replace(path, SYSTEM, write).map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// [`write_file`] of a text.
///
/// # Errors
///
/// Those of [`write_file`].
pub(crate) fn write_text(path: &Path, text: &str) -> Result<()> {
    write_file(path, |file| file.write_all(text.as_bytes()))
}

/// Whether [`write_file`] would replace what is there, if anything is.
///
/// # Errors
///
/// [`Error::Io`] with the path.
pub(crate) fn check_target(path: &Path) -> Result<()> {
    target(path).map(drop).map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn replace(path: &Path, system: System, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let (path, old) = target(path)?;
    let name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path names no file"))?;
    let prefix = prefix(&name.to_string_lossy());
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    remove_leftovers(folder, &prefix);

    let (temporary, file) = create(folder, &prefix, system)?;
    if let Some(old) = &old {
        // before anything is in it: what only its owner may read must not be there for others, however briefly
        pass_on(old, &file)?;
    }
    let mut writer = BufWriter::new(file);
    write(&mut writer)?;
    writer.flush()?;
    // the lock goes with the file: not before it has its name
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&temporary.path, &path)?;
    temporary.keep();
    // Whatever this says, the file has been replaced. An error would say that it has not.
    let _ = (system.sync_folder)(folder);
    Ok(())
}

/// The file that a path means, behind all links, and what it is if it is there.
fn target(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((path.to_owned(), None)),
        found => found?,
    };
    let path = fs::canonicalize(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let problem = "it is a link to a file that is not there; remove the link, or give the path of the file";
            io::Error::new(ErrorKind::NotFound, problem)
        }
        _ => error,
    })?;
    let about = fs::metadata(&path)?;
    is_regular(&about)?;
    Ok((path, Some(about)))
}

/// How the temporary names of a target begin.
fn prefix(name: &str) -> String {
    let mut end = name.len().min(MAX_STEM);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}.", &name[..end])
}

/// Gives a new file the owner, where that is allowed, and the permissions of the old one.
#[cfg(unix)]
fn pass_on(old: &Metadata, file: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};

    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // only root may give files away
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
    }
    file.set_permissions(old.permissions())
}

/// Elsewhere a file's only permission is whether it may be written to, and this one may.
#[cfg(not(unix))]
fn pass_on(_: &Metadata, _: &File) -> io::Result<()> {
    Ok(())
}

/// A temporary file, removed unless it is kept.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// It has another name now.
    fn keep(mut self) {
        self.path.clear();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.path != Path::new("") {
            // the error that brought us here is the one to tell
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A new file that is locked for as long as it is open, where the system has locks: so others know that it is no leftover.
fn create(folder: &Path, prefix: &str, system: System) -> io::Result<(Temporary, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{prefix}{}-{count}{SUFFIX}", std::process::id()));
        let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            file => file?,
        };
        let temporary = Temporary { path };
        // Where files cannot be locked, as on some network drives, nobody takes this one for a leftover either.
        let _ = (system.lock)(&file);
        // someone may have taken it for a leftover before it was locked
        if fs::exists(&temporary.path)? {
            return Ok((temporary, file));
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
    fn a_panic_while_writing_leaves_nothing() {
        let folder = folder("panics");
        let path = folder.join("m.bin");
        write_file(&path, |file| file.write_all(b"old")).unwrap();
        let write = || write_file(&path, |_| panic!("in the middle"));
        std::panic::catch_unwind(write).unwrap_err();
        assert_eq!((fs::read(&path).unwrap(), names(&folder)), (b"old".to_vec(), vec!["m.bin".to_owned()]));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn without_locks_files_are_written_all_the_same() {
        let folder = folder("locks");
        let path = folder.join("m.bin");
        // what a network drive without a lock daemon says: ENOLCK
        let system = System { lock: |_| Err(io::Error::from_raw_os_error(37)), ..SYSTEM };
        for contents in [b"old", b"new"] {
            replace(&path, system, |file| file.write_all(contents)).unwrap();
            assert_eq!((fs::read(&path).unwrap(), names(&folder)), (contents.to_vec(), vec!["m.bin".to_owned()]));
        }
        replace(&path, system, |_| Err(io::Error::other("no more"))).unwrap_err();
        assert_eq!((fs::read(&path).unwrap(), names(&folder)), (b"new".to_vec(), vec!["m.bin".to_owned()]));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_error_says_that_the_old_file_is_there() {
        let folder = folder("sync");
        let path = folder.join("m.bin");
        write_file(&path, |file| file.write_all(b"old")).unwrap();
        let system = System { sync_folder: |_| Err(io::Error::other("no sync")), ..SYSTEM };
        let result = replace(&path, system, |file| file.write_all(b"new"));
        assert_eq!(result.is_ok(), fs::read(&path).unwrap() == b"new", "{result:?}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn names_may_be_as_long_as_names_can_be() {
        let folder = folder("long");
        for name in ["m".repeat(255), "é".repeat(127), "鷗".repeat(85)] {
            write_file(&folder.join(&name), |file| file.write_all(b"new")).unwrap();
            assert_eq!(names(&folder), [name.as_str()]);
            fs::remove_file(folder.join(name)).unwrap();
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn permissions_stay() {
        use std::os::unix::fs::PermissionsExt;

        let folder = folder("permissions");
        let path = folder.join("m.bin");
        write_file(&path, |file| file.write_all(b"old")).unwrap();
        for mode in [0o600, 0o640, 0o444, 0o755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let while_written = |file: &mut BufWriter<File>| {
                assert_eq!(file.get_ref().metadata()?.permissions().mode() & 0o7777, mode);
                file.write_all(b"new")
            };
            write_file(&path, while_written).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
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
