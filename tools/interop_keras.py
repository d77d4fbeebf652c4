#!/usr/bin/env python3
"""Keras's half of the tests of files that Keras and plywood exchange.

usage: interop_keras.py {golden|make|check} DIR

    pip install -r tools/requirements-golden.txt
    python tools/interop_keras.py golden tests/golden/keras_files

golden  writes the small files that tests/npz.rs and tests/keras.rs always read.
make    trains both reference models for a short while; writes keras_dense.keras and keras_cnn.keras, and as
        keras_dense.npy and keras_cnn.npy what they predict for the first 1,000 test images of MNIST.
        `PLYWOOD_INTEROP=DIR cargo test --features keras --test keras` then predicts with them, and writes
        plywood_dense.keras, plywood_dense.keras.npy and so on: models trained by plywood, and what it predicts with
        them.
check   predicts with each plywood_*.keras of DIR, prints the largest difference of a probability, and fails if there is
        no such file or a difference is above 1e-5.
"""
import gzip
import io
import json
import os
import pathlib
import sys
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras
import numpy as np
from keras import layers

IMAGES = 1000
TOLERANCE = 1e-5
MNIST = pathlib.Path(__file__).resolve().parent.parent / "data" / "mnist"


def idx(name):
    data = gzip.decompress((MNIST / f"{name}-ubyte.gz").read_bytes())
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", dimensions, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def images(part, count):
    return idx(f"{part}-images-idx3")[:count].astype("float32") / 255


def dense():
    return keras.Sequential([keras.Input((784,)), layers.Dense(512, activation="relu"),
                             layers.Dense(10, activation="softmax")])


def cnn():
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"), layers.Flatten(),
        layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")])


def inputs(model, x):
    return x.reshape(-1, *model.input_shape[1:])


def make(directory):
    x, y = images("train", 6000), keras.utils.to_categorical(idx("train-labels-idx1")[:6000], 10)
    test = images("t10k", IMAGES)
    for name, model, batch in [("dense", dense(), 128), ("cnn", cnn(), 64)]:
        keras.utils.set_random_seed(7)
        model.compile("rmsprop", "categorical_crossentropy", metrics=["accuracy"])
        model.fit(inputs(model, x), y, batch_size=batch, epochs=1, verbose=0)
        model.save(directory / f"keras_{name}.keras")
        predictions = model.predict(inputs(model, test), verbose=0)
        np.save(directory / f"keras_{name}.npy", predictions)
        print(f"Keras {keras.__version__}, {keras.backend.backend()}: keras_{name}.keras, mean largest probability "
              f"{predictions.max(axis=1).mean():.3f}")


def check(directory):
    files = sorted(directory.glob("plywood_*.keras"))
    failures = 0 if files else 1
    if not files:
        print(f"no plywood_*.keras in {directory}")
    for path in files:
        keras.utils.clear_session()
        model = keras.saving.load_model(path)
        expected = np.load(path.with_name(f"{path.name}.npy"))
        got = model.predict(inputs(model, images("t10k", IMAGES)), verbose=0)
        assert got.shape == expected.shape == (IMAGES, 10), (got.shape, expected.shape)
        difference = float(np.abs(got.astype("float64") - expected).max())
        failures += not difference <= TOLERANCE
        print(f"{path.name} in Keras {keras.__version__} ({keras.backend.backend()}): largest difference of a probability "
              f"{difference:.2e} over {IMAGES} images{'' if difference <= TOLERANCE else ', TOO LARGE'}")
    sys.exit(1 if failures else 0)


def every_kind():
    return keras.Sequential([
        keras.Input((9, 8, 2)),
        layers.Conv2D(3, (3, 2), strides=2, padding="same", activation="relu", kernel_initializer="he_normal"),
        layers.Dropout(0.5),
        layers.Conv2D(4, 2, dilation_rate=2, use_bias=False, kernel_regularizer="l2", padding="same"),
        layers.ReLU(),
        layers.MaxPooling2D((2, 1), strides=1, padding="same"),
        layers.MaxPooling2D(2),
        layers.SpatialDropout2D(0.25),
        layers.Flatten(),
        layers.Dense(6, activation="softmax", kernel_initializer=keras.initializers.RandomUniform(-1.0, 2.0)),
        layers.Dense(5, use_bias=False, bias_constraint="non_neg"),
        layers.GaussianNoise(0.1),
        layers.Activation("relu"),
        layers.Dense(4, bias_initializer=keras.initializers.Constant(0.25), kernel_initializer="orthogonal"),
        layers.Activation("linear"),
        layers.Softmax()])


