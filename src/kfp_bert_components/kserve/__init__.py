"""KServe: an InferenceService on the cluster as a place to deploy to.

`deploy_to_kserve` (deploy.py) rolls out to the target in target.py. It leaves the steps to a mode of KServe (modes.py):
standard.py, canary.py where a gateway shares the requests, or knative.py. They work with services.py, and go back by
before.py and merging.py. What is written is in objects.py, canary_writes.py and room.py, what is refused before that in
checks.py; witnesses.py, canaries.py, gateway.py and revisions.py look whether a version serves, and reasons.py why it
does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp_bert_components.kserve.deploy import ServedVersion, deploy_to_kserve
    from kfp_bert_components.kserve.settings import KServeSettings
    from kfp_bert_components.kserve.target import KServeTarget

__all__ = ["KServeSettings", "KServeTarget", "ServedVersion", "deploy_to_kserve"]

_HOME = {
    "KServeSettings": "settings",
    "KServeTarget": "target",
    "ServedVersion": "deploy",
    "deploy_to_kserve": "deploy",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
