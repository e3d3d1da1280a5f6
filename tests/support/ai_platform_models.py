"""The Model service of the fake AI Platform: parents, versions and aliases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.cloud import aiplatform_v1 as v1

from tests.support.ai_platform_operations import Operations, RefusalError, matches


@dataclass
class Models(Operations):
    """The Model Registry: versions by the name of their parent, oldest first."""

    models: dict[str, list[v1.Model]] = field(default_factory=dict)

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
        found = [one for one in self.models[request.name] if matches(one, request.filter)]
        return v1.ListModelVersionsResponse(models=found)

    def delete_model_version(self, request: Any) -> Any:
        model = self._model(request.name)
        mark = f"delete {request.name}"
        if self._running(f"{model.name}/", mark):
            raise RefusalError(404, "NOT_FOUND", f"{request.name} does not exist")
        if self.in_use(model) or len(self.models[model.name]) == 1:
            raise RefusalError(400, "FAILED_PRECONDITION", f"{request.name} is deployed, or the only version")

        def apply() -> Any:
            self.models[model.name].remove(model)
            return v1.DeployModelResponse()

        return self._begin(model.name, "DeleteModelVersion", apply, v1.DeleteOperationMetadata(), mark)

    def merge_version_aliases(self, request: Any) -> Any:
        model = self._model(request.name)
        self._move_aliases(model.name, model, list(request.version_aliases))
        return model

    def in_use(self, model: v1.Model) -> bool:
        """Whether the version is deployed anywhere."""
        raise NotImplementedError

    def _move_aliases(self, name: str, model: v1.Model, aliases: list[str]) -> None:
        for alias in aliases:
            for other in self.models[name]:
                other.version_aliases = [one for one in other.version_aliases if one != alias]
            model.version_aliases.append(alias)

    def _model(self, name: str) -> v1.Model:
        base, _, version = name.partition("@")
        for model in self.models.get(base, []):
            if (version or "default") in (model.version_id, *model.version_aliases):
                return model
        raise RefusalError(404, "NOT_FOUND", f"{name} does not exist")