def trained():
    model = keras.Sequential([keras.Input((3,), batch_size=8), layers.Dense(4, activation="relu", name="first"),
                              layers.Dense(2), layers.Activation("softmax")], name="with_optimizer")
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(1)
    model.fit(rng.normal(size=(32, 3)), np.eye(2)[rng.integers(0, 2, 32)], batch_size=8, epochs=2, verbose=0)
    return model


def float64():
    with FloatX("float64"):
        return keras.Sequential([keras.Input((5, 5, 1)), layers.Conv2D(2, 3, activation="relu"), layers.Flatten(),
                                 layers.Dense(3, activation="softmax")])


class FloatX:
    """The type that layers are made in."""

    def __init__(self, name):
        self.name, self.before = name, keras.config.floatx()

    def __enter__(self):
        keras.config.set_floatx(self.name)
        keras.config.set_dtype_policy(self.name)

    def __exit__(self, *_):
        keras.config.set_floatx(self.before)
        keras.config.set_dtype_policy(self.before)


def without_input():
    """No InputLayer: the shape is known from the data that the model has seen."""
    model = keras.Sequential([layers.Dense(3, activation="relu"), layers.Dense(2)])
    model.build((None, 4))
    return model


# What plywood must refuse: the layer's name, the option's, and the model.
def unsupported():
    image, vector = keras.Input((8, 8, 4)), keras.Input((6,))
    yield "conv2d", "groups", [image, layers.Conv2D(4, 3, groups=2, name="conv2d")]
    yield "conv2d", "data_format", [image, layers.Conv2D(4, 3, data_format="channels_first", name="conv2d")]
    yield "pool", "data_format", [image, layers.MaxPooling2D(2, data_format="channels_first", name="pool")]
    yield "flat", "data_format", [image, layers.Flatten(data_format="channels_first", name="flat")]
    yield "conv2d", "activation", [image, layers.Conv2D(4, 3, activation="gelu", name="conv2d")]
    yield "dense", "activation", [vector, layers.Dense(4, activation="tanh", name="dense")]
    yield "act", "activation", [vector, layers.Activation("sigmoid", name="act")]
    yield "relu6", "max_value", [vector, layers.ReLU(max_value=6.0, name="relu6")]
    yield "leaky", "negative_slope", [vector, layers.ReLU(negative_slope=0.1, name="leaky")]
    yield "above", "threshold", [vector, layers.ReLU(threshold=1.0, name="above")]
    yield "rows", "axis", [image, layers.Softmax(axis=1, name="rows")]
    yield "half", "dtype", [vector, layers.Dense(4, dtype="float16", name="half")]
    yield "mixed", "dtype", [vector, layers.Dense(4, dtype="mixed_bfloat16", name="mixed")]
    yield "double", "dtype", [vector, layers.Dense(4, dtype="float64", name="double")]
    yield "norm", "BatchNormalization", [image, layers.BatchNormalization(name="norm")]
    yield "average", "AveragePooling2D", [image, layers.AveragePooling2D(2, name="average")]
    yield "elu", "LeakyReLU", [vector, layers.LeakyReLU(name="elu")]
    yield "any", "batch_shape", [keras.Input((None, None, 3), name="any"), layers.Conv2D(4, 3)]
    yield "inner", "Sequential", [vector, keras.Sequential([layers.Dense(3)], name="inner")]
    yield "", "Functional", keras.Model(vector, layers.Dense(2)(vector))


