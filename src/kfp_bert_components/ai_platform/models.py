"""Puts a registry version into AI Platform's Model Registry once, and finds it again."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.settings import PREBUILT_IMAGE, AiPlatformSettings, slug
from kfp_bert_components.errors import NotFoundError, UserError

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatform
    from kfp_bert_components.deployment.journal import Journal
    from kfp_bert_components.registry import Registry

LABEL = "kfp-bert-version"
PORT = 8080


class Models:
    """The versions of one parent model."""

    def __init__(self, cloud: AiPlatform, registry: Registry, settings: AiPlatformSettings) -> None:
        self._cloud, self._registry, self._settings = cloud, registry, settings
        self.name = f"{cloud.parent}/models/{settings.model_id}"

    def find(self, version: int) -> list[str]:
        """The uploads of a registry version as names with their version; several only after an accident."""
        request = v1.ListModelVersionsRequest(name=self.name, filter=f"labels.{LABEL}={self._label(version)}")
        try:
            pages = self._cloud.call(self._cloud.models.list_model_versions, request)
        except NotFoundError:
            return []
        found = sorted(pages, key=lambda model: int(model.version_id))
        return [f"{model.name.partition('@')[0]}@{model.version_id}" for model in found]

    def ensure(self, journal: Journal) -> str:
        """Upload the journal's version unless it is there, and return its name.

        An upload that another run began is waited for, so that there is only one.
        """
        what = f"uploading version {journal.version}"
        for operation in self._cloud.running(self.name):
            self._cloud.wait(operation, what, self._settings.operation_seconds, journal.check)
        if found := self.find(journal.version):
            return found[0]
        request = self._request(journal.version)
        journal.check()
        operation = self._cloud.call(self._cloud.models.upload_model, request).operation.name
        journal.note(upload=operation)
        self._cloud.wait(operation, what, self._settings.operation_seconds, journal.check)
        return self.find(journal.version)[0]

    def make_champion(self, name: str) -> None:
        """Move the alias `champion` to a version."""
        request = v1.MergeVersionAliasesRequest(name=name, version_aliases=["champion"])
        self._cloud.call(self._cloud.models.merge_version_aliases, request)

    def remove_copies(self, journal: Journal, keep: str) -> None:
        """Delete further uploads of the same version, which only an upload that ended late can leave."""
        for name in self.find(journal.version):
            if name != keep:
                journal.check()
                request = v1.DeleteModelVersionRequest(name=name)
                operation = self._cloud.call(self._cloud.models.delete_model_version, request).operation.name
                self._cloud.wait(operation, f"deleting {name}", self._settings.operation_seconds, journal.check)

    def _request(self, version: int) -> Any:
        settings = self._settings
        model = v1.Model(
            display_name=f"{settings.model_id} version {version}",
            artifact_uri=self._artifact(version),
            container_spec=container(settings.image),
            labels={**settings.labels, LABEL: self._label(version)},
        )
        if settings.encryption_key:
            model.encryption_spec = v1.EncryptionSpec(kms_key_name=settings.encryption_key)
        request = v1.UploadModelRequest(parent=self._cloud.parent, model=model)
        if self._exists():
            request.parent_model = self.name
        else:
            request.model_id = settings.model_id
        return request

    def _exists(self) -> bool:
        try:
            self._cloud.call(self._cloud.models.get_model, v1.GetModelRequest(name=self.name))
        except NotFoundError:
            return False
        return True

    def _artifact(self, version: int) -> str:
        """The gs:// folder of the SavedModel; from another place it is staged."""
        if self._registry.uri.startswith("gs://"):
            return f"{self._registry.uri}/versions/{version}/bundle/saved_model"
        if not self._settings.staging:
            raise UserError(
                f"The registry {self._registry.uri} is not on gs://, where AI Platform could read it: give a "
                "gs:// folder for staging, or keep the registry on gs://."
            )
        from kfp_bert_components.storage import open_store, upload_folder

        name = f"{self._label(version)}/saved_model"
        with tempfile.TemporaryDirectory() as scratch:
            bundle = Path(scratch) / "bundle"
            self._registry.fetch_bundle(version, bundle)
            upload_folder(bundle / "saved_model", open_store(self._settings.staging), name)
        return f"{self._settings.staging.rstrip('/')}/{name}"

    def _label(self, version: int) -> str:
        place = hashlib.sha256(self._registry.uri.encode()).hexdigest()[:8]
        return slug(f"{place}-{version}")


def container(image: str) -> v1.ModelContainerSpec:
    """How the serving container is started; the prebuilt one knows its own routes."""
    if not image:
        return v1.ModelContainerSpec(image_uri=PREBUILT_IMAGE)
    spec = v1.ModelContainerSpec(
        image_uri=image,
        ports=[v1.Port(container_port=PORT)],
        predict_route="/v1/models/bert:predict",
        health_route="/healthz",
    )
    if "kfp-bert-components/" in image:
        spec.command = ["kfp-bert", "serve", "$(AIP_STORAGE_URI)", "--host", "0.0.0.0", "--port", str(PORT)]
    return spec
