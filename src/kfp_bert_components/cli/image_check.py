"""Whether a registry has an image, by the API that all registries speak (OCI distribution)."""

import base64
import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import NotFoundError, TransientError, UserError, reason_of

SECONDS = 20
_TYPES = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2")
)
_ACCEPT = f"{_TYPES}, application/vnd.docker.distribution.manifest.v2+json"
_DOCKER = "registry-1.docker.io"  # what names without a host, and these two, stand for
_DOCKER_NAMES = ("docker.io", "index.docker.io")
_DOCKER_LOGIN = "https://index.docker.io/v1/"  # the name under which Docker keeps the login
_LOCAL = r"(localhost|127\.0\.0\.1)(:\d+)?"


def check_image(image: str) -> None:
    """Ask the registry for an image's manifest, signed in as Docker is.

    Args:
        image: Its name with a tag, such as registry.example.com/my-team/python:0.1.0.

    Raises:
        NotFoundError: The registry does not have it.
        UserError: The registry wants a sign-in, or refuses.
        TransientError: It can't be reached.
    """
    host, path, tag = _parts(image)
    scheme = "http" if re.fullmatch(_LOCAL, host) else "https"
    login = "docker login" if host == _DOCKER else f"docker login {host}"
    address = f"{scheme}://{host}/v2/{path}/manifests/{tag}"
    try:
        challenge = _ask(address, "")
        if challenge is not None and _ask(address, _authorization(host, challenge)) is not None:
            raise UserError(f"{host} wants a sign-in for {image}, and Docker's is refused: {login}.")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise NotFoundError(f"{image} is not there: build and push it (make images IMAGES=... PUSH=1).") from None
        raise UserError(f"{host} refused {image} with {error.code} {error.reason}: {login}.") from None
    except OSError as error:
        raise TransientError(f"{host} can't be reached: check --images and the network ({reason_of(error)}).") from None


def _parts(image: str) -> tuple[str, str, str]:
    """Host, path and tag, as Docker reads a name."""
    first, slash, rest = image.partition("/")
    if not slash or not re.search(r"[.:]|^localhost$", first):
        first, rest = _DOCKER, image
    if first in (_DOCKER, *_DOCKER_NAMES):
        first, rest = _DOCKER, rest if "/" in rest else f"library/{rest}"
    path, _, tag = rest.partition(":")
    return first, path, tag or "latest"


def _ask(address: str, authorization: str) -> str | None:
    """None where the registry has it; else how it wants to be signed in to."""
    request = urllib.request.Request(address, method="HEAD", headers={"Accept": _ACCEPT})
    if authorization:
        request.add_unredirected_header("Authorization", authorization)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            return None
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        return error.headers.get("WWW-Authenticate", "")


def _authorization(host: str, challenge: str) -> str:
    """The header that answers a registry's challenge: Docker's login, or a token got with it or without."""
    login = _login(_DOCKER_LOGIN if host == _DOCKER else host)
    basic = f"Basic {base64.b64encode(login.encode()).decode()}" if login else ""
    kind, _, rest = challenge.partition(" ")
    if kind.lower() != "bearer":
        return basic
    asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    realm = asked.pop("realm", "")
    if not re.match(rf"https://|http://{_LOCAL}/", realm):  # a login is not for other machines over plain http
        raise UserError(f"{host} sends to {realm!r} to sign in, which is not https.")
    request = urllib.request.Request(f"{realm}?{urllib.parse.urlencode(asked)}")
    if basic:
        request.add_unredirected_header("Authorization", basic)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        given = json.loads(answer.read())
    return f"Bearer {given.get('token') or given.get('access_token')}"


def _login(host: str) -> str:
    """user:password as Docker keeps it for a registry; "" where it keeps none."""
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text())
        if kept := settings.get("auths", {}).get(host, {}).get("auth"):
            return base64.b64decode(kept).decode()
        helper = settings.get("credHelpers", {}).get(host) or settings.get("credsStore")
        if not helper:
            return ""
        command = [f"docker-credential-{helper}", "get"]
        done = subprocess.run(command, input=host, capture_output=True, text=True, timeout=SECONDS, check=True)
        found = json.loads(done.stdout)
        return f"{found['Username']}:{found['Secret']}"
    except (OSError, ValueError, KeyError, AttributeError, subprocess.SubprocessError):
        return ""
