//! The promise that no file can bring the IDX reader to panic, to take memory that the file does not hold, or to return
//! values that are not in the file: every way in which a file can be wrong, made by hand.
#![cfg(feature = "datasets")]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use plywood::data::{IdxProblem, read_idx};
use plywood::ndarray::{Array1, Array3, Array4, ArrayD, Dimension, Ix1, Ix3, IxDyn};
use plywood::{Error, Result};

/// A file of this name and contents. Names must differ between tests, which run at the same time.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("idx_hostile-{name}"));
    fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An IDX file of unsigned bytes, with any sizes before any data.
fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn problem<X: std::fmt::Debug>(result: Result<X>) -> IdxProblem {
    match result {
        Err(Error::Idx { problem, .. }) => problem,
        other => panic!("{other:?} is not a problem with an IDX file"),
    }
}

#[test]
fn arrays_of_one_to_four_dimensions_are_read() {
    let values: Vec<u8> = (0..120).collect();
    for sizes in [&[120_u32][..], &[2, 60], &[4, 5, 6], &[2, 3, 4, 5], &[1, 120, 1, 1]] {
        let shape: Vec<usize> = sizes.iter().map(|&size| size as usize).collect();
        let expected = ArrayD::from_shape_vec(shape, values.clone()).unwrap();
        let bytes = idx(sizes, &values);
        // the name says the opposite of what the file is, and is not asked
        let plain: ArrayD<u8> = read_idx(file("good.gz", &bytes)).unwrap();
        let compressed: ArrayD<u8> = read_idx(file("good", &gzip(&bytes))).unwrap();
        assert_eq!(plain, expected);
        assert_eq!(compressed, expected);
    }
    let labels: Array1<u8> = read_idx(file("labels", &idx(&[3], &[5, 0, 4]))).unwrap();
    assert_eq!(labels.to_vec(), [5, 0, 4]);
    let images: Array3<u8> = read_idx(file("images", &idx(&[1, 1, 2], &[8, 9]))).unwrap();
    assert_eq!((images[[0, 0, 0]], images[[0, 0, 1]]), (8, 9));
}

#[test]
fn members_of_a_gzip_file_follow_each_other() {
    let bytes = idx(&[300], &[7; 300]);
    for cut in [0, 3, 8, 200, bytes.len()] {
        let members = [gzip(&bytes[..cut]), gzip(&[]), gzip(&bytes[cut..])].concat();
        let values: Array1<u8> = read_idx(file("members", &members)).unwrap();
        assert_eq!(values, Array1::from_elem(300, 7), "cut at {cut}");
    }
    // so a second array is not taken for the end of the file
    let twice = [gzip(&bytes), gzip(&bytes)].concat();
    assert_eq!(problem(read_idx::<Ix1>(file("twice", &twice))), IdxProblem::TrailingBytes { expected: 300 });
    // nor is a long row of empty members a deep recursion
    let many = [gzip(&bytes), gzip(&[]).repeat(100_000)].concat();
    assert_eq!(read_idx::<Ix1>(file("many", &many)).unwrap().len(), 300);
}

