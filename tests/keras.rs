//! The promise that models of Keras run here and models of plywood run in Keras, and that no `.keras` file, however
//! wrong, brings the reader to panic or to take memory that the file does not hold.
//!
//! `tools/interop_keras.py` makes the files of `tests/golden/keras_files/`, and is the other half of `interop`.
#![cfg(all(feature = "keras", feature = "datasets"))]

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use plywood::data::Mnist;
use plywood::layers::{Backward, Forward, Plan};
use plywood::ndarray::{Array2, ArrayD, Axis, Slice};
use plywood::persist::{Element, Npz, read_npy, write_npy};
use plywood::prelude::*;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/keras_files").join(name)
}

/// A file of this name and contents. Names must differ between tests, which run at the same time.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch(name);
    // some file systems wait for the disk when a file is overwritten, but not when it is new
    fs::remove_file(&path).ok();
    fs::write(&path, bytes).unwrap();
    path
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("keras-{name}"))
}

/// A member of a golden file.
fn member(file: &str, name: &str) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(fs::read(golden(file)).unwrap())).unwrap();
    let mut bytes = vec![];
    archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn zipped(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn keras_file(config: &[u8], weights: &[u8]) -> Vec<u8> {
    zipped(&[("config.json", config), ("model.weights.h5", weights)], CompressionMethod::Stored)
}

fn problem(result: Result<Sequential>) -> String {
    match result {
        Err(Error::Format { format: "Keras model", problem, .. }) => problem,
        other => panic!("{other:?} is not a problem with a Keras model"),
    }
}

/// The largest difference, absolute or relative to what it should be, whichever is smaller.
fn difference<T: Scalar>(got: &ArrayD<T>, expected: &ArrayD<T>) -> f64 {
    assert_eq!(got.shape(), expected.shape());
    got.iter().zip(expected).fold(0.0, |largest, (got, expected)| {
        let (got, expected) = (got.to_f64().unwrap(), expected.to_f64().unwrap());
        let difference = (got - expected).abs() / expected.abs().max(1.0);
        assert!(!difference.is_nan());
        difference.max(largest)
    })
}

fn predicts_as_in_keras<T: Scalar + Element>(name: &str, tolerance: f64) -> Sequential<T> {
    let model = Sequential::<T>::load_keras(golden(&format!("{name}.keras"))).unwrap();
    let mut predictions = Npz::open(golden("predictions.npz")).unwrap();
    let x: ArrayD<T> = predictions.read(&format!("{name}/x")).unwrap();
    let y: ArrayD<T> = predictions.read(&format!("{name}/y")).unwrap();
    assert!(y.iter().any(|&y| y != y.round()), "{name}: predictions that say nothing");
    let difference = difference(&model.predict(&x).unwrap(), &y);
    assert!(difference <= tolerance, "{name}: {difference}");
    // and again after it has been written and read here
    let path = scratch(&format!("{name}-again.keras"));
    model.save_keras(&path).unwrap();
    let again = Sequential::<T>::load_keras(&path).unwrap();
    assert_eq!(again.values(), model.values());
    assert_eq!(descriptions(&again), descriptions(&model));
    fs::remove_file(path).unwrap();
    model
}

/// The layers with all their settings.
fn descriptions<T: Scalar>(model: &Sequential<T>) -> Vec<String> {
    model.layers().iter().map(|layer| format!("{}: {:?}", layer.name(), layer.layer())).collect()
}

// Sums of up to a hundred products are added in another order: some units in the last place.
#[test]
fn golden_files_predict_as_in_keras() {
    let model = predicts_as_in_keras::<f32>("every_kind", 1e-6);
    let expected = Sequential::input([9, 8, 2])
        .add(
            Conv2D::new(3, (3, 2))
                .strides(2)
                .padding(Padding::Same)
                .activation(Activation::ReLU)
                .kernel_initializer(Initializer::HeNormal),
        )
        .add(Conv2D::new(4, 2).dilation(2).bias(false).padding(Padding::Same))
        .add(ReLU::new())
        .add(MaxPooling2D::new((2, 1)).strides(1).padding(Padding::Same))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new())
        .add(
            Dense::new(6)
                .activation(Activation::Softmax)
                .kernel_initializer(Initializer::Uniform { min: -1.0, max: 2.0 }),
        )
        .add(Dense::new(5).bias(false))
        .add(ReLU::new())
        .add(Dense::new(4).bias_initializer(Initializer::Constant { value: 0.25 }))
        .add(Softmax::new())
        .build(0)
        .unwrap();
    assert_eq!(descriptions(&model), descriptions(&expected));
    predicts_as_in_keras::<f32>("trained", 1e-6);
    predicts_as_in_keras::<f32>("without_input", 1e-6);
    predicts_as_in_keras::<f64>("float64", 1e-14);
}

