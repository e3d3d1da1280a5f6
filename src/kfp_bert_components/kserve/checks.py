"""What Kubernetes would accept and never serve: refused before anything is written."""

from __future__ import annotations

from typing import Any

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.kserve.objects import FORMAT
from kfp_bert_components.kserve.paths import SERVING, core
from kfp_bert_components.kserve.settings import KServeSettings
from kfp_bert_components.kubernetes_api import Cluster, ForbiddenError

# Of KServe's protocols, the one that the smoke test speaks; a runtime that names none has it.
_PROTOCOL = "v1"


def check_surroundings(cluster: Cluster, settings: KServeSettings, address: str) -> None:
    """Look for what the pods need: the runtime, the volume and the service account.

    What the account may not read is not looked at: where it is missing, waiting for the pods says so.

    Raises:
        RolloutError: Something is missing, or does not fit.
    """
    namespace = settings.namespace
    if settings.runtime:
        _check_runtime(cluster, settings.runtime)
    if address.startswith("pvc://"):
        claim = address.removeprefix("pvc://").partition("/")[0]
        if not is_there(cluster, core(namespace, "persistentvolumeclaims", claim)):
            raise RolloutError(
                f"There is no PersistentVolumeClaim {claim} in the namespace {namespace}, which {address} is on: "
                "create it, or give another storage."
            )
    account = settings.service_account
    if account and not is_there(cluster, core(namespace, "serviceaccounts", account)):
        raise RolloutError(
            f"There is no service account {account} in the namespace {namespace}: create it, or leave service_account "
            "empty for the default one."
        )


def _check_runtime(cluster: Cluster, name: str) -> None:
    namespaced = f"{SERVING}/v1alpha1/namespaces/{cluster.namespace}/servingruntimes/{name}"
    found, seen = None, True
    for path in (namespaced, f"{SERVING}/v1alpha1/clusterservingruntimes/{name}"):
        try:
            found = found or cluster.find(path)
        except ForbiddenError:
            seen = False
    if found is None:
        if seen:
            raise RolloutError(
                f"There is no ServingRuntime {name} in the namespace {cluster.namespace}, and no ClusterServingRuntime "
                "of that name: create it, or leave runtime empty for a container of our own."
            )
        return
    _check_fit(name, found["spec"])


def _check_fit(name: str, spec: dict[str, Any]) -> None:
    formats = [one.get("name") for one in spec.get("supportedModelFormats") or ()]
    protocols = spec.get("protocolVersions") or [_PROTOCOL]
    why = ""
    if spec.get("disabled"):
        why = "is disabled"
    elif FORMAT not in formats:
        why = f"serves the formats {', '.join(map(str, formats)) or 'none'}, and not {FORMAT}"
    elif _PROTOCOL not in protocols:
        why = f"speaks {', '.join(protocols)}, and not {_PROTOCOL}"
    if why:
        raise RolloutError(
            f"The ServingRuntime {name} {why}: give one with our server (docs/kserve.md has it), or leave runtime "
            "empty for a container of our own."
        )


def is_there(cluster: Cluster, path: str) -> bool:
    """Whether an object is there, or may not be looked at."""
    try:
        return cluster.find(path) is not None
    except ForbiddenError:
        return True
