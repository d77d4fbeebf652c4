//! What tests share that exchange files with other libraries: the reference models, their test images, and tensors in
//! files.
//!
//! `tools/interop.sh` runs these tests with the folder in the environment variable PLYWOOD_INTEROP.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};

use plywood::data::Mnist;
use plywood::ndarray::{ArrayD, IxDyn};
use plywood::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// The largest difference of a probability.
pub(crate) const TOLERANCE: f32 = 1e-5;

/// The folder that is exchanged, if `tools/interop.sh` runs the test.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os("PLYWOOD_INTEROP").map(PathBuf::from)
}

/// The two reference models.
pub(crate) const REFERENCES: [&str; 2] = ["dense", "cnn"];

pub(crate) fn reference<T: Scalar>(name: &str) -> Model<T> {
    let (relu, softmax) = (Activation::ReLU, Activation::Softmax);
    let model = match name {
        "dense" => Sequential::<T>::with_input([784]).add(Dense::new(512).activation(relu)),
        _ => Sequential::<T>::with_input([28, 28, 1])
            .add(Conv2D::new(32, 3).activation(relu))
            .add(MaxPooling2D::new(2))
            .add(Conv2D::new(64, 3).activation(relu))
            .add(MaxPooling2D::new(2))
            .add(Conv2D::new(64, 3).activation(relu))
            .add(Flatten::new())
            .add(Dense::new(64).activation(relu)),
    };
    model.add(Dense::new(10).activation(softmax)).build(42).expect("the reference models are right")
}

fn shape(name: &str, images: usize) -> Vec<usize> {
    let sample: &[usize] = if name == "dense" { &[784] } else { &[28, 28, 1] };
    [&[images], sample].concat()
}

fn mnist() -> Mnist {
    Mnist::load(concat!(env!("CARGO_MANIFEST_DIR"), "/data/mnist")).expect("it is in the repository")
}

/// The first 1,000 test images, in the model's input shape.
pub(crate) fn test_images<T: Scalar>(name: &str) -> ArrayD<T> {
    let images = mnist().test.head(1000).expect("there are more").inputs().mapv(|x| T::of(x.into()));
    images.into_shape_with_order(IxDyn(&shape(name, 1000))).expect("as many pixels")
}

/// A reference model that has learned a little: one epoch on the first 3,000 images.
pub(crate) fn trained(name: &str) -> Model {
    let train = mnist().train.head(3000).expect("there are more");
    let images = train.inputs().to_shape(IxDyn(&shape(name, 3000))).expect("as many pixels").into_owned();
    let data = Dataset::new(images, train.targets().clone()).expect("one target an image");
    let mut trainer = reference(name).compile(RMSprop::default(), CategoricalCrossentropy::new());
    trainer.fit(&data, &Fit::epochs(1).batch_size(64)).expect("the data are right");
    trainer.into_model()
}

/// A file of tensors, read whole.
#[derive(Debug)]
pub(crate) struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl TensorFile {
    pub(crate) fn read(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, bytes }
    }

    /// Names, in the order of the file.
    pub(crate) fn names(&self) -> Vec<String> {
        self.open().names().into_iter().map(str::to_owned).collect()
    }

    /// The bytes of a tensor of u8.
    pub(crate) fn raw(&self, name: &str) -> Vec<u8> {
        self.view(name, Dtype::U8).data().to_vec()
    }

    /// A tensor of this number type.
    pub(crate) fn numbers<T: Scalar>(&self, name: &str) -> ArrayD<T> {
        let view = self.view(name, dtype::<T>());
        let numbers: Vec<T> = match view.dtype() {
            Dtype::F32 => view.data().as_chunks().0.iter().map(|&n| T::of(f32::from_le_bytes(n).into())).collect(),
            _ => view.data().as_chunks().0.iter().map(|&n| T::of(f64::from_le_bytes(n))).collect(),
        };
        ArrayD::from_shape_vec(IxDyn(view.shape()), numbers).expect("safetensors has checked the length")
    }

    fn open(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    fn view(&self, name: &str, dtype: Dtype) -> TensorView<'_> {
        let path = self.path.display();
        let view = self.open().tensor(name).unwrap_or_else(|error| panic!("{path}: {name}: {error}"));
        assert_eq!(view.dtype(), dtype, "{path}: {name}");
        view
    }
}

fn dtype<T: Scalar>() -> Dtype {
    if T::NAME == "float32" { Dtype::F32 } else { Dtype::F64 }
}

/// Tensors on their way into a file.
#[derive(Debug, Default)]
pub(crate) struct Tensors(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    pub(crate) fn raw(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.0.push((name.into(), Dtype::U8, vec![bytes.len()], bytes));
    }

    pub(crate) fn numbers<T: Scalar>(&mut self, name: impl Into<String>, numbers: &ArrayD<T>) {
        let values = numbers.iter().map(|x| x.to_f64().expect("f32 and f64 are f64s"));
        let bytes = match dtype::<T>() {
            Dtype::F32 => values.flat_map(|x| (x as f32).to_le_bytes()).collect(),
            _ => values.flat_map(f64::to_le_bytes).collect(),
        };
        self.0.push((name.into(), dtype::<T>(), numbers.shape().to_vec(), bytes));
    }

    pub(crate) fn write(&self, path: impl AsRef<Path>) {
        let views = self.0.iter().map(|(name, dtype, shape, bytes)| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).expect("as many bytes as the shape has"))
        });
        safetensors::serialize_to_file(views, None, path.as_ref()).expect("the folder can be written to");
    }
}

/// The largest difference of two arrays, relative to the numbers where these are above 1.
pub(crate) fn difference<T: Scalar>(got: &ArrayD<T>, want: &ArrayD<T>) -> T {
    assert_eq!(got.shape(), want.shape());
    let difference = |(&got, &want): (&T, &T)| {
        let difference = (got - want).abs() / want.abs().max(T::one());
        // NaN would be lost in a maximum
        if difference.is_nan() { T::infinity() } else { difference }
    };
    got.iter().zip(want).map(difference).fold(T::zero(), T::max)
}

/// Writes a model's predictions for its 1,000 test images.
pub(crate) fn write_probabilities<T: Scalar>(path: impl AsRef<Path>, probabilities: &ArrayD<T>) {
    let mut tensors = Tensors::default();
    tensors.numbers("probabilities", probabilities);
    tensors.write(path);
}
