"""The images that the components run in, and the two decorators that say which."""

import os
from functools import partial

from kfp import dsl

from kfp_bert_components import __version__

# Where your cluster pulls the images from, read when a pipeline is compiled. The committed specs have the default.
PREFIX = os.environ.get("KFP_BERT_IMAGES", "kfp-bert-components")
# "python" in the name is what kfp.local looks for in an image whose steps it may run as subprocesses.
SLIM_IMAGE = f"{PREFIX}/python:{__version__}"
TENSORFLOW_IMAGE = f"{PREFIX}/python-tensorflow:{__version__}"

# The images hold the package and the executor of KFP: nothing is installed when a step starts.
slim_component = partial(dsl.component, base_image=SLIM_IMAGE, install_kfp_package=False)
tensorflow_component = partial(dsl.component, base_image=TENSORFLOW_IMAGE, install_kfp_package=False)
