//! The promise that a file which is written is there whole or not at all, that what is no regular file is neither written
//! nor read, and that nobody can read what only its owner could.
#![cfg(all(unix, feature = "json", feature = "plot", feature = "safetensors"))]

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use plywood::callbacks::CsvLog;
use plywood::ndarray::{Array1, Array2};
use plywood::persist::ModuleNames;
use plywood::plot;
use plywood::prelude::*;
use plywood::report::Report;

/// Set in the process that may write no large files.
const LIMITED: &str = "PLYWOOD_TEST_LIMITED";

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn data() -> Dataset {
    Dataset::new(Array2::from_elem((8, 4), 0.5), (0..8).map(|i| i % 3).collect::<Array1<usize>>()).unwrap()
}

fn trainer() -> Trainer {
    let model = Sequential::input([4]).add(Dense::new(100)).add(Dense::new(3)).add(Softmax::new()).build(42).unwrap();
    model.compile(RMSprop::new(0.01), CategoricalCrossentropy::default())
}

fn history() -> History {
    let mut history = History::new();
    (1..200).for_each(|epoch| history.push(epoch, 0.5, &[("loss", 1.0 / epoch as f64)]));
    history
}

type Writer = (&'static str, Box<dyn Fn(&Path) -> Result<()>>);

/// Whatever writes a file, each with what its file is called. All of them write more than two thousand bytes.
fn writers() -> Vec<Writer> {
    #[cfg_attr(not(any(feature = "npz", feature = "keras", feature = "onnx")), allow(unused_mut))]
    let mut writers: Vec<Writer> = vec![
        ("history.csv", Box::new(|path| history().write_csv(path))),
        ("history.json", Box::new(|path| history().write_json(path))),
        ("figure.svg", Box::new(|path| history().plot(path))),
        ("runs.svg", Box::new(|path| plot::runs([("one", &history())]).write(path))),
        ("report.html", Box::new(|path| Report::new("T", &mut trainer(), &history(), &data())?.write(path))),
        ("model.safetensors", Box::new(|path| trainer().model().save(path))),
        ("checkpoint.safetensors", Box::new(|path| trainer().save_checkpoint(path))),
        ("state.safetensors", Box::new(|path| trainer().model().save_pytorch(path, &ModuleNames::sequential()))),
    ];
    #[cfg(feature = "npz")]
    writers.push(("weights.npz", Box::new(|path| trainer().model().save_npz(path))));
    #[cfg(feature = "npz")]
    writers.push(("array.npy", Box::new(|path| plywood::persist::write_npy(path, &Array1::<f64>::zeros(2000)))));
    #[cfg(feature = "keras")]
    writers.push(("model.keras", Box::new(|path| trainer().model().save_keras(path))));
    #[cfg(feature = "onnx")]
    writers.push(("model.onnx", Box::new(|path| trainer().model().export_onnx(path))));
    writers
}

type Reader = (&'static str, fn(&Path) -> Result<()>);

/// Whatever reads a file.
fn readers() -> Vec<Reader> {
    let mut readers: Vec<Reader> = vec![
        ("read_csv", |path| History::read_csv(path).map(drop)),
        ("read_json", |path| History::read_json(path).map(drop)),
        ("load", |path| Model::<f32>::load(path).map(drop)),
        ("load_weights", |path| Sequential::input([4]).add(Dense::new(3)).build(42)?.load_weights(path)),
        ("load_checkpoint", |path| trainer().load_checkpoint(path)),
        ("load_pytorch", |path| {
            Sequential::input([4]).add(Dense::new(3)).build(42)?.load_pytorch(path, &ModuleNames::sequential())
        }),
    ];
    #[cfg(feature = "datasets")]
    readers.push(("read_idx", |path| plywood::data::read_idx::<plywood::ndarray::Ix1>(path).map(drop)));
    #[cfg(feature = "npz")]
    readers.push(("read_npy", |path| plywood::persist::read_npy::<f32, plywood::ndarray::Ix1>(path).map(drop)));
    #[cfg(feature = "npz")]
    readers.push(("Npz::open", |path| plywood::persist::Npz::open(path).map(drop)));
    #[cfg(feature = "keras")]
    readers.push(("load_keras", |path| Model::<f32>::load_keras(path).map(drop)));
    readers
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// What a function says within a few seconds.
fn soon<R: Send + 'static>(what: &str, run: impl FnOnce() -> R + Send + 'static) -> R {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(run()));
    receive.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|_| panic!("{what} does not come to an end"))
}

