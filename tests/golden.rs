//! What Keras, PyTorch and scikit-learn make of fixed inputs: the golden files, loaded and checked.
//!
//! `tools/make_golden.py` wrote them and says what is in them. A case has a kind with its settings, and tensors by role
//! (`x`, `kernel`, `y`, `dy`, `dx`, …), all in plywood's layouts. `golden/cases.rs` computes each with plywood.

#[path = "golden/cases.rs"]
mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;

use ndarray::{Array1, ArrayD, ArrayView2, ArrayViewD, Axis, Dimension, Ix2, IxDyn, array};
use plywood::layers::Activation;
use plywood::ndarray;
use plywood::{Initializer, Padding, Scalar, Size2D};
use safetensors::SafeTensors;
use serde::Deserialize;

/// The golden files: who made them, and how many cases they must have at least.
const LIBRARIES: [(&str, usize); 3] = [("keras", 343), ("torch", 153), ("sklearn", 3)];

/// What a library's JSON file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    library: String,
    versions: BTreeMap<String, String>,
    seed: u64,
    cases: Vec<CaseEntry>,
}

#[derive(Debug, Deserialize)]
struct CaseEntry {
    name: String,
    dtype: Dtype,
    #[serde(flatten)]
    settings: Settings,
    tensors: BTreeMap<String, TensorEntry>,
}

/// What the library computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Dtype {
    Float32,
    Float64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorEntry {
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
}

