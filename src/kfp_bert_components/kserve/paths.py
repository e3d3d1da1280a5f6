"""Addresses of Kubernetes' API."""

SERVING = "/apis/serving.kserve.io"


def inference_service(namespace: str, name: str) -> str:
    """An InferenceService."""
    return f"{SERVING}/v1beta1/namespaces/{namespace}/inferenceservices/{name}"


def deployment(namespace: str, name: str) -> str:
    """A Deployment."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"


def core(namespace: str, kind: str, name: str = "") -> str:
    """An object of the core API, such as a pod, or all of its kind."""
    return f"/api/v1/namespaces/{namespace}/{kind}" + (f"/{name}" if name else "")
