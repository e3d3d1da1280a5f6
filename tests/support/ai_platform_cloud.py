"""What the fake AI Platform knows and does: endpoints, models, jobs, and operations that take time.

Assumptions about the real service, and the page that each rests on:

* The percentages of a traffic split add up to 100, or there are none; a model that is not listed gets
  nothing; `etag` makes an update a read-modify-write, and without it the update overwrites.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
* A dedicated endpoint answers predictions under `dedicatedEndpointDns`, and no longer under the shared name.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
* DeployModel without a traffic split leaves the split alone; the model is in the endpoint when the operation
  is done. https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/deployModel
* UndeployModel works only if the model has no traffic, or the split in the request takes it away; with the
  last model the split becomes empty.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/undeployModel
* The id of an endpoint is up to 63 of [a-z0-9-] that begin with a letter, or up to 9 digits; without one the
  service chooses. https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/create
* The id of a deployed model is 1 to 10 digits, and a model needs resources to be deployed on.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints#DeployedModel
* Endpoints, model versions and jobs can be listed by `labels.key=value`; jobs also by `labels.key:*` and
  `state!="..."`, joined by AND.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/list
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/listVersions
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs/list
* An alias belongs to one version of a model at a time; merging it into another version moves it; the first
  version gets `default`. https://cloud.google.com/vertex-ai/docs/model-registry/model-alias
* UploadModel with `parent_model` adds a version, with a taken `model_id` it fails.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/upload
* A model needs the container that serves it, and its artifacts lie on gs://.
  https://cloud.google.com/vertex-ai/docs/model-registry/import-model
* DeleteModelVersion refuses a version that is deployed and the only version of a model.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/deleteVersion
* Operations can be listed and cancelled under the resource that they change.
  https://cloud.google.com/vertex-ai/docs/general/long-running-operations
* A custom job goes through QUEUED, PENDING and RUNNING to SUCCEEDED, FAILED or CANCELLED.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/JobState
* Creating it needs `displayName` and worker pools, and the service chooses its number.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs
* Cancelling it is a request that is answered at once.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs/cancel
* Its log is that of the resource `ml_job`, in pages.
  https://cloud.google.com/logging/docs/api/v2/resource-list
  https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
* A batch prediction job has a model or an unmanaged container model. It reads instances from files of JSON Lines; the
  field that is the key is not sent to the model, and comes back as `key` in place of the instance.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs
* Its answers are in files prediction.results-00000-of-00002 ... of a folder of its own below the given one, in any
  order, and its errors in prediction.errors_stats-...
  https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions
* A name has the project's id or its number in it; the service takes both, and writes the number.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/list
* A prediction request goes to one deployed model, at random by the split, and the answer names it.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/predict
* The id of a run is up to 128 of [a-z0-9-] that begin with a letter; a run needs a folder of gs:// for its artifacts.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs/create
* The times of a schedule are five fields, with TZ=zone before them or not; it needs maxConcurrentRunCount.
  https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.schedules

Not stated in the documentation: a stale etag is ABORTED (409); an id of a deployed model that is in use, or
being deployed, is ALREADY_EXISTS (409); a request that a model has accepted is answered even if the model is
undeployed meanwhile; a cancelled DeployModel leaves nothing behind.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.storage import open_store
from tests.support.ai_platform_models import Models
from tests.support.ai_platform_operations import RefusalError, matches
from tests.support.ai_platform_pipelines import PipelineJobs

Predictor = Callable[[str, list[Any]], list[Any]]


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
class Cloud(Models, PipelineJobs):
    """The state of one fake project.

    Attributes:
        predictor: Called with the artifact URI of the model and the instances.
        splits: Every traffic split that was ever in force, by endpoint, in order.
        dedicated_dns: The name that dedicated endpoints get.
    """

    predictor: Predictor = shout
    endpoints: dict[str, v1.Endpoint] = field(default_factory=dict)
    jobs: dict[str, v1.CustomJob] = field(default_factory=dict)
    jobs_on_a_page: int = 100
    splits: dict[str, list[dict[str, int]]] = field(default_factory=dict)
    dedicated_dns: str = ""
    on_job: Callable[[v1.CustomJob], None] = lambda job: None
    batches: dict[str, v1.BatchPredictionJob] = field(default_factory=dict)
    on_batch: Callable[[v1.BatchPredictionJob], None] = lambda job: None

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
            endpoint.dedicated_endpoint_dns = self.dedicated_dns

        def apply() -> Any:
            self.endpoints[name] = endpoint
            return endpoint

        return self._begin(name, "CreateEndpoint", apply, v1.CreateEndpointOperationMetadata())

    def get_endpoint(self, request: Any) -> Any:
        return self._endpoint(request.name)

    def list_endpoints(self, request: Any) -> Any:
        found = [one for name, one in self.endpoints.items() if name.startswith(f"{request.parent}/")]
        return v1.ListEndpointsResponse(endpoints=[e for e in found if matches(e, request.filter)])

    def update_endpoint(self, request: Any) -> Any:
        endpoint = self._endpoint(request.endpoint.name)
        if request.endpoint.etag and request.endpoint.etag != endpoint.etag:
            raise RefusalError(409, "ABORTED", "the etag is not current")
        for path in request.update_mask.paths:
            if path == "traffic_split":
                self.split_traffic(endpoint, dict(request.endpoint.traffic_split))
            elif path == "labels":
                endpoint.labels = dict(request.endpoint.labels)
                endpoint.etag = self._etag()
            else:
                raise RefusalError(400, "INVALID_ARGUMENT", f"the fake cannot update {path}")
        return endpoint

    def deploy_model(self, request: Any) -> Any:
        endpoint, wanted = self._endpoint(request.endpoint), request.deployed_model
        model = self._model(wanted.model)
        number = wanted.id or str(self._number())
        if not re.fullmatch(r"[0-9]{1,10}", number):
            raise RefusalError(400, "INVALID_ARGUMENT", f"{number!r} is not a valid id of a deployed model")
        if not (wanted.HasField("dedicated_resources") or wanted.HasField("automatic_resources")):
            raise RefusalError(400, "INVALID_ARGUMENT", "the deployed model needs resources")
        if any(one.id == number for one in endpoint.deployed_models) or self._running(f"{endpoint.name}/", number):
            raise RefusalError(409, "ALREADY_EXISTS", f"deployed model {number} already exists")
        deployed = v1.DeployedModel(
            v1.DeployedModel.wrap(wanted), id=number, model=model.name, model_version_id=model.version_id
        )

        def apply() -> Any:
            endpoint.deployed_models.append(deployed)
            endpoint.etag = self._etag()
            if request.traffic_split:
                split = {key if key != "0" else number: share for key, share in request.traffic_split.items()}
                self.split_traffic(endpoint, split)
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
            self.split_traffic(endpoint, split)

        def apply() -> Any:
            left = [one for one in endpoint.deployed_models if one.id != number]
            endpoint.deployed_models = left
            endpoint.etag = self._etag()
            return v1.UndeployModelResponse()

        return self._begin(endpoint.name, "UndeployModel", apply, v1.UndeployModelOperationMetadata())

    # Predictions

    def predict(self, request: Any) -> Any:
        raise NotImplementedError("the server answers predictions itself, outside of the lock")

    def choose(self, endpoint_name: str, dedicated: bool) -> tuple[v1.DeployedModel, v1.Model]:
        """The deployed model that answers the next request, sent to a dedicated name or not, and its model."""
        with self.lock:
            self._settle()
            endpoint = self._endpoint(endpoint_name)
            if endpoint.dedicated_endpoint_enabled != dedicated:
                raise RefusalError(400, "FAILED_PRECONDITION", f"{endpoint_name} has another address")
            if not endpoint.traffic_split:
                raise RefusalError(400, "FAILED_PRECONDITION", f"{endpoint_name} takes no traffic")
            numbers, shares = zip(*endpoint.traffic_split.items(), strict=True)
            number = random.choices(numbers, shares)[0]
            found = [one for one in endpoint.deployed_models if one.id == number]
            if not found:
                raise RefusalError(503, "UNAVAILABLE", f"{number} has traffic but is not deployed")
            return found[0], self._model(f"{found[0].model}@{found[0].model_version_id}")

    def in_use(self, model: v1.Model) -> bool:
        return any(
            (one.model, one.model_version_id) == (model.name, model.version_id)
            for endpoint in self.endpoints.values()
            for one in endpoint.deployed_models
        )

    # Jobs

    def create_custom_job(self, request: Any) -> Any:
        if not request.custom_job.display_name or not request.custom_job.job_spec.worker_pool_specs:
            raise RefusalError(400, "INVALID_ARGUMENT", "display_name and worker_pool_specs are required")
        name = f"{request.parent}/customJobs/{self._number()}"
        job = v1.CustomJob(v1.CustomJob.wrap(request.custom_job), name=name)
        job.state, job.create_time = v1.JobState.JOB_STATE_PENDING, datetime.now(UTC)
        self.jobs[name] = job
        self.on_job(job)
        return job

    def get_custom_job(self, request: Any) -> Any:
        if request.name not in self.jobs:
            raise RefusalError(404, "NOT_FOUND", f"{request.name} does not exist")
        return self.jobs[request.name]

    def list_custom_jobs(self, request: Any) -> Any:
        found = [one for one in self.jobs.values() if matches(one, request.filter)]
        start, end = int(request.page_token or 0), int(request.page_token or 0) + self.jobs_on_a_page
        token = str(end) if end < len(found) else ""
        return v1.ListCustomJobsResponse(custom_jobs=found[start:end], next_page_token=token)

    def cancel_custom_job(self, request: Any) -> Any:
        self.get_custom_job(request).state = v1.JobState.JOB_STATE_CANCELLED
        return None

    def create_batch_prediction_job(self, request: Any) -> Any:
        wanted = request.batch_prediction_job
        if not wanted.display_name:
            raise RefusalError(400, "INVALID_ARGUMENT", "display_name is required")
        if bool(wanted.model) == wanted.HasField("unmanaged_container_model"):
            raise RefusalError(400, "INVALID_ARGUMENT", "give model or unmanaged_container_model")
        if not wanted.input_config.gcs_source.uris or not wanted.output_config.HasField("gcs_destination"):
            raise RefusalError(400, "INVALID_ARGUMENT", "the fake knows gs:// only")
        name = f"{request.parent}/batchPredictionJobs/{self._number()}"
        job = v1.BatchPredictionJob(v1.BatchPredictionJob.wrap(wanted), name=name)
        job.state, job.create_time = v1.JobState.JOB_STATE_PENDING, datetime.now(UTC)
        self.batches[name] = job
        self.on_batch(job)
        return job

    def get_batch_prediction_job(self, request: Any) -> Any:
        if request.name not in self.batches:
            raise RefusalError(404, "NOT_FOUND", f"{request.name} does not exist")
        return self.batches[request.name]

    def list_batch_prediction_jobs(self, request: Any) -> Any:
        found = [one for one in self.batches.values() if matches(one, request.filter)]
        return v1.ListBatchPredictionJobsResponse(batch_prediction_jobs=found)

    def cancel_batch_prediction_job(self, request: Any) -> Any:
        self.get_batch_prediction_job(request).state = v1.JobState.JOB_STATE_CANCELLED
        return None

    def run_batch(self, job: v1.BatchPredictionJob) -> None:
        """Answer the instances of a job in two files, and end it."""
        model, key = job.unmanaged_container_model, job.instance_config.key_field
        results: list[str] = []
        for uri in job.input_config.gcs_source.uris:
            folder, _, name = uri.rpartition("/")
            for line in open_store(folder).read(name).data.decode().splitlines():
                instance = json.loads(line)
                known = {"key": instance.pop(key)} if key else {"instance": instance}
                (prediction,) = self.predictor(model.artifact_uri, [instance])
                results.append(json.dumps({**known, "prediction": prediction}))
        random.shuffle(results)
        directory = f"{job.output_config.gcs_destination.output_uri_prefix}/prediction-model-2026_01_01T00_00_00"
        for index in range(2):
            data = "".join(f"{line}\n" for line in results[index::2])
            open_store(directory).write(f"prediction.results-0000{index}-of-00002", data.encode())
        open_store(directory).write("prediction.errors_stats-00000-of-00001", b"")
        job.output_info.gcs_output_directory = directory
        job.state = v1.JobState.JOB_STATE_SUCCEEDED

    def _endpoint(self, name: str) -> v1.Endpoint:
        if name not in self.endpoints:
            raise RefusalError(404, "NOT_FOUND", f"{name} does not exist")
        return self.endpoints[name]

    def split_traffic(self, endpoint: v1.Endpoint, split: dict[str, int]) -> None:
        """Change an endpoint's traffic split, as an update does."""
        split = {number: share for number, share in split.items() if share}
        if split and sum(split.values()) != 100:
            raise RefusalError(400, "INVALID_ARGUMENT", "the traffic split does not add up to 100")
        there = {one.id for one in endpoint.deployed_models}
        if set(split) - there:
            raise RefusalError(400, "INVALID_ARGUMENT", f"{sorted(set(split) - there)} are not deployed")
        endpoint.traffic_split = split
        endpoint.etag = self._etag()
        self.splits.setdefault(endpoint.name, []).append(split)
