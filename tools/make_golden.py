#!/usr/bin/env python3
"""Write the golden files of tests/golden/: what Keras, PyTorch and scikit-learn make of fixed inputs.

usage: make_golden.py {keras|torch|sklearn} OUT

    pip install -r tools/requirements-golden.txt
    python tools/make_golden.py keras   tests/golden
    python tools/make_golden.py torch   tests/golden
    python tools/make_golden.py sklearn tests/golden

Each run takes some seconds and writes OUT/LIBRARY.safetensors, all tensors, and OUT/LIBRARY.json, which says what they
are. The same versions give the same bytes on the same machine. The JSON file has a case a line, with

- name     unique in its file; the tensor of role R is called NAME/R
- dtype    float32 or float64: what the library computed in
- kind     conv2d, max_pooling2d, dense, flatten_dense, relu, softmax, flatten; categorical_crossentropy,
           mean_squared_error; rmsprop, sgd, adam; training; initializer; classification
- settings all of them, defaults too
- tensors  dtype and shape by role

Everything is in plywood's layouts: images [batch, height, width, channels], convolution kernels [height, width, in,
out], dense kernels [in, out]. PyTorch's tensors are permuted on their way in and out. Padding by hand is [top, bottom,
left, right].

Roles:

- layers: x, the parameters kernel and bias, y; a random dy, and dx, dkernel, dbias, the gradients of sum(y * dy). Cases
  with NaN have no gradients.
- losses: y is what the model put out (probabilities, logits, or with settings.softmax the logits before a Softmax layer
  that the loss sees through); targets (values) or classes (indices), weights (for each sample); losses, weight times
  loss of each sample; loss, their mean over the batch; dy, the gradient of that mean.
- optimizers: initial [n]; learning_rates [steps]; gradients and weights [steps, n], the weights after each step. The
  elements have gradients of one size each, 1e-5, 0 and 1 among them: where epsilon sits shows at 1e-5 alone.
- training: x and classes, in batches in this order, the last one of an epoch smaller; initial/NAME and final/NAME for
  each parameter; losses [steps], each before its update.
- initializers (settings: as plywood writes them, and a kernel's shape): bounds, the smallest and the largest number
  drawn; moments, their mean and variance.
- classification: scores [n, classes], classes; confusion (rows: what is, columns: what was predicted), accuracy;
  precision, recall and f1 by class, 0 where they would be 0/0; all three averaged: macro, weighted, micro; top_k, the
  accuracy for each k of the settings.

Inputs of float32 cases are multiples of 1/64 in [-1, 1]: sums of their products are exact in float32, so whatever order
a convolution sums in, it must give these numbers. Inputs of float64 cases have all their digits.
"""
import json
import os
import sys
import zlib

import numpy as np
from safetensors.numpy import save_file

SEED = 20240229


def pair(value):
    return list(value) if isinstance(value, (tuple, list)) else [value, value]


class Golden:
    """Collects the cases of one library."""

    def __init__(self, library, versions):
        self.library, self.versions = library, {"python": sys.version.split()[0], "numpy": np.__version__} | versions
        self.cases, self.tensors = [], {}

    def add(self, name, dtype, kind, settings, tensors):
        name = f"{dtype}/{name}"
        assert all(case["name"] != name for case in self.cases), f"two cases are called {name}"
        roles = {}
        for role, value in tensors.items():
            value = np.asarray(value, order="C")
            assert value.dtype in (np.dtype(dtype), np.dtype("int64")), (name, role, value.dtype)
            self.tensors[f"{name}/{role}"] = value
            roles[role] = {"dtype": {"float32": "F32", "float64": "F64", "int64": "I64"}[str(value.dtype)],
                           "shape": list(value.shape)}
        self.cases.append({"name": name, "dtype": dtype, "kind": kind, "settings": settings, "tensors": roles})

    def get(self, name, role):
        return self.tensors[f"{name}/{role}"]

    def write(self, folder):
        os.makedirs(folder, exist_ok=True)
        head = {"library": self.library, "versions": self.versions, "seed": SEED}
        lines = ",\n".join("    " + json.dumps(case) for case in self.cases)
        with open(os.path.join(folder, f"{self.library}.json"), "w") as f:
            f.write(json.dumps(head, indent=2).removesuffix("\n}") + f',\n  "cases": [\n{lines}\n  ]\n}}\n')
        save_file(self.tensors, os.path.join(folder, f"{self.library}.safetensors"))
        kinds = {}
        for case in self.cases:
            kinds[case["kind"]] = kinds.get(case["kind"], 0) + 1
        size = sum(tensor.nbytes for tensor in self.tensors.values())
        print(f"{self.library}: {len(self.cases)} cases, {size} bytes;", kinds)


class Draw:
    """Random numbers of one case: they depend on its name alone, so that cases can come and go."""

    def __init__(self, name, dtype):
        self.rng, self.dtype = np.random.default_rng([SEED, zlib.crc32(name.encode())]), np.dtype(dtype)

    def normal(self, *shape):
        if self.dtype == np.float32:
            return (self.rng.integers(-64, 65, shape) / 64).astype(np.float32)
        return self.rng.standard_normal(shape)

    def coarse(self, *shape):
        """Few different values, so that ties are many."""
        return (self.rng.integers(-3, 4, shape) / 2).astype(self.dtype)

    def of(self, values, *shape):
        if values == "normal":
            return self.normal(*shape)
        if values == "ties":
            return self.coarse(*shape)
        if values == "negative":
            return -np.abs(self.normal(*shape)) - self.dtype.type(0.5)
        if values == "negative ties":
            return -np.abs(self.coarse(*shape)) - self.dtype.type(0.5)
        return np.full(shape, {"ones": 1, "zeros": 0}[values], self.dtype)


