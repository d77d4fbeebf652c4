//! Data sets as a user loads them: MNIST from its files, whole, compressed or not, and every way in which a folder of
//! such files can be wrong.
#![cfg(feature = "datasets")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use plywood::Error;
use plywood::data::{Dataset, IdxProblem, Mnist, Targets, one_hot};
use plywood::ndarray::{Array2, Axis};

const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

fn mnist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist")
}

/// A new folder. Names must differ between tests, which run at the same time.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("data-{name}"));
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    fs::create_dir(&path).unwrap();
    path
}

/// An IDX file of unsigned bytes.
fn idx(sizes: &[u32], data: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// A folder of 3 images to train with and 2 to test with, of 2×4 pixels that count up from 0.
fn small(name: &str) -> PathBuf {
    let path = folder(name);
    for (file, bytes) in
        FILES.iter().zip([idx(&[3, 2, 4], 0..24), idx(&[3], [0, 1, 200]), idx(&[2, 2, 4], 100..116), idx(&[2], [1, 0])])
    {
        fs::write(path.join(file), bytes).unwrap();
    }
    path
}

fn classes<T>(data: &Dataset<T>) -> Vec<usize>
where
    T: plywood::Scalar,
{
    let Targets::Classes(classes) = data.targets() else { panic!("targets are not classes") };
    classes.to_vec()
}

#[test]
fn mnist_is_what_it_is() {
    let Mnist { train, test } = Mnist::load(mnist()).unwrap();
    assert_eq!(train.inputs().shape(), [60_000, 28, 28, 1]);
    assert_eq!(test.inputs().shape(), [10_000, 28, 28, 1]);
    assert_eq!((train.len(), test.len()), (60_000, 10_000));
    assert_eq!(classes(&train)[..5], [5, 0, 4, 1, 9]);
    assert_eq!(classes(&test)[..5], [7, 2, 1, 0, 4]);
    assert_eq!((classes(&train)[59_999], classes(&test)[9_999]), (8, 6));
    let mut counts = [0; 10];
    classes(&train).iter().for_each(|&class| counts[class] += 1);
    assert_eq!(counts, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);

    // the well-known mean and standard deviation, to normalise by, are 0.1307 and 0.3081
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / train.inputs().len() as f64;
    let average = mean(&mut train.inputs().iter().map(|&x| f64::from(x)));
    let variance = mean(&mut train.inputs().iter().map(|&x| (f64::from(x) - average).powi(2)));
    assert!((average - 0.130_660_5).abs() < 1e-6, "{average}");
    assert!((variance.sqrt() - 0.308_108).abs() < 1e-6, "{}", variance.sqrt());

    // the first image, a 5, in the right orientation: the upper stroke goes to the right
    let row: Vec<f32> = (12..24).map(|column| (train.inputs()[[0, 5, column, 0]] * 255.0).round()).collect();
    assert_eq!(row, [3.0, 18.0, 18.0, 18.0, 126.0, 136.0, 175.0, 26.0, 166.0, 255.0, 247.0, 127.0]);
    assert_eq!(train.inputs().index_axis(Axis(0), 0).iter().filter(|&&x| x > 0.0).count(), 166);
}

#[test]
fn compressed_and_plain_files_hold_the_same() {
    let path = folder("plain");
    for (i, name) in FILES.iter().enumerate() {
        // one stays compressed: each file may be there in either form
        if i == 1 {
            fs::copy(mnist().join(format!("{name}.gz")), path.join(format!("{name}.gz"))).unwrap();
        } else {
            let mut bytes = Vec::new();
            let compressed = fs::File::open(mnist().join(format!("{name}.gz"))).unwrap();
            GzDecoder::new(compressed).read_to_end(&mut bytes).unwrap();
            fs::write(path.join(name), bytes).unwrap();
        }
    }
    // not assert_eq, which would print 47 million numbers
    assert!(Mnist::load(&path).unwrap() == Mnist::load(mnist()).unwrap());
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn sizes_are_those_of_the_files() {
    let Mnist { train, test } = Mnist::load(small("sizes")).unwrap();
    assert_eq!((train.inputs().shape(), test.inputs().shape()), (&[3, 2, 4, 1][..], &[2, 2, 4, 1][..]));
    assert_eq!((classes(&train), classes(&test)), (vec![0, 1, 200], vec![1, 0]));
    assert!(train.inputs().iter().copied().eq((0..24).map(|v| v as f32 / 255.0)));
    assert!(test.inputs().iter().copied().eq((100..116).map(|v| v as f32 / 255.0)));
}

#[test]
fn every_pixel_is_the_nearest_number() {
    let path = small("pixels");
    fs::write(path.join(FILES[0]), idx(&[1, 16, 16], 0..=255)).unwrap();
    fs::write(path.join(FILES[1]), idx(&[1], [0])).unwrap();
    let single = Mnist::load(&path).unwrap().train;
    let double = Mnist::<f64>::load_as(&path).unwrap().train;
    for value in 0..=255_u8 {
        let at = [0, usize::from(value) / 16, usize::from(value) % 16, 0];
        assert_eq!(single.inputs()[at], f32::from(value) / 255.0);
        assert_eq!(double.inputs()[at], f64::from(value) / 255.0);
    }
}

#[test]
fn a_missing_file_is_named_with_a_way_out() {
    for name in FILES {
        let path = small("missing");
        fs::remove_file(path.join(name)).unwrap();
        let error = Mnist::load(&path).unwrap_err();
        let expected = path.join(format!("{name}.gz"));
        assert!(matches!(&error, Error::MissingFile { path, .. } if *path == expected), "{error:?}");
        let message = error.to_string();
        assert!(message.starts_with(&format!("{}: there is no such file; nor one", expected.display())), "{message}");
        assert!(FILES.iter().all(|file| message.contains(file)), "{message}");
    }
    let error = Mnist::load("no/such/folder").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no/such/folder/train-images-idx3-ubyte.gz: there is no such file; no/such/folder is not a folder; a relative \
         path starts at the working directory"
    );
}

#[test]
fn images_and_labels_must_be_equally_many() {
    let path = small("counts");
    fs::write(path.join(FILES[3]), idx(&[4], [1, 0, 1, 0])).unwrap();
    let error = Mnist::load(&path).unwrap_err();
    let (images, labels) = (path.join(FILES[2]), path.join(FILES[3]));
    assert_eq!(
        error.to_string(),
        format!(
            "{} holds 2 images but {} holds 4 labels; there must be one for each image: take both from the same data set",
            images.display(),
            labels.display()
        )
    );
    assert!(matches!(error, Error::FileMismatch { image_count: 2, label_count: 4, .. }));
}

#[test]
fn files_under_each_others_names_are_told() {
    let path = small("exchanged");
    for (from, to) in [(FILES[0], "aside"), (FILES[1], FILES[0]), ("aside", FILES[1])] {
        fs::rename(path.join(from), path.join(to)).unwrap();
    }
    let error = Mnist::load(&path).unwrap_err();
    let Error::Idx { path: named, problem } = error else { panic!("{error:?}") };
    assert_eq!((named, problem), (path.join(FILES[1]), IdxProblem::Dimensions { got: 3, expected: 1 }));
}

#[test]
fn a_damaged_file_is_named() {
    let path = small("damaged");
    fs::write(path.join(FILES[2]), idx(&[2, 2, 4], 0..15)).unwrap();
    let error = Mnist::load(&path).unwrap_err();
    let Error::Idx { path: named, problem } = error else { panic!("{error:?}") };
    let expected = IdxProblem::Truncated { part: "data", got: 15, expected: 16 };
    assert_eq!((named, problem), (path.join(FILES[2]), expected));
}

#[test]
fn the_steps_before_training_go_together() {
    let test = Mnist::load(mnist()).unwrap().test;
    let rows: Array2<f32> = {
        let Targets::Classes(classes) = test.targets() else { unreachable!() };
        one_hot(classes, 10).unwrap()
    };
    let pixels: Vec<f32> = test.inputs().iter().copied().collect();

    let (train, validation) =
        test.head(1000).unwrap().reshape_inputs([784]).unwrap().one_hot(10).unwrap().split_last(0.1).unwrap();
    assert_eq!((train.inputs().shape(), validation.inputs().shape()), (&[900, 784][..], &[100, 784][..]));
    assert_eq!(train.inputs().as_slice().unwrap(), &pixels[..900 * 784]);
    assert_eq!(validation.inputs().as_slice().unwrap(), &pixels[900 * 784..1000 * 784]);
    let (first, rest) = rows.view().split_at(Axis(0), 900);
    let (last, _) = rest.split_at(Axis(0), 100);
    assert_eq!(train.targets(), &first.to_owned().into());
    assert_eq!(validation.targets(), &last.to_owned().into());
}
