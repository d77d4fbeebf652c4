//! The promise that NumPy's files are read as NumPy wrote them, written so that they are read alike, and that no file,
//! however wrong, brings the reader to panic or to take memory that the file does not hold.
//!
//! `tools/interop_keras.py` makes the files of `tests/golden/keras_files/`.
#![cfg(all(feature = "npz", feature = "datasets"))]

use std::fmt::Debug;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use plywood::data::Mnist;
use plywood::ndarray::{Array, Array1, Array2, Array3, ArrayD, Dimension, IxDyn, ShapeBuilder, array};
use plywood::persist::{Element, Npz, NpzWriter, read_npy, write_npy};
use plywood::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/keras_files").join(name)
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("npz-{name}"))
}

/// A file of this name and contents. Names must differ between tests, which run at the same time.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch(name);
    // some file systems wait for the disk when a file is overwritten, but not when it is new
    fs::remove_file(&path).ok();
    fs::write(&path, bytes).unwrap();
    path
}

/// An array as a file, with any header before any data.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn header(descr: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
}

fn zipped(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn problem<R: Debug>(result: Result<R>) -> String {
    match result {
        Err(Error::Format { format: "NumPy file", problem, .. }) => problem,
        other => panic!("{other:?} is not a problem with a NumPy file"),
    }
}

/// Reads the arrays of a type that NumPy wrote, in both orders.
fn of_kind<A: Element + Debug + PartialEq + TryFrom<i64>>(npz: &mut Npz, dtype: &str, first: i64)
where
    A::Error: Debug,
{
    let values = (first..first + 24).map(|value| A::try_from(value).unwrap()).collect();
    of_kind_with(npz, dtype, values);
}

fn of_kind_with<A: Element + Debug + PartialEq>(npz: &mut Npz, dtype: &str, values: Vec<A>) {
    let expected = Array3::from_shape_vec((2, 3, 4), values).unwrap();
    for order in ["c", "fortran"] {
        let got: Array3<A> = npz.read(&format!("{dtype}/{order}")).unwrap();
        assert_eq!(got, expected, "{dtype}, {order}");
    }
}

#[test]
fn what_numpy_wrote_is_read() {
    for name in ["kinds.npz", "kinds_compressed.npz"] {
        let mut npz = Npz::open(golden(name)).unwrap();
        assert_eq!(npz.names().len(), 31);
        of_kind::<i8>(&mut npz, "i1", -3);
        of_kind::<i16>(&mut npz, "i2", -3);
        of_kind::<i32>(&mut npz, "i4", -3);
        of_kind::<i64>(&mut npz, "i8", -3);
        of_kind::<i64>(&mut npz, ">i8", -3);
        of_kind::<u8>(&mut npz, "u1", 0);
        of_kind::<u16>(&mut npz, "u2", 0);
        of_kind::<u16>(&mut npz, ">u2", 0);
        of_kind::<u32>(&mut npz, "u4", 0);
        of_kind::<u64>(&mut npz, "u8", 0);
        of_kind_with(&mut npz, "f4", (-3..21_i8).map(f32::from).collect());
        of_kind_with(&mut npz, ">f4", (-3..21_i8).map(f32::from).collect());
        of_kind_with(&mut npz, "f8", (-3..21_i8).map(f64::from).collect());
        assert_eq!(npz.read::<bool, _>("bool").unwrap(), array![true, false, true]);
        assert_eq!(npz.read::<f64, IxDyn>("scalar").unwrap().into_raw_vec_and_offset().0, [2.5]);
        assert_eq!(npz.read::<f32, IxDyn>("empty").unwrap().shape(), [3, 0, 2]);

        assert_eq!(
            problem(npz.read::<f64, IxDyn>("f4/c")),
            "array \"f4/c\": its array is of dtype \"<f4\", expected float64: in NumPy, x.astype(\"float64\")"
        );
        assert_eq!(
            problem(npz.read::<f32, plywood::ndarray::Ix2>("f4/c")),
            "array \"f4/c\": its array has the shape 2×3×4, expected 2 dimensions"
        );
        assert!(problem(npz.read::<f32, IxDyn>("complex")).contains("of dtype \"<c8\", expected float32"));
        assert!(problem(npz.read::<f32, IxDyn>("structured")).contains("structured arrays are not supported"));
        assert!(
            problem(npz.read::<f32, IxDyn>("f5")).starts_with("array \"f5\": there is none, but f4/c, f4/fortran, ")
        );
    }
    for version in 1..=3 {
        let got: Array3<f32> = read_npy(golden(&format!("version{version}.npy"))).unwrap();
        assert_eq!(got.iter().copied().collect::<Vec<_>>(), (-3..21_i8).map(f32::from).collect::<Vec<_>>());
    }
    assert!(problem(read_npy::<f32, IxDyn>(golden("objects.npy"))).contains("of dtype \"|O\", expected float32"));
}

#[test]
fn what_is_written_are_the_bytes_of_numpy() {
    // NumPy 2 wrote the golden files: the same array makes the same file
    let x = Array3::from_shape_fn((2, 3, 4), |(i, j, k)| (12 * i + 4 * j + k) as f32 - 3.0);
    let path = scratch("bytes.npy");
    write_npy(&path, &x).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(golden("version1.npy")).unwrap());
    // and other orders in memory too
    let transposed = Array3::from_shape_fn((2, 3, 4).f(), |index| x[index]);
    write_npy(&path, &transposed).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(golden("version1.npy")).unwrap());
}

