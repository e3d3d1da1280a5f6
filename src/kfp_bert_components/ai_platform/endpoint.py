"""One endpoint of AI Platform: finding or creating it, its deployed models, and its traffic split."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.operations import Operations
from kfp_bert_components.ai_platform.settings import (
    AiPlatformSettings,
    check_endpoint,
    may_be_same,
)
from kfp_bert_components.deployment import (
    ForeignOwnerError,
    LeaseLostError,
    TrafficSplit,
    beside_others,
    largest_that_fit,
    restored_split,
)
from kfp_bert_components.deployment.labels import REGISTRY_LABEL, TARGET_LABEL, short_slug, slug
from kfp_bert_components.errors import NotFoundError, TransientError, UserError
from kfp_bert_components.jobs.labels import RUN_LABEL, run_label
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatformClient
    from kfp_bert_components.deployment import Journal
    from kfp_bert_components.registry import Registry


# The ids that an endpoint can be created with; those of digits are given by AI Platform.
_CREATABLE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


class Endpoint:
    """The endpoint of one deployment record.

    Args:
        client: The API.
        settings: Which endpoint, and how to create it.
        target: Name of the deployment record.
        registry: The registry that the record is in.

    Attributes:
        name: Full name of the endpoint, as AI Platform writes it; "" until `ensure` was called, or until it is set.
    """

    def __init__(self, client: AiPlatformClient, settings: AiPlatformSettings, target: str, registry: Registry) -> None:
        self._client, self._settings, self._target, self._registry = client, settings, target, registry
        self._id = ""  # of the endpoint that the settings mean, once it was looked up
        self.name = ""

    def identity(self) -> dict[str, str]:
        """Project, location and id: the same, however the settings name the endpoint. At most two calls that only read.

        Raises:
            UserError: Several endpoints have the label, or none has it and one cannot be created; or the full name has
                the number of another project.
        """
        asked = self._settings.endpoint
        self._id = self._labelled() if asked.startswith("label:") else asked.rsplit("/", 1)[-1] or self._default()
        if self._is_named_otherwise():
            self.find()
        _, project, _, location = self._client.parent.split("/")
        return {"project": project, "location": location, "endpoint": self._id}

    def is_called(self, name: str) -> bool:
        """Whether a full name is that of this endpoint. One call, if one name has a project number, one an id."""
        full = self._full()
        ours, other = full.split("/"), name.split("/")
        if name == full or ours[2:] != other[2:] or not may_be_same(ours[1], other[1]):
            return name == full
        found = self.find()
        return found is not None and found.name == name

    # Finding and creating it

    def find(self) -> Any | None:
        """The endpoint that the settings mean, or None if it has to be created. One call after `identity`.

        Raises:
            UserError: There is none, and one with this name cannot be created, or it is in another project.
        """
        asked = self._settings.endpoint
        try:
            found = self.get(self._full())
        except NotFoundError:
            if not _CREATABLE.fullmatch(self._id) or self._is_named_otherwise():
                raise UserError(
                    f"There is no endpoint {asked or self._id} in {self._client.parent}: give one that is there, or an "
                    f"id of letters, such as endpoint={self._default_id()!r}, to create it."
                ) from None
            return None
        check_endpoint(asked, found.name.split("/")[1], self._settings.location)
        return found

    def find_again(self, name: str) -> Any | None:
        """The endpoint that a rollout began at; None where it had none yet, or somebody deleted it since."""
        with suppress(NotFoundError):
            return self.get(name) if name else None
        return None

    def admit(self, found: Any, journal: Journal) -> None:
        """Raise ForeignOwnerError where it belongs to others. One without an owner may be used by its id or label.

        What was made before owners existed, or lost its labels, is ours if the deployment record names it.
        """
        registry, target = found.labels.get(REGISTRY_LABEL), found.labels.get(TARGET_LABEL)
        ours, named = registry == self._registry.id(create=False), is_named(journal, found.name)
        if self._settings.take_over or self.is_labelled(found):
            return
        if ours and target == short_slug(self._target) and named:
            return
        if not registry and (named or (self._settings.endpoint and not target)):
            return
        if registry:
            whose = f"belongs to the target {target!r} of the registry with the id {registry}"
        else:
            whose = f"has no label that says whose it is, and the deployment record {self._target!r} does not name it"
        raise ForeignOwnerError(
            f"The endpoint {found.name} {whose}: give an endpoint of its own, such as endpoint='my-model' (both can be "
            f"in one project), or endpoint={self._id!r} with take_over=True to take this one over."
        )

    def is_labelled(self, found: Any) -> bool:
        """Whether its labels say that it is ours."""
        registry, target = found.labels.get(REGISTRY_LABEL), found.labels.get(TARGET_LABEL)
        return (registry, target) == (self._registry.id(create=False), slug(self._target))

    def ensure(self, journal: Journal) -> None:
        """Find the endpoint and label it as ours, or create it and wait until it is there; `name` is set."""
        found = self.find()
        if found:
            self.admit(found, journal)
            self.name = found.name
            others = {key: value for key, value in found.labels.items() if key != RUN_LABEL}
            if (labels := others | self._owner()) != dict(found.labels):
                endpoint = v1.Endpoint(name=found.name, labels=labels, etag=found.etag)
                self._send_update(endpoint, "labels")
            return
        name = self._full()
        description = f"creating endpoint {self._id}"
        running = self._client.running_operations(name)
        if not running:
            journal.check()
            request = v1.CreateEndpointRequest(parent=self._client.parent, endpoint=self._new(), endpoint_id=self._id)
            running = [self._client.call(self._client.endpoints.create_endpoint, request).operation.name]
        for operation in running:
            self._client.wait(operation, description, self._settings.operation_seconds, journal.check)
        self.name = self.get(name).name

    def _full(self) -> str:
        """The full name, in the words of the settings."""
        return f"{self._client.parent}/endpoints/{self._id or self.identity()['endpoint']}"

    def _is_named_otherwise(self) -> bool:
        """Whether the settings give a full name with the project's number, and the project by its id, or vice versa."""
        return self._settings.endpoint.startswith("projects/") and self._settings.endpoint != self._full()

    def _labelled(self) -> str:
        """The id of the endpoint with the label; that of the one to create if none has it."""
        (key, value), own = self._label(), self._default_id()
        request = v1.ListEndpointsRequest(parent=self._client.parent, filter=f"labels.{key}={value}")
        found = list(self._client.call(self._client.endpoints.list_endpoints, request))
        if len(found) > 1:
            names = ", ".join(sorted(one.name for one in found))
            raise UserError(f"Several endpoints have the label {key}={value}: give one by its id, of {names}.")
        if found:
            return str(found[0].name.rsplit("/", 1)[-1])
        with suppress(NotFoundError):
            taken = self.get(f"{self._client.parent}/endpoints/{own}").name
            raise UserError(
                f"No endpoint has the label {key}={value}, and {taken} exists already: give it this label, or give "
                f"endpoint={own!r} to use it."
            )
        return own

    def _default(self) -> str:
        """The id where the settings give none. The labels do not matter: somebody else's can be the same."""
        _, project, _, location = self._client.parent.split("/")
        record, own = self._registry.deployment(self._target), self._default_id()
        known = [
            one.place["endpoint"]
            for one in (*record.elsewhere(), record)
            if one.place.get("location") == location and may_be_same(one.place["project"], project)
        ]
        return known[-1] if known and own not in known else own

    def _label(self) -> tuple[str, str]:
        key, _, value = self._settings.endpoint.removeprefix("label:").partition("=")
        return key, value

    def _owner(self) -> dict[str, str]:
        """The labels that say whose it is, and by which run."""
        owner = {REGISTRY_LABEL: self._registry.id(), TARGET_LABEL: slug(self._target)}
        return owner | run_label(self._registry.origin.label)

    def _default_id(self) -> str:
        return f"kfp-bert-{slug(self._target)}"

    def _new(self) -> Any:
        settings = self._settings
        asked = dict([self._label()]) if settings.endpoint.startswith("label:") else {}
        endpoint = v1.Endpoint(
            display_name=f"kfp-bert {self._target}",
            labels={**settings.labels, **asked, **self._owner()},
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

    def operations(self, journal: Journal) -> Operations:
        """The operations at this endpoint, as a rollout sees them."""
        return Operations(self._client, self.name, journal, self._settings.operation_seconds)

    def deploy(self, journal: Journal, number: str, model: str, display_name: str) -> None:
        """Deploy a model without traffic, and wait until it is there. Nothing happens if the id is deployed already.

        Args:
            journal: The rollout under way.
            number: The id that the deployed model gets.
            model: Full name of the model with its version.
            display_name: Name to show.

        Raises:
            UserError: The deployment failed or took too long.
        """
        description = f"deploying version {journal.version}"
        operations = self.operations(journal)
        operations.wait_for_ours(description)
        operations.wait_for_all(description)
        if number in deployed_ids(self.get()):
            return
        request = v1.DeployModelRequest(endpoint=self.name, deployed_model=self._model(number, model, display_name))
        deploy = self._client.endpoints.deploy_model
        operations.run(lambda: self._client.call(deploy, request).operation.name, description)

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

    def set_traffic(self, journal: Journal, ours: TrafficSplit) -> None:
        """Set how our models share; those of others keep their share.

        Raises:
            TransientError: Somebody changed the endpoint since it was read here.
            UserError: Others have so much traffic that too little is left.
        """
        seen = self.get()
        split = beside_others(dict(seen.traffic_split), ours, known_models(journal))
        if dict(seen.traffic_split) != split:
            self._update(split, seen.etag)

    def restore_traffic(self, journal: Journal, before: TrafficSplit, new: str) -> bool:
        """Let our models share as before the rollout, those that are still deployed, in what others leave them.

        If the endpoint cannot be read or updated, the new model is undeployed instead, with the split in that request.

        Args:
            journal: The rollout under way.
            before: How our models shared before the rollout.
            new: The id of the deployed model that was rolled out.

        Returns:
            Whether that was done. If not, no model of `before` is deployed any more, and the traffic is as it was.

        Raises:
            NotFoundError: Somebody deleted the endpoint.
        """
        wanted, etag, seen = {**before, **journal.facts.get("others", {})}, "", self._get_if_readable()
        if seen is not None:
            split = self.split_before(journal, seen, before, new)
            if split is None or split == dict(seen.traffic_split):
                return split is not None
            wanted, etag = split, seen.etag
        try:
            self._update(wanted, etag)
        except (TransientError, UserError) as error:
            if new in before or isinstance(error, LeaseLostError):
                raise
            with suppress(NotFoundError):  # it is not deployed
                self._undeploy(new, wanted)
        return True

    def split_before(self, journal: Journal, seen: Any, before: TrafficSplit, new: str) -> TrafficSplit | None:
        """The split that takes a rollout back; None where no model of `before` is deployed any more.

        Args:
            journal: The rollout.
            seen: The endpoint as it is.
            before: As in `restore_traffic`.
            new: As in `restore_traffic`.
        """
        now, known, ours = dict(seen.traffic_split), known_models(journal), restored_split(before, deployed_ids(seen))
        if not now.get(new) and new not in before:
            ours = restored_split(now, known)  # nothing to take back
        elif before and not ours:
            return None
        fitting = largest_that_fit(now, ours, known)
        if left_out := sorted(set(ours) - set(fitting)):
            say(f"The traffic of others at {seen.name} leaves none for {', '.join(left_out)}, which had some before.")
        return beside_others(now, fitting, known)

    def _get_if_readable(self) -> Any | None:
        """The endpoint; None where that cannot be told now, NotFoundError where there is none."""
        try:
            return self.get()
        except (LeaseLostError, NotFoundError):
            raise
        except (TransientError, UserError):
            return None

    def _update(self, split: TrafficSplit, etag: str) -> None:
        self._send_update(v1.Endpoint(name=self.name, traffic_split=split, etag=etag), "traffic_split")

    def _send_update(self, endpoint: Any, field: str) -> None:
        request = v1.UpdateEndpointRequest(endpoint=endpoint, update_mask={"paths": [field]})
        self._client.call(self._client.endpoints.update_endpoint, request)

    def remove(self, journal: Journal, number: str) -> None:
        """Undeploy a model that has no traffic, and wait until it is gone. Nothing happens if it is not deployed."""
        description, operations = f"undeploying {number}", self.operations(journal)
        operations.wait_for_all(description)
        with suppress(NotFoundError):  # the model, or the endpoint
            seen = self._get_if_readable()
            if seen is not None and number not in deployed_ids(seen):
                return
            operations.run(lambda: self._undeploy(number, {}), description)

    def _undeploy(self, number: str, split: TrafficSplit) -> str:
        request = v1.UndeployModelRequest(endpoint=self.name, deployed_model_id=number, traffic_split=split)
        return self._client.call(self._client.endpoints.undeploy_model, request).operation.name


def deployed_ids(endpoint: Any) -> set[str]:
    """The ids of the models that are deployed in an endpoint."""
    return {one.id for one in endpoint.deployed_models}


def known_models(journal: Journal) -> set[str]:
    """The ids of the deployed models that this deployment's record knows as its own."""
    return set(journal.memory.get("models", []))


def is_named(journal: Journal, endpoint: str) -> bool:
    """Whether the deployment record names this endpoint as one that it deployed to."""
    known = (journal.facts, journal.live.get("facts", {}), journal.memory)
    return endpoint in {one.get("endpoint") for one in known}