# Convolutions: batch, (height, width, channels), filters, kernel, strides, dilation, bias, activation.
# `valid` for both libraries.
CONV_VALID = [
    (1, (4, 4, 1), 1, 1, 1, 1, False, "linear"),
    (3, (5, 4, 3), 4, 1, 1, 1, True, "relu"),
    (3, (2, 3, 17), 17, 1, 1, 1, True, "linear"),
    (1, (3, 2, 8), 33, 1, 1, 1, True, "linear"),
    (1, (5, 7, 8), 17, 1, 2, 1, True, "linear"),
    (3, (7, 5, 1), 4, 1, 3, 1, False, "relu"),
    (1, (5, 4, 1), 4, 2, 1, 1, True, "linear"),
    (1, (5, 5, 8), 4, 2, 1, 1, True, "relu"),
    (1, (4, 5, 17), 4, 2, 1, 1, False, "linear"),
    (3, (6, 5, 3), 1, 2, 2, 1, True, "linear"),
    (1, (8, 7, 3), 4, 2, 3, 1, True, "relu"),  # strides larger than the kernel: pixels that nobody reads
    (1, (7, 6, 1), 1, 3, 1, 1, False, "linear"),
    (3, (7, 6, 1), 4, 3, 1, 1, True, "relu"),
    (1, (6, 5, 3), 17, 3, 1, 1, True, "linear"),
    (1, (4, 5, 3), 33, 3, 1, 1, True, "relu"),
    (1, (5, 6, 8), 4, 3, 1, 1, True, "relu"),
    (1, (5, 4, 17), 4, 3, 1, 1, False, "linear"),
    (3, (3, 3, 3), 17, 3, 1, 1, True, "linear"),  # the kernel is as large as the image
    (3, (6, 6, 3), 4, 3, 2, 1, True, "linear"),  # strides that do not divide
    (1, (7, 5, 3), 4, 3, 2, 1, True, "relu"),
    (1, (8, 7, 3), 4, 3, 3, 1, True, "linear"),
    (1, (7, 9, 1), 4, 5, 1, 1, True, "linear"),
    (1, (5, 5, 3), 4, 5, 1, 1, True, "relu"),
    (1, (8, 8, 3), 4, 5, 2, 1, True, "linear"),
    (1, (9, 6, 3), 1, 5, 3, 1, False, "linear"),
    (1, (5, 6, 3), 4, (1, 3), 1, 1, True, "linear"),
    (3, (1, 9, 3), 4, (1, 3), 1, 1, True, "relu"),
    (3, (4, 7, 1), 4, (1, 3), 2, 1, True, "linear"),
    (1, (7, 3, 8), 4, (3, 1), 1, 1, True, "linear"),
    (1, (6, 7, 3), 4, (3, 2), (2, 1), 1, True, "linear"),
    (1, (6, 7, 3), 4, (2, 3), (1, 3), 1, True, "linear"),
    (1, (7, 6, 3), 4, 3, 1, 2, True, "linear"),
    (3, (5, 4, 1), 4, 2, 1, 2, True, "relu"),
    (1, (6, 7, 3), 17, (1, 3), 1, 2, False, "linear"),
    (1, (9, 10, 1), 4, 5, 1, 2, True, "linear"),
    (1, (7, 6, 3), 4, 3, 1, (2, 1), True, "linear"),
    (1, (5, 7, 3), 1, 3, 1, (1, 2), True, "relu"),
]
# `same` for Keras; those with strides of 1 for PyTorch too, which has no others.
CONV_SAME = [
    (1, (4, 5, 3), 4, 1, 1, 1, True, "relu"),
    (1, (5, 4, 3), 4, 1, 2, 1, True, "linear"),
    (3, (7, 6, 1), 4, 1, 3, 1, True, "linear"),
    (1, (5, 4, 3), 4, 2, 1, 1, True, "linear"),  # an even kernel: the odd row goes to the bottom
    (3, (4, 5, 1), 1, 2, 1, 1, False, "relu"),
    (1, (5, 6, 3), 4, 2, 2, 1, True, "linear"),
    (1, (7, 8, 3), 4, 2, 3, 1, True, "linear"),
    (3, (4, 5, 1), 4, 3, 1, 1, True, "relu"),
    (1, (4, 3, 3), 17, 3, 1, 1, True, "linear"),
    (1, (3, 4, 17), 4, 3, 1, 1, True, "linear"),
    (1, (6, 7, 3), 4, 3, 2, 1, True, "linear"),  # 6 pads one side only, 7 both
    (3, (5, 8, 1), 4, 3, 2, 1, True, "relu"),
    (1, (7, 8, 3), 4, 3, 3, 1, True, "linear"),
    (1, (9, 6, 1), 1, 3, 3, 1, False, "linear"),
    (1, (6, 5, 3), 4, 5, 1, 1, True, "linear"),
    (1, (2, 3, 3), 4, 5, 1, 1, True, "linear"),  # the kernel is larger than the image
    (1, (7, 6, 3), 4, 5, 2, 1, True, "relu"),
    (1, (8, 7, 1), 4, 5, 3, 1, True, "linear"),
    (1, (5, 6, 3), 4, (1, 3), 1, 1, True, "linear"),
    (1, (5, 6, 3), 4, (1, 3), 2, 1, True, "linear"),
    (1, (5, 6, 3), 4, (2, 3), (3, 2), 1, True, "linear"),
    (1, (5, 4, 3), 4, 2, 1, 2, True, "linear"),
    (1, (6, 5, 3), 4, 3, 1, 2, True, "relu"),
    (1, (3, 4, 1), 4, 5, 1, 2, True, "linear"),
    (1, (4, 5, 3), 4, (2, 3), 1, (2, 1), True, "linear"),
    (3, (4, 7, 1), 4, (1, 3), 1, (1, 2), True, "linear"),
]
# Padding by hand: top, bottom, left, right come first.
CONV_EXPLICIT_BOTH = [
    ((1, 1, 1, 1), 1, (5, 4, 3), 4, 3, 1, 1, True, "relu"),
    ((0, 1, 2, 0), 3, (4, 5, 1), 4, 2, 1, 1, True, "linear"),
    ((1, 0, 0, 2), 1, (6, 5, 3), 4, 3, 2, 1, True, "linear"),
]
CONV_EXPLICIT_TORCH = [
    ((2, 2, 2, 2), 1, (4, 5, 3), 4, 5, 1, 1, True, "relu"),
    ((2, 2, 2, 2), 1, (3, 4, 3), 4, 3, 1, 1, True, "linear"),  # every position that touches the image
    ((3, 3, 3, 3), 1, (3, 2, 3), 4, 2, 1, 1, True, "linear"),  # windows that lie in the padding alone
    ((0, 3, 0, 0), 1, (4, 5, 3), 4, 3, 1, 1, True, "linear"),
    ((0, 0, 3, 0), 3, (5, 4, 1), 4, 3, 2, 1, True, "linear"),
    ((1, 2, 0, 1), 1, (7, 6, 8), 4, 3, 2, 1, True, "linear"),
    ((1, 1, 0, 0), 1, (6, 5, 3), 4, (3, 1), 1, 1, True, "relu"),
    ((0, 0, 1, 1), 1, (5, 6, 3), 4, (1, 3), 3, 1, True, "linear"),
    ((2, 1, 1, 2), 1, (7, 8, 3), 4, 5, 3, 1, False, "linear"),
    ((1, 1, 1, 1), 1, (4, 4, 17), 1, 2, 2, 1, True, "linear"),
    ((1, 1, 1, 1), 1, (4, 5, 3), 4, 1, 2, 1, True, "linear"),  # a 1x1 kernel that reads padding
    ((2, 2, 2, 2), 1, (6, 5, 3), 4, 3, 1, 2, True, "linear"),
    ((1, 2, 3, 0), 1, (7, 8, 3), 4, 3, 2, 2, True, "relu"),
    ((2, 1, 0, 3), 1, (6, 7, 1), 4, 2, 3, 2, True, "linear"),
]
# Keras has no strides together with dilation.
CONV_VALID_TORCH = [
    (1, (8, 7, 3), 4, 3, 2, 2, True, "linear"),
    (3, (7, 9, 1), 4, 2, 3, 2, True, "relu"),
    (1, (6, 9, 3), 1, (1, 3), (2, 3), (1, 2), True, "linear"),
]

