"""The registry's versions in AI Platform's Model Registry: each is uploaded once, and found by its label."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.settings import PREBUILT_IMAGE, AiPlatformSettings
from kfp_bert_components.bert.bundle import TENSORFLOW
from kfp_bert_components.deployment import LeaseLostError, RolloutError
from kfp_bert_components.deployment.engines import check_engines
from kfp_bert_components.deployment.labels import REGISTRY_LABEL
from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.jobs.labels import run_label
from kfp_bert_components.origin import read_origin
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatformClient
    from kfp_bert_components.deployment import Journal
    from kfp_bert_components.registry import Registry

LABEL = "kfp-bert-version"
FINGERPRINT_LABEL = "kfp-bert-fingerprint"  # of the bundle: its first 32 digits, as a label has at most 63
CONTAINER_LABEL = "kfp-bert-container"  # a hash of the serving container's image
PORT = 8080


class UploadedModels:
    """The versions of one parent model in the Model Registry.

    Attributes:
        name: Full name of the parent model, which need not exist yet.
    """

    def __init__(self, client: AiPlatformClient, registry: Registry, settings: AiPlatformSettings) -> None:
        self._client, self._registry, self._settings = client, registry, settings
        self.name = f"{client.parent}/models/{settings.model_id}"
        self._warned = False

    def admit(self, journal: Journal) -> None:
        """Raise RolloutError where the parent model belongs to others. All targets of one registry share it.

        Its owner is that of the version with the alias `champion`, or of the first one where none has it. What was made
        before owners existed is ours if it was uploaded from this registry, or the deployment record names it.
        """
        self._check_owner(self.name, journal)

    def _check_owner(self, name: str, journal: Journal) -> None:
        labels = self._labels(f"{name}@champion")
        labels = self._labels(name) if labels is None else labels
        if labels is None or self._settings.take_over:
            return
        registry, uploaded = labels.get(REGISTRY_LABEL), labels.get(LABEL, "")
        named = {one.get("model", "").partition("@")[0] for one in (journal.facts, journal.live.get("facts", {}))}
        named.add(journal.memory.get("parent_model", ""))
        if registry:
            ours = registry == self._registry.id(create=False)
        else:
            ours = uploaded.startswith(self._label("")) or name in named
        if not ours:
            whose = f"the registry with the id {registry}" if registry else "others"
            raise RolloutError(
                f"The model {name} belongs to {whose}: give a model_id of its own, such as model_id='my-model' "
                "(both can be in one project), or take_over=True to add versions to this one."
            )
        if registry and not uploaded.startswith(self._label("")) and not self._warned:
            self._warned = True
            say(
                f"warning: {name} was uploaded by this registry from another address than {self._registry.uri}. A "
                "copy of a registry counts as the same one: if both deploy, each replaces what the other one serves."
            )

    def _labels(self, name: str) -> dict[str, str] | None:
        """The labels of a model, or of its version with an alias; None if there is none."""
        try:
            found = self._client.call(self._client.models.get_model, v1.GetModelRequest(name=name))
        except NotFoundError:
            return None
        return dict(found.labels)

    def check(self, version: int) -> list[str]:
        """The uploads of a registry version, as `find` gives them; UserError where it has none and can't be uploaded.

        Raises:
            UserError: The registry has no such version; its container can't serve it; or AI Platform can't read the
                registry, and there is no staging folder that can be written.
        """
        self._fingerprint(version)
        found = self.find(version)
        if not found:
            self._check_upload(version)
        return found

    def _check_upload(self, version: int) -> None:
        if not is_own_image(self._settings.image):
            check_engines(self._registry, version, TENSORFLOW)
        if self._is_readable():
            return
        if not self._settings.staging:
            raise UserError(
                f"The registry {self._registry.uri} is not on gs://, so AI Platform cannot read it: "
                "give a gs:// folder for staging, or a registry on gs://."
            )
        from kfp_bert_components.storage import check_may_write

        check_may_write(self._settings.staging, "staging")

    def _is_readable(self) -> bool:
        """Whether AI Platform can read the registry."""
        return self._registry.uri.startswith("gs://")

    def find(self, version: int) -> list[str]:
        """The uploads of a registry version: full names such as "projects/.../models/m@3", oldest first.

        There is more than one only if an upload was given up, and was completed later all the same. An upload for
        another container is none: a deployed model is started as its upload says. An upload of other content under the
        same number is none, either: it is left of a registry that stood here before, or of this one before it was
        restored from a backup.
        """
        request = v1.ListModelVersionsRequest(name=self.name, filter=f"labels.{LABEL}={self._label(version)}")
        try:
            pages = self._client.call(self._client.models.list_model_versions, request)
        except NotFoundError:
            return []
        found = sorted(filter(partial(self._holds, version), pages), key=lambda model: int(model.version_id))
        return [f"{model.name.partition('@')[0]}@{model.version_id}" for model in found]

    def ensure(self, journal: Journal) -> str:
        """Upload the journal's version unless it is there, and return its full name.

        An upload that another run began is waited for, so that there is only one.

        Raises:
            UserError: The upload failed or took too long, or AI Platform cannot read the registry.
        """
        description = f"uploading version {journal.version}"
        for operation in self._client.running_operations(self.name):
            self._client.wait(operation, description, self._settings.operation_seconds, journal.check)
        if found := self.find(journal.version):
            return found[0]
        request = self._request(journal.version)
        journal.check()
        operation = self._client.call(self._client.models.upload_model, request).operation.name
        journal.note(upload=operation)
        self._client.wait(operation, description, self._settings.operation_seconds, journal.check)
        return self.find(journal.version)[0]

    def _holds(self, version: int, model: Any) -> bool:
        """Whether an upload under a version's number is of that version, and for the container of the settings.

        Older ones have no fingerprint, and only their image says for which container they are.
        """
        labels, image = dict(model.labels), self._settings.image or PREBUILT_IMAGE
        if CONTAINER_LABEL in labels:
            if labels[CONTAINER_LABEL] != _hash(image):
                return False
        elif model.container_spec.image_uri != image:
            return False
        if fingerprint := labels.get(FINGERPRINT_LABEL):
            return fingerprint == self._fingerprint(version)
        return labels.get(REGISTRY_LABEL, "") in ("", self._registry.id(create=False))

    def _fingerprint(self, version: int) -> str:
        return self._registry.version(version).bundle_fingerprint[:32]

    def make_champion(self, journal: Journal, name: str) -> None:
        """Move the alias `champion` to the version with this full name.

        It stays where it is if others took the parent model over meanwhile, or deleted the version; a line says so.
        """
        request = v1.MergeVersionAliasesRequest(name=name, version_aliases=["champion"])
        try:
            self._check_owner(name.partition("@")[0], journal)
            self._client.call(self._client.models.merge_version_aliases, request)
        except (RolloutError, NotFoundError) as error:
            say(f"The alias champion is not moved to {name}: {error}")

    def remove_copies(self, journal: Journal, keep: str) -> None:
        """Delete the uploads of the journal's version other than `keep`; see `find` for why there may be any.

        One that others have deployed is left; a line says so.
        """
        for name in self.find(journal.version):
            if name != keep:
                journal.check()
                request = v1.DeleteModelVersionRequest(name=name)
                try:
                    operation = self._client.call(self._client.models.delete_model_version, request).operation.name
                    self._client.wait(operation, f"deleting {name}", self._settings.operation_seconds, journal.check)
                except NotFoundError:  # another target, which has the same copies, was faster
                    continue
                except LeaseLostError:
                    raise
                except UserError as error:
                    say(f"{name}, a second upload of version {journal.version}, is left: {error}")

    def _request(self, version: int) -> Any:
        settings = self._settings
        self._check_upload(version)
        model = v1.Model(
            display_name=f"{settings.model_id} version {version}",
            artifact_uri=self._artifact(version),
            container_spec=container(settings.image),
            labels={
                **settings.labels,
                LABEL: self._label(version),
                FINGERPRINT_LABEL: self._fingerprint(version),
                CONTAINER_LABEL: _hash(settings.image or PREBUILT_IMAGE),
                REGISTRY_LABEL: self._registry.id(),
                **run_label(read_origin(self._registry.version(version).origin).label),
            },
        )
        if settings.encryption_key:
            model.encryption_spec = v1.EncryptionSpec(kms_key_name=settings.encryption_key)
        request = v1.UploadModelRequest(parent=self._client.parent, model=model)
        if self._labels(self.name) is not None:
            request.parent_model = self.name
        else:
            request.model_id = settings.model_id
        return request

    def _artifact(self, version: int) -> str:
        """The gs:// folder that the container gets: the bundle for our own image, for any other one the SavedModel.

        It is copied to `staging` if the registry is not on gs://.
        """
        part = "" if is_own_image(self._settings.image) else "/saved_model"
        if self._is_readable():
            return f"{self._registry.uri}/versions/{version}/bundle{part}"
        from kfp_bert_components.storage import open_store, upload_folder

        name = f"{self._label(version)}-{self._fingerprint(version)}/bundle{part}"
        with tempfile.TemporaryDirectory() as scratch:
            bundle = Path(scratch) / "bundle"
            self._registry.fetch_bundle(version, bundle)
            upload_folder(Path(f"{bundle}{part}"), open_store(self._settings.staging), name)
        return f"{self._settings.staging.rstrip('/')}/{name}"

    def version_of(self, name: str) -> int:
        """The registry's version that an upload is of; 0 where it is none of this registry, as its labels say.

        Args:
            name: Full name of the upload.

        Raises:
            UserError: AI Platform refused to show it.
            TransientError: AI Platform did not answer.
        """
        labels = self._labels(name) or {}
        registry, uploaded = labels.get(REGISTRY_LABEL), labels.get(LABEL, "")
        ours = registry == self._registry.id(create=False) if registry else uploaded.startswith(self._label(""))
        version = uploaded.rpartition("-")[2]  # the registry may have been at another address
        if ours and version.isdigit():
            with suppress(NotFoundError):
                if labels.get(FINGERPRINT_LABEL) in (None, self._fingerprint(int(version))):
                    return int(version)
        return 0

    def _label(self, version: int | str) -> str:
        return f"{_hash(self._registry.uri)}-{version}"


def _hash(text: str) -> str:
    """Eight characters for a label, which holds few and not all kinds."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def container(image: str) -> v1.ModelContainerSpec:
    """How the serving container is started: `image`, or the prebuilt TensorFlow container if it is ""."""
    if not image:
        return v1.ModelContainerSpec(image_uri=PREBUILT_IMAGE)
    spec = v1.ModelContainerSpec(
        image_uri=image,
        ports=[v1.Port(container_port=PORT)],
        predict_route="/v1/models/bert:predict",
        health_route="/healthz",
    )
    if is_own_image(image):
        spec.command = ["kfp-bert", "serve", "$(AIP_STORAGE_URI)", "--host", "0.0.0.0", "--port", str(PORT)]
    return spec


def is_own_image(image: str) -> bool:
    """Whether the container is our own server, which takes a bundle and chooses its engine itself."""
    return "kfp-bert-components/" in image
