"""A registered model on an MLflow server, through MLflow's own client."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kfp_bert_components.extras import named_extra
from kfp_bert_components.mirrors.facts import REGISTRY, VERSION, Facts, check_owner

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

_ALIAS = "champion"


class MlflowServer:
    """A registered model on an MLflow server.

    User and password, or the token, come from MLflow's own variables. A variable of MLflow that sets a time limit or
    the number of tries wins over what is said here.

    Args:
        url: Address of the server.
        name: Name of the registered model.
        call_seconds: Longest time for one answer. A call is tried again, up to two times.
    """

    def __init__(self, url: str, name: str, call_seconds: float) -> None:
        self._url, self._name, self._seconds = url, name, call_seconds

    def tell(self, registry_id: str, versions: Sequence[Facts], champion: int) -> str:
        """Add what is missing, and move the alias `champion`; return what the server calls the champion.

        Raises:
            UserError: The registered model is not this registry's.
            MlflowException: The server refuses, or does not answer.
        """
        with _settings(self._seconds), named_extra():
            from mlflow import MlflowClient

            client = MlflowClient(tracking_uri=self._url, registry_uri=self._url)
            model = self._model(client, registry_id)
            known = self._versions(client, registry_id)
            for one in versions:
                there = known.get(one.version) or self._create(client, registry_id, one)
                known[one.version] = there
                for name, value in _tags(one).items():
                    if there.tags.get(name) != value:
                        client.set_model_version_tag(self._name, there.version, name, value)
            number = str(known[champion].version)
            if str(model.aliases.get(_ALIAS)) != number:
                client.set_registered_model_alias(self._name, _ALIAS, number)
            return f"version {number} of {self._name} on MLflow"

    def _model(self, client: MlflowClient, registry_id: str) -> RegisteredModel:
        from mlflow import MlflowException

        try:
            model = client.get_registered_model(self._name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            try:
                model = client.create_registered_model(self._name, tags={REGISTRY: registry_id})
            except MlflowException as second:
                if second.error_code != "RESOURCE_ALREADY_EXISTS":  # by another run, at the same moment
                    raise
                model = client.get_registered_model(self._name)
        check_owner(model.tags.get(REGISTRY), registry_id, self._name)
        return model

    def _versions(self, client: MlflowClient, registry_id: str) -> dict[int, ModelVersion]:
        """What the server has of this registry, by our number. If a version is there twice, the first one counts."""
        found: dict[int, ModelVersion] = {}
        token = None
        while True:
            page = client.search_model_versions(f"name = '{self._name}'", page_token=token)
            for one in page:
                if one.tags.get(REGISTRY) != registry_id or not one.tags.get(VERSION, "").isdecimal():
                    continue
                number = int(one.tags[VERSION])
                if number not in found or int(one.version) < int(found[number].version):
                    found[number] = one
            token = page.token
            if not token:
                return found

    def _create(self, client: MlflowClient, registry_id: str, one: Facts) -> ModelVersion:
        """Make a version. Where another run made it at the same moment, ours, the later one, is removed."""
        made = client.create_model_version(
            self._name,
            _source(one.bundle),
            tags=_tags(one),
            run_link=one.run.page or None,
            description=one.description,
            await_creation_for=0,
        )
        first = self._versions(client, registry_id).get(one.version, made)
        if int(first.version) < int(made.version):
            client.delete_model_version(self._name, made.version)
            return first
        return made


def _tags(one: Facts) -> dict[str, str]:
    return {name: str(value) for name, value in one.properties.items()}


def _source(bundle: str) -> str:
    """The address of a bundle. MLflow's server refuses a path, and file:, as one of its own machine."""
    return bundle if "://" in bundle else f"kfp-bert://{bundle}"


@contextmanager
def _settings(call_seconds: float) -> Iterator[None]:
    """MLflow's client in bounds while this lasts; what the environment says wins.

    It also tells the makers of MLflow nothing, which it does by default.
    """
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(call_seconds))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