# Pools: batch, (height, width, channels), pool, strides, values of x.
POOL_VALID = [
    (1, (4, 4, 1), 2, 2, "normal"),
    (3, (5, 7, 3), 2, 2, "normal"),  # the last row and column are dropped
    (1, (4, 6, 17), 2, 2, "ties"),
    (1, (5, 4, 3), 2, 1, "ties"),  # overlapping
    (1, (8, 7, 3), 2, 3, "normal"),  # pixels that nobody reads
    (3, (6, 7, 1), 3, 3, "ties"),
    (1, (7, 6, 8), 3, 2, "ties"),
    (1, (6, 5, 3), 3, 1, "ties"),
    (1, (5, 7, 3), (2, 3), (2, 3), "negative"),
    (1, (6, 7, 3), (2, 3), (1, 2), "ties"),
    (1, (4, 5, 3), 2, 2, "zeros"),
    (1, (3, 3, 8), 3, 3, "negative ties"),
    (1, (3, 4, 3), 1, 1, "normal"),
]
POOL_SAME = [
    (1, (4, 5, 3), 2, 2, "normal"),
    (3, (5, 5, 1), 2, 2, "negative"),
    (1, (5, 4, 3), 2, 1, "negative ties"),
    (1, (7, 8, 3), 2, 3, "ties"),
    (1, (6, 7, 8), 3, 2, "negative"),
    (1, (5, 6, 3), 3, 1, "ties"),
    (1, (4, 5, 3), 3, 1, "negative"),
    (1, (7, 5, 3), 3, 3, "negative ties"),
    (1, (5, 7, 3), (2, 3), (2, 3), "negative"),
    (1, (5, 6, 3), (2, 3), (1, 2), "negative ties"),
    (1, (2, 1, 3), 3, 2, "negative"),
    (1, (4, 4, 3), 2, 2, "zeros"),
]
POOL_EXPLICIT = [
    ((1, 1, 1, 1), 1, (4, 5, 3), 2, 2, "negative"),
    ((1, 1, 1, 1), 3, (5, 4, 1), 3, 2, "negative ties"),
    ((1, 1, 1, 1), 1, (6, 5, 3), 3, 1, "ties"),
    ((1, 1, 1, 1), 1, (5, 6, 8), 3, 3, "normal"),
    ((0, 0, 1, 1), 1, (4, 7, 3), (2, 3), (2, 3), "negative"),
    ((1, 0, 0, 1), 1, (5, 6, 3), 2, 2, "negative"),
    ((0, 1, 2, 0), 1, (5, 5, 3), 3, 2, "negative ties"),
    ((2, 1, 1, 2), 1, (4, 5, 3), 3, 1, "negative"),
    ((0, 2, 0, 1), 1, (6, 7, 3), 3, 3, "ties"),
    ((1, 1, 0, 0), 1, (3, 4, 3), 2, 1, "zeros"),
]

# Dense: batch, in, out, bias, activation.
DENSE = [
    (1, 1, 1, True, "linear"),
    (3, 17, 4, True, "linear"),
    (1, 4, 17, True, "relu"),
    (3, 5, 3, False, "relu"),
    (4, 8, 10, True, "softmax"),
    (17, 3, 2, True, "linear"),
    (2, 16, 33, True, "linear"),
    (7, 13, 16, True, "relu"),
    (5, 2, 1, False, "linear"),
    (6, 7, 5, False, "softmax"),
]


def numbers(value):
    return "x".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def pad_name(padding):
    return padding if isinstance(padding, str) else "pad" + "".join(map(str, padding))


def conv_cases(library):
    tables = [("valid", row) for row in CONV_VALID] + [(list(p), row) for p, *row in CONV_EXPLICIT_BOTH]
    if library == "keras":
        tables += [("same", row) for row in CONV_SAME]
    else:
        tables += [("same", row) for row in CONV_SAME if pair(row[4]) == [1, 1]]
        tables += [("valid", row) for row in CONV_VALID_TORCH] + [(list(p), row) for p, *row in CONV_EXPLICIT_TORCH]
    for padding, (batch, image, filters, kernel, strides, dilation, bias, activation) in tables:
        settings = {"filters": filters, "kernel_size": pair(kernel), "strides": pair(strides), "padding": padding,
                    "dilation": pair(dilation), "use_bias": bias, "activation": activation}
        name = (f"conv2d/{batch}x{numbers(image)}_f{filters}_k{numbers(kernel)}_s{numbers(strides)}_{pad_name(padding)}"
                + ("" if dilation == 1 else f"_d{numbers(dilation)}") + ("" if bias else "_nobias")
                + ("_relu" if activation == "relu" else ""))
        yield name, settings, (batch, *image), "normal"
    ones = {"filters": 1, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same", "dilation": [1, 1],
            "use_bias": False, "activation": "linear"}
    if library == "keras":
        yield "conv2d/ones", ones, (1, 4, 4, 1), "ones"
    else:  # what `same` comes to
        yield "conv2d/ones", ones | {"padding": [0, 1, 0, 1]}, (1, 4, 4, 1), "ones"


def pool_cases(library):
    tables = [("valid", row) for row in POOL_VALID]
    if library == "keras":
        tables += [("same", row) for row in POOL_SAME]
    else:
        tables += [(list(p), row) for p, *row in POOL_EXPLICIT]
    for padding, (batch, image, pool, strides, values) in tables:
        settings = {"pool_size": pair(pool), "strides": pair(strides), "padding": padding}
        name = (f"max_pooling2d/{batch}x{numbers(image)}_p{numbers(pool)}_s{numbers(strides)}_{pad_name(padding)}"
                f"_{values.replace(' ', '_')}")
        yield name, settings, (batch, *image), values


def dense_cases():
    for batch, n, units, bias, activation in DENSE:
        settings = {"units": units, "use_bias": bias, "activation": activation}
        yield f"dense/{batch}x{n}_u{units}" + ("" if bias else "_nobias") + f"_{activation}", settings, (batch, n)


