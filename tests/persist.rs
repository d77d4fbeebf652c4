//! Model files bring back what was saved, to the last bit, and other libraries' readers open them; no file can bring the
//! readers to panic, to take memory that the file does not hold, or to load what was not saved.
#![cfg(feature = "safetensors")]

mod common;

use std::alloc::System;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{bits, numbers};
use plywood::layers::{Backward, Forward, Layer, ParameterSpec, Plan};
use plywood::ndarray::{Array1, Array2, Axis, Zip};
use plywood::persist::{CustomLayers, LoadWeights};
use plywood::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts for all threads of the process, so tests come one after the other.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("persist");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = path(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A file with this header and these data.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The header of a file, and its data.
fn parts(bytes: &[u8]) -> (Value, &[u8]) {
    let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + header]).unwrap(), &bytes[8 + header..])
}

/// What is wrong with a file.
fn problem<X: std::fmt::Debug>(result: Result<X>) -> String {
    match result {
        Err(Error::Format { problem, .. }) => problem,
        other => panic!("{other:?} is no problem with a file"),
    }
}

/// CRC-32 (IEEE), bit by bit, as its definition says.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

fn every_layer<T: Scalar>() -> Sequential<T> {
    let padding = Padding::Explicit { top: 1, bottom: 0, left: 2, right: 1 };
    Sequential::<T>::with_input([9, 8, 2])
        .add(Conv2D::new(3, (3, 2)).strides((2, 1)).padding(padding).bias(false))
        .add(ReLU::new())
        .add(
            Conv2D::new(4, 2)
                .padding(Padding::Same)
                .dilation((1, 2))
                .activation(Activation::ReLU)
                .kernel_initializer(Initializer::Uniform { min: -0.1, max: 0.3 }),
        )
        .add(MaxPooling2D::new((2, 3)).strides(1).padding(Padding::Same))
        .add(Flatten::new())
        .add(Dense::new(7).bias_initializer(Initializer::Constant { value: 1.0 / 3.0 }))
        .add(Dense::new(3))
        .add(Softmax::new())
        .build(u64::MAX - 5)
        .unwrap()
}

fn assert_same<T: Scalar>(loaded: &Sequential<T>, model: &Sequential<T>) {
    assert_eq!(bits(loaded.values()), bits(model.values()));
    assert_eq!(loaded.layout(), model.layout());
    assert_eq!((loaded.seed(), loaded.input_shape()), (model.seed(), model.input_shape()));
    assert_eq!(format!("{:?}", loaded.layers()), format!("{:?}", model.layers()));
    let x = numbers::<T>(&[&[5], model.input_shape()].concat(), 3);
    assert_eq!(bits(&loaded.predict(&x).unwrap()), bits(&model.predict(&x).unwrap()));
}

#[test]
fn a_loaded_model_is_the_saved_one() {
    let _alone = alone();
    let mut model = every_layer::<f32>();
    model.values_mut()[0] = f32::MIN_POSITIVE / 8.0;
    model.values_mut()[1] = -0.0;
    let narrow = path("narrow.safetensors");
    model.save(&narrow).unwrap();
    assert_same(&Sequential::load(&narrow).unwrap(), &model);
    let bytes = fs::read(&narrow).unwrap();
    model.save(&narrow).unwrap();
    assert_eq!(fs::read(&narrow).unwrap(), bytes, "the same model gives the same bytes");

    let wide = every_layer::<f64>();
    let wide_path = path("wide.safetensors");
    wide.save(&wide_path).unwrap();
    assert_same(&Sequential::load(&wide_path).unwrap(), &wide);

    // 32 bits fit into 64, and not the other way round
    let widened = Sequential::<f64>::load(&narrow).unwrap();
    assert_eq!(widened.values(), model.values().iter().map(|&value| f64::from(value)).collect::<Vec<_>>());
    let error = problem(Sequential::<f32>::load(&wide_path));
    assert!(error.contains("has numbers of type F64, expected F32 for a model of float32; load it into"), "{error}");
    problem(model.load_weights(&wide_path));
    model.load_weights_with(&wide_path, LoadWeights::new().round(true)).unwrap();
    assert_eq!(model.values(), wide.values().iter().map(|&value| value as f32).collect::<Vec<_>>());
}

