"""What the fake AI Platform knows and does: endpoints, models, jobs, and operations that take time.

Assumptions about the real service, and the page that each rests on:

* The percentages of a traffic split add up to 100, or there are none; a model that is not listed gets
  nothing; `etag` makes an update a read-modify-write, and without it the update overwrites.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
* DeployModel without a traffic split leaves the split alone; the model is in the endpoint when the operation
  is done. https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/deployModel
* UndeployModel works only if the model has no traffic, or the split in the request takes it away; with the
  last model the split becomes empty.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/undeployModel
* An alias belongs to one version of a model at a time; merging it into another version moves it; the first
  version gets `default`. https://cloud.google.com/vertex-ai/docs/model-registry/model-alias
* UploadModel with `parent_model` adds a version, with a taken `model_id` it fails.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/upload
* Operations can be listed and cancelled under the resource that they change.
  https://cloud.google.com/vertex-ai/docs/general/long-running-operations
* A custom job goes through QUEUED, PENDING and RUNNING to SUCCEEDED, FAILED or CANCELLED.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/JobState
* A prediction request goes to one deployed model, at random by the split, and the answer names it.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/predict

Not stated in the documentation: a stale etag is ABORTED (409); an id of a deployed model that is in use, or
being deployed, is ALREADY_EXISTS (409); a request that a model has accepted is answered even if the model is
undeployed meanwhile; a cancelled DeployModel leaves nothing behind.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from google.rpc import code_pb2, status_pb2

Predictor = Callable[[str, list[Any]], list[Any]]


class RefusalError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def shout(artifact_uri: str, instances: list[Any]) -> list[Any]:
    """The answers of a model that knows shouting; the default predictor."""
    answers = []
    for one in instances:
        text = one["text"] if isinstance(one, dict) else one
        high = 0.9 if text.isupper() else 0.1
        label = "shout" if text.isupper() else "calm"
        answers.append({"label": label, "score": max(high, 1 - high), "probabilities": [1 - high, high]})
    return answers


@dataclass
class Pending:
    """An operation under way: what it does when it is done."""

    name: str
    method: str
    due: float
    apply: Callable[[], Any]
    mark: str = ""
    done: operations_pb2.Operation | None = None


@dataclass
class Cloud:
    """The state of one fake project.

    Attributes:
        operation_seconds: Time that an operation takes.
        outcomes: Method -> "fail", "hang" or "late" (takes ten times as long) for its operations.
        predictor: Called with the artifact URI of the model and the instances.
        splits: Every traffic split that was ever in force, by endpoint, in order.
    """

    operation_seconds: float = 0.02
    outcomes: dict[str, str] = field(default_factory=dict)
    predictor: Predictor = shout
    endpoints: dict[str, v1.Endpoint] = field(default_factory=dict)
    models: dict[str, list[v1.Model]] = field(default_factory=dict)
    jobs: dict[str, v1.CustomJob] = field(default_factory=dict)
    operations: dict[str, Pending] = field(default_factory=dict)
    splits: dict[str, list[dict[str, int]]] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock)
    _numbers: int = 1000
    on_job: Callable[[v1.CustomJob], None] = lambda job: None

    def call(self, method: str, request: Any) -> Any:
        """Answer one request message; the state changes in one piece."""
        with self.lock:
            self._settle()
            return getattr(self, _snake(method))(request)

    # Endpoints

    def create_endpoint(self, request: Any) -> Any:
        name = f"{request.parent}/endpoints/{request.endpoint_id or self._number()}"
        if request.endpoint_id and not re.fullmatch(
            r"[a-z][a-z0-9-]{0,61}[a-z0-9]|[1-9][0-9]{0,8}", request.endpoint_id
        ):
            raise RefusalError(400, "INVALID_ARGUMENT", f"endpoint_id {request.endpoint_id!r} is not valid")
        if name in self.endpoints or self._running(f"{name}/"):
            raise RefusalError(409, "ALREADY_EXISTS", f"{name} already exists")
        if not request.endpoint.display_name:
            raise RefusalError(400, "INVALID_ARGUMENT", "display_name is required")
        endpoint = v1.Endpoint(v1.Endpoint.wrap(request.endpoint), name=name, etag=self._etag())
        if endpoint.dedicated_endpoint_enabled:
            endpoint.dedicated_endpoint_dns = f"{name.rsplit('/', 1)[1]}.region-1.prediction.vertexai.goog"

        def apply() -> Any:
            self.endpoints[name] = endpoint
            return endpoint

        return self._begin(name, "CreateEndpoint", apply, v1.CreateEndpointOperationMetadata())

    def get_endpoint(self, request: Any) -> Any:
        return self._endpoint(request.name)

    def list_endpoints(self, request: Any) -> Any:
        found = [one for name, one in self.endpoints.items() if name.startswith(f"{request.parent}/")]
        return v1.ListEndpointsResponse(endpoints=[e for e in found if _matches(e, request.filter)])

    def update_endpoint(self, request: Any) -> Any:
        endpoint = self._endpoint(request.endpoint.name)
        if request.endpoint.etag and request.endpoint.etag != endpoint.etag:
            raise RefusalError(409, "ABORTED", "the etag is not current")
        for path in request.update_mask.paths:
            if path != "traffic_split":
                raise RefusalError(400, "INVALID_ARGUMENT", f"the fake cannot update {path}")
            self._split(endpoint, dict(request.endpoint.traffic_split))
        return endpoint

    def deploy_model(self, request: Any) -> Any:
        endpoint, wanted = self._endpoint(request.endpoint), request.deployed_model
        model = self._model(wanted.model)
        number = wanted.id or str(self._number())
        if not re.fullmatch(r"[0-9]{1,10}", number):
            raise RefusalError(400, "INVALID_ARGUMENT", f"{number!r} is not a valid id of a deployed model")
        if not (wanted.HasField("dedicated_resources") or wanted.HasField("automatic_resources")):
            raise RefusalError(400, "INVALID_ARGUMENT", "the deployed model needs resources")
        if any(one.id == number for one in endpoint.deployed_models) or self._running(
            f"{endpoint.name}/", number
        ):
            raise RefusalError(409, "ALREADY_EXISTS", f"deployed model {number} already exists")
        deployed = v1.DeployedModel(
            v1.DeployedModel.wrap(wanted), id=number, model=model.name, model_version_id=model.version_id
        )

        def apply() -> Any:
            endpoint.deployed_models.append(deployed)
            endpoint.etag = self._etag()
            if request.traffic_split:
                split = {key if key != "0" else number: share for key, share in request.traffic_split.items()}
                self._split(endpoint, split)
            return v1.DeployModelResponse(deployed_model=deployed)

        return self._begin(endpoint.name, "DeployModel", apply, v1.DeployModelOperationMetadata(), number)

    def undeploy_model(self, request: Any) -> Any:
        endpoint, number = self._endpoint(request.endpoint), request.deployed_model_id
        if all(one.id != number for one in endpoint.deployed_models):
            raise RefusalError(404, "NOT_FOUND", f"deployed model {number} is not in the endpoint")
        split = dict(request.traffic_split) or dict(endpoint.traffic_split)
        if len(endpoint.deployed_models) == 1:
            split = {}
        if split.get(number):
            raise RefusalError(400, "FAILED_PRECONDITION", f"deployed model {number} has traffic")
        if split != dict(endpoint.traffic_split):
            self._split(endpoint, split)

        def apply() -> Any:
            left = [one for one in endpoint.deployed_models if one.id != number]
            endpoint.deployed_models = left
            endpoint.etag = self._etag()
            return v1.UndeployModelResponse()

        return self._begin(endpoint.name, "UndeployModel", apply, v1.UndeployModelOperationMetadata())

    # Models

    def upload_model(self, request: Any) -> Any:
        model_id = request.parent_model.rsplit("/", 1)[-1] or request.model_id or str(self._number())
        name = f"{request.parent}/models/{model_id}"
        if request.parent_model and name not in self.models:
            raise RefusalError(404, "NOT_FOUND", f"{name} does not exist")
        if not request.parent_model and (name in self.models or self._running(f"{name}/")):
            raise RefusalError(409, "ALREADY_EXISTS", f"{name} already exists")
        if not request.model.artifact_uri.startswith("gs://"):
            raise RefusalError(400, "INVALID_ARGUMENT", f"{request.model.artifact_uri!r} is not on gs://")
        if not request.model.container_spec.image_uri:
            raise RefusalError(400, "INVALID_ARGUMENT", "container_spec.image_uri is required")

        def apply() -> Any:
            versions = self.models.setdefault(name, [])
            last = int(versions[-1].version_id) if versions else 0
            version = v1.Model(v1.Model.wrap(request.model), name=name, version_id=str(last + 1))
            aliases = list(request.model.version_aliases) + ([] if versions else ["default"])
            version.version_aliases = []
            versions.append(version)
            self._move_aliases(name, version, aliases)
            return v1.UploadModelResponse(model=name, model_version_id=version.version_id)

        return self._begin(name, "UploadModel", apply, v1.UploadModelOperationMetadata())

    def get_model(self, request: Any) -> Any:
        return self._model(request.name)

    def list_model_versions(self, request: Any) -> Any:
        if request.name not in self.models:
            raise RefusalError(404, "NOT_FOUND", f"{request.name} does not exist")
        found = [one for one in self.models[request.name] if _matches(one, request.filter)]
        return v1.ListModelVersionsResponse(models=found)

    def delete_model_version(self, request: Any) -> Any:
        model = self._model(request.name)

        def apply() -> Any:
            self.models[model.name].remove(model)
            return v1.DeployModelResponse()

        return self._begin(model.name, "DeleteModelVersion", apply, v1.DeleteOperationMetadata())

    def merge_version_aliases(self, request: Any) -> Any:
        model = self._model(request.name)
        self._move_aliases(model.name, model, list(request.version_aliases))
        return model

    def _move_aliases(self, name: str, model: v1.Model, aliases: list[str]) -> None:
        for alias in aliases:
            for other in self.models[name]:
                other.version_aliases = [one for one in other.version_aliases if one != alias]
            model.version_aliases.append(alias)

    # Predictions

    def predict(self, request: Any) -> Any:
        raise NotImplementedError("the server answers predictions itself, outside of the lock")

    def choose(self, endpoint_name: str) -> tuple[v1.DeployedModel, v1.Model]:
        """The deployed model that answers the next request, and its model."""
        with self.lock:
            self._settle()
            endpoint = self._endpoint(endpoint_name)
            if not endpoint.traffic_split:
                raise RefusalError(400, "FAILED_PRECONDITION", f"{endpoint_name} takes no traffic")
            numbers, shares = zip(*endpoint.traffic_split.items(), strict=True)
            number = random.choices(numbers, shares)[0]
            found = [one for one in endpoint.deployed_models if one.id == number]
            if not found:
                raise RefusalError(503, "UNAVAILABLE", f"{number} has traffic but is not deployed")
            return found[0], self._model(f"{found[0].model}@{found[0].model_version_id}")

    # Jobs

    def create_custom_job(self, request: Any) -> Any:
        if not request.custom_job.display_name or not request.custom_job.job_spec.worker_pool_specs:
            raise RefusalError(400, "INVALID_ARGUMENT", "display_name and worker_pool_specs are required")
        name = f"{request.parent}/customJobs/{self._number()}"
        job = v1.CustomJob(v1.CustomJob.wrap(request.custom_job), name=name)
        job.state = v1.JobState.JOB_STATE_PENDING
        self.jobs[name] = job
        self.on_job(job)
        return job

    def get_custom_job(self, request: Any) -> Any:
        if request.name not in self.jobs:
            raise RefusalError(404, "NOT_FOUND", f"{request.name} does not exist")
        return self.jobs[request.name]

    def list_custom_jobs(self, request: Any) -> Any:
        found = [one for one in self.jobs.values() if _matches(one, request.filter)]
        return v1.ListCustomJobsResponse(custom_jobs=found)

    def cancel_custom_job(self, request: Any) -> Any:
        self.get_custom_job(request).state = v1.JobState.JOB_STATE_CANCELLED
        return None

    # Operations

    def get_operation(self, request: Any) -> Any:
        if request.name not in self.operations:
            raise RefusalError(404, "NOT_FOUND", f"{request.name} does not exist")
        pending = self.operations[request.name]
        return pending.done or operations_pb2.Operation(name=pending.name)

    def list_operations(self, request: Any) -> Any:
        start = f"{request.name}/operations/"
        found = [one for name, one in self.operations.items() if name.startswith(start)]
        running = [one.done or operations_pb2.Operation(name=one.name) for one in found]
        return operations_pb2.ListOperationsResponse(operations=running)

    def cancel_operation(self, request: Any) -> Any:
        pending = self.operations[request.name]
        if not pending.done and self.outcomes.get(pending.method) != "late":
            self._end(pending, status_pb2.Status(code=code_pb2.CANCELLED, message="cancelled"))
        return None

    # Below: helpers

    def _begin(
        self, resource: str, method: str, apply: Callable[[], Any], metadata: Any, mark: str = ""
    ) -> operations_pb2.Operation:
        name = f"{resource}/operations/{self._number()}"
        slow = {"hang": 1e9, "late": 20 * self.operation_seconds}.get(self.outcomes.get(method, ""))
        due = time.monotonic() + (slow or self.operation_seconds)
        self.operations[name] = Pending(name, method, due, apply, mark)
        answer = operations_pb2.Operation(name=name)
        answer.metadata.Pack(type(metadata).pb(metadata))
        return answer

    def _settle(self) -> None:
        for pending in list(self.operations.values()):
            if pending.done or pending.due > time.monotonic():
                continue
            if self.outcomes.get(pending.method) == "fail":
                self._end(pending, status_pb2.Status(code=code_pb2.INTERNAL, message="the machine broke"))
                continue
            result = pending.apply()
            packed = any_pb2.Any()
            packed.Pack(type(result).pb(result))
            pending.done = operations_pb2.Operation(name=pending.name, done=True, response=packed)

    def _end(self, pending: Pending, error: status_pb2.Status) -> None:
        pending.done = operations_pb2.Operation(name=pending.name, done=True, error=error)

    def _running(self, prefix: str, mark: str = "") -> bool:
        return any(
            name.startswith(f"{prefix}operations/") and not one.done
            and mark in ("", one.mark)
            for name, one in self.operations.items()
        )  # fmt: skip

    def _endpoint(self, name: str) -> v1.Endpoint:
        if name not in self.endpoints:
            raise RefusalError(404, "NOT_FOUND", f"{name} does not exist")
        return self.endpoints[name]

    def _model(self, name: str) -> v1.Model:
        base, _, version = name.partition("@")
        for model in self.models.get(base, []):
            if (version or "default") in (model.version_id, *model.version_aliases):
                return model
        raise RefusalError(404, "NOT_FOUND", f"{name} does not exist")

    def _split(self, endpoint: v1.Endpoint, split: dict[str, int]) -> None:
        split = {number: share for number, share in split.items() if share}
        if split and sum(split.values()) != 100:
            raise RefusalError(400, "INVALID_ARGUMENT", "the traffic split does not add up to 100")
        there = {one.id for one in endpoint.deployed_models}
        if set(split) - there:
            raise RefusalError(400, "INVALID_ARGUMENT", f"{sorted(set(split) - there)} are not deployed")
        endpoint.traffic_split = split
        endpoint.etag = self._etag()
        self.splits.setdefault(endpoint.name, []).append(split)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _etag(self) -> str:
        return f"etag-{self._number()}"


def _matches(resource: Any, expression: str) -> bool:
    if not expression:
        return True
    found = re.fullmatch(r'labels\."?([\w-]+)"?\s*=\s*"?([\w-]+)"?', expression)
    if not found:
        raise RefusalError(400, "INVALID_ARGUMENT", f"the fake cannot filter by {expression!r}")
    return resource.labels.get(found[1]) == found[2]


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
