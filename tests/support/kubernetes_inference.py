"""InferenceServices by the real client, in few words."""

from __future__ import annotations

from typing import Any

NAMESPACE = "serving-test"
WHERE = ("serving.kserve.io", "v1beta1", NAMESPACE, "inferenceservices")
RESOURCES = {"requests": {"cpu": "50m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "2Gi"}}


def inference_service(name: str, uri: str = "pvc://models/a", **model: Any) -> dict[str, Any]:
    """The body of one, as in the recordings; `model` is added to the model, a None takes a field away."""
    fields = {"modelFormat": {"name": "kfp-bert"}, "runtime": "kfp-bert", "storageUri": uri, "resources": RESOURCES}
    kept = {key: value for key, value in {**fields, **model}.items() if value is not None}
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": {}}
    spec = {"predictor": {"minReplicas": 1, "maxReplicas": 1, "model": kept}}
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": spec}


class InferenceServices:
    """The calls.

    Args:
        api: The client's CustomObjectsApi.
    """

    def __init__(self, api: Any) -> None:
        self.api = api

    def create(self, body: dict[str, Any], **settings: Any) -> Any:
        """Make one."""
        return self.api.create_namespaced_custom_object(*WHERE, body, **settings)

    def get(self, name: str) -> Any:
        """Look at one."""
        return self.api.get_namespaced_custom_object(*WHERE, name)

    def patch(self, name: str, body: Any, **settings: Any) -> Any:
        """Change one by a merge patch."""
        return self.api.patch_namespaced_custom_object(*WHERE, name, body, **settings)

    def move(self, name: str, uri: str, **model: Any) -> Any:
        """Give one another model."""
        return self.patch(name, {"spec": {"predictor": {"model": {"storageUri": uri, **model}}}})

    def replace(self, name: str, body: dict[str, Any]) -> Any:
        """Change one whole."""
        return self.api.replace_namespaced_custom_object(*WHERE, name, body)

    def list(self, **settings: Any) -> Any:
        """All of them."""
        return self.api.list_namespaced_custom_object(*WHERE, **settings)

    def delete(self, name: str, **settings: Any) -> Any:
        """Delete one."""
        return self.api.delete_namespaced_custom_object(*WHERE, name, **settings)

    def apply(self, body: dict[str, Any], manager: str, *, force: bool = False, dry_run: bool = False) -> Any:
        """Server-side apply, for which this version of the client has no method of its own."""
        query = [("fieldManager", manager), ("force", str(force).lower()), *([("dryRun", "All")] if dry_run else [])]
        group, version, namespace, plural = WHERE
        name = body["metadata"]["name"]
        return self.api.api_client.call_api(
            f"/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}",
            "PATCH",
            query_params=query,
            header_params={"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"},
            body=body,
            response_type="object",
            _return_http_data_only=True,
        )
