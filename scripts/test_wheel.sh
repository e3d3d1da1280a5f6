#!/usr/bin/env bash
# Builds the wheel, installs it in a clean environment outside the repository, and uses it there: with its core
# dependencies only, then with all that a local run needs. The path of the environment has a space and "python3" in it.
#
# scripts/test_wheel.sh PYTHON [DIST]
#   DIST   folder with a wheel that is built already
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
python=${1:?usage: test_wheel.sh PYTHON [DIST]}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

dist=${2:-$scratch/dist}
[[ -n ${2:-} ]] || "$python" -m build --outdir "$dist" "$repository" >"$scratch/build.log" 2>&1 || { cat "$scratch/build.log"; exit 1; }
venv="$scratch/my lib/python3/venv"
"$python" -m venv "$venv"
install() {
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$repository/constraints.txt" "$(echo "$dist"/*.whl)$1"
}
install ""
cd "$scratch/my lib"
"$venv/bin/python" - <<'PYTHON'
import sys

import kfp_bert_components as package

assert "kfp" not in sys.modules, "importing the package alone must not import kfp"
for name in package.COMPONENTS:
    component = getattr(package, name)
    assert component.component_spec.description, name
heavy = {"tensorflow", "google.cloud.storage", "google.cloud.aiplatform", "pyarrow", "transformers"} & set(sys.modules)
assert not heavy, heavy

from kfp import compiler

from kfp_bert_components.pipelines import train_and_deploy

compiler.Compiler().compile(train_and_deploy, "pipeline.yaml")
print("the wheel works with its core dependencies:", package.__version__)
PYTHON
"$venv/bin/kfp-bert" --version
"$venv/bin/kfp-bert" compile train_and_deploy compiled.yaml --images my-registry/my-team
# Running steps needs more than the core; the sentence says what.
{ "$venv/bin/kfp-bert" run pipeline.yaml || true; } 2>&1 | grep "pip install 'kfp-bert-components\[local\]'"

install "[local]"
"$venv/bin/kfp-bert" quickstart | tee quickstart.log
grep --quiet "^PROMOTE: " quickstart.log
grep --quiet "is scene_heading (score " quickstart.log
echo "the quickstart from the wheel ends with a served model"