def parameters(draw, settings, kernel_shape, values="normal"):
    """Kernel and bias, drawn after x."""
    result = {"kernel": draw.of(values, *kernel_shape)}
    if settings["use_bias"]:
        result["bias"] = draw.normal(kernel_shape[-1])
    return result


def activation_inputs(dtype):
    """Inputs for ReLU and Softmax, the hard ones spelled out."""
    relu = np.array([[-1.5, -0.0, 0.0, 2.5], [1e-30, -1e-30, 3e38, -3e38]], dtype)
    softmax = np.array([[1000, 0, -1000], [-1000, -1001, -1002], [88, 89, 90], [0, 0, 0], [-np.inf, 0, 1],
                        [1e-8, 0, -1e-8]], dtype)
    return {"relu/zeros": ("relu", relu),
            "relu/image": ("relu", Draw("relu/image", dtype).coarse(2, 3, 4, 3)),
            "softmax/10": ("softmax", 4 * Draw("softmax/10", dtype).normal(5, 10)),
            "softmax/1": ("softmax", Draw("softmax/1", dtype).normal(3, 1)),
            "softmax/image": ("softmax", Draw("softmax/image", dtype).normal(2, 3, 2, 5)),
            "softmax/extreme": ("softmax", softmax),
            "flatten/image": ("flatten", Draw("flatten/image", dtype).normal(2, 3, 4, 5)),
            "flatten/vector": ("flatten", Draw("flatten/vector", dtype).normal(2, 3))}


def loss_cases(library, dtype):
    """Name, kind, settings and inputs. A batch's weights may be 0; a target need not be one-hot.

    Clipped probabilities come with one-hot targets only: Keras's sparse loss is another formula there, the crossentropy
    of softmax(ln(clipped)), whose gradient differs where a probability is clipped.
    """
    cases = []

    def crossentropy(name, y, targets, weights=None, from_logits=True, softmax=False, smoothing=0.0):
        tensors = {"y": y, ("classes" if targets.ndim == 1 else "targets"): targets}
        if weights is not None:
            tensors["weights"] = weights
        settings = {"from_logits": from_logits, "softmax": softmax, "label_smoothing": smoothing}
        cases.append((f"categorical_crossentropy/{name}", "categorical_crossentropy", settings, tensors))

    def draw(name):
        return Draw(f"loss/{name}", dtype)

    classes = np.array([3, 0, 4, 1, 1, 2], np.int64)
    one_hot = np.eye(5, dtype=dtype)[classes]
    weights = np.array([1, 0.5, 0, 2.25, 1, 0.125], dtype)
    logits = 4 * draw("logits").normal(6, 5)
    soft = np.abs(draw("soft").normal(6, 5)) + dtype_of(dtype)(0.125)
    soft = (soft / soft.sum(1, keepdims=True)).astype(dtype)
    extreme = np.array([[50, 0, 0], [50, 0, 0], [-1000, 0, 1000], [1000, 1000, 1000], [0, 0, 0]], dtype)
    extreme_classes = np.array([1, 0, 0, 2, 1], np.int64)
    extreme_one_hot = np.eye(3, dtype=dtype)[extreme_classes]

    crossentropy("logits", logits, one_hot)
    crossentropy("logits_one_sample", logits[:1], one_hot[:1])
    crossentropy("logits_classes", logits, classes)
    crossentropy("logits_soft_targets", logits, soft)
    crossentropy("logits_smoothing", logits, one_hot, smoothing=0.1)
    crossentropy("logits_weights", logits, one_hot, weights)
    crossentropy("logits_classes_weights", logits, classes, weights)
    crossentropy("logits_smoothing_weights", logits, one_hot, weights, smoothing=0.1)
    crossentropy("logits_extreme", extreme, extreme_one_hot)
    crossentropy("logits_extreme_classes", extreme, extreme_classes)
    if library == "torch":
        crossentropy("logits_classes_smoothing", logits, classes, smoothing=0.1)
    else:
        probabilities = np.exp(logits.astype("float64") / 4)
        probabilities = (probabilities / probabilities.sum(1, keepdims=True)).astype(dtype)
        unnormalized = np.abs(draw("unnormalized").normal(6, 5)) + dtype_of(dtype)(0.0625)
        clipped = np.array([[1, 0, 0]] * 3 + [[0.5, 0.5, 0], [1e-8, 0.25, 0.75], [0.25, 0, 0.75]], dtype)
        clipped_one_hot = np.eye(3, dtype=dtype)[[1, 0, 2, 0, 0, 0]]
        probability = {"from_logits": False}
        crossentropy("probabilities", probabilities, one_hot, **probability)
        crossentropy("probabilities_classes", probabilities, classes, **probability)
        crossentropy("probabilities_soft_targets", probabilities, soft, **probability)
        crossentropy("probabilities_smoothing", probabilities, one_hot, smoothing=0.1, **probability)
        crossentropy("probabilities_weights", probabilities, one_hot, weights, **probability)
        crossentropy("probabilities_unnormalized", unnormalized, one_hot, **probability)
        crossentropy("probabilities_clipped", clipped, clipped_one_hot, **probability)
        crossentropy("probabilities_clipped_smoothing", clipped, clipped_one_hot, smoothing=0.1, **probability)
        fused = {"from_logits": False, "softmax": True}
        crossentropy("softmax", logits, one_hot, **fused)
        crossentropy("softmax_classes", logits, classes, **fused)
        crossentropy("softmax_smoothing_weights", logits, one_hot, weights, smoothing=0.1, **fused)
        crossentropy("softmax_extreme", extreme, extreme_one_hot, **fused)

    def squared(name, shape, weights=None):
        d = draw(name)
        tensors = {"y": d.normal(*shape), "targets": d.normal(*shape)}
        if weights is not None:
            tensors["weights"] = weights
        cases.append((f"mean_squared_error/{name}", "mean_squared_error", {}, tensors))

    squared("4x3", (4, 3))
    squared("5x1", (5, 1))
    squared("6x4_weights", (6, 4), weights)
    squared("2x3x2x2", (2, 3, 2, 2))
    return cases


def dtype_of(dtype):
    return np.dtype(dtype).type


STEPS = 10


def optimizer_inputs(dtype):
    """Initial weights and gradients: a column is a weight, a row a step."""
    rng = np.random.default_rng([SEED, 1])
    step = np.arange(STEPS)
    columns = [np.full(STEPS, 1e-5), np.full(STEPS, 1.0), np.zeros(STEPS), np.full(STEPS, -1e-5), (-1.0) ** step,
               np.where(step == 0, 1.0, 0.0), 10.0 ** (step % 5 - 4), rng.standard_normal(STEPS),
               1e-3 * rng.standard_normal(STEPS), 100 * rng.standard_normal(STEPS)]
    gradients = np.stack(columns, 1).astype(dtype)
    initial = np.array([0.5, -0.5, 1.0, 0.0, -1.25, 0.25, 2.0, -0.75, 0.125, 1.5], dtype)
    return initial, gradients


