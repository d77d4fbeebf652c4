//! Weights as PyTorch's `state_dict`, in the safetensors files that Python's `safetensors.torch` reads and writes.

use std::collections::HashSet;
use std::path::Path;

use safetensors::Dtype;

use super::chain::{built_in, check_chain, not_yet};
use super::channels_first::ChannelsFirst;
use super::tensors::{Narrowing, NewTensor, TensorFile, write_tensors};
use crate::error::{Error, Result};
use crate::layers::{Activation, BuiltIn};
use crate::model::Model;
use crate::scalar::Scalar;

const FORMAT: &str = "PyTorch state_dict";

/// What the modules of a PyTorch model are called, in the names of its weights.
///
/// A module `fc1` has the weights `fc1.weight` and, unless it was made without, `fc1.bias`.
///
/// | names | for a PyTorch model that | names of the first weights |
/// |---|---|---|
/// | [`sequential`](Self::sequential) (default) | is an `nn.Sequential` of the same layers | `0.weight`, `0.bias`, `3.weight` |
/// | [`list`](Self::list) | has attributes, or modules that count but have no counterpart here | as given: `conv1.weight` |
/// | [`prefix`](Self::prefix) | is a part of a larger one | `features.0.weight` |
///
/// `nn.Sequential` counts modules from 0, those without weights too. Layers here are so many modules there:
///
/// | layer | modules in PyTorch |
/// |---|---|
/// | `Dense` | `nn.Linear`, and `nn.ReLU` or `nn.Softmax` if it has an activation |
/// | `Conv2D` | `nn.Conv2d`, and `nn.ReLU` or `nn.Softmax` if it has an activation |
/// | `MaxPooling2D`, `Flatten`, `ReLU`, `Softmax` | `nn.MaxPool2d`, `nn.Flatten`, `nn.ReLU`, `nn.Softmax` |
///
/// Where PyTorch needs more, such as `nn.ZeroPad2d` for padding that differs from side to side, or `nn.Dropout` in a
/// model that was trained there, the modules behind it have other numbers: give a list.
///
/// ```
/// use plywood::persist::ModuleNames;
/// use plywood::prelude::*;
///
/// # let path = std::env::temp_dir().join(format!("plywood-doc-modules-{}.safetensors", std::process::id()));
/// let mut model = Sequential::input([8]).add(Dense::new(4)).add(ReLU::new()).add(Dense::new(2)).build(42)?;
/// let names = ModuleNames::list(["fc1", "fc2"]).prefix("model."); // model.fc1.weight, model.fc1.bias, …
/// model.save_pytorch(&path, &names)?;
/// assert!(model.load_pytorch(&path, &ModuleNames::sequential()).is_err()); // 0.weight, 0.bias, …
/// model.load_pytorch(&path, &names)?;
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModuleNames {
    /// Numbers if there are none.
    list: Option<Vec<String>>,
    prefix: String,
}

impl ModuleNames {
    /// The numbers that `nn.Sequential` gives.
    pub fn sequential() -> Self {
        Self::default()
    }

    /// One for each layer with weights, in the order of the layers.
    pub fn list(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { list: Some(names.into_iter().map(Into::into).collect()), prefix: String::new() }
    }

