"""Addresses of Kubernetes' API."""

SERVING = "/apis/serving.kserve.io"
GATEWAY = "/apis/gateway.networking.k8s.io/v1"


def inference_service(namespace: str, name: str) -> str:
    """An InferenceService."""
    return f"{SERVING}/v1beta1/namespaces/{namespace}/inferenceservices/{name}"


def deployment(namespace: str, name: str) -> str:
    """A Deployment."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"


def autoscaler(namespace: str, name: str) -> str:
    """A HorizontalPodAutoscaler."""
    return f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/{name}"


def http_route(namespace: str, name: str) -> str:
    """An HTTPRoute of the Gateway API."""
    return f"{GATEWAY}/namespaces/{namespace}/httproutes/{name}"


def core(namespace: str, kind: str, name: str = "") -> str:
    """An object of the core API, such as a pod, or all of its kind."""
    return f"/api/v1/namespaces/{namespace}/{kind}" + (f"/{name}" if name else "")
