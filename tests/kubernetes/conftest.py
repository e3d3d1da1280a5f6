"""A fake cluster with KServe, our runtime, a volume and three models on it."""

import kubernetes
import pytest

from tests.support.kubernetes_inference import NAMESPACE, InferenceServices
from tests.support.kubernetes_predictors import Model
from tests.support.kubernetes_server import KubernetesServer


def furnish(cluster):
    cluster.add_runtime()
    cluster.add("PersistentVolumeClaim", "models", NAMESPACE)
    for name in "abc":
        cluster.models[f"pvc://models/{name}"] = Model(f"fingerprint-{name}")


@pytest.fixture
def server():
    """Its clock stands: `server.cluster.clock.advance` moves it."""
    with KubernetesServer(factor=0) as server:
        furnish(server.cluster)
        yield server


@pytest.fixture
def quick_server():
    """A second of the cluster takes 10 ms."""
    with KubernetesServer(factor=100) as server:
        furnish(server.cluster)
        yield server


@pytest.fixture
def api(server):
    with server.client() as client:
        yield InferenceServices(kubernetes.client.CustomObjectsApi(client))
