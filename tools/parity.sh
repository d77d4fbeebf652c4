#!/bin/sh
# Trains both reference models for 200 steps in Keras, PyTorch and plywood, from the same weights on the same batches, and
# compares the losses.
#
# usage: [KERAS_PYTHON=python] [TORCH_PYTHON=python] tools/parity.sh [--record]
#
# The two are interpreters of environments with what tools/requirements-golden.txt lists; python3 by default. With --record,
# the losses of Keras and PyTorch are written to tests/golden/parity.json, which the default tests compare with.
set -eu
cd "$(dirname "$0")/.."
case "${1-}" in
--record) export RECORD=1 ;;
'') ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
exec cargo test --test parity -- --ignored --nocapture
