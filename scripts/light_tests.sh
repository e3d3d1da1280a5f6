#!/usr/bin/env bash
# Runs the tests that need no TensorFlow in an environment:
#   scripts/light_tests.sh FOLDER_OF_THE_ENVIRONMENT [ARGUMENT_OF_PYTEST...]
# The smallest samples: `make test` takes larger ones.
set -euo pipefail
cd "$(dirname "$0")/.."
environment=$1
shift
KFP_BERT_WITHOUT_TENSORFLOW=1 KFP_BERT_KILLS=1 KFP_BERT_REGISTRY_KILLS=1 KFP_BERT_FAULTS=10 KFP_BERT_TABLES=10 \
  KFP_BERT_RANDOM_TEXTS=200 KFP_BERT_REQUESTS=50 "$environment/bin/python" -m pytest --quiet --numprocesses 3 --dist loadfile \
  -m 'not slow and not long and not docker and not peers and not docs' "$@" </dev/null
"$environment/bin/python" scripts/generate.py --check </dev/null