#[test]
fn each_problem_is_told_apart() {
    let html = b"<!DOCTYPE html>".to_vec();
    let mut table: Vec<(&str, Vec<u8>, IdxProblem, &str)> = vec![
        (
            "html",
            html.clone(),
            IdxProblem::NotIdx { begins_with: b"<!DO".to_vec() },
            "not an IDX file: it begins with the bytes 3c 21 44 4f, expected 00 00 08",
        ),
        (
            "second byte",
            vec![0, 1, 8, 1],
            IdxProblem::NotIdx { begins_with: vec![0, 1, 8, 1] },
            "not an IDX file: it begins with the bytes 00 01 08 01, expected 00 00 08",
        ),
        (
            "one wrong byte",
            vec![9],
            IdxProblem::NotIdx { begins_with: vec![9] },
            "not an IDX file: it begins with the bytes 09, expected 00 00 08",
        ),
        (
            "float32",
            vec![0, 0, 0x0d, 1, 0, 0, 0, 1, 0, 0, 0, 0],
            IdxProblem::ElementType { code: 0x0d },
            "its values are of type 0x0d (32-bit float), expected 0x08 (unsigned byte)",
        ),
        (
            "type 7",
            vec![0, 0, 7, 1],
            IdxProblem::ElementType { code: 7 },
            "its values are of type 0x07, expected 0x08 (unsigned byte)",
        ),
        (
            "no dimensions",
            vec![0, 0, 8, 0, 1],
            IdxProblem::UnsupportedDimensions { got: 0 },
            "its header announces 0 dimensions, expected 1 to 4; the file may be damaged",
        ),
        (
            "255 dimensions",
            idx(&[1; 255], &[1]),
            IdxProblem::UnsupportedDimensions { got: 255 },
            "its header announces 255 dimensions, expected 1 to 4; the file may be damaged",
        ),
        (
            "empty file",
            Vec::new(),
            IdxProblem::Truncated { part: "header", got: 0, expected: 4 },
            "its header ends after 0 bytes, expected 4; the file may have been cut short: get it again",
        ),
        (
            "no data",
            idx(&[2, 3], &[]),
            IdxProblem::Truncated { part: "data", got: 0, expected: 6 },
            "its data ends after 0 bytes, expected 6; the file may have been cut short: get it again",
        ),
        (
            "one byte too many",
            idx(&[2, 3], &[0; 7]),
            IdxProblem::TrailingBytes { expected: 6 },
            "it goes on after the 6 bytes of data that its header announces; the file may be damaged: get it again",
        ),
        (
            "no images",
            idx(&[0, 28, 28], &[]),
            IdxProblem::Empty { shape: vec![0, 28, 28] },
            "its header announces an array of shape 0×28×28, which is empty",
        ),
        (
            "images without width",
            idx(&[u32::MAX, u32::MAX, u32::MAX, 0], &[]),
            IdxProblem::Empty { shape: vec![u32::MAX as usize, u32::MAX as usize, u32::MAX as usize, 0] },
            "its header announces an array of shape 4294967295×4294967295×4294967295×0, which is empty",
        ),
        (
            "a product that wraps",
            idx(&[u32::MAX; 4], &[0; 100]),
            IdxProblem::TooLarge { shape: vec![u32::MAX as usize; 4] },
            "its header announces an array of shape 4294967295×4294967295×4294967295×4294967295, more than can be \
             addressed; the file may be damaged",
        ),
        (
            "a product that wraps to 0",
            idx(&[1 << 16; 4], &[]),
            IdxProblem::TooLarge { shape: vec![1 << 16; 4] },
            "its header announces an array of shape 65536×65536×65536×65536, more than can be addressed; the file may \
             be damaged",
        ),
    ];
    for length in 4..12 {
        table.push((
            "a header cut short",
            idx(&[2, 3], &[])[..length].to_vec(),
            IdxProblem::Truncated { part: "header", got: length, expected: 12 },
            "bytes, expected 12; the file may have been cut short: get it again",
        ));
    }
    for (name, bytes, expected, text) in table {
        for bytes in [gzip(&bytes), bytes] {
            let path = file("problem", &bytes);
            let error = read_idx::<IxDyn>(&path).unwrap_err();
            let message = error.to_string();
            assert!(message.starts_with(&format!("{}: ", path.display())), "{name}: {message}");
            assert!(message.ends_with(text), "{name}: {message}");
            assert_eq!(problem::<()>(Err(error)), expected, "{name}");
        }
    }
}

#[test]
fn images_in_place_of_labels_are_told_so() {
    let images = file("images for labels", &idx(&[1, 1, 2], &[8, 9]));
    let labels = file("labels for images", &idx(&[2], &[8, 9]));
    let wrong = problem(read_idx::<Ix1>(&images));
    assert_eq!(wrong, IdxProblem::Dimensions { got: 3, expected: 1 });
    assert_eq!(wrong.to_string(), "it holds 3 dimensions (images), expected 1 dimension (labels)");
    let wrong = problem(read_idx::<Ix3>(&labels));
    assert_eq!(wrong.to_string(), "it holds 1 dimension (labels), expected 3 dimensions (images)");
    let wrong = problem(read_idx::<<Array4<u8> as HasDimension>::D>(&labels));
    assert_eq!(wrong.to_string(), "it holds 1 dimension (labels), expected 4 dimensions");
}

/// Names the dimension type of an array type.
trait HasDimension {
    type D: Dimension;
}

