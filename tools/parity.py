#!/usr/bin/env python3
"""Train a reference model from given weights on given batches and print each step's loss, to compare with plywood.

usage: parity.py {keras|keras64|torch} {dense|cnn} WEIGHTS MNIST_DIR STEPS
       parity.py path {dense|cnn} WEIGHTS MNIST_DIR STEPS FOLDER

WEIGHTS is a safetensors file with the initial weights under the names that a model gives them, in Keras's layouts:

    dense   dense/kernel [784, 512], dense/bias; dense_1/kernel [512, 10], dense_1/bias
    cnn     conv2d/kernel [3, 3, 1, 32], conv2d/bias; conv2d_1 [3, 3, 32, 64]; conv2d_2 [3, 3, 64, 64];
            dense [576, 64]; dense_1 [64, 10]

The steps train on samples 0..B, B..2B, ... of the training set in the order of its files, B being 128 (dense) or 64
(cnn); the last batch of an epoch is smaller, then it starts again.

Pixels are divided by 255; the loss is the crossentropy of the model's softmax; the optimizer is RMSprop at Keras's
defaults, w -= 0.001 g / sqrt(v + 1e-7) with rho = 0.9. `keras` computes in float32, as its users do; `keras64`, and
PyTorch with that update written out, in float64: what the losses would be without rounding.

Output is a line {"step": i, "loss": x} for each step, from 1, x being the mean loss of the batch before the update.

`path` trains in `keras` and writes, for each step, the weights before it and the loss's gradients there, under
`gradient/` and their names, to FOLDER/1.safetensors, FOLDER/2.safetensors, ...
"""
import gzip
import json
import os
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

BATCH = {"dense": 128, "cnn": 64}
SHAPES = {
    "dense": {"dense": (784, 512), "dense_1": (512, 10)},
    "cnn": {"conv2d": (3, 3, 1, 32), "conv2d_1": (3, 3, 32, 64), "conv2d_2": (3, 3, 64, 64), "dense": (576, 64),
            "dense_1": (64, 10)},
}
RATE, RHO, EPSILON = 1e-3, 0.9, 1e-7


def idx(folder, name, header):
    with gzip.open(os.path.join(folder, name), "rb") as f:
        return np.frombuffer(f.read(), np.uint8, offset=header)


