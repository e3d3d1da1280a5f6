"""Where Kubeflow's own store is, and with which keys it is reached: asked in a step that AWS's variables tell neither.

The formats are those of Kubeflow Pipelines 2.14 to 2.17 (backend/src/v2/config and backend/src/v2/objectstore).
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

import yaml

from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.kubernetes_api import Cluster
from kfp_bert_components.origin import here

STORE = "http://seaweedfs.kubeflow:9000"  # of Kubeflow Pipelines from 2.16 on, where nothing else is said of minio://
_LAUNCHER = "kfp-launcher"
_DEFAULT = {"region": "minio", "endpoint": STORE}
_KEYS = {"secretName": "mlpipeline-minio-artifact", "accessKeyKey": "accesskey", "secretKeyKey": "secretkey"}
_AWS = re.compile(r"(https://)?s3\.amazonaws\.com", re.IGNORECASE)  # by this name the launcher means AWS in any region
# In the query of a pipeline root the settings have other names, or two.
_IN_QUERY = {"s3ForcePathStyle": "forcePathStyle", "use_path_style": "forcePathStyle", "disable_https": "disableSSL"}
_PAUSES = 0.5, 1.0, 2.0, 4.0  # seconds between tries to ask Kubernetes
_CALL_SECONDS = 10.0


@dataclass(frozen=True)
class SecretKeys:
    """Where in the cluster the keys of a store are: a secret, and the names of both keys in it."""

    namespace: str
    name: str
    access_key: str
    secret_key: str


@dataclass(frozen=True)
class Session:
    """How Kubeflow reaches a store.

    Attributes:
        endpoint: Its address; "" for AWS, or where that is not said.
        region: Its region; "" where that is not said.
        hosted: Whether buckets are named in the host's name.
        secret: Where its keys are; None where they are those of the environment.
        source: What says so.
    """

    endpoint: str
    region: str
    hosted: bool
    secret: SecretKeys | None
    source: str


_told: dict[str, dict[str, str]] = {}


def remember_session(uri: str, session_info: str) -> None:
    """Note how KFP reaches an artifact that this step was given, for places in the same store.

    Args:
        uri: Address of the artifact.
        session_info: What the artifact's metadata has as `store_session_info`; "" or null where KFP does not say it.
    """
    try:
        found = json.loads(session_info or "null")
    except ValueError:
        return
    if isinstance(found, dict) and isinstance(found.get("Params"), dict):
        _told[uri] = {key: str(value) for key, value in found["Params"].items()}


def kubeflow_session(uri: str) -> Session | None:
    """How Kubeflow reaches a place; None where it says nothing of it, and outside of a step on Kubeflow.

    What an artifact in the same bucket says counts most, then `kfp-launcher`, then an artifact in another bucket.

    Args:
        uri: s3:// or minio://, bucket and prefix.

    Raises:
        UserError: Kubernetes does not answer, or the ConfigMap can't be read as KFP writes it.
    """
    if not (namespace := _namespace()):
        return None
    scheme, bucket, prefix = split_uri(uri)
    of_scheme = {one: params for one, params in _told.items() if split_uri(one)[0] == scheme}
    near = [one for one in of_scheme if split_uri(one)[1] == bucket]
    said = f"the store_session_info of {(near or [*of_scheme, ''])[0]}"
    if near:
        return _session(of_scheme[near[0]], namespace, said)
    params = _launcher_says(namespace, scheme, bucket, prefix)
    if params is not None:
        return _session(params, namespace, _LAUNCHER)
    if of_scheme:
        return _session(next(iter(of_scheme.values())), namespace, said)
    return _session(_DEFAULT | _KEYS, namespace, "Kubeflow's default") if scheme == "minio" else None


def why_silent() -> str:
    """Why `kfp-launcher` could not be read; "" where it was, and outside of a step on Kubeflow."""
    namespace = _namespace()
    return _launcher(namespace)[1] if namespace else ""


@lru_cache
def keys_in(secret: SecretKeys, source: str) -> dict[str, str]:
    """The keys of a store, by obstore's names.

    Raises:
        UserError: The secret can't be read, or has no such keys.
    """
    names = {"access_key_id": secret.access_key, "secret_access_key": secret.secret_key}
    where = f"the secret {secret.name} of the namespace {secret.namespace}, which {source} names,"
    try:
        data = _data(secret.namespace, "secrets", secret.name)
        return {ours: base64.b64decode(data[theirs]).decode() for ours, theirs in names.items()}
    except (UserError, TransientError, ImportError) as error:
        raise UserError(f"{where} can't be read: {error}") from None
    except KeyError:
        raise UserError(f"{where} has no keys {secret.access_key} and {secret.secret_key}") from None
    except ValueError:
        raise UserError(f"{where} has no text under {secret.access_key} and {secret.secret_key}") from None


def split_uri(uri: str) -> tuple[str, str, str]:
    """Scheme, bucket and prefix, with a slash at its end where there is one."""
    scheme, _, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    return scheme, bucket, f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""


def forget_sessions() -> None:
    """Forget what was noted and read."""
    _told.clear()
    _launcher.cache_clear()
    keys_in.cache_clear()


def _namespace() -> str:
    """The namespace of this step; "" outside of a step on Kubeflow."""
    return here().namespace if os.environ.get("KFP_POD_NAME") else ""


def _session(params: Mapping[str, Any], namespace: str, source: str) -> Session:
    endpoint = str(params.get("endpoint") or "")
    if _AWS.match(endpoint):
        endpoint = ""
    elif endpoint and "://" not in endpoint:
        endpoint = f"{'http' if _true(params.get('disableSSL')) else 'https'}://{endpoint}"
    secret = None
    if params.get("secretName") and not _true(params.get("fromEnv")):
        secret = SecretKeys(namespace, *(str(params.get(name) or default) for name, default in _KEYS.items()))
    hosted = bool(endpoint) and not _true(params.get("forcePathStyle", True))
    return Session(endpoint, str(params.get("region") or ""), hosted, secret, source)


def _launcher_says(namespace: str, scheme: str, bucket: str, prefix: str) -> dict[str, Any] | None:
    """What the ConfigMap says of a place; None where it says nothing, is not there or may not be read."""
    try:
        data, _ = _launcher(namespace)
    except TransientError as error:  # passing over it might lead to another store
        raise UserError(f"Whether {_LAUNCHER} says where {scheme}://{bucket} is can't be asked: {error}.") from None
    root, _, query = str(data.get("defaultPipelineRoot") or "").partition("?")
    if query and split_uri(root)[:2] == (scheme, bucket):
        return {_IN_QUERY.get(name, name): values[0] for name, values in parse_qs(query).items()}
    try:
        provider = (yaml.safe_load(data.get("providers") or "") or {}).get(scheme) or {}
        overrides = provider.get("overrides") or provider.get("Overrides") or []
        near = (
            one for one in overrides if one["bucketName"] == bucket and prefix.startswith(one.get("keyPrefix") or "")
        )
        override = {key: value for key, value in next(near, {}).items() if value not in ("", None)}
        found = {**(provider.get("default") or {}), **override}
        keys = found.pop("credentials", None) or {}
        return {**found, **(keys.get("secretRef") or {}), "fromEnv": keys.get("fromEnv")} if found or keys else None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        raise UserError(
            f"The ConfigMap {_LAUNCHER} of the namespace {namespace} can't be read: expected `providers` as Kubeflow "
            f"Pipelines documents them, {scheme} with default and overrides. Mend it, or set AWS_ENDPOINT_URL, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with which it is not read."
        ) from None


@lru_cache
def _launcher(namespace: str) -> tuple[dict[str, Any], str]:
    """What is in the ConfigMap, and why nothing is: there may be none, or this account may not read it."""
    try:
        return _data(namespace, "configmaps", _LAUNCHER), ""
    except (UserError, ImportError) as error:
        return {}, f"{_LAUNCHER} of the namespace {namespace} can't be read: {error}".rstrip(".")


def _data(namespace: str, kind: str, name: str) -> dict[str, Any]:
    """What is in a ConfigMap or a secret; raises as `Cluster.get`."""
    for pause in (*_PAUSES, None):
        try:
            found = Cluster(namespace, call_seconds=_CALL_SECONDS).get(f"/api/v1/namespaces/{namespace}/{kind}/{name}")
            return found.get("data") or {}
        except TransientError:
            if pause is None:
                raise
            time.sleep(pause)
    raise AssertionError


def _true(value: Any) -> bool:
    return str(value).lower() in ("1", "t", "true")