#[test]
fn other_readers_open_a_model_file() {
    let _alone = alone();
    let model = every_layer::<f32>();
    let path = path("other.safetensors");
    model.save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), model.layout().entries().len());
    for (name, values) in model.parameters() {
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, values.shape()), "{name}");
        let expected: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(tensor.data(), expected, "{name}");
    }
    let (header, data) = parts(&bytes);
    let text = header["__metadata__"]["plywood"].as_str().unwrap();
    let description: Value = serde_json::from_str(text).unwrap();
    assert_eq!((&description["version"], &description["input"]), (&json!(1), &json!([9, 8, 2])));
    assert_eq!(description["layers"][7], json!({ "type": "Softmax" }));
    // the parameters in the model's order, wherever the file has them
    let in_order: Vec<u8> = model.values().iter().flat_map(|value| value.to_le_bytes()).collect();
    let before = text.rsplit_once(",\"crc32\":").unwrap().0;
    assert_eq!(description["crc32"], crc32(&[before.as_bytes(), &in_order].concat()));
    assert_eq!(data.len(), in_order.len());
}

#[test]
fn weights_of_others_are_loaded_by_name() {
    let _alone = alone();
    let build = |seed| Sequential::input([2]).add(Dense::new(3)).add(Dense::new(1)).build(seed).unwrap();
    let bytes_of = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (kernel, bias) = (bytes_of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), bytes_of(&[7.0, 8.0, 9.0]));
    let half = [0; 12];
    let write = |name: &str, tensors: &[(&str, Dtype, &[usize], &[u8])]| {
        let views = tensors
            .iter()
            .map(|&(name, dtype, shape, bytes)| (name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap()));
        file(name, &safetensors::serialize(views, None).unwrap())
    };
    let kernel = ("dense/kernel", Dtype::F32, &[2, 3][..], &kernel[..]);
    let bias = ("dense/bias", Dtype::F32, &[3][..], &bias[..]);
    let extra = ("extra", Dtype::I64, &[0][..], &[][..]);
    let partial = write("partial", &[kernel, bias, extra]);

    let (mut model, before) = (build(1), build(1));
    assert_eq!(
        problem(model.load_weights(&partial)),
        "for this model it lacks \"dense_1/kernel\", \"dense_1/bias\" and has \"extra\" too many; LoadWeights::strict(false) \
         takes what there is"
    );
    assert_eq!(model.values(), before.values());
    let report = model.load_weights_with(&partial, LoadWeights::new().strict(false)).unwrap();
    assert_eq!(report.loaded, ["dense/kernel", "dense/bias"]);
    assert_eq!(report.missing, ["dense_1/kernel", "dense_1/bias"]);
    assert_eq!(report.unexpected, ["extra"]);
    assert_eq!(model.values()[..9], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    assert_eq!(model.values()[9..], before.values()[9..]);

    let loose = LoadWeights::new().strict(false).round(true);
    for (name, tensor, expected) in [
        (
            "half",
            ("dense/kernel", Dtype::F16, &[2, 3][..], &half[..]),
            "\"dense/kernel\" has numbers of type F16, expected F32 or F64; convert it before",
        ),
        ("whole", ("dense/bias", Dtype::I32, &[3][..], &half[..]), "\"dense/bias\" has numbers of type I32"),
    ] {
        let error = problem(model.load_weights_with(write(name, &[tensor]), loose));
        assert!(error.starts_with(expected), "{error}");
    }
    // for another number of outputs: all layers but the last
    let transposed = write("transposed", &[("dense/kernel", Dtype::F32, &[3, 2][..], kernel.3), bias]);
    let mut model = build(1);
    let report = model.load_weights_with(&transposed, loose).unwrap();
    assert_eq!(
        (&report.loaded[..], &report.mismatched[..]),
        (&["dense/bias".to_owned()][..], &["dense/kernel".to_owned()][..])
    );
    assert_eq!(report.missing, ["dense_1/kernel", "dense_1/bias"]);
    assert_eq!(model.values()[..6], before.values()[..6]);
    assert_eq!(model.values()[6..9], [7.0, 8.0, 9.0]);
    let one = write("one", &[("dense/kernel", Dtype::F32, &[3, 2][..], kernel.3), bias]);
    let mut model = Sequential::input([2]).add(Dense::new(3)).build(1).unwrap();
    let error = problem(model.load_weights(one));
    assert!(
        error.starts_with("\"dense/kernel\" has the shape 3×2, expected 2×3; LoadWeights::strict(false)"),
        "{error}"
    );
    let error = problem(Sequential::<f32>::load(&partial));
    assert!(error.starts_with("it says nothing of a model's layers"), "{error}");
    assert!(matches!(model.load_weights("/no/such/file"), Err(Error::Io { .. })));
}

