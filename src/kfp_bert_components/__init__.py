"""Kubeflow Pipelines components that fine-tune BERT and deploy it only if it is better.

Each component is an attribute of this package, imported when it is first asked for:

    from kfp_bert_components import finetune_bert

`compile` writes a pipeline for a cluster, with what its steps need there. `use_images` only says where their images are
pulled from.
"""

import os
import sys
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

COMPONENTS = (
    "pin_data",
    "fetch_gcs_data",
    "prepare_text_data",
    "finetune_bert",
    "evaluate_model",
    "evaluate_champion",
    "compare_models",
    "wait_for_approval",
    "promote_model",
    "rollback_model",
    "deploy_to_ai_platform",
    "deploy_to_serving_directory",
    "deploy_to_kserve",
    "batch_predict",
    "clean_up_run",
)

__all__ = ["COMPONENTS", "__version__", "compile", "use_images", *COMPONENTS]  # noqa: PLE0604

if os.environ.get("_KFP_RUNTIME") == "true":  # in a step, where KFP's executor calls a component
    from kfp_bert_components.errors import end_with_sentence

    sys.excepthook = end_with_sentence


def __getattr__(name: str) -> Any:
    if name in COMPONENTS:
        return getattr(import_module(f"{__name__}.components.{name}"), name)
    if name == "compile":
        return import_module(f"{__name__}.compiling").compile
    if name == "use_images":
        return import_module(f"{__name__}.components._images").use_images
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
