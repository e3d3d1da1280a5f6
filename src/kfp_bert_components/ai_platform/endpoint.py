"""One endpoint of AI Platform: finding or creating it, its deployed models, and its traffic split."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.settings import AiPlatformSettings, slug
from kfp_bert_components.deployment import TrafficSplit, restored_split
from kfp_bert_components.errors import NotFoundError, TransientError, UserError

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatformClient
    from kfp_bert_components.deployment import Journal

LABEL = "kfp-bert-target"


class Endpoint:
    """The endpoint of one deployment record.

    Args:
        client: The API.
        settings: Which endpoint, and how to create it.
        target: Name of the deployment record.

    Attributes:
        name: Full name of the endpoint; "" until `ensure` was called, or until it is set.
    """

    def __init__(self, client: AiPlatformClient, settings: AiPlatformSettings, target: str) -> None:
        self._client, self._settings, self._target = client, settings, target
        self.name = ""

    # Finding and creating it

    def find(self) -> Any | None:
        """The endpoint that the settings name, or None if it has to be created. One call, which changes nothing.

        Raises:
            UserError: There is none with this number, or several have the label.
        """
        wanted = self._settings.endpoint
        if wanted and not wanted.startswith("label:"):
            try:
                return self.get(self._full(wanted))
            except NotFoundError:
                if wanted.rsplit("/", 1)[-1].isdigit():  # ids with digits are given by AI Platform
                    raise UserError(f"There is no endpoint {wanted} in {self._client.parent}.") from None
                return None
        key, value = self._label()
        request = v1.ListEndpointsRequest(parent=self._client.parent, filter=f"labels.{key}={value}")
        found = list(self._client.call(self._client.endpoints.list_endpoints, request))
        if len(found) > 1:
            names = ", ".join(sorted(one.name for one in found))
            raise UserError(f"Several endpoints have the label {key}={value}: give one by its id, of {names}.")
        return found[0] if found else None

    def ensure(self, journal: Journal) -> None:
        """Find the endpoint, or create it and wait until it is there; `name` is set."""
        found = self.find()
        if found:
            self.name = found.name
            return
        name, number = self._name_to_create()
        description = f"creating endpoint {number}"
        running = self._client.running_operations(name)
        if not running:
            journal.check()
            request = v1.CreateEndpointRequest(parent=self._client.parent, endpoint=self._new(), endpoint_id=number)
            running = [self._client.call(self._client.endpoints.create_endpoint, request).operation.name]
        for operation in running:
            self._client.wait(operation, description, self._settings.operation_seconds, journal.check)
        self.name = self.get(name).name

    def _full(self, wanted: str) -> str:
        return wanted if "/" in wanted else f"{self._client.parent}/endpoints/{wanted}"

    def _label(self) -> tuple[str, str]:
        key, separator, value = self._settings.endpoint.removeprefix("label:").partition("=")
        return (key, value) if separator else (LABEL, slug(self._target))

    def _name_to_create(self) -> tuple[str, str]:
        wanted = self._settings.endpoint
        if wanted and not wanted.startswith("label:"):
            return self._full(wanted), wanted.rsplit("/", 1)[-1]
        number = f"kfp-bert-{slug(self._target)}"
        return f"{self._client.parent}/endpoints/{number}", number

    def _new(self) -> Any:
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

    # Its deployed models and its traffic

    def get(self, name: str = "") -> Any:
        """The endpoint as it is now; NotFoundError if there is none."""
        return self._client.call(self._client.endpoints.get_endpoint, v1.GetEndpointRequest(name=name or self.name))

    def wait_for_operations(self, journal: Journal, description: str) -> None:
        """Wait until no operation is under way. Whether they succeeded is for the caller to check."""
        for operation in self._client.running_operations(self.name):
            with suppress(UserError):
                self._client.wait(operation, description, self._settings.operation_seconds, journal.check)

    def deploy(self, journal: Journal, number: str, model: str, display_name: str) -> None:
        """Deploy a model without traffic, and wait until it is there. Nothing happens if the id is deployed already.

        Args:
            journal: The rollout under way.
            number: The id that the deployed model gets.
            model: Full name of the model with its version.
            display_name: Name to show, by which `leftover_models` knows it again.

        Raises:
            UserError: The deployment failed or took too long.
        """
        description = f"deploying version {journal.version}"
        for operation in self._client.running_operations(self.name):
            self._client.wait(operation, description, self._settings.operation_seconds, journal.check)
        if number in deployed_ids(self.get()):
            return
        journal.check()
        request = v1.DeployModelRequest(endpoint=self.name, deployed_model=self._model(number, model, display_name))
        operation = self._client.call(self._client.endpoints.deploy_model, request).operation.name
        self._client.wait(operation, description, self._settings.operation_seconds, journal.check)

    def _model(self, number: str, model: str, display_name: str) -> Any:
        settings = self._settings
        machine = v1.MachineSpec(machine_type=settings.machine_type)
        if settings.accelerator_type:
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

    def set_traffic(self, journal: Journal, split: TrafficSplit) -> None:
        """Set the traffic split. TransientError if somebody changed the endpoint since it was read here."""
        seen = self.get()
        if dict(seen.traffic_split) != split:
            journal.check()
            self._update(split, seen.etag)

    def restore_traffic(self, before: TrafficSplit, new: str) -> None:
        """Set the traffic split of before the rollout.

        If the endpoint cannot be read or updated, the new model is undeployed instead, with the split in that request.

        Args:
            before: The split before the rollout.
            new: The id of the deployed model that was rolled out.

        Raises:
            UserError: No model of `before` is deployed any more; the traffic stays as it is.
        """
        wanted, etag, seen = before, "", self._get_or_none()
        if seen is not None:
            if dict(seen.traffic_split) == before:
                return
            wanted, etag = restored_split(before, deployed_ids(seen)), seen.etag
            if before and not wanted:
                raise UserError(
                    f"No model that served {self.name} before is deployed any more: the traffic stays as it is."
                )
        try:
            self._update(wanted, etag)
        except (TransientError, UserError):
            if new in before:
                raise
            self._undeploy(new, wanted)

    def _get_or_none(self) -> Any | None:
        try:
            return self.get()
        except (TransientError, UserError):
            return None

    def _update(self, split: TrafficSplit, etag: str) -> None:
        endpoint = v1.Endpoint(name=self.name, traffic_split=split, etag=etag)
        request = v1.UpdateEndpointRequest(endpoint=endpoint, update_mask={"paths": ["traffic_split"]})
        self._client.call(self._client.endpoints.update_endpoint, request)

    def remove(self, journal: Journal, number: str) -> None:
        """Undeploy a model that has no traffic, and wait until it is gone. Nothing happens if it is not deployed."""
        description = f"undeploying {number}"
        self.wait_for_operations(journal, description)
        seen = self._get_or_none()
        if seen is not None and number not in deployed_ids(seen):
            return
        journal.check()
        with suppress(NotFoundError):
            operation = self._undeploy(number, {})
            self._client.wait(operation, description, self._settings.operation_seconds, journal.check)

    def stop_deploying(self, journal: Journal, seconds: float = 60.0) -> None:
        """Cancel the operations under way, and wait up to `seconds` for the end of each."""
        for operation in self._client.running_operations(self.name):
            journal.check()
            self._client.cancel(operation)
            with suppress(UserError):
                self._client.wait(operation, "cancelling", seconds, journal.check)

    def _undeploy(self, number: str, split: TrafficSplit) -> str:
        request = v1.UndeployModelRequest(endpoint=self.name, deployed_model_id=number, traffic_split=split)
        return self._client.call(self._client.endpoints.undeploy_model, request).operation.name


def deployed_ids(endpoint: Any) -> set[str]:
    """The ids of the models that are deployed in an endpoint."""
    return {one.id for one in endpoint.deployed_models}


def leftover_models(endpoint: Any, target: str, keep: set[str]) -> list[str]:
    """The ids of models that rollouts to `target` deployed, that get no traffic, and that are not in `keep`."""
    ours = re.compile(rf"kfp-bert {re.escape(target)} v\d+ .*")
    return [
        one.id
        for one in endpoint.deployed_models
        if ours.fullmatch(one.display_name) and one.id not in keep and not endpoint.traffic_split.get(one.id)
    ]
