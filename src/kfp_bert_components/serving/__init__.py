"""The server: a model behind the APIs of TensorFlow Serving, KServe and AI Platform."""

from typing import TYPE_CHECKING, Any

from kfp_bert_components.extras import named_extra

if TYPE_CHECKING:
    from kfp_bert_components.serving.app import create_app
    from kfp_bert_components.serving.limits import Limits
    from kfp_bert_components.serving.server import serve

__all__ = ["Limits", "create_app", "serve"]

_MODULES = {"Limits": "limits", "create_app": "app", "serve": "server"}


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: who only loads a model needs no web server.
    if name not in __all__:
        raise AttributeError(name)
    from importlib import import_module

    with named_extra():
        return getattr(import_module(f"kfp_bert_components.serving.{_MODULES[name]}"), name)