// A disk that is full, as far as files of more than a kilobyte are concerned.
#[test]
fn a_write_that_fails_leaves_what_was_there() {
    if let Some(folder) = std::env::var_os(LIMITED).map(PathBuf::from) {
        for (name, write) in writers() {
            let error = write(&folder.join(name)).expect_err(name);
            assert!(matches!(error, Error::Io { .. }), "{name}: {error}");
        }
        return;
    }
    let folder = folder("limited");
    for (name, _) in writers() {
        fs::write(folder.join(name), "what was there").unwrap();
    }
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_write_that_fails_leaves_what_was_there", "--nocapture"])
        .env(LIMITED, &folder)
        .output()
        .unwrap();
    assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));
    for (name, _) in writers() {
        assert_eq!(fs::read(folder.join(name)).unwrap(), b"what was there", "{name}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), writers().len(), "something was left behind");
    for (name, write) in writers() {
        let path = folder.join(name);
        write(&path).unwrap();
        assert!(fs::metadata(&path).unwrap().len() > 2048, "{name}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_no_regular_file_is_not_replaced() {
    let folder = folder("targets");
    let paths = ["fifo", "socket", "folder", "dangling", "link to a fifo"].map(|name| folder.join(name));
    let [fifo, socket, directory, dangling, link] = &paths;
    make_fifo(fifo);
    let _socket = UnixListener::bind(socket).unwrap();
    fs::create_dir(directory).unwrap();
    symlink(folder.join("nowhere"), dangling).unwrap();
    symlink(fifo, link).unwrap();
    let before = fs::read_dir(&folder).unwrap().count();
    for path in &paths {
        for index in 0..writers().len() {
            let name = writers()[index].0;
            let (of, shown) = (path.clone(), path.display());
            let error = soon(&format!("{name} onto {shown}"), move || writers()[index].1(&of)).expect_err(name);
            let expected = match path {
                _ if path == dangling => "it is a link to a file that is not there",
                _ if path == socket => "it is a socket, expected a regular file",
                _ if path == directory => "it is a folder, expected a regular file",
                _ => "it is a FIFO, expected a regular file",
            };
            assert!(error.to_string().contains(expected), "{name} onto {shown}: {error}");
        }
        let of = path.clone();
        let log = move || trainer().fit_with(&data(), &Fit::epochs(1), &mut [&mut CsvLog::new(of)]).map(drop);
        assert!(matches!(soon("CsvLog", log), Err(Error::Io { .. })), "{}", path.display());
    }
    assert!(fs::metadata(fifo).unwrap().file_type().is_fifo());
    assert!(fs::metadata(socket).unwrap().file_type().is_socket());
    assert!(dangling.is_symlink() && link.is_symlink() && directory.is_dir());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), before);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn links_and_permissions_stay() {
    let folder = folder("links");
    let (file, link) = (folder.join("file"), folder.join("link"));
    symlink(&file, &link).unwrap();
    for (name, write) in writers() {
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        write(&link).unwrap();
        assert!(link.is_symlink() && fs::symlink_metadata(&file).unwrap().is_file(), "{name}");
        assert_ne!(fs::read(&file).unwrap(), b"old", "{name}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600, "{name}");
    }
    fs::write(&file, "old").unwrap();
    trainer().fit_with(&data(), &Fit::epochs(1), &mut [&mut CsvLog::new(&link)]).unwrap();
    assert_eq!(History::read_csv(&file).unwrap().len(), 1);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    fs::remove_dir_all(folder).unwrap();
}

// An old log that was emptied first would be lost to a kill before the new one has a line.
#[test]
fn a_log_that_is_begun_anew_is_replaced() {
    let folder = folder("log");
    let (path, old) = (folder.join("log.csv"), folder.join("old.csv"));
    fs::write(&path, "old").unwrap();
    fs::hard_link(&path, &old).unwrap();
    trainer().fit_with(&data(), &Fit::epochs(1), &mut [&mut CsvLog::new(&path)]).unwrap();
    assert_eq!(History::read_csv(&path).unwrap().len(), 1);
    assert_eq!(fs::read(&old).unwrap(), b"old");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    let folder = folder("sources");
    let fifo = folder.join("fifo");
    make_fifo(&fifo);
    let paths = [(fifo, "a FIFO"), (folder.clone(), "a folder"), (PathBuf::from("/dev/zero"), "a device")];
    for (name, read) in readers() {
        for (path, what) in &paths {
            let of = path.clone();
            let error = soon(&format!("{name} of {what}"), move || read(&of)).expect_err(name);
            assert!(error.to_string().contains(&format!("it is {what}")), "{name} of {what}: {error}");
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

// A file of a terabyte takes no room on the disk if nothing is in it, but would take a terabyte of memory.
#[test]
fn histories_of_any_size_are_not_read() {
    let folder = folder("sparse");
    let path = folder.join("history");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    for read in [History::read_csv, History::read_json] {
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("it has 1099511627776 bytes, expected at most 67108864; is it another file?"),
            "{error}"
        );
    }
    fs::remove_dir_all(folder).unwrap();
}
