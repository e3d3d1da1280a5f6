#!/usr/bin/env bash
# Runs the tests that need no TensorFlow, and the check of the generated files, on several versions of Python.
#
# scripts/test_pythons.sh [--ends] [PYTHON...]
#   PYTHON   interpreters to use; default: every Python >= 3.11 on the PATH and of pyenv
#   --ends   only the oldest and the newest of them, and not the one of .venv, on which `make test` has run them all;
#            one case of each test, and none of rollouts, kills and faults, which take minutes
# Does nothing, loudly, where no PYTHON is named and there is but one.
#
# Each version has an environment of its own in .pythons/<version>, which is kept.
set -euo pipefail
cd "$(dirname "$0")/.."

ends=false
if [[ ${1:-} == --ends ]]; then ends=true; shift; fi
named=$#
((named)) || set -- python3 python3.{11..19} "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3

# "3.12 /usr/bin/python3.12": one interpreter of each version, the oldest first
what='import sys; v = sys.version_info; v >= (3, 11) and print(f"{v[0]}.{v[1]} {sys.executable}")'
found=$(for python; do "$python" -c "$what" 2>/dev/null || true; done | sort --version-sort --unique --key=1,1)
[[ -n $found ]] || { echo "none of these is a Python >= 3.11: $*" >&2; exit 1; }
if $ends; then found=$(sed -n '1p;$p' <<<"$found" | uniq); fi
if ((!named)) && [[ $(wc -l <<<"$found") == 1 ]]; then
  printf '\n!!!! SKIPPED: the tests on several versions of Python did not run: there is only %s !!!!\n\n' "$found"
  exit 0
fi

if $ends && [[ -x .venv/bin/python ]]; then
  tested=$(.venv/bin/python -c "$what" | cut -d' ' -f1)
  found=$(grep -v "^$tested " <<<"$found" || true)
fi

# Rollouts, kills and faults in every order take minutes and differ in nothing that a version of Python changes.
left_out=()
if $ends; then
  export KFP_BERT_ONE_CASE=1
  left_out=(--ignore=tests/deployment --ignore=tests/kubernetes --ignore=tests/trainjob)
  left_out+=(--ignore-glob='tests/*/test_*fault*.py' --ignore-glob='tests/*/test_*kill*.py')
  left_out+=(--ignore=tests/registry/test_gc_and_promotion.py --ignore=tests/registry/test_race.py)
fi

while read -r version python; do
  [[ -n $version ]] || continue
  printf '\n== Python %s\n' "$version"
  bin=.pythons/$version/bin
  if [[ .pythons/$version/.ready -ot pyproject.toml || .pythons/$version/.ready -ot constraints.txt ]]; then
    [[ -x $bin/python ]] || "$python" -m venv ".pythons/$version"
    install=("$bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt)
    "${install[@]}" 'pip>=25.1'
    "${install[@]}" --group dev --editable '.[gate,ai-platform,mlflow]' rich safetensors starlette uvicorn
    touch ".pythons/$version/.ready"
  fi
  scripts/light_tests.sh ".pythons/$version" "${left_out[@]}"
done <<<"$found"
