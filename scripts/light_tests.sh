#!/usr/bin/env bash
# Runs the tests that need no TensorFlow in an environment: scripts/light_tests.sh FOLDER_OF_THE_ENVIRONMENT
# The smallest samples: `make test` takes larger ones.
set -euo pipefail
cd "$(dirname "$0")/.."
KFP_BERT_WITHOUT_TENSORFLOW=1 KFP_BERT_KILLS=1 KFP_BERT_REGISTRY_KILLS=1 KFP_BERT_FAULTS=10 KFP_BERT_TABLES=10 \
  KFP_BERT_RANDOM_TEXTS=200 KFP_BERT_REQUESTS=50 "$1/bin/python" -m pytest --quiet --numprocesses 3 --dist loadfile \
  -m 'not slow and not long and not docker and not peers and not docs' </dev/null
"$1/bin/python" scripts/generate.py --check </dev/null
