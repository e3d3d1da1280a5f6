#!/bin/sh
# Run while an image is built.
#   install.sh EXTRAS   installs what the package needs with these extras, without bytecode, and removes what no step uses
#   install.sh          installs the package itself, and lays what this adds under /added
set -eu
environment=/opt/kfp-bert
python=$environment/bin/python
packages=$(echo $environment/lib/python3*/site-packages)
install() { python -m pip --python $python install --no-cache-dir --no-compile --disable-pip-version-check "$@"; }

if [ $# -gt 0 ]; then
  install --constraint constraints.txt ".[$1]"
  cd "$packages"
  rm -r kfp_bert_components*
  # For those who compile and test the libraries; symbols are for debuggers.
  find . -depth -type d \( -name tests -o -name include \) -exec rm -r {} +
  rm -rf clang
  find . -path './tensorflow/*' -name '*.so*' -type f -exec strip {} +
  # Google's client for AI Platform is google.cloud.aiplatform_v1; the others in its distribution are not used.
  rm -rf google/cloud/aiplatform google/cloud/aiplatform_v1beta1 google/genai vertexai agentplatform vertex_ray
  # Of Arrow, the remote procedure calls.
  rm -f pyarrow/*flight*
  exit
fi

touch /installed
install --no-deps /wheels/*.whl
NUMBA_CACHE_DIR=$environment/compiled $python warm_up.py
mkdir /added
cd /
find ${environment#/} -newer /installed -type f -exec cp --parents --preserve=mode,timestamps -t /added {} +