fn comes_back<A: Element + Debug + PartialEq, D: Dimension>(name: &str, x: Array<A, D>) {
    let path = scratch(name);
    write_npy(&path, &x).unwrap();
    assert_eq!(read_npy::<A, D>(&path).unwrap(), x);
    for compressed in [false, true] {
        let mut npz = NpzWriter::new(&path).compressed(compressed);
        npz.add("a/b", &x).unwrap();
        npz.add("c", &array![1_u8]).unwrap();
        npz.finish().unwrap();
        assert_eq!(Npz::open(&path).unwrap().read::<A, D>("a/b").unwrap(), x);
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn what_is_written_comes_back() {
    comes_back("f32.npy", array![[1.5_f32, f32::MIN_POSITIVE, -0.0], [f32::INFINITY, f32::MAX, 0.1]]);
    comes_back("f64.npy", array![f64::EPSILON, -1e300]);
    comes_back("i64.npy", array![i64::MIN, i64::MAX]);
    comes_back("u64.npy", array![u64::MAX]);
    comes_back("bool.npy", array![[true], [false]]);
    comes_back("scalar.npy", ArrayD::from_elem(IxDyn(&[]), 7_i16));
    comes_back("empty.npy", Array2::<u32>::zeros((0, 5)));
    // more than is read at a time
    comes_back("large.npy", Array1::from_iter(0..100_003_u32));
}

#[test]
fn a_writer_that_is_dropped_leaves_what_was_there() {
    let path = scratch("dropped.npz");
    fs::write(&path, b"old").unwrap();
    let mut npz = NpzWriter::new(&path);
    npz.add("x", &array![1.0_f32]).unwrap();
    assert!(matches!(npz.add("x", &array![1.0_f32]), Err(Error::Io { .. })));
    drop(npz);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    let folder = fs::read_dir(path.parent().unwrap()).unwrap();
    let left: Vec<_> =
        folder.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("dropped")).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

fn model<T: Scalar>(seed: u64) -> Sequential<T> {
    Sequential::with_input([4, 4, 1])
        .add(Conv2D::new(2, 3))
        .add(Flatten::new())
        .add(Dense::new(3).bias(false))
        .build(seed)
        .unwrap()
}

#[test]
fn weights_go_by_name_and_are_checked_first() {
    fn comes_back<T: Scalar>(name: &str) {
        let (path, model, mut other) = (scratch(name), model::<T>(1), self::model::<T>(2));
        model.save_npz(&path).unwrap();
        assert_ne!(other.values(), model.values());
        other.load_npz(&path).unwrap();
        assert_eq!(other.values(), model.values());
    }
    comes_back::<f32>("weights32.npz");
    comes_back::<f64>("weights64.npz");

    let conv2d = (Array::<f32, _>::zeros((3, 3, 1, 2)), Array1::<f32>::zeros(2));
    let dense = Array2::<f32>::zeros((8, 3));
    let path = scratch("weights.npz");
    let mut target = model::<f32>(3);
    let before = target.values().to_vec();
    let mut refused = |write: &dyn Fn(&mut NpzWriter) -> Result<()>, expected: &str| {
        let mut npz = NpzWriter::new(&path);
        write(&mut npz).unwrap();
        npz.finish().unwrap();
        assert_eq!(problem(target.load_npz(&path)), expected);
        assert_eq!(target.values(), before);
    };
    refused(
        &|npz| {
            npz.add("conv2d/kernel", &conv2d.0)?;
            npz.add("conv2d/bias", &conv2d.1)
        },
        "it lacks dense/kernel",
    );
    refused(
        &|npz| {
            npz.add("conv2d/kernel", &conv2d.0)?;
            npz.add("conv2d/bias", &conv2d.1)?;
            npz.add("dense/kernel", &dense)?;
            npz.add("dense/bias", &dense)
        },
        "it has dense/bias, which the model has not",
    );
    refused(
        &|npz| {
            npz.add("conv2d/kernel", &conv2d.0)?;
            npz.add("conv2d/bias", &conv2d.1)?;
            npz.add("dense/kernel", &dense.clone().reversed_axes())
        },
        "array \"dense/kernel\": it has the shape 3×8, expected 8×3",
    );
    refused(
        &|npz| {
            npz.add("conv2d/kernel", &conv2d.0)?;
            npz.add("conv2d/bias", &conv2d.1)?;
            npz.add("dense/kernel", &dense.mapv(f64::from))
        },
        "array \"dense/kernel\": its array is of dtype \"<f8\", expected float32: in NumPy, x.astype(\"float32\")",
    );
}

#[test]
fn mnist_is_the_same_from_either_format() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist");
    let expected = Mnist::load(&folder).unwrap();
    let path = scratch("mnist.npz");
    let mut npz = NpzWriter::new(&path);
    for (part, file) in [("train", "train"), ("test", "t10k")] {
        let images: Array3<u8> = plywood::data::read_idx(folder.join(format!("{file}-images-idx3-ubyte.gz"))).unwrap();
        let labels: Array1<u8> = plywood::data::read_idx(folder.join(format!("{file}-labels-idx1-ubyte.gz"))).unwrap();
        npz.add(&format!("x_{part}"), &images).unwrap();
        match part {
            "train" => npz.add(&format!("y_{part}"), &labels).unwrap(),
            _ => npz.add(&format!("y_{part}"), &labels.mapv(i64::from)).unwrap(),
        }
    }
    npz.finish().unwrap();
    assert!(Mnist::<f32>::from_npz(&path).unwrap() == expected);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_data_set_that_does_not_fit_is_an_error() {
    let images = Array3::<u8>::zeros((2, 3, 3));
    type Write<'a> = &'a dyn Fn(&mut NpzWriter) -> Result<()>;
    let cases: [(Write<'_>, &str); 6] = [
        (
            &|npz| npz.add("y_train", &array![0_u8]),
            "array \"x_train\": it has the shape 2×3×3, expected 1×height×width, an image a label",
        ),
        (&|npz| npz.add("y_train", &array![0_i32, -1]), "array \"y_train\": it has a label below 0"),
        (
            &|npz| npz.add("y_train", &array![0.0_f32, 1.0]),
            "array \"y_train\": its labels are of dtype \"<f4\", expected integers",
        ),
        (
            &|npz| npz.add("y_train", &array![[0_u8], [1]]),
            "array \"y_train\": its array has the shape 2×1, expected 1 dimensions",
        ),
        (&|npz| npz.add("y_train", &array![0_u8, 1]), "array \"y_test\": there is none, but x_train, y_train"),
        (&|npz| npz.add("labels", &array![0_u8, 1]), "array \"y_train\": there is none, but x_train, labels"),
    ];
    for (write, expected) in cases {
        let path = scratch("data set.npz");
        let mut npz = NpzWriter::new(&path);
        npz.add("x_train", &images).unwrap();
        write(&mut npz).unwrap();
        npz.finish().unwrap();
        assert_eq!(problem(Mnist::<f32>::from_npz(&path)), expected);
    }
}

#[test]
fn headers_that_are_none_are_errors() {
    let sound = header("<f4", "(2, 1)");
    assert_eq!(read_npy::<f32, IxDyn>(file("header.npy", &npy(&sound, &[0; 8]))).unwrap().shape(), [2, 1]);
    for (header, expected) in [
        ("".to_owned(), "where { was expected"),
        ("{}".to_owned(), "lacks the key \"descr\""),
        ("{'descr': '<f4', 'shape': (2, 1)}".to_owned(), "lacks the key \"fortran_order\""),
        (sound.replace("'shape'", "'size'"), "has the key \"size\", expected"),
        (sound.replace("'shape'", "'descr': '<f4', 'shape'"), "has the key \"descr\" twice"),
        (sound.replace("'fortran_order'", "'shape': (2, 1), 'fortran_order'"), "has the key \"shape\" twice"),
        (sound.replace("False", "0"), "where True or False was expected"),
        (sound.replace("(2, 1)", "(2, -1)"), "where a size was expected"),
        (sound.replace("(2, 1)", "(2, 1.0)"), "was expected"),
        (sound.replace("(2, 1)", "2"), "where ( was expected"),
        (sound.replace("(2, 1)", "(2, 99999999999999999999)"), "where a size was expected"),
        (sound.replace("(2, 1)", &format!("({})", "1, ".repeat(65))), "has more than 64 dimensions"),
        (format!("{sound} + 1"), "goes on with \" + 1\""),
        ("{".repeat(9000), "was expected"),
        (sound.replace("(2, 1)", &"(".repeat(9000)), "was expected"),
        (sound.replace("'<f4'", "'<f4"), "was expected"),
        (sound.replace("<f4", "é\u{1f600}"), "of dtype \"é\u{1f600}\""),
        (sound.replace("<f4", "f4"), "of dtype \"f4\""),
        (" ".repeat(10_001), "has 10001 bytes, expected at most 10000"),
    ] {
        let problem = problem(read_npy::<f32, IxDyn>(file("header.npy", &npy(&header, &[0; 8]))));
        assert!(problem.contains(expected), "{header}: {problem}");
    }
    for (at, value, expected) in
        [(0, b'N', "does not begin"), (6, 4, "its version is 4.0"), (7, 1, "its version is 1.1")]
    {
        let mut bytes = npy(&sound, &[0; 8]);
        bytes[at] = value;
        let problem = problem(read_npy::<f32, IxDyn>(file("header.npy", &bytes)));
        assert!(problem.contains(expected), "{problem}");
    }
    let byte = problem(read_npy::<bool, IxDyn>(file("header.npy", &npy(&header("|b1", "(1,)"), &[2]))));
    assert_eq!(byte, "its array has the byte [2], which is no bool");
}

#[test]
fn a_file_cut_short_or_gone_on_is_an_error() {
    let whole = npy(&header("<f4", "(2, 3)"), &[1; 24]);
    for length in 0..whole.len() {
        problem(read_npy::<f32, IxDyn>(file("cut.npy", &whole[..length])));
    }
    let problem = problem(read_npy::<f32, IxDyn>(file("cut.npy", &[&whole[..], &[0]].concat())));
    assert_eq!(problem, "it goes on after its array of shape 2×3");
    let whole = fs::read(golden("kinds_compressed.npz")).unwrap();
    for length in (0..whole.len()).step_by(5) {
        self::problem(Npz::open(file("cut.npz", &whole[..length])));
    }
}

// Each array has a checksum. What is left are bytes that mean nothing, such as times, and names of arrays.
#[test]
fn a_changed_byte_never_gives_other_values() {
    let (x, y) = (array![[1.0_f32, 2.0], [3.0, 4.0]], array![0_u8, 1]);
    for compressed in [false, true] {
        let path = scratch("changed.npz");
        let mut npz = NpzWriter::new(&path).compressed(compressed);
        npz.add("x", &x).unwrap();
        npz.add("y", &y).unwrap();
        npz.finish().unwrap();
        let whole = fs::read(&path).unwrap();
        let mut refused = 0;
        for bit in 0..8 * whole.len() {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let path = file("changed.npz", &changed);
            let read = || {
                let mut npz = Npz::open(&path)?;
                Ok((npz.read::<f32, _>("x")?, npz.read::<u8, _>("y")?))
            };
            match read() {
                Ok(arrays) => assert_eq!(arrays, (x.clone(), y.clone()), "bit {bit}"),
                Err(Error::Format { .. }) => refused += 1,
                Err(other) => panic!("bit {bit}: {other}"),
            }
        }
        assert!(refused > 4 * whole.len(), "{refused} of {}", 8 * whole.len());
    }
}

/// The most virtual memory that this process has had, in bytes.
#[cfg(target_os = "linux")]
fn peak_of_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("Linux tells the peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_file_that_lies_costs_no_memory() {
    #[cfg(target_os = "linux")]
    let before = peak_of_memory();
    for (shape, expected) in [
        ("(2147483648, 4)", "ends after 1 elements, expected 2147483648×4"),
        ("(1099511627776,)", "ends after 1 elements, expected 1099511627776"),
        ("(4294967296, 4294967296)", "is more than can be addressed"),
        ("(4611686018427387904, 4)", "is more than can be addressed"),
        ("(4611686018427387904, 4611686018427387904, 0)", "is more than can be addressed"),
    ] {
        let bytes = npy(&header("<f4", shape), &[0; 4]);
        let plain = problem(read_npy::<f32, IxDyn>(file("lie.npy", &bytes)));
        assert!(plain.contains(expected), "{plain}");
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let mut npz = Npz::open(file("lie.npz", &zipped(&[("x.npy", &bytes)], method))).unwrap();
            let zipped = problem(npz.read::<f32, IxDyn>("x"));
            assert!(zipped.contains(expected), "{zipped}");
        }
    }
    // an archive that announces 2³² members, in a directory of as many bytes
    let mut bytes = zipped(&[("x.npy", &npy(&header("<f4", "()"), &[0; 4]))], CompressionMethod::Stored);
    let end = bytes.len() - 22;
    bytes[end + 8..end + 12].fill(0xff);
    bytes[end + 12..end + 16].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
    problem(Npz::open(file("directory.npz", &bytes)));
    #[cfg(target_os = "linux")]
    assert!(peak_of_memory() - before < 1 << 30, "{} bytes were allocated", peak_of_memory() - before);
}

#[test]
fn a_bomb_is_not_unpacked() {
    // 64 MiB of zeros after an array of two numbers; without their checksum, which reading them all would miss
    let mut array = npy(&header("<f4", "(2,)"), &[0; 8]);
    array.resize(64 << 20, 0);
    let mut bytes = zipped(&[("x.npy", &array)], CompressionMethod::Deflated);
    let directory = bytes.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    bytes[directory + 16] ^= 1;
    bytes[14] ^= 1;
    let problem = problem(Npz::open(file("bomb.npz", &bytes)).unwrap().read::<f32, IxDyn>("x"));
    assert_eq!(problem, "array \"x\": it goes on after its array of shape 2");
}

#[test]
fn two_arrays_of_one_name_are_an_error() {
    let array = npy(&header("<f4", "(1,)"), &[0; 4]);
    let mut bytes = zipped(&[("x.npy", &array), ("y.npy", &array)], CompressionMethod::Stored);
    while let Some(at) = bytes.windows(5).position(|name| name == b"y.npy") {
        bytes[at] = b'x';
    }
    assert_eq!(problem(Npz::open(file("twice.npz", &bytes))), "two of its members have the same name");
}

// The directory at the end of an archive is what readers look members up in.
#[test]
fn a_directory_that_lies_is_an_error() {
    let array = |value: f32| npy(&header("<f4", "(1,)"), &value.to_le_bytes());
    let sound = zipped(&[("a.npy", &array(1.0)), ("b.npy", &array(2.0))], CompressionMethod::Stored);
    let directory = sound.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let end = sound.len() - 22;
    assert!(sound[end..].starts_with(b"PK\x05\x06"));
    assert_eq!(Npz::open(file("sound.npz", &sound)).unwrap().names(), ["a", "b"]);

    let mut swapped = sound.clone();
    for at in directory..end {
        match &sound[at..end] {
            [b'a', b'.', b'n', b'p', b'y', ..] => swapped[at] = b'b',
            [b'b', b'.', b'n', b'p', b'y', ..] => swapped[at] = b'a',
            _ => {}
        }
    }
    let problem_of = |name: &str, bytes: &[u8]| problem(Npz::open(file(name, bytes)));
    let problem = problem_of("swapped.npz", &swapped);
    assert!(problem.contains("filename mismatch"), "{problem}");

    // both counts of members, the directory's length and where it begins
    let records: [(&str, u16, usize, usize); 5] = [
        ("one", 1, end - directory, directory),
        ("none", 0, end - directory, directory),
        ("none and short", 0, 0, directory),
        ("none at the end", 0, 0, end),
        ("none at the beginning", 0, 0, 0),
    ];
    for (name, members, length, begin) in records {
        let mut lying = sound.clone();
        lying[end + 8..end + 10].copy_from_slice(&members.to_le_bytes());
        lying[end + 10..end + 12].copy_from_slice(&members.to_le_bytes());
        lying[end + 12..end + 16].copy_from_slice(&(length as u32).to_le_bytes());
        lying[end + 16..end + 20].copy_from_slice(&(begin as u32).to_le_bytes());
        problem_of(&format!("{name}.npz"), &lying);
    }
    // another, empty archive behind this one
    let empty = zipped(&[], CompressionMethod::Stored);
    problem_of("behind.npz", &[&sound[..], &empty].concat());
    assert!(Npz::open(file("empty.npz", &empty)).unwrap().names().is_empty());
}

// Making a list of all names for each array that is read would take minutes.
#[test]
fn many_arrays_take_little_time() {
    let path = scratch("many.npz");
    let mut writer = NpzWriter::new(&path);
    let names: Vec<String> = (0..40_000).map(|i| format!("a{i}")).collect();
    names.iter().for_each(|name| writer.add(name, &array![1.0_f32]).unwrap());
    writer.finish().unwrap();
    let started = std::time::Instant::now();
    let mut npz = Npz::open(&path).unwrap();
    for name in &names {
        assert_eq!(npz.read::<f32, plywood::ndarray::Ix1>(name).unwrap()[0], 1.0);
    }
    assert!(started.elapsed().as_secs() < 15, "{:?}", started.elapsed());
    fs::remove_file(path).unwrap();
}

#[test]
fn files_that_cannot_be_read_are_named() {
    for path in ["no/such/file", env!("CARGO_TARGET_TMPDIR")] {
        let errors = [read_npy::<f32, IxDyn>(path).unwrap_err(), Npz::open(path).unwrap_err()];
        for error in errors {
            assert!(matches!(&error, Error::Io { path: named, .. } if named == Path::new(path)), "{error:?}");
        }
    }
    assert!(matches!(write_npy(env!("CARGO_TARGET_TMPDIR"), &array![1_u8]), Err(Error::Io { .. })));
}