def other_storage(directory):
    """The model without_input, its first kernel stored as Keras does not: packed, which h5py reads all the same, or in
    another file, which Keras refuses to follow."""
    with zipfile.ZipFile(directory / "without_input.keras") as archive:
        config, weights = archive.read("config.json"), archive.read("model.weights.h5")
    path = "layers/dense/vars/0"
    for name in ["packed", "external", "external_link", "soft_link"]:
        buffer = io.BytesIO()
        with h5py.File(io.BytesIO(weights)) as before, h5py.File(buffer, "w", libver="latest") as after:
            for other in ["layers/dense/vars/1", "layers/dense_1/vars/0", "layers/dense_1/vars/1"]:
                after[other] = before[other][()]
            kernel = before[path][()]
            vars = after["layers/dense/vars"]
            if name == "packed":
                vars.create_dataset("0", data=kernel, chunks=(3, 2), compression="gzip", shuffle=True, fletcher32=True)
            elif name == "external":
                vars.create_dataset("0", kernel.shape, "f4", external=[("/dev/zero", 0, kernel.nbytes)])
            elif name == "external_link":
                vars["0"] = h5py.ExternalLink("other.h5", path)
            else:
                after["hidden"] = kernel
                vars["0"] = h5py.SoftLink("/hidden")
        with zipfile.ZipFile(directory / f"{name}.keras", "w") as archive:
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", buffer.getvalue())


def golden(directory):
    keras.utils.set_random_seed(20240229)
    rng = np.random.default_rng(3)
    arrays = {}
    for name, make_model in [("every_kind", every_kind), ("trained", trained), ("float64", float64),
                             ("without_input", without_input)]:
        keras.utils.clear_session()
        model = make_model()
        # biases are zeros at first, and would hide where they are lost
        if name != "trained":
            model.set_weights([rng.normal(scale=0.5, size=w.shape).astype(w.dtype) for w in model.get_weights()])
        x = rng.normal(size=(8, *model.input_shape[1:])).astype(model.dtype)
        model.save(directory / f"{name}.keras")
        arrays[f"{name}/x"], arrays[f"{name}/y"] = x, np.asarray(model(x))
    np.savez_compressed(directory / "predictions.npz", **arrays)

    from keras.src.saving import saving_lib
    saving_lib.save_model(without_input(), directory / "weights_in_npz.keras", weights_format="npz")

    other_storage(directory)

    cases = []
    for layer, option, model in unsupported():
        model = keras.Sequential(model) if isinstance(model, list) else model
        cases.append({"layer": layer, "option": option, "config": keras.saving.serialize_keras_object(model)})
    lines = ",\n".join(json.dumps(case, sort_keys=True) for case in cases)
    (directory / "unsupported.json").write_text(f"[\n{lines}\n]\n")

    # arrays of each kind: element i in row-major order is i - 3, or i where there are no negative numbers
    kinds = {}
    for dtype in ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">f4", ">i8", ">u2"]:
        first = 0 if "u" in dtype else -3
        kinds[f"{dtype}/c"] = np.arange(first, first + 24).reshape(2, 3, 4).astype(dtype)
        kinds[f"{dtype}/fortran"] = np.asfortranarray(kinds[f"{dtype}/c"])
    kinds["bool"] = np.array([True, False, True])
    kinds["scalar"] = np.array(2.5)
    kinds["empty"] = np.zeros((3, 0, 2), "f4")
    kinds["complex"] = np.zeros(2, "c8")
    kinds["structured"] = np.zeros(2, [("a", "f4"), ("b", "i4")])
    np.savez(directory / "kinds.npz", **kinds)
    np.savez_compressed(directory / "kinds_compressed.npz", **kinds)
    for version in [(1, 0), (2, 0), (3, 0)]:
        with open(directory / f"version{version[0]}.npy", "wb") as file:
            np.lib.format.write_array(file, kinds["f4/c"], version=version)
    with open(directory / "objects.npy", "wb") as file:
        np.lib.format.write_array(file, np.array([{}, None], object), allow_pickle=True)
    for path in sorted(directory.iterdir()):
        print(f"{path.stat().st_size:7} {path.name}")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("golden", "make", "check"):
        sys.exit(__doc__)
    path = pathlib.Path(sys.argv[2])
    path.mkdir(parents=True, exist_ok=True)
    {"golden": golden, "make": make, "check": check}[sys.argv[1]](path)