def load_mnist(folder):
    images = idx(folder, "train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
    return images, idx(folder, "train-labels-idx1-ubyte.gz", 8).astype(np.int64)


def load_weights(path, model):
    weights = load_file(path)
    expected = {}
    for layer, shape in SHAPES[model].items():
        expected[f"{layer}/kernel"], expected[f"{layer}/bias"] = shape, shape[-1:]
    got = {name: value.shape for name, value in weights.items()}
    if got != expected:
        sys.exit(f"{path}: got the tensors {got}, expected {expected}")
    return {name: weights[name] for name in expected}


def batches(model, samples, steps):
    size = BATCH[model]
    for step in range(steps):
        start = step % -(-samples // size) * size
        yield slice(start, start + size)


def keras_net(model, weights, dtype):
    """A compiled model with these weights, and its variables by name."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import keras
    from keras import layers

    keras.config.set_floatx(np.dtype(dtype).name)

    if model == "dense":
        stack = [layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(512, activation="relu"),
                 layers.Dense(10, activation="softmax")]
    else:
        stack = [layers.Input((28, 28, 1)),
                 layers.Conv2D(32, (3, 3), activation="relu"), layers.MaxPooling2D((2, 2)),
                 layers.Conv2D(64, (3, 3), activation="relu"), layers.MaxPooling2D((2, 2)),
                 layers.Conv2D(64, (3, 3), activation="relu"), layers.Flatten(),
                 layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")]
    net = keras.Sequential(stack)
    variables = {f"{layer.name}/{v.name}": v for layer in net.layers for v in layer.trainable_variables}
    assert list(variables) == list(weights), list(variables)
    for name, variable in variables.items():
        variable.assign(weights[name].astype(dtype))
    net.compile(optimizer=keras.optimizers.RMSprop(RATE, rho=RHO, epsilon=EPSILON), loss="categorical_crossentropy")
    return net, variables


def keras_batch(x, classes, dtype):
    pixels = (x.astype(np.float32) / 255).astype(dtype)  # the float32 pixels that others see
    return pixels, np.eye(10, dtype=dtype)[classes]


def keras_step(model, weights, dtype=np.float32):
    """A function that trains on a batch."""
    net, _ = keras_net(model, weights, dtype)

    def step(x, classes):
        net.reset_metrics()  # otherwise the mean since the first step
        return float(net.train_on_batch(*keras_batch(x, classes, dtype)))

    return step


def keras64_step(model, weights):
    """The same in float64."""
    return keras_step(model, weights, np.float64)


def keras_path_step(model, weights, folder):
    """A function that trains on a batch and writes where it was, and which way it went."""
    net, variables = keras_net(model, weights, np.float32)
    import tensorflow as tf

    count = 0

    def step(x, classes):
        nonlocal count
        count += 1
        x, y = keras_batch(x, classes, np.float32)
        with tf.GradientTape() as tape:
            loss = net.compute_loss(x, y, net(x, training=True))
        gradients = tape.gradient(loss, list(variables.values()))
        tensors = {name: variable.numpy() for name, variable in variables.items()}
        tensors.update((f"gradient/{name}", g.numpy()) for name, g in zip(variables, gradients))
        save_file(tensors, os.path.join(folder, f"{count}.safetensors"))
        net.optimizer.apply(gradients, list(variables.values()))
        return float(loss)

    return step


def torch_step(model, weights):
    """The same in PyTorch."""
    import torch
    from torch.nn import functional as F

    torch.set_default_dtype(torch.float64)
    leaves = {name: torch.tensor(value.astype(np.float64), requires_grad=True) for name, value in weights.items()}
    squares = [torch.zeros_like(leaf) for leaf in leaves.values()]

    def conv(x, name):
        return F.conv2d(x, leaves[f"{name}/kernel"].permute(3, 2, 0, 1).contiguous(), leaves[f"{name}/bias"])

    def dense(x, name):
        return x @ leaves[f"{name}/kernel"] + leaves[f"{name}/bias"]

    def forward(x):
        if model == "cnn":
            x = F.max_pool2d(F.relu(conv(x.permute(0, 3, 1, 2), "conv2d")), 2)
            x = F.max_pool2d(F.relu(conv(x, "conv2d_1")), 2)
            x = F.relu(conv(x, "conv2d_2")).permute(0, 2, 3, 1)
        return dense(F.relu(dense(x.flatten(1), "dense")), "dense_1")

    def step(x, classes):
        pixels = torch.from_numpy((x.astype(np.float32) / 255).astype(np.float64))
        loss = F.cross_entropy(forward(pixels), torch.from_numpy(classes))
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        with torch.no_grad():
            for w, v, g in zip(leaves.values(), squares, gradients):
                v.mul_(RHO).addcmul_(g, g, value=1 - RHO)
                w -= RATE * g / (v + EPSILON).sqrt()
        return loss.item()

    return step


STEPS = {"keras": keras_step, "keras64": keras64_step, "torch": torch_step}


def main():
    modes = {**dict.fromkeys(STEPS, 5), "path": 6}
    arguments = sys.argv[1:]
    if len(arguments) < 2 or len(arguments) != modes.get(arguments[0]) or arguments[1] not in SHAPES:
        sys.exit(__doc__)
    library, model, path, mnist, steps, *folder = arguments
    weights = load_weights(path, model)
    if library == "path":
        os.makedirs(folder[0], exist_ok=True)
        step = keras_path_step(model, weights, folder[0])
    else:
        step = STEPS[library](model, weights)
    images, classes = load_mnist(mnist)
    for i, pick in enumerate(batches(model, len(images), int(steps)), 1):
        print(json.dumps({"step": i, "loss": step(images[pick], classes[pick])}), flush=True)


main()
