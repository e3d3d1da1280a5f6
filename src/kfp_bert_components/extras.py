"""Which extra of the package installs a module that is missing."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from kfp_bert_components.errors import UserError

# Top-level modules, and parts of the package `google`, by the extra that installs them.
_EXTRAS = {
    "data": "google.api_core google.auth google.cloud.storage google_crc32c requests obstore pydantic xxhash numpy "
    "pyarrow numba charset_normalizer jinja2 matplotlib tqdm",
    "gate": "scipy",
    "tensorflow": "tensorflow keras transformers safetensors huggingface_hub onnx sklearn",
    "serve": "starlette uvicorn httptools orjson prometheus_client onnxruntime tokenizers",
    "ai-platform": "google.cloud.aiplatform google.cloud.aiplatform_v1 google.longrunning",
    "mlflow": "mlflow",
    "local": "rich",
}
_MODULE = re.compile(r"No module named '([\w.]+)'|cannot import name '(\w+)' from '([\w.]+)'")


def missing_extra(message: str) -> str:
    """The sentence about the extra to install, from an ImportError's message; "" for a module of no extra.

    Where one part of the package `google` is installed and another is not, Python says "cannot import name".
    """
    found = _MODULE.search(message)
    if not found:
        return ""
    module = found[1] or f"{found[3]}.{found[2]}"
    for extra, modules in _EXTRAS.items():
        for one in modules.split():
            if f"{module}.".startswith(f"{one}."):
                return f"{module} is not installed: pip install 'kfp-bert-components[{extra}]'."
    if module in ("google", "google.cloud"):
        return f"{module} is not installed: pip install 'kfp-bert-components[data]'."
    return ""


def missing_module(extra: str) -> str:
    """The first module of an extra that is not installed; "" where all are there."""
    for module in _EXTRAS[extra].split():
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # the package that the module is a part of
            found = None
        if found is None:
            return module
    return ""


@contextmanager
def named_extra() -> Iterator[None]:
    """Around imports: a module that an extra would install is named with its extra, as a UserError."""
    try:
        yield
    except ImportError as error:
        if sentence := missing_extra(str(error)):
            raise UserError(sentence) from error
        raise