    /// Sets what all names begin with, its dot included: `features.`. Tensors of a file that do not begin with it are
    /// somebody else's and not looked at.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The weights of a model, by their names in PyTorch.
    fn weights<T: Scalar>(&self, model: &Model<T>) -> Result<Vec<Weight>> {
        check_chain(model)?;
        let owners = model.layers().iter().filter(|layer| layer.parameter_count() > 0).count();
        if let Some(list) = &self.list {
            let mut seen = HashSet::new();
            let twice = list.iter().find(|name| !seen.insert(*name));
            let wrong = |got: String, expected| Err(Error::invalid_parameter("module names", "list", got, expected));
            if list.len() != owners {
                let got = format!("{} names for {owners} layers with weights", list.len());
                return wrong(got, "one for each layer with weights");
            }
            if let Some(name) = twice {
                return wrong(format!("{name:?} twice"), "names that differ");
            }
        }
        let mut listed = self.list.iter().flatten();
        let (mut weights, mut modules, mut flattened) = (vec![], 0, None);
        for layer in model.layers() {
            let kind = built_in(layer)?;
            let entries = model.entries_of(layer);
            let image = match &kind {
                BuiltIn::Dense(_) => flattened.take(),
                BuiltIn::BatchNormalization(_) => return Err(not_yet(layer, "files of PyTorch")),
                _ => None,
            };
            if !entries.is_empty() {
                let module = listed.next().cloned().unwrap_or_else(|| modules.to_string());
                for entry in entries {
                    let name = match entry.name().rsplit_once('/') {
                        Some((_, "kernel")) => "weight",
                        _ => "bias",
                    };
                    weights.push(Weight {
                        name: format!("{}{module}.{name}", self.prefix),
                        parameter: entry.name().to_owned(),
                        there: ChannelsFirst::of(entry.shape(), image),
                    });
                }
            }
            if let (BuiltIn::Flatten(_), &[height, width, channels]) = (&kind, layer.input_shape()) {
                flattened = Some([height, width, channels]);
            }
            modules += match kind {
                BuiltIn::Dense(dense) if dense.activation != Activation::Linear => 2,
                BuiltIn::Conv2D(conv) if conv.activation != Activation::Linear => 2,
                _ => 1,
            };
        }
        Ok(weights)
    }
}

/// A parameter of a model and its counterpart in PyTorch.
#[derive(Debug)]
struct Weight {
    name: String,
    parameter: String,
    there: ChannelsFirst,
}

impl<T: Scalar> Model<T> {
    /// Takes the weights of a PyTorch model of the same layers from its `state_dict`, a safetensors file:
    ///
    /// ```text
    /// safetensors.torch.save_file(model.state_dict(), "model.safetensors")
    /// ```
    ///
    /// | layer | weights in PyTorch | here |
    /// |---|---|---|
    /// | Conv2D | `[filters, channels, height, width]` | `[height, width, channels, filters]` |
    /// | Dense | `[units, features]` | `[features, units]` |
    /// | Dense after a Flatten of images | features in the order of channels, rows, columns | rows, columns, channels |
    ///
    /// So images are `[batch, height, width, channels]` here and `[batch, channels, height, width]` there, and the
    /// predictions are the same. [`ModuleNames`] says what the weights are called. The file must have all of them and no
    /// others. A model of `f64` takes numbers of `F32`, too.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] for a file that is damaged, lacks a weight or has one too many, or has a weight of another shape
    /// or number type; [`Error::Io`] if it cannot be read; [`Error::InvalidParameter`] for a list of names that does not
    /// fit the model; [`Error::Layer`] for a layer of another crate. No weight has changed then.
    ///
    /// # Source
    ///
    /// `torch/nn/modules/{linear,conv,container,flatten}.py`, PyTorch 2.15; `safetensors/torch.py`, safetensors 0.8.
    ///
    /// ```
    /// use plywood::persist::ModuleNames;
    /// use plywood::prelude::*;
    ///
    /// let layers = || Sequential::input([784]).add(Dense::new(32).activation(Activation::ReLU)).add(Dense::new(10));
    /// let path = std::env::temp_dir().join(format!("plywood-doc-load-{}.safetensors", std::process::id()));
    /// let trained = layers().build(1)?;
    /// trained.save_pytorch(&path, &ModuleNames::sequential())?;
    ///
    /// let mut model = layers().build(2)?;
    /// model.load_pytorch(&path, &ModuleNames::sequential())?;
    /// assert_eq!(model.values(), trained.values());
    ///
    /// let error = model.load_pytorch(&path, &ModuleNames::list(["fc1", "fc2"])).unwrap_err();
    /// assert!(error.to_string().contains("fc1.weight"));
    /// # std::fs::remove_file(path).ok();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    #[doc(alias = "load_state_dict")]
    pub fn load_pytorch(&mut self, path: impl AsRef<Path>, names: &ModuleNames) -> Result<()> {
        let weights = names.weights(self)?;
        let file = TensorFile::read(path.as_ref(), FORMAT)?;
        check_names(&file, &weights, &names.prefix)?;
        let mut tensors = vec![];
        for weight in &weights {
            let tensor = file.tensor(&weight.name).expect("names have been checked");
            tensor.check_shape(&weight.there.shape)?;
            if tensor.dtype() == Dtype::F64 && T::NAME == f32::NAME {
                let problem = "numbers of type F64, expected F32 for a model of float32; save model.float() in PyTorch, or \
                               load into a model of f64";
                return Err(file.error(format!("{:?} has {problem}", weight.name)));
            }
            tensor.check_type::<T>(Narrowing::Refused)?;
            tensors.push(tensor);
        }
        let mut values = vec![];
        for (weight, tensor) in weights.iter().zip(tensors) {
            values.clear();
            tensor.append_to(&mut values, Narrowing::Refused)?;
            let parameter = self.parameter_mut(&weight.parameter).expect("it is one of the model's");
            weight.there.view(parameter).iter_mut().zip(&values).for_each(|(here, &there)| *here = there);
        }
        Ok(())
    }

