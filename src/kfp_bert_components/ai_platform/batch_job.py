"""The texts of a table answered by a batch prediction job of AI Platform.

Each different text is an instance of its own, with a hash of it as its key. The answers come in any order, with their
keys; they are held here, four bytes a class and text, while the rows of the table are read again and joined with them.

The containers of such a job don't look at its lease, which only says who waits. So where this process is killed, the
job goes on until all texts are answered, or somebody cancels it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.client import AiPlatformClient
from kfp_bert_components.ai_platform.models import container, is_own_image
from kfp_bert_components.ai_platform.remote_jobs import AiPlatformJobs
from kfp_bert_components.bert.bundle import TENSORFLOW
from kfp_bert_components.data.ids import PAIR_MARK, hash_texts
from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.labels import job_labels
from kfp_bert_components.jobs.remote_jobs import RemoteJobs
from kfp_bert_components.leases import Lease
from kfp_bert_components.prediction import Predictor
from kfp_bert_components.progress import say
from kfp_bert_components.storage import open_store, parse_address, upload_folder
from kfp_bert_components.tables.arrow import strings

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.settings import BatchJobSettings
    from kfp_bert_components.bert import Bundle

_RESULTS = "prediction.results-"


def predictor_of_job(bundle: Bundle, folder: Path, settings: BatchJobSettings, version: int = 0) -> Predictor:
    """A model whose texts a batch prediction job answers, once for all of a table.

    Args:
        bundle: The model.
        folder: The bundle's folder, or that of the served version that it is linked to.
        settings: Where the job runs, and on which machines.
        version: The registry's version of the model; 0 where it is of no registry.

    Raises:
        UserError: The container can't serve the model with the numbers that our server gives.
    """
    if not is_own_image(settings.image) and (why := bundle.differs(TENSORFLOW, bundle.engine)):
        raise UserError(f"The prebuilt container of AI Platform answers with TensorFlow, and the model can't: {why}.")
    # Our own container takes either; the prebuilt one a SavedModel.
    answers = _Answers(bundle, folder if is_own_image(settings.image) else bundle.folder / "saved_model", settings)
    pair = bool(bundle.metadata["pair"])
    return Predictor(answers.of, bundle.labels, pair, bundle.fingerprint, version, prepare=answers.fetch)


class _Answers:
    """What the job answers, by the hash of the text."""

    def __init__(self, bundle: Bundle, folder: Path, settings: BatchJobSettings) -> None:
        self._bundle, self._folder, self._settings = bundle, folder, settings
        self._hashes, self._found = np.zeros(0, np.uint64), np.zeros((0, 0), np.float32)

    def of(self, texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
        """The answers to texts that were fetched."""
        return self._found[np.searchsorted(self._hashes, _hash(texts, pairs))]

    def fetch(self, asked: Iterable[tuple[list[str], list[str] | None]]) -> None:
        """Have all texts answered by a job, the same one where it runs or has ended already."""
        settings = self._settings
        with tempfile.TemporaryDirectory(prefix="instances-") as scratch:
            path = Path(scratch, "instances.jsonl")
            self._hashes = _write_instances(path, asked)
            if not len(self._hashes):
                return
            staging = settings.staging.rstrip("/")
            parts = [path.read_bytes(), *map(str.encode, (self._bundle.fingerprint, settings.image, staging))]
            key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]
            place = f"{staging}/kfp-bert-batches/{key}"
            client = AiPlatformClient(settings.project, settings.location, settings.api_endpoint)
            lease = Lease(open_store(place), settings.run)
            jobs = RemoteJobs(AiPlatformJobs(client, "batch_prediction_job", key), lease)

            def make() -> v1.BatchPredictionJob:
                open_store(place).upload(path, path.name)
                return self._job(place, path.name, key)

            say(f"{len(self._hashes):,} different texts go to a batch prediction job.")
            with jobs.cancelled_with_this_process():
                job = jobs.wait(jobs.start(make), settings.poll_seconds)
            self._collect(job.detail)

    @cached_property
    def _artifact(self) -> str:
        """The gs:// folder of the model, which is copied there unless an earlier job did."""
        staging = self._settings.staging.rstrip("/")
        store, name = open_store(staging), f"kfp-bert-models/{self._bundle.fingerprint[:32]}-{self._folder.name}"
        if not store.exists(f"{name}.complete"):
            upload_folder(self._folder, store, name)
            store.write(f"{name}.complete", b"")
        return f"{staging}/{name}"

    def _job(self, place: str, instances: str, key: str) -> v1.BatchPredictionJob:
        settings, kind = self._settings, v1.BatchPredictionJob
        machine = v1.MachineSpec(machine_type=settings.machine_type, accelerator_count=settings.accelerator_count)
        if settings.accelerator_type:
            machine.accelerator_type = v1.AcceleratorType.__members__[settings.accelerator_type]
        return kind(
            display_name=f"kfp-bert predict {key[:8]}",
            unmanaged_container_model=v1.UnmanagedContainerModel(
                artifact_uri=self._artifact, container_spec=container(settings.image)
            ),
            input_config=kind.InputConfig(
                instances_format="jsonl", gcs_source=v1.GcsSource(uris=[f"{place}/{instances}"])
            ),
            instance_config=kind.InstanceConfig(instance_type="object", key_field="key"),
            output_config=kind.OutputConfig(
                predictions_format="jsonl", gcs_destination=v1.GcsDestination(output_uri_prefix=f"{place}/output")
            ),
            dedicated_resources=v1.BatchDedicatedResources(
                machine_spec=machine,
                starting_replica_count=settings.replicas,
                max_replica_count=settings.replicas,
            ),
            service_account=settings.service_account,
            labels=job_labels(settings.labels, key, settings.run),
        )

    def _collect(self, job: v1.BatchPredictionJob) -> None:
        """Read the answers of a job that succeeded.

        Raises:
            UserError: A text has none, or one of another shape.
        """
        self._found = np.full((len(self._hashes), len(self._bundle.labels)), np.nan, np.float32)
        folder = job.output_info.gcs_output_directory
        for line in _lines(folder):
            answer = json.loads(line)
            try:
                probabilities = answer["prediction"]["probabilities"]
                self._found[np.searchsorted(self._hashes, np.uint64(int(answer["key"], 16)))] = probabilities
            except (KeyError, TypeError, ValueError, IndexError):
                raise UserError(
                    f"Job {job.name} answers {line[:200]!r}: it must be a key with a prediction that has "
                    f"{len(self._bundle.labels)} probabilities."
                ) from None
        if lacking := int(np.isnan(self._found).any(axis=1).sum()):
            raise UserError(
                f"Job {job.name} has no answer to {lacking:,} of {len(self._hashes):,} texts: the files "
                f"prediction.errors in {folder} say why; delete the job, and run again."
            )


