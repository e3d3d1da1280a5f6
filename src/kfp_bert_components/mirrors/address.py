"""Addresses of mirrors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from kfp_bert_components.errors import UserError

_SCHEME = re.compile(r"(mlflow|model-registry)\+(https?://.+)")
# What both kinds of servers take. MLflow refuses "/" and ":"; Model Registry answers 500 to 256 letters and more.
_NAME = re.compile(r"\w([\w .-]{0,248}\w)?")
_WANTED = (
    "give mlflow+https://HOST for MLflow or model-registry+https://HOST for Kubeflow Model Registry, with http and a "
    "port where the server has them, and #NAME at the end for another name of the registered model than the registry's"
)


@dataclass(frozen=True)
class MirrorAddress:
    """Where a mirror is.

    Attributes:
        kind: "mlflow" or "model-registry".
        url: Address of the server.
        name: Name of the registered model there.
    """

    kind: str
    url: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}+{self.url}#{self.name}"


def parse_mirrors(addresses: Sequence[str], registry: str) -> list[MirrorAddress]:
    """Read the addresses of mirrors, each once; nothing is asked there.

    Args:
        addresses: Such as mlflow+https://HOST, or model-registry+http://HOST:8080#NAME.
        registry: Address of the registry. Its last part is the name of the registered model where an address has none.

    Raises:
        UserError: An address is of no known kind, has a password in it, or a name that not every server takes; or a
            package is missing.
    """
    default = registry.rstrip("/").rpartition("/")[2]
    found = list(dict.fromkeys(_parse(one, default) for one in addresses))
    if any(one.kind == "mlflow" for one in found):
        _require_mlflow()
    return found


def _parse(address: str, default: str) -> MirrorAddress:
    known = _SCHEME.fullmatch(address)
    try:
        parts = urlsplit(known[2]) if known else None
        host = parts and parts.port != 0 and parts.hostname
    except ValueError:  # no number as the port, or half of an IPv6 address
        host = None
    if not known or not parts or not host or parts.query:
        raise UserError(f"{_without_password(address)!r} is no address of a mirror: {_WANTED}.")
    if "@" in parts.netloc:
        raise UserError(
            f"The address {_without_password(address)!r} has a user in it, and would be written to logs and records: "
            "leave it out, and give user and password or a token in the variables of docs/mirrors.md."
        )
    name = unquote(parts.fragment) or default
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name[:300]!r} can't be the name of a registered model at {parts.netloc}: give one of up to 250 letters, "
            "digits, spaces, dots, hyphens and underscores after a # at the end of the address."
        )
    url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return MirrorAddress(known[1], url, name)


def _without_password(address: str) -> str:
    return re.sub(r"//[^/]*@", "//...@", address)


def _require_mlflow() -> None:
    from kfp_bert_components.extras import missing_extra, missing_module

    if module := missing_module("mlflow"):
        raise UserError(missing_extra(f"No module named {module!r}"))