#[test]
fn a_model_in_another_type_is_told_so() {
    let problem = problem(Sequential::load_keras(golden("float64.keras")));
    assert!(
        problem.ends_with("has dtype=\"float64\", expected \"float32\"; load it as Sequential::<f64>"),
        "{problem}"
    );
    assert!(Sequential::<f64>::load_keras(golden("trained.keras")).is_err());
    // a policy of float32, but weights of float64
    let config = String::from_utf8(member("float64.keras", "config.json")).unwrap().replace("float64", "float32");
    let bytes = keras_file(config.as_bytes(), &member("float64.keras", "model.weights.h5"));
    let problem = self::problem(Sequential::load_keras(file("dtype.keras", &bytes)));
    assert_eq!(problem, "its weights of conv2d/kernel are numbers of 8 bytes, expected float32");
}

#[test]
fn what_the_crate_has_not_is_named() {
    let cases: Vec<Value> = serde_json::from_slice(&fs::read(golden("unsupported.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 20);
    for case in cases {
        let bytes = keras_file(case["config"].to_string().as_bytes(), b"");
        let problem = problem(Sequential::load_keras(file("unsupported.keras", &bytes)));
        let (layer, option) = (case["layer"].as_str().unwrap(), case["option"].as_str().unwrap());
        let names_layer = layer.is_empty() || problem.contains(&format!("layer {layer:?} ("));
        assert!(names_layer && problem.contains(option) && problem.contains("expected") | problem.contains("plywood"));
    }
    // An option that no Keras has yet.
    let config = String::from_utf8(member("without_input.keras", "config.json")).unwrap();
    let config = config.replace("\"units\": 2", "\"units\": 2, \"sparsity\": 0.5");
    let bytes = keras_file(config.as_bytes(), &member("without_input.keras", "model.weights.h5"));
    let problem = problem(Sequential::load_keras(file("option.keras", &bytes)));
    assert_eq!(
        problem,
        "layer \"dense_1\" (Dense) has sparsity=0.5, expected no such option: plywood does not know it"
    );
}

#[test]
fn weights_as_python_objects_are_told_so() {
    let problem = problem(Sequential::load_keras(golden("weights_in_npz.keras")));
    assert!(problem.contains("model.weights.npz, which holds Python objects"), "{problem}");
}

// Keras stores neither so. A packed kernel is read all the same; nothing outside the file ever is.
#[test]
fn kernels_stored_otherwise() {
    let expected: Sequential = Sequential::load_keras(golden("without_input.keras")).unwrap();
    assert_eq!(Sequential::<f32>::load_keras(golden("packed.keras")).unwrap().values(), expected.values());
    let external = problem(Sequential::load_keras(golden("external.keras")));
    assert!(external.contains("external raw data file '/dev/zero' could not be resolved"), "{external}");
    let link = problem(Sequential::load_keras(golden("external_link.keras")));
    assert_eq!(link, "its weights of dense are [\"1\"], expected [\"0\", \"1\"]");
    // within the file a link leads to what is there
    assert_eq!(Sequential::<f32>::load_keras(golden("soft_link.keras")).unwrap().values(), expected.values());
}

#[derive(Debug)]
struct Foreign;

impl Layer for Foreign {
    fn kind(&self) -> &'static str {
        "foreign"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        Ok(Plan::new(input))
    }

    fn forward(&self, _: Forward<'_, f32>) {}

    fn backward(&self, _: Backward<'_, f32>) {}
}

#[test]
fn what_keras_has_not_is_not_written() {
    let path = scratch("not written.keras");
    let model = Sequential::input([3]).add(Foreign).build(0).unwrap();
    let error = model.save_keras(&path).unwrap_err();
    assert_eq!(error.to_string(), "foreign: is a Foreign, no layer of the crate, so other libraries have none for it");
    let layer = Conv2D::new(1, 3).padding(Padding::symmetric(1));
    let model = Sequential::input([3, 3, 1]).add(layer).build(0).unwrap();
    let error = model.save_keras(&path).unwrap_err();
    assert!(error.to_string().starts_with("conv2d: has Padding::Explicit, which Keras has not"), "{error}");
    assert!(!path.exists());
}

#[test]
fn an_old_file_stays_until_the_new_one_is_there() {
    let path = scratch("replaced.keras");
    let models = [1, 2].map(|seed| Sequential::input([3]).add(Dense::new(2)).build(seed).unwrap());
    models[0].save_keras(&path).unwrap();
    let first = fs::read(&path).unwrap();
    models[0].save_keras(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first, "the same model gives the same bytes");
    models[1].save_keras(&path).unwrap();
    assert_eq!(Sequential::<f32>::load_keras(&path).unwrap().values(), models[1].values());
    assert!(matches!(models[1].save_keras(env!("CARGO_TARGET_TMPDIR")), Err(Error::Io { .. })));
}

/// How often a panic has begun in the crate that reads HDF5, whoever caught it.
fn panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.location().is_some_and(|location| location.file().contains("hdf5")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(panic);
        }));
    });
    &PANICS
}

