#!/usr/bin/env bash
# Exchanges models with Keras, PyTorch and ONNX Runtime, both ways, and compares the predictions.
#
# usage: [KERAS_PYTHON=python] [TORCH_PYTHON=python] tools/interop.sh [--record] [FOLDER]
#
# FOLDER (target/interop) takes the files. Without the two interpreters, a virtual environment with what
# tools/requirements-interop.txt lists is made in FOLDER/venv and kept for the next time. It takes some minutes, and some
# gigabytes, most of which PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares. The two may be environments of
# their own: the first needs keras, tensorflow-cpu and h5py, the second torch, onnx, onnxruntime and safetensors.
#
# 1. Keras and PyTorch train a dense and a convolutional model, and predict 1,000 test images of MNIST.
# 2. The tests keras, pytorch and onnx predict the same images with these models. They train models themselves, and write
#    them for the others, with predictions.
# 3. Keras, PyTorch and ONNX Runtime open those, and predict again.
#
# Ends with an error if a probability differs by more than 1e-5. With --record, what PyTorch and ONNX Runtime make of
# small models is written to tests/golden/, which the default tests compare with.
set -euo pipefail
cd "$(dirname "$0")/.."

record=
folder=target/interop
for argument in "$@"; do
    case $argument in
    --record) record=yes ;;
    -*) sed -n '2,17s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) folder=$argument ;;
    esac
done
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

if [[ -z ${KERAS_PYTHON-} || -z ${TORCH_PYTHON-} ]]; then
    venv=$folder/venv
    if [[ ! -e $venv/complete ]]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet -r tools/requirements-interop.txt
        touch "$venv/complete"
    fi
    KERAS_PYTHON=${KERAS_PYTHON-$venv/bin/python}
    TORCH_PYTHON=${TORCH_PYTHON-$venv/bin/python}
fi

step() {
    printf '\n==> [%4d s] %s\n' "$SECONDS" "$*"
}

# what an earlier run left must not be taken for what this one writes
rm -f "$folder"/{keras,torch,plywood}_*

# the goldens that are going to be replaced may be what the default tests fail with
tests=(interop)
[[ $record ]] || tests=()

step 'models of Keras and PyTorch'
"$KERAS_PYTHON" tools/interop_keras.py make "$folder"
"$TORCH_PYTHON" tools/interop_torch.py make "$folder"

step 'plywood opens them, and writes its own'
PLYWOOD_INTEROP=$folder cargo test --features keras,onnx --test keras --test pytorch --test onnx \
    -- --nocapture "${tests[@]}"

step 'Keras opens them'
"$KERAS_PYTHON" tools/interop_keras.py check "$folder"

step 'PyTorch and ONNX Runtime open them'
"$TORCH_PYTHON" tools/interop_torch.py check "$folder"

if [[ $record ]]; then
    step 'goldens'
    "$TORCH_PYTHON" tools/interop_torch.py record "$folder" tests/golden
fi

printf '\nAll exchanged in %d s.\n' "$SECONDS"
