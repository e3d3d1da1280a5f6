"""Where an S3 store is and as whom it is reached: from AWS's variables and files, in a step also from Kubeflow."""

from __future__ import annotations

import configparser
import http.client
import os
from dataclasses import dataclass, field
from pathlib import Path

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage._kubeflow import (
    STORE,
    SecretKeys,
    Session,
    keys_in,
    kubeflow_session,
    split_uri,
    why_silent,
)
from kfp_bert_components.storage._s3_values import check_endpoint, check_key, check_region

_REGION = "us-east-1"  # what stores of one's own answer to
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_KEYS = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
# Of these obstore makes credentials itself, and renews them: roles of service accounts, and of containers.
WEB_IDENTITY, ROLE_ARN = "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"
_CONTAINER_FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_ROLES = (WEB_IDENTITY, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", _CONTAINER_FULL)
# What it needs beside one of them.
_BESIDE = {WEB_IDENTITY: ROLE_ARN, _CONTAINER_FULL: "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"}
# Of these AWS's tools make credentials, for a profile that has no keys.
_BY_TOOLS = (
    *("role_arn", "credential_process", "sso_session", "sso_start_url", "source_profile", "credential_source"),
    *("web_identity_token_file", "login_session"),
)
_MACHINE = "169.254.169.254"  # answers on machines of AWS, with the credentials of their role


class NoKeysError(UserError):
    """There are no credentials here."""


@dataclass(frozen=True)
class S3Settings:
    """How the buckets of a store are reached.

    Attributes:
        endpoint: Its address; "" for AWS.
        region: Its region.
        keys: Access key, secret and token by obstore's names; empty where obstore finds credentials itself.
        anonymous: Whether requests are not signed.
        source: Where the credentials are from, in words.
        hosted: Whether the bucket is in the host's name.
        secret: The secret of the cluster that the keys are from, None for any other source.
    """

    endpoint: str
    region: str
    keys: tuple[tuple[str, str], ...] = field(repr=False)
    anonymous: bool
    source: str
    hosted: bool = False
    secret: SecretKeys | None = None

    @property
    def place(self) -> str:
        """The store, for messages."""
        return f"the store at {self.endpoint}" if self.endpoint else f"AWS in {self.region}"

    def endpoint_of(self, bucket: str) -> str:
        """The address as obstore takes it for a bucket; "" for AWS."""
        return _in_host(self.endpoint, bucket) if self.hosted else self.endpoint


def s3_settings(uri: str, anonymous: bool) -> S3Settings:
    """Find out how a place is reached; what AWS's variables and files do not say, Kubeflow may say in a step.

    Args:
        uri: s3:// or minio://, bucket and prefix.
        anonymous: Look for no credentials.

    Raises:
        NoKeysError: There are no credentials.
        UserError: A file can't be read, AWS_PROFILE names a profile that is in none, a value can't be what it stands
            for, or Kubernetes does not answer in a step that has to ask it.
    """
    profile = _named_profile()
    endpoint, said = _said(_ENDPOINTS, profile, "endpoint_url")
    anonymous = anonymous or os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true")
    keys, source = ({}, "nobody: requests are not signed") if anonymous else _given(profile, uri)
    session = None if endpoint and source else kubeflow_session(uri)
    hosted, secret, why = bool(session and session.hosted and not endpoint), None, ""
    if not endpoint and session:
        endpoint, said = session.endpoint, session.source
    elif not endpoint and uri.startswith("minio:"):
        endpoint, said = STORE, "Kubeflow's default"
    if endpoint:
        check_endpoint(_in_host(endpoint, split_uri(uri)[1]) if hosted else endpoint, said)
    if not source and session and session.secret:
        keys, source, why = _of_secret(session.secret, session.source)
        secret = session.secret if keys else None
    region = _region(profile, session)
    source = source or _role(endpoint, uri, why)
    return S3Settings(endpoint.rstrip("/"), region, tuple(keys.items()), anonymous, source, hosted, secret)


def _given(profile: dict[str, str], where: str) -> tuple[dict[str, str], str]:
    """The keys that variables and files give, empty where obstore finds them itself, and where they are from."""
    given = {name: os.environ[variable] for name, variable in _KEYS.items() if os.environ.get(variable)}
    for name, value in given.items():
        check_key(value, _KEYS[name])
    if given.keys() >= {"access_key_id", "secret_access_key"}:
        return given, "AWS_ACCESS_KEY_ID"
    if given.keys() & {"access_key_id", "secret_access_key"}:
        raise NoKeysError(
            f"{where} needs credentials, and only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set: set both."
        )
    if role := _role_of_variables(_ROLES[:1], where):
        return {}, role
    kept = {name: profile[f"aws_{name}"] for name in _KEYS if f"aws_{name}" in profile}
    for name, value in kept.items():
        check_key(value, f"aws_{name} of the profile {_profile_name()}")
    if kept.keys() >= {"access_key_id", "secret_access_key"}:
        return kept, f"the profile {_profile_name()}"
    if by := next((name for name in _BY_TOOLS if name in profile), ""):
        name = _profile_name()
        raise NoKeysError(
            f"{where} needs credentials, and the profile {name} has none: it has {by}, by which only AWS's tools get "
            f'some. Let them: eval "$(aws configure export-credentials --profile {name} --format env)"'
        )
    return {}, _role_of_variables(_ROLES[1:], where)


def _role_of_variables(names: tuple[str, ...], where: str) -> str:
    """The first of these variables that is set; NoKeysError where obstore needs another one beside it."""
    role = next((name for name in names if os.environ.get(name)), "")
    if (beside := _BESIDE.get(role)) and not os.environ.get(beside):
        raise NoKeysError(
            f"{where} needs credentials, and {role} is set without {beside}, which belongs to it: set both, or let "
            'AWS\'s tools get credentials: eval "$(aws configure export-credentials --format env)"'
        )
    return role


def _of_secret(secret: SecretKeys, named_by: str) -> tuple[dict[str, str], str, str]:
    """The keys in a secret of the cluster, where they are from, and why there are none."""
    try:
        keys = keys_in(secret, named_by)
    except UserError as error:
        return {}, "", str(error)
    where = f"in the secret {secret.name} of the namespace {secret.namespace}"
    check_key(keys["access_key_id"], f"{secret.access_key} {where}")
    check_key(keys["secret_access_key"], f"{secret.secret_key} {where}")
    return keys, f"the secret {secret.name}, which {named_by} names", ""


def _region(profile: dict[str, str], session: Session | None) -> str:
    region, said = _said(_REGIONS, profile, "region")
    if not region and session:
        region, said = session.region, session.source
    check_region(region or _REGION, said)
    return region or _REGION


def _role(endpoint: str, where: str, why: str) -> str:
    """The role of this machine; NoKeysError where it has none, as then there are no credentials."""
    if not endpoint and os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true" and _on_aws():
        return "the role of this machine"
    why = why or why_silent()
    raise NoKeysError(
        f"{where} needs credentials and there are none here{f' ({why})' if why else ''}: set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY (on Kubeflow from a secret, by cluster.yaml), name a profile of "
        f"{_file('AWS_SHARED_CREDENTIALS_FILE')} that has them, or set KFP_BERT_ANONYMOUS=true if the bucket is public."
    )


def _in_host(endpoint: str, bucket: str) -> str:
    return endpoint.replace("://", f"://{bucket}.")


def _said(variables: tuple[str, ...], profile: dict[str, str], key: str) -> tuple[str, str]:
    """What the first variable that is set says, or else the profile; and which of them says it."""
    for name in variables:
        if value := os.environ.get(name):
            return value, name
    return profile.get(key, ""), f"{key} of the profile {_profile_name()}"


def _profile_name() -> str:
    return os.environ.get("AWS_PROFILE") or "default"


def _file(variable: str) -> Path:
    name = "config" if variable == "AWS_CONFIG_FILE" else "credentials"
    return Path(os.environ.get(variable) or f"~/.aws/{name}").expanduser()


def _named_profile() -> dict[str, str]:
    """What the files of AWS's tools say of the profile in use."""
    found = [_profile("AWS_CONFIG_FILE", "config"), _profile("AWS_SHARED_CREDENTIALS_FILE", "credentials")]
    if found == [None, None] and (name := os.environ.get("AWS_PROFILE")):
        files = f"{_file('AWS_CONFIG_FILE')} nor {_file('AWS_SHARED_CREDENTIALS_FILE')}"
        raise UserError(f"AWS_PROFILE names the profile {name!r}, and neither {files} has it: name another one.")
    return {key: value for part in found if part for key, value in part.items()}


def _profile(variable: str, kind: str) -> dict[str, str] | None:
    """What one file says of the profile in use; None where there is no such file, or no such profile in it."""
    path, name, parser = _file(variable), _profile_name(), configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, configparser.Error) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} can't be read as AWS's tools write it: {reason}.") from None
    quoted = [name, f'"{name}"', f"'{name}'"]
    sections = [*(f"profile {one}" for one in quoted), name] if kind == "config" else [name]
    return next((dict(parser[section]) for section in sections if parser.has_section(section)), None)


def _on_aws() -> bool:
    """Whether this is a machine of AWS: at the same address other clouds have a server that does not know the path."""
    asked = http.client.HTTPConnection(_MACHINE, timeout=1)
    try:
        asked.request("PUT", "/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        return asked.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()