// The archive's checksums find every change of a member. What is left are bytes that mean nothing, such as times, and
// metadata.json, which is not read.
#[test]
fn a_changed_byte_never_gives_another_model() {
    let whole = fs::read(golden("without_input.keras")).unwrap();
    let expected: Sequential = Sequential::load_keras(golden("without_input.keras")).unwrap();
    let mut refused = 0;
    for (i, flip) in (0..whole.len()).map(|i| (i, if i % 2 == 0 { 0xff } else { 1 << (i / 2 % 8) })) {
        let mut changed = whole.clone();
        changed[i] ^= flip;
        match Sequential::<f32>::load_keras(file("changed.keras", &changed)) {
            Ok(model) => {
                assert_eq!(model.values(), expected.values(), "byte {i}");
                assert_eq!(descriptions(&model), descriptions(&expected), "byte {i}");
            }
            Err(Error::Format { .. }) => refused += 1,
            Err(other) => panic!("byte {i}: {other}"),
        }
    }
    assert!(refused > whole.len() - 300, "{refused} of {}", whole.len());
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let whole = fs::read(golden("without_input.keras")).unwrap();
    for length in (0..whole.len()).step_by(3).chain(whole.len() - 500..whole.len()) {
        problem(Sequential::load_keras(file("cut.keras", &whole[..length])));
    }
}

// With sound checksums around them: what a malicious file would do. Numbers may be others; nothing may panic.
#[test]
fn damaged_weights_with_sound_checksums_are_errors() {
    let panics = panics();
    let config = member("without_input.keras", "config.json");
    // as Keras writes it, and in HDF5's newest form, with chunks, a checksum and compression
    for golden in ["without_input.keras", "packed.keras"] {
        let whole = member(golden, "model.weights.h5");
        let load =
            |weights: &[u8]| match Sequential::<f32>::load_keras(file("hdf5.keras", &keras_file(&config, weights))) {
                Ok(_) => 0,
                Err(Error::Format { .. }) => 1,
                Err(other) => panic!("{golden}: {other}"),
            };
        let (mut refused, mut tried) = (0, 0);
        // most of the file is empty space
        let used = (0..whole.len()).filter(|&i| whole[i] != 0 || i % 16 == 0);
        for (i, value) in used.flat_map(|i| [(i, 0xff), (i, whole[i] ^ 1), (i, whole[i] ^ 0x80), (i, 0)]) {
            let mut weights = whole.clone();
            weights[i] = value;
            (refused, tried) = (refused + load(&weights), tried + 1);
        }
        for length in (0..whole.len()).step_by(11) {
            assert_eq!(load(&whole[..length]), 1, "{golden}, {length} bytes");
        }
        println!("{golden}: {refused} of {tried} damaged HDF5 files refused");
        assert!(refused > tried / 5 && refused < tried);
    }
    assert_eq!(panics.load(Ordering::Relaxed), 0, "hdf5-reader panics on damaged bytes; load_keras catches that");
}