def constant(rate):
    return [rate] * STEPS


def halved(rate):
    """Tells apart whether the momentum buffer has the learning rate in it."""
    return [rate] * (STEPS // 2) + [rate / 2] * (STEPS - STEPS // 2)


RMSPROP = {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False, "weight_decay": 0.0}
SGD = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False, "weight_decay": 0.0}


def single(settings):
    """Rounded to float32. In float64 too Keras casts SGD's momentum and Adam's betas to float32 on the way; so that the
    settings are those that were computed with, they are given rounded."""
    return {k: float(np.float32(v)) if k in ("momentum", "beta_1", "beta_2") else v for k, v in settings.items()}


def optimizer_cases(library):
    """Name, kind, settings, learning rate of each step. `form` says whose formula, where there are two."""
    form = {"form": library}
    rmsprop, adam = RMSPROP | form, ADAM | form
    rate = 1e-3
    if library == "keras":
        adam = single(adam)
    else:
        rmsprop |= {"rho": 0.99, "epsilon": 1e-8}
        adam |= {"epsilon": 1e-8}
        rate = 1e-2
    yield "rmsprop/default", "rmsprop", rmsprop, constant(rate)
    yield "rmsprop/rho", "rmsprop", rmsprop | {"rho": 0.5, "epsilon": 1e-4}, constant(rate)
    yield "rmsprop/momentum", "rmsprop", rmsprop | {"momentum": 0.9}, constant(rate)
    yield "rmsprop/centered", "rmsprop", rmsprop | {"centered": True}, constant(rate)
    yield "rmsprop/centered_momentum", "rmsprop", rmsprop | {"centered": True, "momentum": 0.9}, constant(rate)
    yield "rmsprop/momentum_schedule", "rmsprop", rmsprop | {"momentum": 0.9}, halved(rate)
    if library == "torch":
        yield "rmsprop/weight_decay", "rmsprop", rmsprop | {"weight_decay": 0.01}, constant(rate)
        # PyTorch's formula at Keras's settings
        yield "rmsprop/keras_settings", "rmsprop", rmsprop | {"rho": 0.9, "epsilon": 1e-7}, constant(1e-3)
    sgd = SGD | form
    yield "sgd/plain", "sgd", sgd, constant(0.01)
    yield "sgd/schedule", "sgd", sgd, halved(0.1)
    momentum = single({"momentum": 0.9})
    yield "sgd/momentum", "sgd", sgd | momentum, constant(0.01)
    yield "sgd/nesterov", "sgd", sgd | momentum | {"nesterov": True}, constant(0.01)
    yield "sgd/momentum_schedule", "sgd", sgd | momentum, halved(0.01)
    if library == "torch":
        yield "sgd/weight_decay", "sgd", sgd | momentum | {"weight_decay": 0.01}, constant(0.01)
    yield "adam/default", "adam", adam, constant(1e-3)
    yield "adam/betas", "adam", adam | {"beta_1": 0.5, "beta_2": 0.875, "epsilon": 1e-4}, constant(1e-2)
    yield "adam/schedule", "adam", adam, halved(1e-3)
    yield "adam/amsgrad", "adam", adam | {"amsgrad": True}, constant(1e-3)
    if library == "torch":
        yield "adam/weight_decay", "adam", adam | {"weight_decay": 0.01}, constant(1e-3)


# Small models that are trained for a few steps. The last batch of an epoch is smaller.
def conv(filters, kernel, activation):
    return {"kind": "conv2d", "settings": {"filters": filters, "kernel_size": pair(kernel), "strides": [1, 1],
                                           "padding": "valid", "dilation": [1, 1], "use_bias": True,
                                           "activation": activation}}


def dense(units, activation):
    return {"kind": "dense", "settings": {"units": units, "use_bias": True, "activation": activation}}


POOL = {"kind": "max_pooling2d", "settings": {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}}
FLATTEN = {"kind": "flatten", "settings": {}}
CNN = [conv(4, 3, "relu"), POOL, conv(5, 2, "relu"), FLATTEN, dense(6, "relu"), dense(3, "softmax")]
MLP = [dense(7, "relu"), dense(3, "softmax")]


def training_cases(library):
    """Name, settings, shape of the data. Optimizers and layers are written as cases of their own kind are."""
    form = {"form": library}
    for name, layers, shape, kind, settings, rate in (
            ("cnn_rmsprop", CNN, (10, 8, 9, 1), "rmsprop", RMSPROP | form, 1e-3),
            ("cnn_sgd", CNN, (10, 8, 9, 1), "sgd", single(SGD | form | {"momentum": 0.9}), 0.05),
            ("dense_adam", MLP, (10, 5), "adam", single(ADAM | form), 1e-2)):
        yield f"training/{name}", {"layers": layers, "batch_size": 4, "epochs": 2, "learning_rate": rate,
                                   "optimizer": {"kind": kind, "settings": settings}}, shape


