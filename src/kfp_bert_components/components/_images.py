"""The images that the components run in, and the two decorators that say which."""

from functools import partial

from kfp import dsl

from kfp_bert_components import __version__

# "python" in the name is what kfp.local looks for in an image whose steps it may run as subprocesses.
SLIM_IMAGE = f"kfp-bert-components/python:{__version__}"
TENSORFLOW_IMAGE = f"kfp-bert-components/python-tensorflow:{__version__}"

# The images hold the package and the executor of KFP: nothing is installed when a step starts.
slim_component = partial(dsl.component, base_image=SLIM_IMAGE, install_kfp_package=False)
tensorflow_component = partial(dsl.component, base_image=TENSORFLOW_IMAGE, install_kfp_package=False)
