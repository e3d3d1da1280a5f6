"""BERT text classifiers: the network, Hugging Face checkpoints in and out, and the model bundle."""

from typing import TYPE_CHECKING, Any

from kfp_bert_components.extras import named_extra
from kfp_bert_components.quiet import quietly

if TYPE_CHECKING:
    from kfp_bert_components.bert.bundle import Bundle, read_bundle
    from kfp_bert_components.bert.bundle_writer import write_bundle
    from kfp_bert_components.bert.classifier import Classifier, load_checkpoint, new_classifier
    from kfp_bert_components.bert.config import BertConfig

__all__ = [
    "BertConfig",
    "Bundle",
    "Classifier",
    "load_checkpoint",
    "new_classifier",
    "read_bundle",
    "write_bundle",
]

_MODULES = {"BertConfig": "config", "Bundle": "bundle", "read_bundle": "bundle", "write_bundle": "bundle_writer"}


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: the modules import TensorFlow, and a bundle's metadata is read without.
    if name not in __all__:
        raise AttributeError(name)
    from importlib import import_module

    with named_extra(), quietly():
        return getattr(import_module(f"kfp_bert_components.bert.{_MODULES.get(name, 'classifier')}"), name)