impl<A, D: Dimension> HasDimension for plywood::ndarray::Array<A, D> {
    type D = D;
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let whole = idx(&[3, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    for length in 0..whole.len() {
        let cut = problem(read_idx::<IxDyn>(file("cut", &whole[..length])));
        assert!(matches!(cut, IdxProblem::Truncated { .. }), "{length} bytes: {cut:?}");
    }
    let compressed = gzip(&whole);
    for length in 0..compressed.len() {
        let cut = problem(read_idx::<IxDyn>(file("cut", &compressed[..length])));
        match length {
            0 => assert!(matches!(cut, IdxProblem::Truncated { .. }), "{cut:?}"),
            1 => assert!(matches!(cut, IdxProblem::NotIdx { .. }), "{cut:?}"),
            _ => assert!(matches!(cut, IdxProblem::Gzip { .. }), "{length} bytes: {cut:?}"),
        }
    }
    let cut = problem(read_idx::<IxDyn>(file("cut", &compressed[..compressed.len() - 1])));
    assert_eq!(cut.to_string(), "its gzip compression is damaged (unexpected end of file); get it again");
}

#[test]
fn what_follows_the_last_member_is_an_error() {
    let mut bytes = gzip(&idx(&[2], &[1, 2]));
    bytes.extend(b"rubbish");
    assert!(matches!(problem(read_idx::<IxDyn>(file("rubbish", &bytes))), IdxProblem::Gzip { .. }));
}

// The checksum of gzip finds every single flipped bit, so a damaged file is an error or, where the bit means nothing (the
// time of compression), still the same array. Without the checksum a header of a plain file may still fit its data: only
// a panic would be wrong there.
#[test]
fn a_flipped_bit_never_gives_other_values() {
    let values: Vec<u8> = (0..48_u8).map(|i| i.wrapping_mul(37)).collect();
    let whole = idx(&[3, 4, 4], &values);
    let expected = ArrayD::from_shape_vec(vec![3, 4, 4], values).unwrap();
    let (compressed, mut refused) = (gzip(&whole), 0);
    for bit in 0..8 * compressed.len() {
        let mut flipped = compressed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match read_idx::<IxDyn>(file("flipped", &flipped)) {
            Ok(array) => assert_eq!(array, expected, "bit {bit}"),
            Err(Error::Idx { .. }) => refused += 1,
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
    assert!(refused > 8 * (compressed.len() - 10), "{refused} of {} bits", 8 * compressed.len());
    for bit in 0..8 * (whole.len() - 48) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        problem(read_idx::<IxDyn>(file("flipped", &flipped)));
    }
}

/// The most virtual memory that this process has had, in bytes.
#[cfg(target_os = "linux")]
fn peak_of_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("Linux tells the peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

// 8 GiB, which many machines would hand out, and 16 TiB, which none has: asking for these would end the program. Other
// tests of this file run meanwhile and take little.
#[test]
fn a_header_that_lies_costs_no_memory() {
    #[cfg(target_os = "linux")]
    let before = peak_of_memory();
    for (sizes, expected) in [([1_u32 << 11, 1 << 11, 1 << 11], 1_usize << 33), ([1 << 15, 1 << 15, 1 << 14], 1 << 44)]
    {
        let bytes = idx(&sizes, &[1, 2, 3]);
        for bytes in [gzip(&bytes), bytes] {
            let found = problem(read_idx::<Ix3>(file("lie", &bytes)));
            assert_eq!(found, IdxProblem::Truncated { part: "data", got: 3, expected });
        }
    }
    #[cfg(target_os = "linux")]
    assert!(peak_of_memory() - before < 4 << 30, "{} bytes were allocated", peak_of_memory() - before);
}

#[test]
fn a_gzip_bomb_is_not_decompressed() {
    // 64 MiB of zeros after an array of 4 bytes; the damage at the end of the stream would be an error of another kind
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&idx(&[4], &[])).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(64 << 20), &mut encoder).unwrap();
    let mut bytes = encoder.finish().unwrap();
    let end = bytes.len() - 100;
    bytes[end..].fill(0xff);
    assert_eq!(problem(read_idx::<Ix1>(file("bomb", &bytes))), IdxProblem::TrailingBytes { expected: 4 });
}

// Gzip makes a thousandth of zeros: what announces 256 MiB of them, and holds them, has 256 KiB.
#[test]
fn an_array_a_thousand_times_as_large_as_its_file_is_refused() {
    let bytes = gzip(&idx(&[1 << 14, 1 << 14], &vec![0; 1 << 28]));
    let expected = IdxProblem::Bomb { announced: 1 << 28, packed: bytes.len() as u64 };
    #[cfg(target_os = "linux")]
    let before = peak_of_memory();
    assert_eq!(problem(read_idx::<IxDyn>(file("thousand", &bytes))), expected);
    #[cfg(target_os = "linux")]
    assert!(peak_of_memory() - before < 1 << 28, "{} bytes were allocated", peak_of_memory() - before);
    assert!(expected.to_string().ends_with("a gzip bomb; if it is none, unpack it with gunzip"), "{expected}");
    // small ones are no danger, and plain ones no bombs
    assert_eq!(read_idx::<Ix1>(file("zeros", &gzip(&idx(&[1 << 20], &vec![0; 1 << 20])))).unwrap().len(), 1 << 20);
    assert_eq!(read_idx::<Ix1>(file("zeros", &idx(&[1 << 22], &vec![0; 1 << 22]))).unwrap().len(), 1 << 22);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    for path in ["no/such/file", env!("CARGO_TARGET_TMPDIR")] {
        let error = read_idx::<IxDyn>(path).unwrap_err();
        assert!(matches!(&error, Error::Io { path: named, .. } if named == Path::new(path)), "{error:?}");
        assert!(error.to_string().starts_with(&format!("{path}: ")), "{error}");
    }
}