/// The most virtual memory that this process has had, in bytes.
#[cfg(target_os = "linux")]
fn peak_of_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("Linux tells the peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A configuration of one layer.
fn config(input: &[u64], class: &str, options: Value) -> String {
    let shape: Vec<Value> = std::iter::once(Value::Null).chain(input.iter().map(|&size| size.into())).collect();
    let layers = json!([
        { "class_name": "InputLayer", "config": { "batch_shape": shape, "name": "input" } },
        { "class_name": class, "config": options },
    ]);
    json!({ "class_name": "Sequential", "config": { "layers": layers } }).to_string()
}

#[test]
fn a_file_that_lies_costs_no_memory() {
    let dense = |units: u64| config(&[4], "Dense", json!({ "units": units, "name": "dense" }));
    let weights = member("without_input.keras", "model.weights.h5");
    #[cfg(target_os = "linux")]
    let before = peak_of_memory();
    let problem =
        |config: &str| problem(Sequential::load_keras(file("lie.keras", &keras_file(config.as_bytes(), &weights))));
    for units in [1 << 31, 1 << 40] {
        let problem = problem(&dense(units));
        assert!(problem.ends_with(&format!("for {} parameters", 5 * units)), "{problem}");
    }
    assert!(problem(&dense(1 << 62)).contains("dense: "));
    assert!(problem(&dense(u64::MAX)).contains("dense: "));
    assert!(problem(&config(&[1 << 40, 1 << 40], "Flatten", json!({ "name": "flat" }))).contains("input: a sample "));
    // shapes of the same size, more layers, fewer layers, no bias
    let others = [
        (dense(5), "have the shape 4×3, expected 4×5"),
        (config(&[3], "Dense", json!({ "units": 4 })), "have the shape 4×3, expected 3×4"),
        (config(&[4], "Dense", json!({ "units": 3, "use_bias": false })), "are [\"0\", \"1\"], expected [\"0\"]"),
        (config(&[4, 4, 1], "Conv2D", json!({ "filters": 1, "kernel_size": 3, "padding": "same" })), "a layer \"dense"),
    ];
    for (config, expected) in others {
        let whole = String::from_utf8(member("without_input.keras", "config.json")).unwrap();
        let mut whole: Value = serde_json::from_str(&whole).unwrap();
        let mut layers = serde_json::from_str::<Value>(&config).unwrap()["config"]["layers"].take();
        if !config.contains("Conv2D") {
            let second = whole["config"]["layers"].as_array_mut().unwrap().pop().unwrap();
            layers.as_array_mut().unwrap().push(second);
        }
        whole["config"]["layers"] = layers;
        let problem = problem(&whole.to_string());
        assert!(problem.contains(expected), "{problem}");
    }
    #[cfg(target_os = "linux")]
    assert!(peak_of_memory() - before < 1 << 30, "{} bytes were allocated", peak_of_memory() - before);
}

#[test]
fn zip_bombs_are_not_unpacked() {
    let nothing = vec![b' '; 256 << 20];
    let sound = member("without_input.keras", "config.json");
    let bombs: [[(&str, &[u8]); 2]; 2] = [
        [("config.json", &nothing), ("model.weights.h5", b"")],
        [("config.json", &sound), ("model.weights.h5", &nothing)],
    ];
    let bombs = bombs.map(|members| zipped(&members, CompressionMethod::Deflated));
    drop(nothing);
    for bomb in bombs {
        let problem = problem(Sequential::load_keras(file("bomb.keras", &bomb)));
        assert!(problem.contains("bytes, expected at most") || problem.contains("a zip bomb"), "{problem}");
    }
    // a compressed file that is none
    let members =
        [("config.json", &sound[..]), ("model.weights.h5", &member("without_input.keras", "model.weights.h5"))];
    let path = file("deflated.keras", &zipped(&members, CompressionMethod::Deflated));
    assert_eq!(Sequential::<f32>::load_keras(path).unwrap().parameter_count(), 23);
}

#[test]
fn what_is_there_twice_is_an_error() {
    let (config, weights) =
        (member("without_input.keras", "config.json"), member("without_input.keras", "model.weights.h5"));
    let text = String::from_utf8(config.clone()).unwrap();
    for (once, twice) in [("\"units\": 3", "\"units\": 3, \"units\": 3"), ("{\"module\"", "{\"module\": 1, \"module\"")]
    {
        assert!(text.contains(once));
        let bytes = keras_file(text.replacen(once, twice, 1).as_bytes(), &weights);
        let problem = problem(Sequential::load_keras(file("twice.keras", &bytes)));
        assert!(problem.contains("is there twice"), "{problem}");
    }
    let members = [("config.json", &config[..]), ("model.weights.h5", &weights), ("model.weights.h6", &weights)];
    let mut bytes = zipped(&members, CompressionMethod::Stored);
    while let Some(at) = bytes.windows(16).position(|name| name == b"model.weights.h6") {
        bytes[at + 15] = b'5';
    }
    let problem = problem(Sequential::load_keras(file("twice.keras", &bytes)));
    assert_eq!(problem, "two of its members have the same name");
}

#[test]
fn texts_that_are_no_configuration_are_errors() {
    let deep = "[".repeat(100_000);
    let layer = |layer: &str| format!("{{\"class_name\":\"Sequential\",\"config\":{{\"layers\":[{layer}]}}}}");
    let input = "{\"class_name\":\"InputLayer\",\"config\":{\"batch_shape\":[null,3]}}";
    let texts = [
        "",
        "{",
        "[]",
        "null",
        "3",
        "\"Sequential\"",
        "{}",
        "{\"class_name\":\"Sequential\"}",
        &deep,
        "{\"class_name\":\"Sequential\",\"config\":[]}",
        "{\"class_name\":\"Sequential\",\"config\":{\"layers\":{}}}",
        &layer(""),
        &layer("3"),
        &layer("{}"),
        &layer(input),
        &layer(&format!("{input},{input}")),
        &layer("{\"class_name\":\"InputLayer\"}"),
        &layer("{\"class_name\":\"InputLayer\",\"config\":{\"batch_shape\":[null]}}"),
        &layer("{\"class_name\":\"InputLayer\",\"config\":{\"batch_shape\":[null,-3]}}"),
        &layer("{\"class_name\":\"InputLayer\",\"config\":{\"batch_shape\":[null,1e300]}}"),
        &layer("{\"class_name\":\"Dense\",\"config\":{\"units\":3}}"),
        &layer(&format!("{input},{{\"class_name\":\"Dense\",\"config\":{{\"units\":0}}}}")),
        &layer(&format!("{input},{{\"class_name\":\"Dense\",\"config\":{{\"units\":2.5}}}}")),
        &layer(&format!("{input},{{\"class_name\":\"Conv2D\",\"config\":{{\"filters\":1,\"kernel_size\":[1,2,3]}}}}")),
        &layer(&format!("{input},{{\"class_name\":\"\u{1f600}é\",\"config\":{{}}}}")),
    ];
    for text in texts {
        problem(Sequential::load_keras(file("text.keras", &keras_file(text.as_bytes(), b""))));
    }
    problem(Sequential::load_keras(file("text.keras", &keras_file(b"\xff\xfe", b""))));
    problem(Sequential::load_keras(file("text.keras", &zipped(&[], CompressionMethod::Stored))));
    problem(Sequential::load_keras(file("text.keras", &member("trained.keras", "model.weights.h5"))));
    assert!(matches!(Sequential::<f32>::load_keras("no/such/file.keras"), Err(Error::Io { .. })));
}

#[test]
fn older_formats_are_told_what_they_are() {
    let error = problem(Sequential::load_keras(env!("CARGO_TARGET_TMPDIR")));
    assert!(error.starts_with("it is a folder; if TensorFlow has saved a model there, load it"), "{error}");
    let hdf5 = member("without_input.keras", "model.weights.h5");
    let error = problem(Sequential::load_keras(file("model.h5", &hdf5)));
    assert!(
        error.starts_with("it is an HDF5 file (.h5), the older format of Keras; in Keras, keras.saving."),
        "{error}"
    );
}

/// The configuration of a golden file, changed.
fn changed_config(name: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut config = serde_json::from_slice(&member(name, "config.json")).unwrap();
    change(&mut config);
    config.to_string().into_bytes()
}

// `@keras.saving.register_keras_serializable(package="my") class Dense(keras.layers.Dense)` may compute anything.
#[test]
fn classes_of_the_same_name_are_not_those_of_keras() {
    let weights = member("without_input.keras", "model.weights.h5");
    let load = |config: &[u8]| Sequential::<f32>::load_keras(file("custom.keras", &keras_file(config, &weights)));
    load(&changed_config("without_input.keras", |_| ())).unwrap();
    let (null, path) = (Value::Null, "/config/layers/1");
    for (at, module, registered, expected) in [
        (
            path,
            null.clone(),
            json!("my>Dense"),
            "layer \"dense\" (Dense) is a class of its author's own, registered as \"my>Dense\"",
        ),
        (path, json!("keras.layers"), json!("my>Dense"), "registered as \"my>Dense\""),
        (path, json!("__main__"), json!("Dense"), "\"Dense\" of the module \"__main__\""),
        (path, json!("layers"), null.clone(), "\"Dense\" of the module \"layers\""),
        (path, json!(7), null.clone(), "\"Dense\" of the module \"?\""),
        ("/config/layers/0", null.clone(), json!("my>InputLayer"), "registered as \"my>InputLayer\""),
        (
            "",
            null.clone(),
            json!("my>Sequential"),
            "it is a class of its author's own, registered as \"my>Sequential\"",
        ),
        ("", json!("models"), json!("Sequential"), "it is a class of its author's own, \"Sequential\" of the module"),
        ("/config/layers/1/config/dtype", null.clone(), json!("my>DTypePolicy"), "plywood computes in one type alone"),
    ] {
        let config = changed_config("without_input.keras", |config| {
            let object = config.pointer_mut(at).unwrap();
            (object["module"], object["registered_name"]) = (module, registered);
        });
        let problem = problem(load(&config));
        assert!(problem.contains(expected), "got {problem}, expected {expected}");
    }
    // layers without weights, and those that do nothing when predicting
    for (class, options) in [
        ("Conv2D", json!({ "filters": 1, "kernel_size": 3, "padding": "same" })),
        ("MaxPooling2D", json!({ "pool_size": 1, "padding": "same" })),
        ("ReLU", json!({})),
        ("Softmax", json!({})),
        ("Flatten", json!({})),
        ("Dropout", json!({})),
        ("Activation", json!({ "activation": "relu" })),
    ] {
        let config = changed_config("without_input.keras", |config| {
            let layer = json!({ "class_name": class, "module": null, "registered_name": format!("my>{class}"), "config": options });
            config["config"]["layers"].as_array_mut().unwrap().push(layer);
        });
        let problem = problem(load(&config));
        assert!(problem.contains(&format!("registered as \"my>{class}\"")), "{problem}");
    }
    // an initializer says nothing about what a model predicts
    let config = changed_config("without_input.keras", |config| {
        let initializer = &mut config["config"]["layers"][1]["config"]["kernel_initializer"];
        *initializer = json!({ "class_name": "Ones", "module": null, "registered_name": "my>Ones", "config": {} });
    });
    let custom = load(&config).unwrap();
    assert_eq!(descriptions(&custom), descriptions(&load(&changed_config("without_input.keras", |_| ())).unwrap()));
}

// keras.Input has the type of `keras.config.floatx()` unless it is told another one, whatever the layers compute in.
#[test]
fn an_input_may_have_another_type_than_the_layers() {
    for (name, other) in [("float64.keras", "float32"), ("without_input.keras", "float64")] {
        let config = changed_config(name, |config| config["config"]["layers"][0]["config"]["dtype"] = json!(other));
        let path = file("input type.keras", &keras_file(&config, &member(name, "model.weights.h5")));
        if other == "float32" {
            let model = Sequential::<f64>::load_keras(&path).unwrap();
            assert_eq!(model.values(), Sequential::<f64>::load_keras(golden(name)).unwrap().values());
            let problem = problem(Sequential::load_keras(&path));
            assert!(problem.ends_with("expected \"float32\"; load it as Sequential::<f64>"), "{problem}");
        } else {
            let model = Sequential::<f32>::load_keras(&path).unwrap();
            assert_eq!(model.values(), Sequential::<f32>::load_keras(golden(name)).unwrap().values());
        }
    }
    let config =
        changed_config("float64.keras", |config| config["config"]["layers"][0]["config"]["dtype"] = json!("int8"));
    let path = file("input type.keras", &keras_file(&config, &member("float64.keras", "model.weights.h5")));
    assert!(Sequential::<f64>::load_keras(path).is_err());
}

// HDF5 says of each array what its floating-point numbers are made of. IEEE 754's have this form; of any other, the bytes
// mean other numbers.
#[test]
fn numbers_in_another_form_are_refused() {
    let config = member("without_input.keras", "config.json");
    let weights = member("without_input.keras", "model.weights.h5");
    let load = |weights: &[u8]| Sequential::<f32>::load_keras(file("form.keras", &keras_file(&config, weights)));
    let ieee = [0x11, 0x20, 31, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0];
    let types: Vec<usize> = (0..weights.len()).filter(|&at| weights[at..].starts_with(&ieee)).collect();
    assert_eq!(types.len(), 4, "kernel and bias of two layers");
    for (byte, value) in [
        (1, 0x61), // VAX's order
        (1, 0x60),
        (1, 0x00), // no hidden one
        (1, 0x10),
        (2, 30), // the sign elsewhere
        (8, 1),  // fewer bits, or later ones
        (10, 31),
        (12, 22), // another exponent
        (13, 7),
        (14, 1), // another mantissa
        (15, 22),
        (16, 126), // another bias
        (16, 128),
        (17, 1),
        (19, 1),
    ] {
        for &at in &types {
            let mut weights = weights.clone();
            weights[at + byte] = value;
            let problem = problem(load(&weights));
            assert!(problem.contains("not in the form of IEEE 754, expected float32"), "byte {byte}: {problem}");
        }
    }
    // the other order of bytes is one of IEEE's
    let expected = load(&weights).unwrap();
    let mut big_endian = weights.clone();
    types.iter().for_each(|&at| big_endian[at + 1] |= 1);
    for (name, values) in expected.parameters() {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        if bytes.iter().all(|&byte| byte == 0) {
            continue;
        }
        let at = weights.windows(bytes.len()).position(|window| window == bytes).expect(name);
        big_endian[at..at + bytes.len()].as_chunks_mut::<4>().0.iter_mut().for_each(|value| value.reverse());
    }
    assert_eq!(load(&big_endian).unwrap().values(), expected.values());
    assert_ne!(big_endian, weights);
}

// A configuration of maps takes a hundred times as much memory as text, and a compressed one is a hundredth of its text.
#[test]
fn a_configuration_takes_no_more_memory_than_its_text() {
    let maps = format!("[{}{{}}]", "{\"a\":{},\"b\":[0]},".repeat(3 << 20));
    let layers =
        |layers: &str| format!("{{\"class_name\":\"Sequential\",\"config\":{{\"layers\":{layers}}}}}").into_bytes();
    let dense = |units: &str| layers(&format!("[{{\"class_name\":\"Dense\",\"config\":{{\"units\":{units}}}}}]"));
    let configs = [
        (layers(&maps), "more than 100000 layers"),
        (dense(&maps), "its description has 5"),
        (format!("{{\"class_name\":{maps}}}").into_bytes(), "invalid type: sequence, expected a string"),
        (
            format!("{{\"class_name\":\"Sequential\",\"config\":{{\"layers\":[],\"x\":{maps}}}}}").into_bytes(),
            "says nowhere",
        ),
    ];
    drop(maps);
    for (config, expected) in configs {
        let path = file("maps.keras", &keras_file(&config, b""));
        #[cfg(target_os = "linux")]
        let before = peak_of_memory();
        let problem = problem(Sequential::load_keras(path));
        assert!(problem.contains(expected), "got {problem}, expected {expected}");
        #[cfg(target_os = "linux")]
        assert!(peak_of_memory() - before < 1 << 30, "{} bytes were allocated", peak_of_memory() - before);
        let deflated = zipped(&[("config.json", &config), ("model.weights.h5", b"")], CompressionMethod::Deflated);
        let problem = self::problem(Sequential::load_keras(file("maps.keras", &deflated)));
        assert!(problem.ends_with("a zip bomb; if it is none, store it uncompressed"), "{problem}");
    }
}

// Looking for each name among all others would take minutes.
#[test]
fn many_layers_take_little_time() {
    let config = changed_config("without_input.keras", |config| {
        let layers = config["config"]["layers"].as_array_mut().unwrap();
        layers.extend(vec![json!({ "class_name": "ReLU", "config": {}, "module": "keras.layers" }); 90_000]);
    });
    let path = file("many.keras", &keras_file(&config, &member("without_input.keras", "model.weights.h5")));
    let started = std::time::Instant::now();
    let model = Sequential::<f32>::load_keras(path).unwrap();
    assert_eq!(model.layers().len(), 90_002);
    let layers = std::iter::repeat_n(Dense::new(1), 20_000);
    let model = layers.fold(Sequential::input([1]), |model, layer| model.add(layer)).build(42).unwrap();
    let path = scratch("many weights.keras");
    model.save_keras(&path).unwrap();
    assert_eq!(Sequential::<f32>::load_keras(&path).unwrap().values(), model.values());
    fs::remove_file(path).unwrap();
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

/// The reference models, the images they are tested with, and where Keras's files are: only where `PLYWOOD_INTEROP` says.
#[test]
fn interop() {
    let Some(folder) = std::env::var_os("PLYWOOD_INTEROP").map(PathBuf::from) else { return };
    let mnist = Mnist::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist")).unwrap();
    let train = mnist.train.head(3000).unwrap();
    let images = mnist.test.head(1000).unwrap().inputs().clone();
    let dense = Sequential::input([784])
        .add(Dense::new(512).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax));
    let cnn = Sequential::input([28, 28, 1])
        .add(Conv2D::new(32, 3).activation(Activation::ReLU))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(64, 3).activation(Activation::ReLU))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(64, 3).activation(Activation::ReLU))
        .add(Flatten::new())
        .add(Dense::new(64).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax));
    for (name, model, batch) in [("dense", dense, 128), ("cnn", cnn, 64)] {
        let model = model.build(42).unwrap();
        let of_input = |x: &ArrayD<f32>| {
            let shape = [&[x.len_of(Axis(0))], model.input_shape()].concat();
            x.to_shape(shape).unwrap().into_owned()
        };

        let theirs: Sequential = Sequential::load_keras(folder.join(format!("keras_{name}.keras"))).unwrap();
        assert_eq!(theirs.parameter_count(), model.parameter_count());
        let expected: ArrayD<f32> = read_npy(folder.join(format!("keras_{name}.npy"))).unwrap();
        let got = theirs.predict(&of_input(&images)).unwrap();
        let largest = difference(&got, &expected);
        println!("keras_{name}.keras in plywood: largest difference of a probability {largest:.2e} over 1000 images");
        assert!(largest <= 1e-5);

        let train = train.clone().reshape_inputs(model.input_shape()).unwrap();
        let mut trainer = model.clone().compile(RMSprop::new(0.001), CategoricalCrossentropy::new());
        trainer.fit(&train, &Fit::epochs(1).batch_size(batch)).unwrap();
        trainer.model().save_keras(folder.join(format!("plywood_{name}.keras"))).unwrap();
        let predictions = trainer.model().predict(&of_input(&images)).unwrap();
        write_npy(folder.join(format!("plywood_{name}.keras.npy")), &predictions).unwrap();
    }
}

/// Views that are not contiguous are written as they look.
#[test]
fn predictions_of_a_view_can_be_written() {
    let path = scratch("view.npy");
    let x = Array2::from_shape_fn((4, 6), |(i, j)| (10 * i + j) as f32);
    let view = x.slice_axis(Axis(1), Slice::new(0, None, 2)).reversed_axes();
    write_npy(&path, &view).unwrap();
    assert_eq!(read_npy::<f32, plywood::ndarray::Ix2>(&path).unwrap(), view);
}