    /// Writes the weights as the `state_dict` of a PyTorch model of the same layers, into a safetensors file:
    ///
    /// ```text
    /// model.load_state_dict(safetensors.torch.load_file("model.safetensors"))
    /// ```
    ///
    /// Layouts and names are those of [`load_pytorch`](Self::load_pytorch); numbers are `F32` or `F64`, as the model's.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be written; [`Error::InvalidParameter`] for a list of names that does not fit the
    /// model; [`Error::Layer`] for a layer of another crate.
    ///
    /// # Source
    ///
    /// As for [`load_pytorch`](Self::load_pytorch).
    ///
    /// ```
    /// use plywood::persist::ModuleNames;
    /// use plywood::prelude::*;
    ///
    /// let model = Sequential::input([28, 28, 1])
    ///     .add(Conv2D::new(8, 3).activation(Activation::ReLU))
    ///     .add(MaxPooling2D::new(2))
    ///     .add(Flatten::new())
    ///     .add(Dense::new(10))
    ///     .build(42)?;
    /// let path = std::env::temp_dir().join(format!("plywood-doc-save-pytorch-{}.safetensors", std::process::id()));
    /// // nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1352, 10))
    /// model.save_pytorch(&path, &ModuleNames::sequential())?; // 0.weight, 0.bias, 4.weight, 4.bias
    /// # std::fs::remove_file(path).ok();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    #[doc(alias = "state_dict")]
    pub fn save_pytorch(&self, path: impl AsRef<Path>, names: &ModuleNames) -> Result<()> {
        let tensor = |weight: Weight| {
            let parameter = self.parameter(&weight.parameter).expect("it is one of the model's");
            let values: Vec<T> = weight.there.view(parameter).iter().copied().collect();
            NewTensor::new(weight.name, &weight.there.shape, &values)
        };
        let tensors: Vec<_> = names.weights(self)?.into_iter().map(tensor).collect();
        // what Python's safetensors.torch writes, and some readers want
        write_tensors(path.as_ref(), &tensors, Some(("format", "pt".to_owned())))
    }
}

/// Whether a file has these weights, and under the prefix no others.
fn check_names(file: &TensorFile, weights: &[Weight], prefix: &str) -> Result<()> {
    let there: HashSet<&str> = file.tensors().map(|tensor| tensor.name()).collect();
    let expected: HashSet<&str> = weights.iter().map(|weight| weight.name.as_str()).collect();
    let missing: Vec<&str> =
        weights.iter().map(|weight| weight.name.as_str()).filter(|name| !there.contains(name)).collect();
    let mut unexpected: Vec<&str> =
        there.into_iter().filter(|name| name.starts_with(prefix) && !expected.contains(name)).collect();
    unexpected.sort_unstable();
    let mut problems = vec![];
    if !missing.is_empty() {
        problems.push(format!("it has no {}", some(&missing)));
    }
    if !unexpected.is_empty() {
        problems.push(format!("the model has nothing for {}", some(&unexpected)));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(file.error(format!("{}; say with ModuleNames what its modules are called", problems.join(", and "))))
}

/// The first of these names.
fn some(names: &[&str]) -> String {
    const MOST: usize = 6;
    let first = names.iter().take(MOST).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