def training_inputs(name, settings, shape, dtype):
    """Data and initial weights, named as a model names them."""
    draw = Draw(name, dtype)
    x, classes = draw.normal(*shape), draw.rng.integers(0, 3, shape[0])
    weights, seen, size = {}, {}, list(shape[1:])
    for layer in settings["layers"]:
        kind, layer = layer["kind"], layer["settings"]
        if kind == "max_pooling2d":
            size = [size[0] // layer["pool_size"][0], size[1] // layer["pool_size"][1], size[2]]
        elif kind == "flatten":
            size = [int(np.prod(size))]
        else:
            if kind == "conv2d":
                (h, w), out = layer["kernel_size"], layer["filters"]
                kernel = (h, w, size[2], out)
                size = [size[0] - h + 1, size[1] - w + 1, out]
            else:
                out = layer["units"]
                kernel, size = (size[0], out), [out]
            count = seen.get(kind, 0)
            seen[kind] = count + 1
            layer_name = kind if count == 0 else f"{kind}_{count}"
            limit = np.sqrt(3 / np.prod(kernel[:-1]))
            weights[f"{layer_name}/kernel"] = draw.rng.uniform(-limit, limit, kernel).astype(dtype)
            weights[f"{layer_name}/bias"] = draw.rng.uniform(-0.1, 0.1, out).astype(dtype)
    return x, classes, weights


def batches(settings, samples):
    for _ in range(settings["epochs"]):
        for start in range(0, samples, settings["batch_size"]):
            yield slice(start, start + settings["batch_size"])


# Keras's class, its arguments, and how plywood writes it.
INITIALIZERS = [
    ("Zeros", {}, "Zeros"),
    ("Ones", {}, "Ones"),
    ("Constant", {"value": -0.25}, {"Constant": {"value": -0.25}}),
    ("RandomUniform", {"minval": -0.5, "maxval": 0.25}, {"Uniform": {"min": -0.5, "max": 0.25}}),
    ("RandomNormal", {"mean": 0.5, "stddev": 0.25}, {"Normal": {"mean": 0.5, "stddev": 0.25}}),
    ("TruncatedNormal", {"mean": 0.5, "stddev": 0.25}, {"TruncatedNormal": {"mean": 0.5, "stddev": 0.25}}),
]
INITIALIZERS += [(f"{family}{kind}", {}, f"{family}{kind}")
                 for family in ("Glorot", "He", "Lecun") for kind in ("Uniform", "Normal")]
KERNELS = [(300, 200), (3, 3, 32, 64), (1, 5, 64, 48)]


def keras_golden():
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import keras
    import tensorflow as tf
    from keras import layers

    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    golden = Golden("keras", {"keras": keras.__version__, "tensorflow": tf.__version__})

    def run(layer, x, params, dy):
        """Calls a layer, a list of its variables set to `params`, and differentiates."""
        layer = layer if isinstance(layer, list) else [layer]
        x = tf.constant(x)
        y = x
        for part in layer:
            part.build(y.shape)
            y = part(y)
        variables = [variable for part in layer for variable in part.trainable_variables]
        assert len(variables) == len(params)
        for variable, value in zip(variables, params.values()):
            variable.assign(value)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for part in layer:
                y = part(y)
            total = tf.reduce_sum(y * dy(y.shape))
        dx, *dparams = tape.gradient(total, [x] + [variable.value for variable in variables])
        return y.numpy(), dx.numpy(), {f"d{role}": d.numpy() for role, d in zip(params, dparams)}

    def layer_case(name, dtype, kind, settings, layer, x, params):
        draw, drawn = Draw(name + "/dy", dtype), []

        def dy(shape):
            drawn.append(draw.normal(*shape))
            return drawn[-1]

        y, dx, dparams = run(layer, x, params, dy)
        golden.add(name, dtype, kind, settings, {"x": x} | params | {"y": y, "dy": drawn[-1], "dx": dx} | dparams)

    def optimizer(settings, kind, rate):
        options = {k: v for k, v in settings.items() if k not in ("form", "weight_decay")}
        return {"rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD,
                "adam": keras.optimizers.Adam}[kind](learning_rate=rate, **options)

    for dtype in ("float32", "float64"):
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)

        for name, s, shape, values in conv_cases("keras"):
            draw = Draw(name, dtype)
            x = draw.of(values, *shape)
            params = parameters(draw, s, (*s["kernel_size"], shape[3], s["filters"]), values)
            layer = [layers.Conv2D(s["filters"], s["kernel_size"], strides=s["strides"], use_bias=s["use_bias"],
                                   padding=s["padding"] if isinstance(s["padding"], str) else "valid",
                                   dilation_rate=s["dilation"], activation=s["activation"])]
            if not isinstance(s["padding"], str):
                top, bottom, left, right = s["padding"]
                layer.insert(0, layers.ZeroPadding2D(((top, bottom), (left, right))))
            layer_case(name, dtype, "conv2d", s, layer, x, params)

        for name, s, shape, values in pool_cases("keras"):
            x = Draw(name, dtype).of(values, *shape)
            layer = layers.MaxPooling2D(s["pool_size"], strides=s["strides"], padding=s["padding"])
            layer_case(name, dtype, "max_pooling2d", s, layer, x, {})

        for name, s, shape in dense_cases():
            draw = Draw(name, dtype)
            x = draw.normal(*shape)
            layer = layers.Dense(s["units"], use_bias=s["use_bias"], activation=s["activation"])
            layer_case(name, dtype, "dense", s, layer, x, parameters(draw, s, (shape[1], s["units"])))

        for name, (kind, x) in activation_inputs(dtype).items():
            layer = {"relu": layers.ReLU, "softmax": layers.Softmax, "flatten": layers.Flatten}[kind]()
            layer_case(name, dtype, kind, {}, layer, x, {})

        s = {"units": 4, "use_bias": True, "activation": "linear"}
        draw = Draw("flatten_dense", dtype)
        x = draw.normal(2, 3, 2, 4)
        layer_case("flatten_dense/2x3x2x4", dtype, "flatten_dense", s, [layers.Flatten(), layers.Dense(4)], x,
                   parameters(draw, s, (24, 4)))

        for name, kind, s, inputs in loss_cases("keras", dtype):
            y = tf.constant(inputs["y"])
            if kind == "mean_squared_error":
                make, options = keras.losses.MeanSquaredError, {}
            elif "classes" in inputs:
                make, options = keras.losses.SparseCategoricalCrossentropy, {"from_logits": s["from_logits"]}
            else:
                make = keras.losses.CategoricalCrossentropy
                options = {"from_logits": s["from_logits"], "label_smoothing": s["label_smoothing"]}
            targets = inputs.get("classes", inputs.get("targets"))
            with tf.GradientTape() as tape:
                tape.watch(y)
                output = layers.Softmax()(y) if s.get("softmax") else y
                loss = make(**options)(targets, output, sample_weight=inputs.get("weights"))
            each = make(**options, reduction="none")(targets, output, sample_weight=inputs.get("weights")).numpy()
            each = each.reshape(len(each), -1).mean(1)
            golden.add(name, dtype, kind, s,
                       inputs | {"losses": each, "loss": loss.numpy(), "dy": tape.gradient(loss, y).numpy()})

        for name, kind, s, rates in optimizer_cases("keras"):
            initial, gradients = optimizer_inputs(dtype)
            variable, opt, weights = keras.Variable(initial), optimizer(s, kind, rates[0]), []
            for rate, gradient in zip(rates, gradients):
                opt.learning_rate = rate
                opt.apply([tf.constant(gradient)], [variable])
                weights.append(variable.numpy().copy())
            golden.add(name, dtype, kind, s, {"initial": initial, "learning_rates": np.array(rates, dtype),
                                              "gradients": gradients, "weights": np.stack(weights)})

    make = {"conv2d": layers.Conv2D, "max_pooling2d": layers.MaxPooling2D, "flatten": layers.Flatten,
            "dense": layers.Dense}
    for name, s, shape in training_cases("keras"):
        x, classes, initial = training_inputs(name, s, shape, "float64")
        keras.utils.clear_session()  # names count from the start
        model = keras.Sequential([layers.Input(shape[1:])] + [
            make[layer["kind"]](**{"dilation_rate" if k == "dilation" else k: v for k, v in layer["settings"].items()})
            for layer in s["layers"]])
        variables = {f"{layer.name}/{v.name}": v for layer in model.layers for v in layer.trainable_variables}
        assert list(variables) == list(initial), (list(variables), list(initial))
        for key, variable in variables.items():
            variable.assign(initial[key])
        opt, losses = optimizer(s["optimizer"]["settings"], s["optimizer"]["kind"], s["learning_rate"]), []
        loss_of = keras.losses.CategoricalCrossentropy()
        for batch in batches(s, len(x)):
            with tf.GradientTape() as tape:
                loss = loss_of(np.eye(3)[classes[batch]], model(x[batch], training=True))
            losses.append(loss.numpy())
            opt.apply(tape.gradient(loss, [v.value for v in variables.values()]), list(variables.values()))
        golden.add(name, "float64", "training", s,
                   {"x": x, "classes": classes} | {f"initial/{k}": v for k, v in initial.items()}
                   | {f"final/{k}": v.numpy() for k, v in variables.items()} | {"losses": np.array(losses)})

    for name, arguments, written in INITIALIZERS:
        for shape in KERNELS:
            case = f"initializer/{name}_{numbers(shape)}"
            seed = zlib.crc32(case.encode()) % 2**31
            options = arguments if name in ("Zeros", "Ones", "Constant") else arguments | {"seed": seed}
            values = np.asarray(getattr(keras.initializers, name)(**options)(shape, "float32")).astype(np.float64)
            golden.add(case, "float32", "initializer", {"initializer": written, "shape": list(shape)},
                       {"bounds": np.array([values.min(), values.max()], np.float32),
                        "moments": np.array([values.mean(), values.var()], np.float32)})

    # What is known from elsewhere.
    for dtype in ("float32", "float64"):
        assert golden.get(f"{dtype}/conv2d/ones", "y").ravel().tolist() == [9, 6, 6, 4]
        clipped = golden.get(f"{dtype}/categorical_crossentropy/probabilities_clipped", "losses")
        assert abs(clipped[0] - 16.118) < 1e-3 and 0.9e-7 < clipped[1] < 1.2e-7, clipped
        assert (golden.get(f"{dtype}/categorical_crossentropy/probabilities_clipped", "dy")[:3] == 0).all()
        assert golden.get(f"{dtype}/categorical_crossentropy/logits_extreme", "losses")[0] == 50
        assert golden.get(f"{dtype}/categorical_crossentropy/softmax_extreme", "losses")[0] == 50
        steps = golden.get(f"{dtype}/rmsprop/default", "initial") - golden.get(f"{dtype}/rmsprop/default", "weights")[0]
        assert np.allclose(steps[:3], [3.162e-5, 3.162e-3, 0], rtol=2e-3), steps
    return golden


