#!/usr/bin/env python3
"""Exchange models with plywood: PyTorch and ONNX Runtime's side. tools/interop.sh runs it.

usage: interop_torch.py make DIR           a dense and a convolutional model trained in PyTorch, and their predictions
       interop_torch.py check DIR          what plywood wrote, opened in PyTorch and ONNX Runtime
       interop_torch.py record DIR GOLDEN  the same small cases as files for the tests that need no Python

Predictions are the probabilities for the first 1,000 test images of MNIST. The largest difference must be at most 1e-5,
relative where numbers are above 1.

make writes   torch_{dense,cnn}.safetensors                a state_dict, as safetensors.torch saves it
              torch_{dense,cnn}_predictions.safetensors    probabilities
check reads   plywood_torch_{dense,cnn}.safetensors        a state_dict, with .._predictions.safetensors beside
              plywood_{dense,cnn}[_f64].onnx               with plywood_.._onnx.safetensors: probabilities
              plywood_onnx_cases.safetensors               CASE/model (an ONNX file), CASE/x, CASE/y
record writes GOLDEN/onnx.safetensors                      the cases, y being that of ONNX Runtime
              GOLDEN/pytorch.safetensors                   a small state_dict made by PyTorch
              GOLDEN/pytorch_predictions.safetensors       x and y of it
"""
import gzip
import os
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

SAMPLES = 1000
MODELS = ["dense", "cnn"]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
MNIST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "mnist")


def idx(name, header):
    with gzip.open(os.path.join(MNIST, name), "rb") as f:
        return np.frombuffer(f.read(), np.uint8, offset=header)


def images(name, count):
    pixels = idx(name, 16).reshape(-1, 28, 28, 1)[:count]
    return pixels.astype(np.float32) / np.float32(255)


def build(name):
    if name == "dense":
        return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10), nn.Softmax(dim=1))
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(dim=1))


def shaped(name, x):
    """Images [n, height, width, channels] in the shape that a PyTorch model takes."""
    return torch.from_numpy(np.ascontiguousarray(x.reshape(-1, 784) if name == "dense" else x.transpose(0, 3, 1, 2)))


def predict(name, model, x):
    with torch.no_grad():
        return model(shaped(name, x))


def make(folder):
    x, labels = images("train-images-idx3-ubyte.gz", 6000), idx("train-labels-idx1-ubyte.gz", 8)[:6000]
    labels = torch.from_numpy(labels.astype(np.int64))
    for name in MODELS:
        torch.manual_seed(1)
        model = build(name)
        optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
        for first in range(0, len(x), 64):
            p = model(shaped(name, x[first:first + 64]))
            loss = nn.functional.nll_loss(p.clamp_min(1e-7).log(), labels[first:first + 64])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        test = idx("t10k-labels-idx1-ubyte.gz", 8)[:SAMPLES]
        p = predict(name, model, images("t10k-images-idx3-ubyte.gz", SAMPLES))
        save_file(model.state_dict(), os.path.join(folder, f"torch_{name}.safetensors"))
        save_file({"probabilities": p}, os.path.join(folder, f"torch_{name}_predictions.safetensors"))
        print(f"torch {name}: trained, test accuracy {(p.argmax(1).numpy() == test).mean():.4f}")


failures = 0


def compare(what, got, want):
    global failures
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape or got.dtype != want.dtype:
        failures += 1
        print(f"FAILED {what}: {got.dtype} {got.shape}, expected {want.dtype} {want.shape}")
        return
    difference = np.max(np.abs(got - want) / np.maximum(np.abs(want), 1))
    right = difference <= TOLERANCE[str(want.dtype)]  # false for NaN
    failures += not right
    print(f"{'' if right else 'FAILED '}{what}: largest difference {difference:.2e}")


def run_onnx(what, model, x):
    """What ONNX Runtime makes of x, after ONNX's own checker has seen the model."""
    import onnx
    import onnxruntime
    proto = onnx.load_from_string(model)
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    batch = [v.type.tensor_type.shape.dim[0].dim_param for v in (proto.graph.input[0], proto.graph.output[0])]
    assert batch == ["batch", "batch"], f"{what}: the batch dimension is {batch}"
    double = proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    if double and any(node.op_type == "Conv" for node in proto.graph.node):
        # ONNX Runtime has no convolution of doubles on the CPU
        from onnx.reference import ReferenceEvaluator
        return ReferenceEvaluator(proto).run(["output"], {"input": x})[0]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    whole = session.run(["output"], {"input": x})[0]
    first = session.run(["output"], {"input": x[:1]})[0]
    compare(f"{what}, a batch of one", first, whole[:1])
    return whole


def cases(folder):
    """The small ONNX cases, with what ONNX Runtime makes of them in place of y."""
    tensors = load_file(os.path.join(folder, "plywood_onnx_cases.safetensors"))
    names = sorted(name.removesuffix("/model") for name in tensors if name.endswith("/model"))
    assert names, "no cases"
    for name in names:
        y = run_onnx(f"onnx {name}", tensors[f"{name}/model"].numpy().tobytes(), tensors[f"{name}/x"].numpy())
        compare(f"onnx {name}", y, tensors[f"{name}/y"])
        tensors[f"{name}/y"] = torch.from_numpy(np.ascontiguousarray(y))
    return tensors


def check(folder):
    x = images("t10k-images-idx3-ubyte.gz", SAMPLES)
    for name in MODELS:
        model = build(name)
        model.load_state_dict(load_file(os.path.join(folder, f"plywood_torch_{name}.safetensors")))
        want = load_file(os.path.join(folder, f"plywood_torch_{name}_predictions.safetensors"))["probabilities"]
        compare(f"torch {name}, trained in plywood", predict(name, model, x), want)
        for suffix, dtype in [("", np.float32), ("_f64", np.float64)]:
            with open(os.path.join(folder, f"plywood_{name}{suffix}.onnx"), "rb") as f:
                model = f.read()
            want = load_file(os.path.join(folder, f"plywood_{name}{suffix}_onnx.safetensors"))["probabilities"]
            inputs = (x.reshape(-1, 784) if name == "dense" else x).astype(dtype)
            got = run_onnx(f"onnx {name}{suffix}", model, inputs)
            compare(f"onnx {name}{suffix}, trained in plywood", got, want)
    cases(folder)


class Small(nn.Module):
    """A model whose parts have names of their own."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 3, (3, 2)), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2, bias=False))
        self.head = nn.Linear(4 * 2 * 3, 5)
        self.out = nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.head(torch.relu(self.features(x)).flatten(1)))
        return torch.softmax(self.out(x), dim=1)


def record(folder, golden):
    save_file(cases(folder), os.path.join(golden, "onnx.safetensors"))
    torch.manual_seed(1)
    model = Small()
    x = torch.randn(4, 2, 8, 9)
    with torch.no_grad():
        y = model(x)
    save_file(model.state_dict(), os.path.join(golden, "pytorch.safetensors"))
    last = {"x": x.permute(0, 2, 3, 1).contiguous(), "y": y}
    save_file(last, os.path.join(golden, "pytorch_predictions.safetensors"))


def main():
    match sys.argv[1:]:
        case ["make", folder]:
            make(folder)
        case ["check", folder]:
            check(folder)
        case ["record", folder, golden]:
            record(folder, golden)
        case _:
            sys.exit(__doc__)
    if failures:
        sys.exit(f"{failures} comparisons failed")


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