def _hash(texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
    joined = texts if pairs is None else [f"{one}{PAIR_MARK}{two}" for one, two in zip(texts, pairs, strict=True)]
    return hash_texts(strings(joined))


def _write_instances(path: Path, asked: Iterable[tuple[list[str], list[str] | None]]) -> np.ndarray:
    """Write each different text as a line; the hashes of all, sorted, uint64."""
    known = set[int]()
    with path.open("w", encoding="utf-8") as file:
        for texts, pairs in asked:
            for index, number in enumerate(_hash(texts, pairs).tolist()):
                if number not in known:
                    known.add(number)
                    instance: dict[str, Any] = {"key": f"{number:016x}", "text": texts[index]}
                    if pairs:
                        instance["text_pair"] = pairs[index]
                    file.write(json.dumps(instance) + "\n")
    return np.sort(np.fromiter(known, np.uint64, len(known)))


def _lines(folder: str) -> Iterator[str]:
    """The lines of all files with answers, one file at a time."""
    store = open_store(parse_address(folder, "the job's output"))
    for entry in store.list():
        if entry.name.startswith(_RESULTS):
            with tempfile.TemporaryDirectory(prefix="answers-") as scratch:
                path = Path(scratch, "answers.jsonl")
                store.download_entry(entry, path)
                with path.open(encoding="utf-8") as file:
                    yield from file