def torch_golden():
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    golden = Golden("torch", {"torch": torch.__version__.split("+")[0]})
    dtype = "float64"

    def leaf(value):
        return torch.tensor(value, requires_grad=True)

    def convolve(x, kernel, bias, s):
        """In plywood's layouts."""
        image = x.permute(0, 3, 1, 2)
        padding = 0
        if s["padding"] == "same":
            padding = "same"
        elif s["padding"] != "valid":
            top, bottom, left, right = s["padding"]
            image = F.pad(image, (left, right, top, bottom))
        kernel = kernel.permute(3, 2, 0, 1).contiguous()
        y = F.conv2d(image, kernel, bias, s["strides"], padding, s["dilation"])
        return y.permute(0, 2, 3, 1)

    def pool(x, s):
        image, padding = x.permute(0, 3, 1, 2), 0
        if s["padding"] != "valid":
            top, bottom, left, right = s["padding"]
            if top == bottom and left == right and 2 * top <= s["pool_size"][0] and 2 * left <= s["pool_size"][1]:
                padding = (top, left)
            else:
                image = F.pad(image, (left, right, top, bottom), value=-torch.inf)
        return F.max_pool2d(image, s["pool_size"], s["strides"], padding).permute(0, 2, 3, 1)

    def activate(y, activation):
        return {"linear": lambda: y, "relu": lambda: F.relu(y), "softmax": lambda: F.softmax(y, -1)}[activation]()

    def flatten_dense(x, kernel, bias):
        """A Linear behind a Flatten of [batch, channels, height, width], its rows in the order that this asks for."""
        n, h, w, c = x.shape
        rows = kernel.reshape(h, w, c, -1).permute(2, 0, 1, 3).reshape(c * h * w, -1)
        return F.linear(x.permute(0, 3, 1, 2).flatten(1), rows.T, bias)

    def layer_case(name, kind, settings, function, x, params, gradients=True):
        inputs = [leaf(x)] + [leaf(value) for value in params.values()]
        y = function(*inputs)
        tensors = {"x": x} | params | {"y": y.detach().numpy()}
        if gradients:
            dy = Draw(name + "/dy", dtype).normal(*y.shape)
            dx, *dparams = torch.autograd.grad((y * torch.tensor(dy)).sum(), inputs)
            tensors |= {"dy": dy, "dx": dx.numpy()} | {f"d{role}": d.numpy() for role, d in zip(params, dparams)}
        golden.add(name, dtype, kind, settings, tensors)

    def optimizer(parameters, settings, kind, rate):
        names = {"rho": "alpha", "epsilon": "eps"}
        options = {names.get(k, k): v for k, v in settings.items()
                   if k not in ("form", "beta_1", "beta_2")}
        if kind == "adam":
            options["betas"] = settings["beta_1"], settings["beta_2"]
        return {"rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD, "adam": torch.optim.Adam}[kind](
            parameters, lr=rate, **options)

    for name, s, shape, values in conv_cases("torch"):
        draw = Draw(name, dtype)
        x = draw.of(values, *shape)
        params = parameters(draw, s, (*s["kernel_size"], shape[3], s["filters"]), values)

        def layer(x, kernel, bias=None):
            return activate(convolve(x, kernel, bias, s), s["activation"])

        layer_case(name, "conv2d", s, layer, x, params)

    for name, s, shape, values in pool_cases("torch"):
        layer_case(name, "max_pooling2d", s, lambda x: pool(x, s), Draw(name, dtype).of(values, *shape), {})
    s = {"pool_size": [2, 2], "strides": [1, 1], "padding": [1, 1, 1, 1]}
    x = Draw("nan", dtype).normal(1, 4, 5, 2)
    x[0, 1, 2, 0] = x[0, 3, 4, 1] = np.nan
    layer_case("max_pooling2d/nan", "max_pooling2d", s, lambda x: pool(x, s), x, {}, gradients=False)
    layer_case("relu/nan", "relu", {}, F.relu, np.array([[np.nan, 1, -1, -np.nan]]), {}, gradients=False)

    for name, s, shape in dense_cases():
        draw = Draw(name, dtype)
        x = draw.normal(*shape)

        def layer(x, kernel, bias=None):
            return activate(F.linear(x, kernel.T, bias), s["activation"])

        layer_case(name, "dense", s, layer, x, parameters(draw, s, (shape[1], s["units"])))

    functions = {"relu": F.relu, "softmax": lambda x: F.softmax(x, -1), "flatten": lambda x: x.flatten(1)}
    for name, (kind, x) in activation_inputs(dtype).items():
        layer_case(name, kind, {}, functions[kind], x, {})

    s = {"units": 4, "use_bias": True, "activation": "linear"}
    draw = Draw("flatten_dense", dtype)
    x = draw.normal(2, 3, 2, 4)
    layer_case("flatten_dense/2x3x2x4", "flatten_dense", s, flatten_dense, x, parameters(draw, s, (24, 4)))

    for name, kind, s, inputs in loss_cases("torch", dtype):
        y = leaf(inputs["y"])
        targets = torch.tensor(inputs.get("classes", inputs.get("targets")))
        if kind == "mean_squared_error":
            each = F.mse_loss(y, targets, reduction="none").flatten(1).mean(1)
        else:
            each = F.cross_entropy(y, targets, reduction="none", label_smoothing=s["label_smoothing"])
        if "weights" in inputs:
            each = each * torch.tensor(inputs["weights"])
        (dy,) = torch.autograd.grad(each.mean(), y)
        golden.add(name, dtype, kind, s, inputs | {"losses": each.detach().numpy(),
                                                   "loss": each.mean().detach().numpy(), "dy": dy.numpy()})

    for name, kind, s, rates in optimizer_cases("torch"):
        initial, gradients = optimizer_inputs(dtype)
        variable, weights = leaf(initial), []
        opt = optimizer([variable], s, kind, rates[0])
        for rate, gradient in zip(rates, gradients):
            opt.param_groups[0]["lr"] = rate
            variable.grad = torch.tensor(gradient)
            opt.step()
            weights.append(variable.detach().numpy().copy())
        golden.add(name, dtype, kind, s, {"initial": initial, "learning_rates": np.array(rates, dtype),
                                          "gradients": gradients, "weights": np.stack(weights)})

    for name, s, shape in training_cases("torch"):
        x, classes, initial = training_inputs(name, s, shape, dtype)
        variables = {key: leaf(value) for key, value in initial.items()}
        opt = optimizer(variables.values(), s["optimizer"]["settings"], s["optimizer"]["kind"], s["learning_rate"])

        def forward(y):
            left, image = iter(variables.values()), None
            for layer in s["layers"]:
                kind, layer = layer["kind"], layer["settings"]
                if kind == "conv2d":
                    y = activate(convolve(y, next(left), next(left), layer), layer["activation"])
                elif kind == "max_pooling2d":
                    y = pool(y, layer)
                elif kind == "flatten":
                    image = y
                else:
                    kernel, bias = next(left), next(left)
                    y = flatten_dense(image, kernel, bias) if image is not None else F.linear(y, kernel.T, bias)
                    image = None
                    y = activate(y, "relu") if layer["activation"] == "relu" else y
            return y  # logits

        losses = []
        for batch in batches(s, len(x)):
            opt.zero_grad()
            loss = F.cross_entropy(forward(torch.tensor(x[batch])), torch.tensor(classes[batch]))
            losses.append(loss.item())
            loss.backward()
            opt.step()
        golden.add(name, dtype, "training", s,
                   {"x": x, "classes": classes} | {f"initial/{k}": v for k, v in initial.items()}
                   | {f"final/{k}": v.detach().numpy() for k, v in variables.items()} | {"losses": np.array(losses)})

    assert golden.get("float64/conv2d/ones", "y").ravel().tolist() == [9, 6, 6, 4]
    for case, small, large in (("default", 9.90e-2, 1.00e-1), ("keras_settings", 3.065e-3, 3.162e-3)):
        steps = golden.get(f"float64/rmsprop/{case}", "initial") - golden.get(f"float64/rmsprop/{case}", "weights")[0]
        assert np.allclose(steps[:3], [small, large, 0], rtol=2e-3), steps
    return golden


