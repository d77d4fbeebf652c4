//! The two models of the examples, as benches and tests measure them.

use plywood::model::SequentialBuilder;
use plywood::prelude::*;

/// Name, model and batch size of each.
pub(crate) fn models<T: Scalar>() -> [(&'static str, SequentialBuilder<T>, usize); 2] {
    let convolution = |filters| Conv2D::new(filters, 3).activation(Activation::ReLU);
    let dense = Sequential::with_input([784])
        .add(Dense::new(512).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax));
    let cnn = Sequential::with_input([28, 28, 1])
        .add(convolution(32))
        .add(MaxPooling2D::new(2))
        .add(convolution(64))
        .add(MaxPooling2D::new(2))
        .add(convolution(64))
        .add(Flatten::new())
        .add(Dense::new(64).activation(Activation::ReLU))
        .add(Dense::new(10).activation(Activation::Softmax));
    [("dense", dense, 128), ("cnn", cnn, 64)]
}
