//! `model.weights.h5`: the weights of a model of Keras, in HDF5.
//!
//! A parameter is the dataset `layers/conv2d_1/vars/0`: the layer's class and its number among those of the class, as
//! plywood counts too, and the parameter's number in the layer: 0 is the kernel, 1 the bias.
//!
//! The crate hdf5-reader reads the format. What it is given has been found whole by the archive's checksum. It is told
//! to allocate no more than the file is long, and a panic of it, should a file be made to cause one, becomes an error.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hdf5_reader::{Datatype, Hdf5File, OpenOptions};
use hdf5_writer::{ByteOrder, DatasetBuilder, Hdf5Builder, WriteOptions};

use super::super::failure::Failure;
use crate::error::shape_text;
use crate::model::{Layout, Sequential};
use crate::scalar::Scalar;

/// The bytes of an HDF5 file.
pub(super) struct Weights {
    bytes: Vec<u8>,
}

impl Weights {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The values of these parameters, one after the other. The file must have these, and in `layers` no other groups
    /// than those named.
    pub(super) fn read<T: Scalar>(self, groups: &BTreeSet<String>, layout: &Layout) -> Result<Vec<T>, Failure> {
        let count = layout.len();
        let (got, expected) = (self.bytes.len(), count.saturating_mul(size_of::<T>()));
        if got < expected {
            return Err(
                format!("its weights have {got} bytes, expected at least {expected} for {count} parameters").into()
            );
        }
        let read = || self.read_unguarded(groups, layout);
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(result) => result,
            Err(_) => Err("its weights are not a sound HDF5 file".to_owned().into()),
        }
    }

    fn read_unguarded<T: Scalar>(self, groups: &BTreeSet<String>, layout: &Layout) -> Result<Vec<T>, Failure> {
        let most = self.bytes.len();
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_max_chunk_bytes(most)
            .with_max_read_bytes(most)
            .with_max_object_header_bytes(most);
        let file = Hdf5File::from_vec_with_options(self.bytes, options)?;
        // looking up each by its name would go through all of them each time
        let layers = file.root_group()?.group("layers")?.groups()?;
        if let Some(unexpected) = layers.iter().map(|layer| layer.name()).find(|&name| !groups.contains(name)) {
            return Err(format!("its weights have a layer {unexpected:?}, which its config.json has not").into());
        }
        let layers: HashMap<&str, _> = layers.iter().map(|layer| (layer.name(), layer)).collect();

        let mut values = Vec::new();
        let too_large = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        values.try_reserve_exact(layout.len()).map_err(too_large)?;
        for parameters in layout.entries().chunk_by(|a, b| split(a.name()).0 == split(b.name()).0) {
            let layer = split(parameters[0].name()).0;
            let vars =
                layers.get(layer).ok_or_else(|| format!("its weights have no layer {layer:?}"))?.group("vars")?;
            check_names(layer, vars.member_names()?.1, parameters.len())?;
            for parameter in parameters {
                let (name, shape) = (parameter.name(), parameter.shape());
                let dataset = vars.dataset(index_of(split(name).1))?;
                if !dataset.shape().iter().copied().eq(shape.iter().map(|&size| size as u64)) {
                    let got: Vec<usize> = dataset.shape().iter().map(|&size| size as usize).collect();
                    let (got, expected) = (shape_text(&got), shape_text(shape));
                    return Err(format!("its weights of {name} have the shape {got}, expected {expected}").into());
                }
                let &Datatype::FloatingPoint { size, .. } = dataset.dtype() else {
                    return Err(
                        format!("its weights of {name} are no floating-point numbers, expected {}", T::NAME).into()
                    );
                };
                if usize::from(size) != size_of::<T>() {
                    return Err(
                        format!("its weights of {name} are numbers of {size} bytes, expected {}", T::NAME).into()
                    );
                }
                if !is_ieee(&dataset.raw_datatype()?) {
                    return Err(format!(
                        "its weights of {name} are numbers of {size} bytes, but not in the form of IEEE 754, expected {}; \
                         save the model with Keras again",
                        T::NAME
                    )
                    .into());
                }
                match T::NAME {
                    "float32" => values.extend(dataset.read_array::<f32>()?.into_iter().map(|x| T::of(x.into()))),
                    _ => values.extend(dataset.read_array::<f64>()?.into_iter().map(T::of)),
                }
            }
        }
        Ok(values)
    }
}