def sklearn_golden():
    import sklearn
    from sklearn import metrics

    golden = Golden("sklearn", {"scikit-learn": sklearn.__version__})

    def case(name, scores, classes, top_k):
        labels, predictions = np.arange(scores.shape[1]), scores.argmax(1)
        each = metrics.precision_recall_fscore_support(classes, predictions, labels=labels, zero_division=0)
        averages = {}
        for average in ("macro", "weighted", "micro"):
            averages[average] = np.array(metrics.precision_recall_fscore_support(
                classes, predictions, labels=labels, average=average, zero_division=0)[:3], np.float64)
        golden.add(name, "float64", "classification", {"num_classes": scores.shape[1], "top_k": top_k},
                   {"scores": scores, "classes": classes,
                    "confusion": metrics.confusion_matrix(classes, predictions, labels=labels).astype(np.int64),
                    "accuracy": np.array(metrics.accuracy_score(classes, predictions)),
                    "precision": each[0], "recall": each[1], "f1": each[2]} | averages
                   | {"top_k": np.array([metrics.top_k_accuracy_score(classes, scores, k=k, labels=labels)
                                         for k in top_k])})

    rng = np.random.default_rng([SEED, 2])
    scores = rng.dirichlet(np.ones(5), 200)
    classes = rng.integers(0, 5, 200)
    classes = np.where(rng.random(200) < 0.5, scores.argmax(1), classes)
    case("classification/all_classes", scores, classes, [1, 2, 3, 4])

    scores = rng.standard_normal((200, 5))  # as logits
    scores[:, 3] = np.sort(scores[:, :3], 1)[:, 1]  # class 3 comes second at best: never predicted
    scores[:, 3] -= 1e-3
    classes = rng.integers(0, 4, 200)  # class 4 is never there
    classes = np.where((rng.random(200) < 0.5) & (scores.argmax(1) != 4), scores.argmax(1), classes)
    assert set(scores.argmax(1)) == {0, 1, 2, 4} and set(classes) == {0, 1, 2, 3}
    case("classification/missing_classes", scores, classes, [1, 2, 3, 4])

    case("classification/perfect", np.eye(5)[[0, 1, 2, 3, 4, 4]] + np.arange(5) / 100,
         np.array([0, 1, 2, 3, 4, 4], np.int64), [1, 2])
    return golden


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("keras", "torch", "sklearn"):
        sys.exit(__doc__.strip().split("\n\n")[1])
    {"keras": keras_golden, "torch": torch_golden, "sklearn": sklearn_golden}[sys.argv[1]]().write(sys.argv[2])


main()
