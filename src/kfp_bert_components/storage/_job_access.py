"""How a job that this step starts elsewhere reaches the step's buckets: by variables, and keys by reference alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage._access import ACCESS_VARIABLES, Access, with_environment
from kfp_bert_components.storage._s3_settings import NoKeysError, S3Settings, s3_settings

# Of obstore's variables those that say no secret and name no file of this machine.
_S3_VARIABLES = (
    "AWS_SKIP_SIGNATURE",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_REQUEST_PAYER",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
)


@dataclass(frozen=True)
class JobAccess:
    """What a job is given.

    Attributes:
        variables: For its environment.
        secrets: Variables whose values are in a secret of its namespace: the secret, and the key in it.
        keyless: A place that it needs keys for and gets none, "" where there is none such.
    """

    variables: dict[str, str]
    secrets: dict[str, tuple[str, str]] = field(default_factory=dict)
    keyless: str = ""


def job_access(places: Iterable[str], namespace: str = "") -> JobAccess:
    """What a job needs to reach places as this step does. No key is in it: others can read what a job is given.

    Args:
        places: What the job reads and writes; those on s3:// and minio:// count.
        namespace: Of the cluster, that the job's pods are in; "" where they are in none.

    Raises:
        UserError: The places are in two stores, or what says where they are can't be read.
    """
    variables = {name: os.environ[name] for name in ACCESS_VARIABLES if os.environ.get(name)}
    found = [(place, _settings(place)) for place in places if place.startswith(("s3://", "minio://"))]
    if not found:
        return JobAccess(variables)
    (place, store), *others = found
    variables |= {name: os.environ[name] for name in _S3_VARIABLES if os.environ.get(name)}
    variables |= _where(place, store)
    for other, its in others:
        if _where(other, its) != _where(place, store) or its.secret != store.secret:
            raise UserError(
                f"A job can be told of one S3 store only, and {place} is in {store.place}, {other} in {its.place}, or "
                "is reached with other keys: use places in one store."
            )
    if store.secret and store.secret.namespace == namespace:
        keys = {"AWS_ACCESS_KEY_ID": store.secret.access_key, "AWS_SECRET_ACCESS_KEY": store.secret.secret_key}
        return JobAccess(variables, {name: (store.secret.name, key) for name, key in keys.items()})
    return JobAccess(variables, keyless="" if store.anonymous else place)


def _where(place: str, store: S3Settings) -> dict[str, str]:
    endpoint = store.endpoint_of(place.split("/")[2])
    return {
        **({"AWS_ENDPOINT_URL": endpoint} if endpoint else {}),
        "AWS_REGION": store.region,
        **({"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"} if store.hosted else {}),
    }


def _settings(place: str) -> S3Settings:
    """How this step reaches a place. It may lack the keys of one that only the job reads or writes."""
    anonymous = with_environment(Access()).anonymous
    try:
        return s3_settings(place, anonymous)
    except NoKeysError:
        return replace(s3_settings(place, True), anonymous=anonymous)