/// Whether floating-point numbers of this type are those of IEEE 754 with 32 or 64 bits, in either byte order. The reader of
/// HDF5 looks at nothing but their size and, as if there were no third, at their byte order.
///
/// | bytes of the type | meaning |
/// |---|---|
/// | 0 | class and version |
/// | 1 | byte order in bits 0 and 6, how the mantissa begins in bits 4 and 5 |
/// | 2, 3 | where the sign is; 0 |
/// | 4 to 7 | size in bytes |
/// | 8 to 11 | first bit, number of bits |
/// | 12, 13 | first bit of the exponent, number of bits |
/// | 14, 15 | first bit of the mantissa, number of bits |
/// | 16 to 19 | exponent bias |
///
/// Source: *HDF5 File Format Specification*, version 3.0, "Datatype message", class 1.
fn is_ieee(datatype: &[u8]) -> bool {
    let &[_, flags, sign, 0, size @ .., bias_0, bias_1, bias_2, bias_3] =
        datatype.first_chunk::<20>().unwrap_or(&[0; 20])
    else {
        return false;
    };
    let bias = u32::from_le_bytes([bias_0, bias_1, bias_2, bias_3]);
    let form: ([u8; 12], u8, u32) = (size, sign, bias);
    // neither VAX's byte order nor a mantissa without its hidden one
    let plain = flags & 0b0100_0000 == 0 && flags & 0b0011_0000 == 0b0010_0000;
    plain
        && [([4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23], 31, 127), ([8, 0, 0, 0, 0, 0, 64, 0, 52, 11, 0, 52], 63, 1023)]
            .contains(&form)
}

/// The layer's name and the parameter's.
fn split(name: &str) -> (&str, &str) {
    name.split_once('/').expect("a parameter's name is made of both")
}

/// The name of a parameter's dataset: its number in the layer.
fn index_of(parameter: &str) -> &'static str {
    match parameter {
        "kernel" => "0",
        _ => "1",
    }
}

/// A layer's datasets must be as many as its parameters.
fn check_names(layer: &str, mut got: Vec<String>, expected: usize) -> Result<(), String> {
    got.sort();
    let expected = &["0", "1"][..expected];
    if got == expected {
        return Ok(());
    }
    Err(format!("its weights of {layer} are {got:?}, expected {expected:?}"))
}

impl From<hdf5_reader::error::Error> for Failure {
    fn from(error: hdf5_reader::error::Error) -> Self {
        Self::Problem(format!("its weights cannot be read as HDF5 ({error})"))
    }
}

/// The weights of a model as an HDF5 file.
pub(super) fn encode<T: Scalar>(model: &Sequential<T>) -> io::Result<Vec<u8>> {
    let mut file = Hdf5Builder::new();
    for (name, values) in model.parameters() {
        let (layer, parameter) = split(name);
        let path = format!("layers/{layer}/vars/{}", index_of(parameter));
        let shape: Vec<u64> = values.shape().iter().map(|&size| size as u64).collect();
        let little = ByteOrder::LittleEndian;
        let dataset = match T::NAME {
            "float32" => DatasetBuilder::typed_with_order::<f32>(path, shape, little)
                .raw_data(values.iter().flat_map(|x| x.to_f32().unwrap_or_default().to_le_bytes()).collect::<Vec<_>>()),
            _ => DatasetBuilder::typed_with_order::<f64>(path, shape, little)
                .raw_data(values.iter().flat_map(|x| x.to_f64().unwrap_or_default().to_le_bytes()).collect::<Vec<_>>()),
        };
        file = file.dataset(dataset);
    }
    file.into_plan().and_then(|plan| plan.encode(WriteOptions::default())).map_err(io::Error::other)
}