/// y = w ⊙ x · factor
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Scale {
    factor: f64,
}

impl<T: Scalar> Layer<T> for Scale {
    fn kind(&self) -> &'static str {
        "scale"
    }

    fn plan(&self, input: &[usize]) -> Result<Plan> {
        Ok(Plan::new(input).parameter(ParameterSpec::new("weight", input, Initializer::Ones)))
    }

    fn forward(&self, mut pass: Forward<'_, T>) {
        let [w] = pass.parameters.split();
        let factor = T::of(self.factor);
        Zip::from(&mut pass.y).and(&pass.x).and_broadcast(&w).for_each(|y, &x, &w| *y = x * w * factor);
    }

    fn backward(&self, pass: Backward<'_, T>) {
        let [mut dw] = pass.gradients.split();
        let factor = T::of(self.factor);
        dw.assign(&((&pass.x * &pass.dy).sum_axis(Axis(0)) * factor));
    }
}

#[test]
fn layers_of_other_crates_have_names_in_files() {
    let _alone = alone();
    let path = path("custom");
    let _ = fs::remove_file(&path);
    let model = Sequential::input([3]).add(Scale { factor: 0.1 }).add(Dense::new(2)).build(9).unwrap();
    assert_eq!(
        model.save(&path).unwrap_err().to_string(),
        "scale: is a Scale, no layer of the crate, so a model file cannot say what it is; give its type a name with \
         CustomLayers and use save_with and load_with"
    );
    assert!(!path.exists());
    let custom = CustomLayers::new().layer::<Scale>("scale");
    model.save_with(&path, &custom).unwrap();
    assert_same(&Sequential::load_with(&path, &custom).unwrap(), &model);
    assert_eq!(
        problem(Sequential::<f32>::load(&path)),
        "layer 1: it is of another crate, by the name of \"scale\"; say what that is with CustomLayers and load_with"
    );
    // a name of the crate's own is no way around
    let dense = CustomLayers::new().layer::<Scale>("Dense");
    model.save_with(&path, &dense).unwrap();
    assert_same(&Sequential::load_with(&path, &dense).unwrap(), &model);
    problem(Sequential::<f32>::load(&path));
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Other {
        gain: f64,
    }
    impl Layer for Other {
        fn kind(&self) -> &'static str {
            "scale"
        }
        fn plan(&self, input: &[usize]) -> Result<Plan> {
            Ok(Plan::new(input))
        }
        fn forward(&self, _: Forward<'_, f32>) {}
        fn backward(&self, _: Backward<'_, f32>) {}
    }
    let error = problem(Sequential::load_with(&path, &CustomLayers::new().layer::<Other>("Dense")));
    assert!(error.starts_with("layer 1: \"Dense\": missing field `gain`") || error.contains("gain"), "{error}");
}

/// What loading allocates in all, which its peak cannot exceed.
fn allocated<X>(load: impl FnOnce() -> X) -> (X, usize) {
    let region = Region::new(ALLOCATOR);
    let result = load();
    (result, region.change().bytes_allocated)
}

/// Loading a hostile file in every way gives errors, and takes memory in proportion to its bytes.
fn refused(name: &str, bytes: &[u8]) {
    let path = file(name, bytes);
    // for each entry of a header there are a few copies of its name and place, for each byte of data none that outlives
    // the error
    let most = 64 * bytes.len() + 32 * 1024;
    let mut model = small();
    let before = bits(model.values());
    let mut trainer = trainer();
    let load = |way: &str, load: &mut dyn FnMut() -> Result<()>| {
        let (result, allocated) = allocated(load);
        assert!(allocated <= most, "{name}, {way}: {allocated} bytes for a file of {}", bytes.len());
        match result {
            Err(Error::Format { .. }) => {}
            other => panic!("{name}, {way}: {other:?}"),
        }
    };
    load("load", &mut || Sequential::<f32>::load(&path).map(drop));
    load("load_weights", &mut || model.load_weights(&path));
    load("load_checkpoint", &mut || trainer.load_checkpoint(&path));
    assert_eq!(bits(model.values()), before, "{name}");
    assert_eq!(bits(trainer.model().values()), before, "{name}");
}

fn small() -> Sequential {
    Sequential::input([2]).add(Dense::new(2)).build(5).unwrap()
}

fn trainer() -> Trainer {
    small().compile(SGD::new(0.5).momentum(0.5), CategoricalCrossentropy::new()).metric(Accuracy::new())
}

/// A checkpoint made within an epoch, so that all of it is there.
fn checkpoint() -> Vec<u8> {
    let path = path("checkpoint");
    let data = Dataset::new(Array2::<f32>::ones((4, 2)), Array1::from_elem(4, 0_usize)).unwrap();
    let mut save = plywood::callbacks::on_batch_end(|trainer: &mut Trainer, _| {
        if trainer.step() == 3 {
            trainer.save_checkpoint(&path).unwrap();
        }
    });
    let mut early = plywood::callbacks::EarlyStopping::new().monitor("loss").restore_best(true);
    trainer().fit_with(&data, &Fit::epochs(2).batch_size(2), &mut [&mut save, &mut early]).unwrap();
    fs::read(&path).unwrap()
}

/// The same file with another description, checksum and all.
fn with_description(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (mut header, data) = parts(bytes);
    let mut description = serde_json::from_str(header["__metadata__"]["plywood"].as_str().unwrap()).unwrap();
    change(&mut description);
    header["__metadata__"]["plywood"] = json!(description.to_string());
    let mut bytes = with_header(&header.to_string(), data);
    if bytes.len() >= 4 && header.get("checksum").is_some() {
        let at = bytes.len() - 4;
        let crc = crc32(&bytes[..at]);
        bytes[at..].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

#[test]
fn hostile_headers_are_refused() {
    let _alone = alone();
    let one = |shape: &str, dtype: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let tensor = |name: &str, info: String| format!(r#""{name}":{info}"#);
    let many: Vec<String> = (0..20_000).map(|i| tensor(&format!("t{i}"), one("[]", "F32", 4 * i, 4 * i + 4))).collect();
    for (name, bytes) in [
        ("empty", vec![]),
        ("short", vec![1, 2, 3]),
        ("no-header", vec![0; 8]),
        ("text", b"It was a dark and stormy night; the rain fell in torrents".to_vec()),
        ("bomb-header", [&99_999_999_u64.to_le_bytes()[..], b"{}"].concat()),
        ("huge-header", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("bomb-data", with_header(&format!("{{{}}}", tensor("a", one("[1099511627776]", "F32", 0, 1 << 42))), b"")),
        (
            "wrap-shape",
            with_header(&format!("{{{}}}", tensor("a", one("[4294967296,4294967296,4]", "F32", 0, 0))), b""),
        ),
        ("wrap-sum", with_header(&format!("{{{}}}", tensor("a", one("[2]", "F32", u64::MAX - 8, u64::MAX))), &[0; 8])),
        ("backwards", with_header(&format!("{{{}}}", tensor("a", one("[2]", "F32", 8, 0))), &[0; 8])),
        ("twice", with_header(&format!("{{{0},{0}}}", tensor("a", one("[2]", "F32", 0, 8))), &[0; 8])),
        ("negative", with_header(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, &[0; 4])),
        ("overlap", {
            let (a, b) = (tensor("a", one("[2]", "F32", 0, 8)), tensor("b", one("[1]", "F32", 4, 8)));
            with_header(&format!("{{{a},{b}}}"), &[0; 8])
        }),
        ("hole", {
            let (a, b) = (tensor("a", one("[1]", "F32", 0, 4)), tensor("b", one("[1]", "F32", 8, 12)));
            with_header(&format!("{{{a},{b}}}"), &[0; 12])
        }),
        ("deep", with_header(&format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000)), b"")),
        ("not-utf-8", with_header("", b"").into_iter().chain([0xff; 4]).collect()),
        ("many", with_header(&format!("{{{}}}", many.join(",")), &vec![0; 80_000])),
        ("metadata-numbers", with_header(r#"{"__metadata__":{"plywood":1}}"#, b"")),
        ("metadata-twice", with_header(r#"{"__metadata__":{"plywood":"{}","plywood":"{}"}}"#, b"")),
        ("metadata-empty", with_header(r#"{"__metadata__":{"plywood":""}}"#, b"")),
        ("metadata-deep", with_header(&format!(r#"{{"__metadata__":{{"plywood":"{}"}}}}"#, "[".repeat(5000)), b"")),
    ] {
        refused(name, &bytes);
    }

    // a file of a terabyte that has no bytes
    let sparse = path("sparse");
    File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
    let (result, bytes) = allocated(|| Sequential::<f32>::load(&sparse));
    problem(result);
    assert!(bytes < 32 * 1024, "{bytes}");
    fs::remove_file(sparse).unwrap();
}

#[test]
fn hostile_model_files_are_refused() {
    let _alone = alone();
    let path = path("model");
    small().save(&path).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        refused("cut", &good[..at]);
    }
    refused("longer", &[&good[..], &[0; 9]].concat());

    let changed = |change: fn(&mut Value)| with_description(&good, change);
    for (bytes, expected) in [
        (changed(|d| d["version"] = json!(2)), "it is of version 2, expected 1 to 1; a newer plywood may read it"),
        (changed(|d| d["version"] = json!(0)), "it is of version 0"),
        (changed(|d| d["format"] = json!("poem")), "it calls itself a \"poem\", expected a \"model\""),
        (changed(|d| d["layers"] = json!([])), "the model has no layers"),
        (changed(|d| d["layers"][0]["units"] = json!(3)), "\"dense/kernel\" has the shape 2×2, expected 2×3"),
        (changed(|d| d["layers"][0]["type"] = json!("Dance")), "layer 1: unknown variant `Dance`"),
        (changed(|d| d["layers"][0]["colour"] = json!(1)), "layer 1: unknown field `colour`"),
        (changed(|d| d["layers"][0] = json!(7)), "layer 1: "),
        (changed(|d| d["input"] = json!([4_000_000_000_u64, 4_000_000_000_u64])), "input: a sample"),
        (changed(|d| d["extra"] = json!(1)), "its description of the model is damaged: unknown field `extra`"),
        (changed(|d| d["crc32"] = json!(1)), "its checksum differs"),
        (
            changed(|d| d["layers"] = json!(vec![0; 100_001])),
            "its description of the model is damaged: more than 100000",
        ),
        (changed(|d| d["layers"][0]["units"] = json!(vec![0; 1 << 15])), "layer 1: its description has 6"),
    ] {
        // those that leave the tensors as they are do load as weights
        let path = file("described", &bytes);
        let error = Sequential::<f32>::load(&path).unwrap_err();
        let error = if let Error::Format { problem, .. } = error { problem } else { error.to_string() };
        assert!(error.starts_with(expected), "got {error}, expected {expected}");
    }
    // what takes a hundred times as much memory as text
    let maps = || json!(vec![json!({ "a": 0 }); 200_000]);
    for (bytes, expected) in [
        (
            with_description(&good, |d| d["layers"] = maps()),
            "its description of the model is damaged: more than 100000",
        ),
        (with_description(&good, |d| d["layers"][0]["units"] = maps()), "layer 1: its description has 1"),
        (
            with_description(&good, |d| d["layers"][0] = json!({ "custom": "a", "settings": maps() })),
            "layer 1: it is of another crate",
        ),
    ] {
        let path = file("maps", &bytes);
        let (result, allocated) = allocated(|| Sequential::<f32>::load(&path));
        let problem = problem(result);
        assert!(problem.starts_with(expected), "got {problem}, expected {expected}");
        assert!(allocated <= 64 * bytes.len(), "{expected}: {allocated} bytes for a file of {}", bytes.len());
    }
    // a layer that says it has a terabyte of weights, and one of which nothing is said twice
    let (result, bytes) = allocated(|| {
        let bytes = changed(|d| d["layers"][0]["units"] = json!(1_u64 << 36));
        Sequential::<f32>::load(file("terabyte", &bytes))
    });
    assert!(problem(result).starts_with("\"dense/kernel\" has the shape"));
    assert!(bytes < 64 * 1024, "{bytes}");
    let (mut header, data) = parts(&good);
    let twice = header["__metadata__"]["plywood"].as_str().unwrap().replace("\"units\":2", "\"units\":3,\"units\":2");
    header["__metadata__"]["plywood"] = json!(twice);
    let error = problem(Sequential::<f32>::load(file("twice", &with_header(&header.to_string(), data))));
    assert!(error.contains("\"units\" is there twice"), "{error}");

    // one byte changed anywhere: an error, or the same model
    let mut model = small();
    for at in 0..good.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            let path = file("flipped", &bytes);
            if let Ok(loaded) = Sequential::<f32>::load(&path) {
                assert_same(&loaded, &small());
            }
            let _ = model.load_weights(&path);
        }
    }
}

/// The same checkpoint with another learning rate, of which the optimizer's settings tell, too.
fn with_rate(bytes: &[u8], rate: &str) -> Vec<u8> {
    with_description(bytes, |description| {
        let optimizer = description["trainer"]["optimizer"].as_str().unwrap();
        assert!(optimizer.contains("learning_rate: 0.5,"), "{optimizer}");
        description["trainer"]["optimizer"] = optimizer.replace("rate: 0.5,", &format!("rate: {rate},")).into();
        description["learning_rate"] = rate.into();
    })
}

#[test]
fn hostile_checkpoints_are_refused() {
    let _alone = alone();
    let good = checkpoint();
    trainer().load_checkpoint(file("good", &with_description(&good, |_| ()))).unwrap();
    let changed = |change: fn(&mut Value)| with_description(&good, change);
    for (bytes, expected) in [
        (changed(|d| d["learning_rate"] = json!("NaN")), "the learning rate is NaN, expected a number of at least 0"),
        (with_rate(&good, "NaN"), "the learning rate is NaN, expected a number of at least 0"),
        (with_rate(&good, "inf"), "the learning rate is inf, expected a number of at least 0"),
        (with_rate(&good, "-1.0"), "the learning rate is -1, expected a number of at least 0"),
        (changed(|d| d["step"] = json!(u64::MAX)), "step 18446744073709551615 and epoch 1 are more than can be"),
        (changed(|d| d["epoch"] = json!(u64::MAX)), "step 3 and epoch 18446744073709551615"),
        (changed(|d| d["run"]["epoch"] = json!(u64::MAX)), "epoch 18446744073709551615, batch 1 of 2"),
        (changed(|d| d["run"]["batch"] = json!(3)), "epoch 1, batch 3 of 2"),
        (changed(|d| d["run"]["batch_size"] = json!(0)), ""),
        (changed(|d| d["run"]["seen"] = json!(5)), "epoch 1, batch 1 of 2, sample 5 of 4 is nowhere in a run"),
        (changed(|d| d["run"]["loss_sum"] = json!("much")), "invalid float literal"),
        (changed(|d| d["run"]["history"] = json!("once,upon")), "the history, line 1"),
        (changed(|d| d["run"]["metrics"] = json!([[], []])), "trainer: metrics is 2 states"),
        (changed(|d| d["run"]["metrics"] = json!([[]])), "saved state: right is missing, expected a count"),
        (changed(|d| d["run"]["metrics"][0][1][1] = json!({ "integer": u64::MAX })), "saved state: seen is"),
        (changed(|d| d["run"]["callbacks"][0][1][1][1] = json!({ "array": 1_u64 << 60 })), "there is no array number"),
        (changed(|d| d["trainer"]["seed"] = json!(6)), "its seed is 6, this trainer's 5"),
        (changed(|d| d["version"] = json!(9)), "it is of version 9"),
    ] {
        let path = file("described", &bytes);
        let mut trainer = trainer();
        let before = bits(trainer.model().values());
        match trainer.load_checkpoint(&path) {
            Err(Error::Format { problem, .. }) => {
                assert!(problem.contains(expected), "got {problem}, expected {expected}")
            }
            Err(other) => panic!("{other}"),
            // what cannot be told from the file is told by the run
            Ok(()) => {
                assert_eq!(expected, "");
                let data = Dataset::new(Array2::<f32>::ones((4, 2)), Array1::from_elem(4, 0_usize)).unwrap();
                trainer.fit(&data, &Fit::epochs(2).batch_size(2)).unwrap_err();
                continue;
            }
        }
        assert_eq!(bits(trainer.model().values()), before);
    }

    // tensors that are missing, too many, of another shape or type
    let (header, data) = parts(&good);
    let rewritten = |change: &dyn Fn(&str, &mut Value) -> bool| {
        let mut header = header.clone();
        let tensors = header.as_object_mut().unwrap();
        let names: Vec<String> = tensors.keys().cloned().collect();
        for name in names {
            let mut info = tensors.remove(&name).unwrap();
            let new_name = if change(&name, &mut info) { name } else { format!("{name}-renamed") };
            tensors.insert(new_name, info);
        }
        let mut bytes = with_header(&header.to_string(), data);
        let at = bytes.len() - 4;
        let crc = crc32(&bytes[..at]);
        bytes[at..].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    for (bytes, expected) in [
        (rewritten(&|name, _| name != "model/dense/bias"), "it has no tensor \"model/dense/bias\""),
        (rewritten(&|name, _| name != "optimizer/0/dense/kernel"), "it has no tensor \"optimizer/0/dense/kernel\""),
        (rewritten(&|name, _| name != "checksum"), "its last tensor is not the checksum"),
        (
            rewritten(&|name, info| {
                if name == "model/dense/kernel" {
                    info["shape"] = json!([4]);
                }
                true
            }),
            "\"model/dense/kernel\" has the shape 4, expected 2×2",
        ),
        (
            rewritten(&|name, info| {
                if name == "model/dense/kernel" {
                    info["dtype"] = json!("I32");
                }
                true
            }),
            "\"model/dense/kernel\" has numbers of type I32",
        ),
    ] {
        let problem = problem(trainer().load_checkpoint(file("rewritten", &bytes)));
        assert!(problem.starts_with(expected), "got {problem}, expected {expected}");
    }
    let expected = "it is a checkpoint; use Trainer::load_checkpoint";
    let path = file("as-model", &good);
    assert_eq!(problem(Sequential::<f32>::load(&path)), expected);
    assert_eq!(problem(small().load_weights(&path)), expected);
}
