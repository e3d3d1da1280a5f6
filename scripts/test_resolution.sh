#!/usr/bin/env bash
# Runs tests with the oldest or the newest releases of the dependencies that pyproject.toml allows.
#
# scripts/test_resolution.sh lowest-direct|highest [PYTHON]
#   PYTHON   interpreter to use; default: that of .venv
# The tests that need no TensorFlow, and of those that need it, the ones that write and read models.
set -euo pipefail
cd "$(dirname "$0")/.."
resolution=${1:?usage: test_resolution.sh lowest-direct|highest [PYTHON]}
python=${2:-.venv/bin/python}
uv=.venv/bin/uv
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$uv" pip compile pyproject.toml --quiet --resolution "$resolution" --python "$python" --extra all --no-header \
  --no-annotate --no-emit-index-url --no-emit-find-links --output-file "$scratch/pins.txt"
"$uv" venv --quiet --python "$python" "$scratch/venv"
# The tools that run the tests are as new as the pins allow.
VIRTUAL_ENV="$scratch/venv" "$uv" pip install --quiet --constraint "$scratch/pins.txt" --group dev --editable '.[all]'

scripts/light_tests.sh "$scratch/venv"
"$scratch/venv/bin/python" -m pytest --quiet tests/bert/test_bundle.py tests/bert/test_checkpoint.py tests/bert/test_onnx.py \
  tests/evaluation/test_evaluate.py tests/serving/test_onnx_server.py
echo "the tests pass with the $resolution releases"
