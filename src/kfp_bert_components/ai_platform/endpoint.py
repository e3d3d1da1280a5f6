"""One endpoint of AI Platform: finding it, what is deployed in it, and who gets its traffic."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.settings import AiPlatformSettings, slug
from kfp_bert_components.deployment.traffic import Split, restored
from kfp_bert_components.errors import NotFoundError, TransientError, UserError

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatform
    from kfp_bert_components.deployment.journal import Journal

LABEL = "kfp-bert-target"


class Endpoint:
    """The endpoint of one deployment target; `name` is "" until it was found or made."""

    def __init__(self, cloud: AiPlatform, settings: AiPlatformSettings, target: str) -> None:
        self._cloud, self._settings, self._target = cloud, settings, target
        self.name = ""

    # Finding and making it

    def find(self) -> Any | None:
        """The endpoint that the settings mean, or None. One call, which changes nothing."""
        wanted = self._settings.endpoint
        if wanted and not wanted.startswith("label:"):
            try:
                return self.look(self._full(wanted))
            except NotFoundError:
                if wanted.rsplit("/", 1)[-1].isdigit():  # ids with digits are given by AI Platform
                    raise UserError(f"There is no endpoint {wanted} in {self._cloud.parent}.") from None
                return None
        key, value = self._label()
        request = v1.ListEndpointsRequest(parent=self._cloud.parent, filter=f"labels.{key}={value}")
        found = list(self._cloud.call(self._cloud.endpoints.list_endpoints, request))
        if len(found) > 1:
            names = ", ".join(sorted(one.name for one in found))
            raise UserError(f"Several endpoints have the label {key}={value}: give one by its id, of {names}.")
        return found[0] if found else None

    def ensure(self, journal: Journal) -> None:
        """Find the endpoint or make it."""
        found = self.find()
        if found:
            self.name = found.name
            return
        name, number = self._name_to_make()
        what = f"making endpoint {number}"
        running = self._cloud.running(name)
        if not running:
            journal.check()
            request = v1.CreateEndpointRequest(parent=self._cloud.parent, endpoint=self._to_make(), endpoint_id=number)
            running = [self._cloud.call(self._cloud.endpoints.create_endpoint, request).operation.name]
        for operation in running:
            self._cloud.wait(operation, what, self._settings.operation_seconds, journal.check)
        self.name = self.look(name).name

    def _full(self, wanted: str) -> str:
        return wanted if "/" in wanted else f"{self._cloud.parent}/endpoints/{wanted}"

    def _label(self) -> tuple[str, str]:
        key, separator, value = self._settings.endpoint.removeprefix("label:").partition("=")
        return (key, value) if separator else (LABEL, slug(self._target))

    def _name_to_make(self) -> tuple[str, str]:
        wanted = self._settings.endpoint
        if wanted and not wanted.startswith("label:"):
            return self._full(wanted), wanted.rsplit("/", 1)[-1]
        number = f"kfp-bert-{slug(self._target)}"
        return f"{self._cloud.parent}/endpoints/{number}", number

    def _to_make(self) -> Any:
        settings = self._settings
        key, value = self._label()
        endpoint = v1.Endpoint(
            display_name=f"kfp-bert {self._target}",
            labels={**settings.labels, key: value},
            dedicated_endpoint_enabled=settings.dedicated,
        )
        if settings.encryption_key:
            endpoint.encryption_spec = v1.EncryptionSpec(kms_key_name=settings.encryption_key)
        if settings.request_log_table:
            endpoint.predict_request_response_logging_config = v1.PredictRequestResponseLoggingConfig(
                enabled=True,
                sampling_rate=settings.request_log_rate or 1.0,
                bigquery_destination=v1.BigQueryDestination(output_uri=settings.request_log_table),
            )
        return endpoint

    # What is deployed, and its traffic

    def look(self, name: str = "") -> Any:
        """The endpoint as it is now."""
        return self._cloud.call(self._cloud.endpoints.get_endpoint, v1.GetEndpointRequest(name=name or self.name))

    def settle(self, journal: Journal, what: str) -> None:
        """Wait for operations that are under way; how they end is seen by looking."""
        for operation in self._cloud.running(self.name):
            with suppress(UserError):
                self._cloud.wait(operation, what, self._settings.operation_seconds, journal.check)

    def deploy(self, journal: Journal, number: str, model: str, display_name: str) -> None:
        """Deploy a model under an id, without traffic, and wait until it is there."""
        what = f"deploying version {journal.version}"
        for operation in self._cloud.running(self.name):
            self._cloud.wait(operation, what, self._settings.operation_seconds, journal.check)
        if number in deployed(self.look()):
            return
        journal.check()
        request = v1.DeployModelRequest(endpoint=self.name, deployed_model=self._model(number, model, display_name))
        operation = self._cloud.call(self._cloud.endpoints.deploy_model, request).operation.name
        self._cloud.wait(operation, what, self._settings.operation_seconds, journal.check)

    def _model(self, number: str, model: str, display_name: str) -> Any:
        settings = self._settings
        machine = v1.MachineSpec(machine_type=settings.machine_type)
        if settings.accelerator_type:
            if settings.accelerator_type not in v1.AcceleratorType.__members__:
                raise UserError(f"AI Platform knows no accelerator {settings.accelerator_type!r}.")
            machine.accelerator_type = v1.AcceleratorType.__members__[settings.accelerator_type]
            machine.accelerator_count = settings.accelerator_count
        resources = v1.DedicatedResources(
            machine_spec=machine,
            min_replica_count=settings.min_replicas,
            max_replica_count=settings.max_replicas,
        )
        return v1.DeployedModel(
            id=number,
            model=model,
            display_name=display_name,
            dedicated_resources=resources,
            service_account=settings.service_account,
        )

    def give(self, journal: Journal, split: Split) -> None:
        """Set the traffic split, unless somebody changed the endpoint since it was looked at."""
        seen = self.look()
        if dict(seen.traffic_split) != split:
            journal.check()
            self._update(split, seen.etag)

    def give_back(self, before: Split, new: str) -> None:
        """Set the split that was there before, by whatever call still works."""
        wanted, etag, seen = before, "", self._look_if_possible()
        if seen is not None:
            if dict(seen.traffic_split) == before:
                return
            wanted, etag = restored(before, deployed(seen)), seen.etag
            if before and not wanted:
                raise UserError("What answered before is not deployed any more: the traffic stays as it is.")
        try:
            self._update(wanted, etag)
        except (TransientError, UserError):
            if new in before:
                raise
            self._undeploy(new, wanted)

    def _look_if_possible(self) -> Any | None:
        try:
            return self.look()
        except (TransientError, UserError):
            return None

    def _update(self, split: Split, etag: str) -> None:
        endpoint = v1.Endpoint(name=self.name, traffic_split=split, etag=etag)
        request = v1.UpdateEndpointRequest(endpoint=endpoint, update_mask={"paths": ["traffic_split"]})
        self._cloud.call(self._cloud.endpoints.update_endpoint, request)

    def remove(self, journal: Journal, number: str) -> None:
        """Undeploy a model that has no traffic, and wait until it is gone."""
        what = f"undeploying {number}"
        self.settle(journal, what)
        seen = self._look_if_possible()
        if seen is not None and number not in deployed(seen):
            return
        journal.check()
        with suppress(NotFoundError):
            operation = self._undeploy(number, {})
            self._cloud.wait(operation, what, self._settings.operation_seconds, journal.check)

    def stop_deploying(self, journal: Journal, seconds: float = 60.0) -> None:
        """Cancel what is under way, and wait a little for its end."""
        for operation in self._cloud.running(self.name):
            journal.check()
            self._cloud.cancel(operation)
            with suppress(UserError):
                self._cloud.wait(operation, "cancelling", seconds, journal.check)

    def _undeploy(self, number: str, split: Split) -> str:
        request = v1.UndeployModelRequest(endpoint=self.name, deployed_model_id=number, traffic_split=split)
        return self._cloud.call(self._cloud.endpoints.undeploy_model, request).operation.name


def deployed(endpoint: Any) -> set[str]:
    """The ids of the models in an endpoint."""
    return {one.id for one in endpoint.deployed_models}


def strays(endpoint: Any, target: str, keep: set[str]) -> list[str]:
    """Models that rollouts to this target deployed and that get no traffic, less those to keep."""
    ours = re.compile(rf"kfp-bert {re.escape(target)} v\d+ .*")
    return [
        one.id
        for one in endpoint.deployed_models
        if ours.fullmatch(one.display_name) and one.id not in keep and not endpoint.traffic_split.get(one.id)
    ]