/// A case's kind and settings. The layers and the optimizer of a training case are written the same way.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", content = "settings", rename_all = "snake_case")]
enum Settings {
    #[serde(rename = "conv2d")]
    Conv2D(Conv2DSettings),
    #[serde(rename = "max_pooling2d")]
    MaxPooling2D(MaxPooling2DSettings),
    Dense(DenseSettings),
    /// A Flatten and a Dense after it, which has to agree on the order.
    FlattenDense(DenseSettings),
    Relu {},
    Softmax {},
    Flatten {},
    CategoricalCrossentropy(CrossentropySettings),
    MeanSquaredError {},
    Rmsprop(RmspropSettings),
    Sgd(SgdSettings),
    Adam(AdamSettings),
    Training(TrainingSettings),
    Initializer(InitializerSettings),
    Classification(ClassificationSettings),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conv2DSettings {
    filters: usize,
    kernel_size: [usize; 2],
    strides: [usize; 2],
    #[serde(deserialize_with = "padding")]
    padding: Padding,
    dilation: [usize; 2],
    use_bias: bool,
    #[serde(deserialize_with = "activation")]
    activation: Activation,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct MaxPooling2DSettings {
    pool_size: [usize; 2],
    strides: [usize; 2],
    #[serde(deserialize_with = "padding")]
    padding: Padding,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct DenseSettings {
    units: usize,
    use_bias: bool,
    #[serde(deserialize_with = "activation")]
    activation: Activation,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrossentropySettings {
    from_logits: bool,
    /// `y` are the logits before a Softmax layer that the loss sees through.
    softmax: bool,
    label_smoothing: f64,
}

/// Whose formula an optimizer computes, where there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Keras,
    Torch,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RmspropSettings {
    form: Form,
    rho: f64,
    momentum: f64,
    epsilon: f64,
    centered: bool,
    weight_decay: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SgdSettings {
    form: Form,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdamSettings {
    form: Form,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    amsgrad: bool,
    weight_decay: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainingSettings {
    layers: Vec<Settings>,
    batch_size: usize,
    epochs: usize,
    learning_rate: f64,
    optimizer: Box<Settings>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct InitializerSettings {
    initializer: Initializer,
    shape: Vec<usize>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassificationSettings {
    num_classes: usize,
    top_k: Vec<usize>,
}

impl Settings {
    /// An optimizer's form.
    fn form(&self) -> Form {
        match self {
            Self::Rmsprop(s) => s.form,
            Self::Sgd(s) => s.form,
            Self::Adam(s) => s.form,
            other => panic!("{other:?} is no optimizer"),
        }
    }
}

/// `"valid"`, `"same"` or `[top, bottom, left, right]`.
fn padding<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Padding, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Name(String),
        Sides([usize; 4]),
    }
    match Written::deserialize(from)? {
        Written::Name(name) if name == "valid" => Ok(Padding::Valid),
        Written::Name(name) if name == "same" => Ok(Padding::Same),
        Written::Name(name) => Err(serde::de::Error::custom(format!("unknown padding {name}"))),
        Written::Sides([top, bottom, left, right]) => Ok(Padding::Explicit { top, bottom, left, right }),
    }
}

/// Keras's names.
fn activation<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Activation, D::Error> {
    match String::deserialize(from)?.as_str() {
        "linear" => Ok(Activation::Linear),
        "relu" => Ok(Activation::ReLU),
        "softmax" => Ok(Activation::Softmax),
        other => Err(serde::de::Error::custom(format!("unknown activation {other}"))),
    }
}

/// A tensor's numbers.
#[derive(Debug)]
enum Tensor {
    F32(ArrayD<f32>),
    F64(ArrayD<f64>),
    I64(ArrayD<i64>),
}

impl Tensor {
    fn shape(&self) -> &[usize] {
        match self {
            Self::F32(values) => values.shape(),
            Self::F64(values) => values.shape(),
            Self::I64(values) => values.shape(),
        }
    }
}

/// One thing a library computed.
#[derive(Debug)]
struct Case {
    name: String,
    dtype: Dtype,
    settings: Settings,
    tensors: BTreeMap<String, Tensor>,
}

impl Case {
    fn has(&self, role: &str) -> bool {
        self.tensors.contains_key(role)
    }

    fn tensor(&self, role: &str) -> &Tensor {
        self.tensors.get(role).unwrap_or_else(|| panic!("{} has no {role}", self.name))
    }

    fn shape(&self, role: &str) -> &[usize] {
        self.tensor(role).shape()
    }

    /// A tensor of floating-point numbers, for computations in `T`.
    fn array<T: Scalar>(&self, role: &str) -> ArrayD<T> {
        match self.tensor(role) {
            Tensor::F32(values) => values.mapv(|v| T::of(f64::from(v))),
            Tensor::F64(values) => values.mapv(T::of),
            Tensor::I64(_) => panic!("{}: {role} are integers", self.name),
        }
    }

    /// A tensor of class indices or counts.
    fn indices(&self, role: &str) -> ArrayD<usize> {
        match self.tensor(role) {
            Tensor::I64(values) => values.mapv(|v| usize::try_from(v).expect("indices and counts are not negative")),
            _ => panic!("{}: {role} are no integers", self.name),
        }
    }

    /// The parameters and other inputs that have a gradient `d…` beside them.
    fn differentiated(&self) -> impl Iterator<Item = &str> {
        ["x", "kernel", "bias"].into_iter().filter(|&role| self.has(role))
    }
}

fn path(library: &str, extension: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{library}.{extension}")].iter().collect()
}

fn read(library: &str, extension: &str) -> Vec<u8> {
    let path = path(library, extension);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest(library: &str) -> Manifest {
    serde_json::from_slice(&read(library, "json")).unwrap_or_else(|error| panic!("{library}.json: {error}"))
}

/// A library's cases with their tensors.
fn cases(library: &str) -> Vec<Case> {
    let bytes = read(library, "safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{library}.safetensors: {error}"));
    let load = |entry: CaseEntry| {
        let tensor = |role: String| {
            let name = format!("{}/{role}", entry.name);
            let view = file.tensor(&name).unwrap_or_else(|error| panic!("{library}.safetensors: {name}: {error}"));
            (role, convert(&view))
        };
        let tensors = entry.tensors.into_keys().map(tensor).collect();
        Case { name: entry.name, dtype: entry.dtype, settings: entry.settings, tensors }
    };
    manifest(library).cases.into_iter().map(load).collect()
}

fn convert(view: &safetensors::tensor::TensorView<'_>) -> Tensor {
    /// The file is little-endian and promises no alignment.
    fn numbers<T, const N: usize>(view: &safetensors::tensor::TensorView<'_>, from: fn([u8; N]) -> T) -> ArrayD<T> {
        let (numbers, rest) = view.data().as_chunks();
        assert!(rest.is_empty(), "safetensors has checked the length");
        let values = numbers.iter().map(|&bytes| from(bytes)).collect();
        ArrayD::from_shape_vec(IxDyn(view.shape()), values).expect("safetensors has checked the length")
    }
    match view.dtype() {
        safetensors::Dtype::F32 => Tensor::F32(numbers(view, f32::from_le_bytes)),
        safetensors::Dtype::F64 => Tensor::F64(numbers(view, f64::from_le_bytes)),
        safetensors::Dtype::I64 => Tensor::I64(numbers(view, i64::from_le_bytes)),
        other => panic!("golden files have no tensors of {other:?}"),
    }
}

/// How far a number may be from the one in a golden file: |got − want| ≤ absolute + relative · |want|.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tolerance {
    relative: f64,
    absolute: f64,
}

impl Dtype {
    fn name(self) -> &'static str {
        match self {
            Self::Float32 => f32::NAME,
            Self::Float64 => f64::NAME,
        }
    }

    /// Another order of summation changes a sum by some units in the last place of its largest term: 6e-8 of it in f32,
    /// 1e-16 in f64. In f32 the rest is for functions such as exp, and for ten steps of an optimizer. In f64 it is so much
    /// that only a wrong formula fails, which is what f64 is for.
    fn tolerance(self) -> Tolerance {
        match self {
            Self::Float32 => Tolerance { relative: 1e-5, absolute: 1e-6 },
            Self::Float64 => Tolerance { relative: 1e-10, absolute: 1e-10 },
        }
    }
}

/// Compares with a golden tensor. NaN equals NaN, an infinity only itself. Returns which share of the tolerance is used at
/// the most; an error tells how many elements are wrong, and the worst.
fn compare<T: Scalar>(
    what: impl Display,
    got: ArrayViewD<'_, T>,
    want: ArrayViewD<'_, T>,
    tolerance: Tolerance,
) -> Result<f64, String> {
    if got.shape() != want.shape() {
        return Err(format!("{what}: got shape {:?}, expected {:?}", got.shape(), want.shape()));
    }
    let excess = |got: f64, want: f64| {
        if got == want || got.is_nan() && want.is_nan() {
            return 0.0;
        }
        let allowed = tolerance.absolute + tolerance.relative * want.abs();
        let excess = (got - want).abs() / allowed;
        if excess.is_nan() { f64::INFINITY } else { excess }
    };
    let float = |value: T| value.to_f64().expect("a float is a float");
    let (mut wrong, mut worst) = (0, (0.0, String::new()));
    for ((index, &want), &got) in want.indexed_iter().zip(&got) {
        let excess = excess(float(got), float(want));
        wrong += usize::from(excess > 1.0);
        if excess > worst.0 {
            worst = (excess, format!("{:?} is {got}, expected {want}", index.slice()));
        }
    }
    match wrong {
        0 => Ok(worst.0),
        _ => Err(format!("{what}: {wrong} of {} elements are wrong; the worst: {}", want.len(), worst.1)),
    }
}

/// Panics with all failures, so that one run shows everything.
fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn manifests_and_tensors_agree() {
    let mut failures = vec![];
    for (library, at_least) in LIBRARIES {
        let manifest = manifest(library);
        assert_eq!(manifest.library, library);
        assert!(manifest.seed > 0);
        assert!(manifest.versions.contains_key("numpy") && manifest.versions.len() > 2, "{:?}", manifest.versions);
        assert!(manifest.cases.len() >= at_least, "{library} has {} cases", manifest.cases.len());

        let bytes = read(library, "safetensors");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut unclaimed: BTreeSet<String> = file.names().into_iter().map(str::to_owned).collect();
        for case in &manifest.cases {
            if !case.name.starts_with(&format!("{}/", case.dtype.name())) {
                failures.push(format!("{library}: {} does not start with {}", case.name, case.dtype.name()));
            }
            for (role, entry) in &case.tensors {
                let name = format!("{}/{role}", case.name);
                if !unclaimed.remove(&name) {
                    failures.push(format!("{library}: {name} is not in the file, or two cases have it"));
                    continue;
                }
                let view = file.tensor(&name).unwrap();
                if (view.dtype(), view.shape()) != (entry.dtype, entry.shape.as_slice()) {
                    failures.push(format!("{library}: {name} is {:?}{:?} in the file", view.dtype(), view.shape()));
                }
                let float = match case.dtype {
                    Dtype::Float32 => safetensors::Dtype::F32,
                    Dtype::Float64 => safetensors::Dtype::F64,
                };
                if ![float, safetensors::Dtype::I64].contains(&entry.dtype) {
                    failures.push(format!("{library}: {name} is {:?} in a case of {float:?}", entry.dtype));
                }
            }
        }
        failures.extend(unclaimed.into_iter().map(|name| format!("{library}: {name} belongs to no case")));
    }
    report(&failures);
}

/// The roles that a case's kind asks for are there, in shapes that fit each other and the settings.
#[test]
fn tensors_have_the_shapes_that_the_settings_ask_for() {
    let mut failures = vec![];
    for (library, _) in LIBRARIES {
        let form = if library == "keras" { Form::Keras } else { Form::Torch };
        for case in cases(library) {
            let mut check = |what: &str, got: &[usize], want: &[usize]| {
                if got != want {
                    failures.push(format!("{library}: {}: {what} has shape {got:?}, expected {want:?}", case.name));
                }
            };
            for role in case.differentiated().filter(|_| case.has("dy") && case.has("x")) {
                check(&format!("d{role}"), case.shape(&format!("d{role}")), case.shape(role));
            }
            if case.has("dy") {
                check("dy", case.shape("dy"), case.shape("y"));
            }
            match &case.settings {
                Settings::Conv2D(s) => {
                    let [batch, height, width, channels] = *case.shape("x") else {
                        panic!("{} is no image", case.name)
                    };
                    let [kh, kw] = s.kernel_size;
                    check("kernel", case.shape("kernel"), &[kh, kw, channels, s.filters]);
                    if s.use_bias {
                        check("bias", case.shape("bias"), &[s.filters]);
                    }
                    assert_eq!(case.has("bias"), s.use_bias, "{}", case.name);
                    let [oh, ow] = output_size([height, width], s.kernel_size, s.strides, s.dilation, s.padding);
                    check("y", case.shape("y"), &[batch, oh, ow, s.filters]);
                }
                Settings::MaxPooling2D(s) => {
                    let [batch, height, width, channels] = *case.shape("x") else {
                        panic!("{} is no image", case.name)
                    };
                    let [oh, ow] = output_size([height, width], s.pool_size, s.strides, [1, 1], s.padding);
                    check("y", case.shape("y"), &[batch, oh, ow, channels]);
                }
                Settings::Dense(s) | Settings::FlattenDense(s) => {
                    let features = case.shape("x")[1..].iter().product();
                    check("kernel", case.shape("kernel"), &[features, s.units]);
                    check("y", case.shape("y"), &[case.shape("x")[0], s.units]);
                    assert_eq!(case.has("bias"), s.use_bias, "{}", case.name);
                }
                Settings::Relu {} | Settings::Softmax {} => check("y", case.shape("y"), case.shape("x")),
                Settings::Flatten {} => {
                    let [batch, sample @ ..] = case.shape("x") else { panic!("{} has no batch axis", case.name) };
                    check("y", case.shape("y"), &[*batch, sample.iter().product()]);
                }
                Settings::CategoricalCrossentropy(_) | Settings::MeanSquaredError {} => {
                    let batch = &case.shape("y")[..1];
                    if case.has("classes") {
                        check("classes", case.shape("classes"), batch);
                    } else {
                        check("targets", case.shape("targets"), case.shape("y"));
                    }
                    if case.has("weights") {
                        check("weights", case.shape("weights"), batch);
                    }
                    check("losses", case.shape("losses"), batch);
                    check("loss", case.shape("loss"), &[]);
                }
                Settings::Rmsprop(_) | Settings::Sgd(_) | Settings::Adam(_) => {
                    let (steps, n) = (case.shape("learning_rates")[0], case.shape("initial")[0]);
                    check("gradients", case.shape("gradients"), &[steps, n]);
                    check("weights", case.shape("weights"), &[steps, n]);
                    assert_eq!(case.settings.form(), form, "{}", case.name);
                }
                Settings::Training(s) => {
                    let samples = case.shape("x")[0];
                    check("classes", case.shape("classes"), &[samples]);
                    check("losses", case.shape("losses"), &[s.epochs * samples.div_ceil(s.batch_size)]);
                    for role in case.tensors.keys().filter_map(|role| role.strip_prefix("initial/")) {
                        check(role, case.shape(&format!("final/{role}")), case.shape(&format!("initial/{role}")));
                    }
                    let with_weights =
                        s.layers.iter().filter(|l| matches!(l, Settings::Conv2D(_) | Settings::Dense(_)));
                    let parameters = case.tensors.keys().filter(|role| role.starts_with("initial/")).count();
                    check("number of parameters", &[parameters], &[2 * with_weights.count()]);
                    assert!(s.learning_rate > 0.0, "{}", case.name);
                    assert_eq!(s.optimizer.form(), form, "{}", case.name);
                }
                Settings::Initializer(s) => {
                    assert!([2, 4].contains(&s.shape.len()), "{}", case.name);
                    check("bounds", case.shape("bounds"), &[2]);
                    check("moments", case.shape("moments"), &[2]);
                }
                Settings::Classification(s) => {
                    let n = case.shape("classes")[0];
                    check("scores", case.shape("scores"), &[n, s.num_classes]);
                    check("confusion", case.shape("confusion"), &[s.num_classes, s.num_classes]);
                    check("accuracy", case.shape("accuracy"), &[]);
                    check("top_k", case.shape("top_k"), &[s.top_k.len()]);
                    for role in ["precision", "recall", "f1"] {
                        check(role, case.shape(role), &[s.num_classes]);
                    }
                    for role in ["macro", "weighted", "micro"] {
                        check(role, case.shape(role), &[3]);
                    }
                }
            }
        }
    }
    report(&failures);
}

/// Straight from the definition.
fn output_size(n: [usize; 2], k: [usize; 2], s: [usize; 2], d: [usize; 2], padding: Padding) -> [usize; 2] {
    [0, 1].map(|axis| {
        let padded = match (padding, axis) {
            (Padding::Same, _) => return n[axis].div_ceil(s[axis]),
            (Padding::Valid, _) => n[axis],
            (Padding::Explicit { top, bottom, .. }, 0) => n[axis] + top + bottom,
            (Padding::Explicit { left, right, .. }, _) => n[axis] + left + right,
        };
        (padded - ((k[axis] - 1) * d[axis] + 1)) / s[axis] + 1
    })
}

fn find<'a>(cases: &'a [Case], name: &str) -> &'a Case {
    cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"))
}

/// Numbers that are known from elsewhere: a mistake in the script, or in reading what it wrote, would show.
#[test]
fn known_values() {
    let (keras, torch) = (cases("keras"), cases("torch"));
    for (cases, name) in [(&keras, "float32"), (&keras, "float64"), (&torch, "float64")] {
        let ones = find(cases, &format!("{name}/conv2d/ones"));
        assert_eq!(ones.array::<f32>("y").into_raw_vec_and_offset().0, [9.0, 6.0, 6.0, 4.0]);
    }

    let clipped = find(&keras, "float64/categorical_crossentropy/probabilities_clipped");
    let Settings::CategoricalCrossentropy(settings) = &clipped.settings else { panic!("{clipped:?}") };
    assert!(!settings.from_logits && !settings.softmax && settings.label_smoothing == 0.0);
    let losses = clipped.array::<f64>("losses");
    assert!((losses[[0]] - 16.118).abs() < 1e-3 && losses[[1]] < 1.2e-7, "{losses}");
    let extreme = find(&keras, "float64/categorical_crossentropy/softmax_extreme");
    assert_eq!(extreme.array::<f64>("losses")[[0]], 50.0);

    // The first step from v = 0 at g = 1e-5 and at g = 1, lr 1e-3: the place of epsilon shows in the first alone.
    for (cases, name, form, small) in [
        (&keras, "float64/rmsprop/default", Form::Keras, 3.162e-5),
        (&torch, "float64/rmsprop/keras_settings", Form::Torch, 3.065e-3),
    ] {
        let case = find(cases, name);
        let Settings::Rmsprop(settings) = &case.settings else { panic!("{case:?}") };
        assert_eq!((settings.form, settings.rho, settings.epsilon), (form, 0.9, 1e-7));
        assert_eq!((settings.momentum, settings.centered, settings.weight_decay), (0.0, false, 0.0));
        let (before, after) = (case.array::<f64>("initial"), case.array::<f64>("weights"));
        let step = &before - &after.index_axis(Axis(0), 0);
        assert!((step[[0]] / small - 1.0).abs() < 1e-3, "{step}");
        assert!((step[[1]] / 3.162e-3 - 1.0).abs() < 1e-3, "{step}");
        assert_eq!(step[[2]], 0.0);
    }
}

/// scikit-learn's confusion matrices, counted again: a row is what is, a column what was predicted.
#[test]
fn confusion_matrices_count_what_the_scores_say() {
    for case in cases("sklearn") {
        let Settings::Classification(settings) = &case.settings else { panic!("{case:?}") };
        let scores = case.array::<f64>("scores").into_dimensionality::<Ix2>().unwrap();
        let mut counted = ArrayD::<usize>::zeros(IxDyn(&[settings.num_classes, settings.num_classes]));
        for (row, &class) in scores.rows().into_iter().zip(&case.indices("classes")) {
            let predicted = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
            counted[[class, predicted]] += 1;
        }
        assert_eq!(counted, case.indices("confusion"), "{}", case.name);
        let confusion: ArrayView2<'_, usize> = counted.view().into_dimensionality().unwrap();
        let accuracy = confusion.diag().sum() as f64 / confusion.sum() as f64;
        let want = case.array::<f64>("accuracy");
        let tolerance = case.dtype.tolerance();
        compare(&case.name, ndarray::arr0(accuracy).into_dyn().view(), want.view(), tolerance).unwrap();
    }
}

/// Each library has what the comparisons are to be made with.
#[test]
fn the_dangerous_cases_are_there() {
    let keras = cases("keras");
    let torch = cases("torch");
    let conv = |cases: &[Case], wanted: &dyn Fn(&Conv2DSettings) -> bool| {
        cases.iter().filter(|case| matches!(&case.settings, Settings::Conv2D(s) if wanted(s))).count()
    };
    let same = |s: &Conv2DSettings| s.padding == Padding::Same;
    assert!(conv(&keras, &|s| same(s) && s.kernel_size[0] % 2 == 0) >= 5);
    assert!(conv(&keras, &|s| same(s) && Size2D::from(s.strides) != Size2D::from(1)) >= 10);
    assert!(conv(&keras, &|s| same(s) && Size2D::from(s.dilation) != Size2D::from(1)) >= 5);
    assert!(conv(&torch, &|s| matches!(s.padding, Padding::Explicit { top, bottom, .. } if top != bottom)) >= 5);
    assert!(conv(&torch, &|s| s.dilation[1] > 1 && s.strides[1] > 1) >= 3);
    for cases in [&keras, &torch] {
        assert!(conv(cases, &|s| s.activation == Activation::ReLU) >= 15);
        let count = |wanted: &dyn Fn(&Settings) -> bool| cases.iter().filter(|case| wanted(&case.settings)).count();
        assert!(count(&|s| matches!(s, Settings::MaxPooling2D(_))) >= 20);
        assert!(count(&|s| matches!(s, Settings::Dense(s) if s.activation == Activation::Softmax)) >= 2);
        assert!(count(&|s| matches!(s, Settings::Rmsprop(s) if s.centered && s.momentum > 0.0)) >= 1);
    }
    // A pool that took its padding for 0 would give 0 here.
    let padded = keras.iter().chain(&torch).filter(|case| match &case.settings {
        Settings::MaxPooling2D(s) if s.padding != Padding::Valid => {
            case.array::<f64>("x").iter().all(|&x| x < 0.0) && case.array::<f64>("y").iter().all(|&y| y < 0.0)
        }
        _ => false,
    });
    assert!(padded.count() >= 10);
}

#[test]
fn comparing_tells_right_from_wrong() {
    let tolerance = Dtype::Float64.tolerance();
    let compare =
        |got: Array1<f64>, want: Array1<f64>| compare("y", got.into_dyn().view(), want.into_dyn().view(), tolerance);
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    for (got, want) in [
        (array![1.0, 1e3, 0.0], array![1.0 + 1e-10, 1e3 + 9e-8, 9e-11]),
        (array![nan, inf, -inf], array![nan, inf, -inf]),
        (array![0.0], array![-0.0]),
        (array![], array![]),
    ] {
        compare(got, want).unwrap();
    }
    for (got, want) in [
        (array![1.0], array![1.0 + 3e-10]),
        (array![0.0], array![2e-10]),
        (array![nan], array![0.0]),
        (array![0.0], array![nan]),
        (array![inf], array![-inf]),
        (array![1e300], array![inf]),
        (array![1.0, 1.0], array![1.0]),
        (array![], array![1.0]),
    ] {
        compare(got.clone(), want.clone()).expect_err(&format!("{got} is not {want}"));
    }
    assert_eq!(
        compare(array![1.0, 2.0, 5.0], array![1.0, 2.5, 3.0]).unwrap_err(),
        "y: 2 of 3 elements are wrong; the worst: [2] is 5, expected 3"
    );
}
