//! Models for ONNX Runtime and whatever else runs ONNX files.
//!
//! ONNX's convolutions want channels first. A model of images is transposed once, before the first layer that needs it,
//! and stays so: kernels are permuted here, and so are the rows of the Dense that takes the flattened image. Only what
//! puts out images is transposed back, once.

use std::io::Write;
use std::path::Path;

use prost::Message;

use super::built_in::BuiltIn;
use super::channels_first::ChannelsFirst;
use super::onnx_messages::{
    AttributeProto, DOUBLE, DimensionProto, FLOAT, GraphProto, INT, INTS, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::tensors::little_endian;
use crate::error::{Error, Result};
use crate::files::write_file;
use crate::layers::Activation;
use crate::model::{Entry, NamedLayer, Sequential};
use crate::scalar::Scalar;
use crate::shape::Geometry;

/// Of ONNX 1.8, the first whose Softmax is over one axis; what is older than December 2020 reads nothing newer.
const IR_VERSION: i64 = 7;
const OPSET: i64 = 13;

/// Names of the graph's input and output.
const INPUT: &str = "input";
const OUTPUT: &str = "output";

/// No protocol buffer is larger.
const MOST_BYTES: usize = i32::MAX as usize;

impl<T: Scalar> Sequential<T> {
    /// Writes the model as an ONNX file, for ONNX Runtime and others that predict with such files.
    ///
    /// | what | in the file |
    /// |---|---|
    /// | versions | IR 7, operator set 13: ONNX 1.8, ONNX Runtime 1.6, and all that came after |
    /// | input | `input`, `[batch, …]` in the model's own shape: images are `[batch, height, width, channels]` |
    /// | output | `output`, `[batch, …]` in the model's own shape |
    /// | batch | free: the dimension is called `batch` |
    /// | numbers | the model's: `float` or `double` |
    /// | Dense | `Gemm` |
    /// | Conv2D, MaxPooling2D | `Conv`, `MaxPool`, with padding in numbers |
    /// | Flatten, ReLU, Softmax, activations | `Flatten`, `Relu`, `Softmax` |
    /// | parameters | initializers with the names they have here, `conv2d_1/kernel`, channels first |
    ///
    /// Images are transposed once to channels first, where ONNX wants them, and once back if the model puts out images.
    /// The same model gives the same bytes.
    ///
    /// ONNX Runtime 1.32 has no convolution of `double` on the CPU: build a model with `Conv2D` in `f32` for it.
    ///
    /// # Errors
    ///
    /// [`Error::Layer`] for a layer of another crate; [`Error::Format`] for a model of
    /// 2 GiB or more, which no such file can hold; [`Error::Io`] if the file cannot be written; the one that was there is then as it was.
    ///
    /// # Source
    ///
    /// `onnx/onnx.proto3` and `docs/Operators.md`, ONNX 1.23.
    ///
    /// ```
    /// use plywood::prelude::*;
    ///
    /// let model = Sequential::input([28, 28, 1])
    ///     .add(Conv2D::new(4, 3).activation(Activation::ReLU))
    ///     .add(MaxPooling2D::new(2))
    ///     .add(Flatten::new())
    ///     .add(Dense::new(10).activation(Activation::Softmax))
    ///     .build(42)?;
    /// let path = std::env::temp_dir().join(format!("plywood-doc-{}.onnx", std::process::id()));
    /// model.export_onnx(&path)?;
    /// # assert!(std::fs::metadata(&path).is_ok_and(|file| file.len() > 4 * model.parameter_count() as u64));
    /// # std::fs::remove_file(path).ok();
    /// # Ok::<(), plywood::Error>(())
    /// ```
    ///
    /// In Python:
    ///
    /// ```text
    /// session = onnxruntime.InferenceSession("model.onnx")
    /// (probabilities,) = session.run(["output"], {"input": images})
    /// ```
    pub fn export_onnx(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let model = export(self)?;
        let bytes = model.encoded_len();
        if bytes > MOST_BYTES {
            return Err(Error::Format {
                path: path.to_owned(),
                format: "ONNX model",
                problem: format!("it would have {bytes} bytes, expected less than 2 GiB; use fewer parameters"),
            });
        }
        write_file(path, |file| file.write_all(&model.encode_to_vec()))
    }
}

/// The model as a message.
fn export<T: Scalar>(model: &Sequential<T>) -> Result<ModelProto> {
    let mut graph = Graph { model, nodes: vec![], initializers: vec![], channels_first: false, flattened: None };
    for (index, layer) in model.layers().iter().enumerate() {
        graph.layer(index, layer)?;
    }
    if graph.channels_first {
        graph.transpose("channels_last", [0, 2, 3, 1]);
    }
    let Graph { mut nodes, initializers, .. } = graph;
    if let Some(last) = nodes.last_mut() {
        last.output = vec![OUTPUT.to_owned()];
    }
    Ok(ModelProto {
        ir_version: IR_VERSION,
        producer_name: "plywood".to_owned(),
        graph: Some(GraphProto {
            node: nodes,
            name: "sequential".to_owned(),
            initializer: initializers,
            input: vec![value_info::<T>(INPUT, model.input_shape())],
            output: vec![value_info::<T>(OUTPUT, model.output_shape())],
        }),
        // the empty name is that of ONNX's own operators
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
    })
}

/// A graph in the making: a chain of nodes, each of which takes what the one before it puts out.
struct Graph<'m, T: Scalar> {
    model: &'m Sequential<T>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Whether the last node puts out images `[batch, channels, height, width]`.
    channels_first: bool,
    /// The images that the last node puts out flattened, channels first.
    flattened: Option<[usize; 3]>,
}

