"""A registered model in Kubeflow Model Registry, by its REST API.

Its own client registers a version in five requests and fails for good where it was ended between two of them; and no
release of it speaks to both servers that have the API v1 and those that have v1alpha3.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import NotFoundError, TransientError, UserError
from kfp_bert_components.extras import named_extra
from kfp_bert_components.mirrors.facts import CHAMPION, REGISTRY, Facts, check_owner

TOKEN_PATH = "KF_PIPELINES_SA_TOKEN_PATH"
_APIS = ("v1", "v1alpha3")  # the newest first
_RETRIED = (429, 502, 503, 504)


class ModelRegistry:
    """A registered model in Kubeflow Model Registry.

    The file that the variable KF_PIPELINES_SA_TOKEN_PATH names has the token, if the server wants one: the same as for
    the server's own client.

    Args:
        url: Address of the server, without /api/model_registry.
        name: Name of the registered model.
        call_seconds: Longest time for one answer. A call is tried again, up to two times.
    """

    def __init__(self, url: str, name: str, call_seconds: float) -> None:
        with named_extra():
            import requests
            from requests.adapters import HTTPAdapter
            from urllib3 import Retry

        self._url, self._name, self._seconds, self._api = url, name, call_seconds, ""
        self._session = requests.Session()
        # All calls may be made again: one that took effect all the same is found, or answered by 409.
        tries = Retry(
            2,
            read=1,
            status_forcelist=_RETRIED,
            allowed_methods=None,
            backoff_factor=1,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=tries))

    def tell(self, registry_id: str, versions: Sequence[Facts], champion: int) -> str:
        """Add what is missing, and write the champion's number; return what the server calls the champion.

        Raises:
            UserError: The registered model is not this registry's, or the server refuses.
            TransientError: The server does not answer, or fails.
        """
        with self._session:
            if path := os.environ.get(TOKEN_PATH):
                self._session.headers["Authorization"] = f"Bearer {_token(path)}"
            self._find_api()
            model = self._model(registry_id)
            for one in versions:
                self._tell_version(model, one)
            # Last: whoever reads it finds the version.
            self._set_properties(f"registered_models/{model['id']}", model, {CHAMPION: str(champion)})
        return f"version {champion} of {self._name} in Model Registry (API {self._api})"

    def _find_api(self) -> None:
        """Find out which API the server has: servers of 0.3 know v1alpha3 only."""
        for self._api in _APIS:
            try:
                self._ask("GET", "registered_models", {"pageSize": "1"})
            except NotFoundError:
                continue
            return
        raise NotFoundError(
            f"there is no Model Registry at {self._url}, neither with the API {' nor with '.join(_APIS)}: check the "
            "address, which is what comes before /api/model_registry."
        )

    def _model(self, registry_id: str) -> dict[str, Any]:
        known = {"name": self._name}
        model = self._find_or_create(
            "registered_model", "registered_models", known, _properties({REGISTRY: registry_id})
        )
        owner = model.get("customProperties", {}).get(REGISTRY, {}).get("string_value")
        check_owner(owner, registry_id, self._name)
        return model

    def _tell_version(self, model: Mapping[str, Any], one: Facts) -> None:
        known = {"name": str(one.version), "parentResourceId": model["id"]}
        new = {"registeredModelId": model["id"], "description": one.description, **_properties(one.properties)}
        version = self._find_or_create("model_version", "model_versions", known, new)
        self._set_properties(f"model_versions/{version['id']}", version, one.properties)
        artifact = {
            "artifactType": "model-artifact",
            "uri": f"{one.bundle}/saved_model",
            "modelFormatName": "tensorflow",
            "modelFormatVersion": "2",
            **_source(one),
        }
        known = {"name": self._name, "parentResourceId": version["id"]}
        self._find_or_create("model_artifact", f"model_versions/{version['id']}/artifacts", known, artifact)

    def _find_or_create(
        self, one: str, all_of_them: str, known: dict[str, str], new: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Look for an object by its name, and where there is none make it of these fields."""
        try:
            return self._ask("GET", one, known)
        except NotFoundError:
            made = self._ask("POST", all_of_them, body={"name": known["name"], **new}, expected=409)
        return made or self._ask("GET", one, known)  # another run made it at the same moment

    def _set_properties(self, path: str, there: Mapping[str, Any], wanted: Mapping[str, str | float]) -> None:
        """Change properties where they differ. A change replaces all of them, so others' are sent along."""
        before = there.get("customProperties", {})
        after = before | _properties(wanted)["customProperties"]
        if after != before:
            self._ask("PATCH", path, body={"customProperties": after})

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        expected: int = 0,
    ) -> dict[str, Any]:
        """Make one call, and return what was answered; {} for the expected status."""
        import requests

        address = f"{self._url}/api/model_registry/{self._api}/{path}"
        what = f"{method} {address}"
        try:
            answer = self._session.request(
                method, address, params=query, json=body, timeout=self._seconds, allow_redirects=False
            )
            found = answer.json() if answer.ok else {}
        except requests.exceptions.JSONDecodeError:
            raise UserError(f"{what} is answered by something else than Model Registry: check the address.") from None
        except requests.RequestException as error:
            raise TransientError(f"Model Registry does not answer ({what}: {_reason(error)}).") from error
        if answer.ok and isinstance(found, dict):
            return found
        if answer.status_code == expected:
            return {}
        raise _error(answer.status_code, answer.text[:300].strip(), what)


def _error(status: int, text: str, what: str) -> Exception:
    said = f"{what} is answered by {status} {text}"
    if status == 404:
        return NotFoundError(said)
    if status in (401, 403):
        return UserError(f"{said}: let the variable {TOKEN_PATH} name the file with a token that may do this.")
    if status in _RETRIED or status >= 500:
        return TransientError(said)
    return UserError(said)


def _reason(error: Exception) -> str:
    """Why a call got no answer, without the words of the libraries around it."""
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return str(reason).rpartition(": ")[2] or type(error).__name__


def _properties(values: Mapping[str, str | float]) -> dict[str, Any]:
    """Values as Model Registry has them."""
    return {
        "customProperties": {
            name: {"metadataType": "MetadataStringValue", "string_value": value}
            if isinstance(value, str)
            else {"metadataType": "MetadataDoubleValue", "double_value": value}
            for name, value in values.items()
        }
    }


def _source(one: Facts) -> dict[str, str]:
    """The run that a version comes from, in the fields that Model Registry has for it."""
    if not one.run.run_id:
        return {}
    source = {"modelSourceKind": "kfp", "modelSourceClass": "pipelinerun", "modelSourceId": one.run.run_id}
    further = {"modelSourceGroup": one.run.namespace, "modelSourceName": one.run.run}
    return source | {name: value for name, value in further.items() if value}


def _token(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the file {path}, which {TOKEN_PATH} names, can't be read ({error}): check the path."
        ) from None
