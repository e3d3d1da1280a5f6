"""The REST server: a model bundle, a SavedModel or a versioned folder behind TensorFlow Serving's API."""

from kfp_bert_components.serving.app import create_app
from kfp_bert_components.serving.server import serve

__all__ = ["create_app", "serve"]