impl<T: Scalar> Graph<'_, T> {
    fn layer(&mut self, index: usize, layer: &NamedLayer<T>) -> Result<()> {
        let name = layer.name();
        let parameters = self.model.layout().layer(index).0;
        let planned = "the input shape was planned";
        match BuiltIn::of_named(layer)? {
            BuiltIn::Dense(dense) => {
                let inputs = self.initializers(parameters);
                self.flattened = None;
                self.node(name, "Gemm", inputs, vec![integer("transB", 1)]);
                self.activation(name, dense.activation);
            }
            BuiltIn::Conv2D(conv) => {
                self.transpose_to_channels_first();
                let window = window(&conv.geometry(layer.input_shape()).expect(planned), true);
                let inputs = self.initializers(parameters);
                self.node(name, "Conv", inputs, window);
                self.activation(name, conv.activation);
            }
            BuiltIn::MaxPooling2D(pool) => {
                self.transpose_to_channels_first();
                let window = window(&pool.geometry(layer.input_shape()).expect(planned), false);
                self.node(name, "MaxPool", vec![], window);
            }
            BuiltIn::Flatten(_) => {
                let takes = |layer: &NamedLayer<T>| matches!(BuiltIn::of(layer.layer()), Some(BuiltIn::Dense(_)));
                if let (true, &[height, width, channels]) = (self.channels_first, layer.input_shape()) {
                    if self.model.layers()[index..].iter().any(takes) {
                        self.flattened = Some([height, width, channels]);
                    } else {
                        // nobody's rows can be permuted, so the image is
                        self.transpose("channels_last", [0, 2, 3, 1]);
                    }
                }
                self.channels_first = false;
                self.node(name, "Flatten", vec![], vec![integer("axis", 1)]);
            }
            BuiltIn::ReLU(_) => self.activation_as(name.to_owned(), Activation::ReLU),
            BuiltIn::Softmax(_) => self.activation_as(name.to_owned(), Activation::Softmax),
        }
        Ok(())
    }

    /// An activation of a layer of this name.
    fn activation(&mut self, layer: &str, activation: Activation) {
        self.activation_as(format!("{layer}/{}", format!("{activation:?}").to_lowercase()), activation);
    }

    fn activation_as(&mut self, name: String, activation: Activation) {
        match activation {
            Activation::Linear => {}
            Activation::ReLU => self.node(&name, "Relu", vec![], vec![]),
            Activation::Softmax => {
                // channels are the last axis here; a flattened image has the same sum in any order
                let axis = if self.channels_first { 1 } else { -1 };
                self.node(&name, "Softmax", vec![], vec![integer("axis", axis)]);
            }
        }
    }

    /// Adds the parameters of a layer; their names.
    fn initializers(&mut self, parameters: &[Entry]) -> Vec<String> {
        let mut names = vec![];
        for entry in parameters {
            let values = self.model.parameter(entry.name()).expect("it is one of the model's");
            let there = ChannelsFirst::of(entry.shape(), self.flattened);
            self.initializers.push(TensorProto {
                dims: there.shape.iter().map(|&size| int64(size)).collect(),
                data_type: data_type::<T>(),
                name: entry.name().to_owned(),
                raw_data: little_endian(there.view(values).iter()),
            });
            names.push(entry.name().to_owned());
        }
        names
    }

    fn transpose_to_channels_first(&mut self) {
        if !self.channels_first {
            self.transpose("channels_first", [0, 3, 1, 2]);
            self.channels_first = true;
        }
    }

    fn transpose(&mut self, name: &str, axes: [i64; 4]) {
        self.node(name, "Transpose", vec![], vec![integers("perm", axes)]);
    }

    /// Appends a node that takes what the last one puts out, and these parameters.
    fn node(&mut self, name: &str, operator: &str, parameters: Vec<String>, attribute: Vec<AttributeProto>) {
        let x = self.nodes.last().map_or(INPUT, |last| &last.name).to_owned();
        self.nodes.push(NodeProto {
            input: [vec![x], parameters].concat(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: operator.to_owned(),
            attribute,
        });
    }
}

/// The attributes of a window.
fn window(geometry: &Geometry, dilations: bool) -> Vec<AttributeProto> {
    let Geometry { input, size, strides, dilation, before, padded, .. } = *geometry;
    let after = [0, 1].map(|axis| padded[axis] - input[axis] - before[axis]);
    let mut attributes = vec![
        integers("kernel_shape", size.map(int64)),
        integers("strides", strides.map(int64)),
        integers("pads", [before, after].concat().into_iter().map(int64)),
    ];
    if dilations {
        attributes.push(integers("dilations", dilation.map(int64)));
    }
    attributes
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i: Some(value), ints: vec![], r#type: INT }
}

fn integers(name: &str, values: impl IntoIterator<Item = i64>) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i: None, ints: values.into_iter().collect(), r#type: INTS }
}

fn value_info<T: Scalar>(name: &str, sample: &[usize]) -> ValueInfoProto {
    let batch = DimensionProto { dim_value: None, dim_param: Some("batch".to_owned()) };
    let sizes = sample.iter().map(|&size| DimensionProto { dim_value: Some(int64(size)), dim_param: None });
    let shape = TensorShapeProto { dim: std::iter::once(batch).chain(sizes).collect() };
    let tensor_type = TensorTypeProto { elem_type: data_type::<T>(), shape: Some(shape) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

fn int64(size: usize) -> i64 {
    i64::try_from(size).expect("the geometry cuts sizes to those of the image, and images fit into memory")
}

fn data_type<T: Scalar>() -> i32 {
    if T::NAME == f32::NAME { FLOAT } else { DOUBLE }
}
