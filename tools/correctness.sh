#!/bin/sh
# Repeats what docs/correctness.md says and prints its figures, but for coverage and mutants, whose commands are there.
#
# usage: [KERAS_PYTHON=python TORCH_PYTHON=python] tools/correctness.sh
#
# With the interpreters of environments that have what tools/requirements-golden.txt lists, both libraries train the
# reference models anew; without, plywood's runs are compared with what they said when that was recorded.
set -eu
cd "$(dirname "$0")/.."
cargo test --test layers --test geometry --test gradients --test golden --test parity --test regressions -- --nocapture
cargo test --lib --test determinism --test allocation --test errors
if [ -n "${KERAS_PYTHON-}" ] && [ -n "${TORCH_PYTHON-}" ]; then
    tools/parity.sh
fi
