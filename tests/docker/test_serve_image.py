"""The serve image as AI Platform and KServe start it: its variables, its folder, its port, and nothing else."""

import contextlib
import json
import socket
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

import docker
import kfp_bert_components as package
from kfp_bert_components.bert import new_classifier, read_bundle, write_bundle
from kfp_bert_components.storage import open_store, upload_folder
from tests.support.containers import CONFINED
from tests.support.stores import gcs

__all__ = ["gcs"]
pytestmark = [
    pytest.mark.docker,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
IMAGE = f"kfp-bert-components/serve:{package.__version__}"
TEXTS = ["the cat sat", "THE CAT " * 9, "", "cat " * 60]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    classifier = new_classifier(
        TEXTS, ["no", "yes"], vocabulary_size=20, layers=2, width=32, heads=2, max_length=24, seed=1
    )
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder, classifier, max_length=24, base_model="", parameters={}, data_fingerprint="", pair=False)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=30) as reply:
        return json.load(reply)


@contextlib.contextmanager
def container(environment, **options):
    """The image without arguments; must become healthy, and end by SIGTERM within seconds with code 0."""
    client = docker.from_env()
    started = client.containers.run(IMAGE, detach=True, environment=environment, **CONFINED, **options)
    try:
        yield started
        started.stop(timeout=30)
        assert started.wait()["StatusCode"] == 0, started.logs().decode()
    finally:
        started.remove(force=True)
        client.close()


def wait_until_ready(started, url):
    begun = time.monotonic()
    while time.monotonic() < begun + 60:
        with contextlib.suppress(OSError, urllib.error.URLError):
            ask(url)
            return time.monotonic() - begun
        time.sleep(0.02)
    raise AssertionError(started.logs().decode())


def test_ai_platforms_contract(bundle, gcs):
    """A model on gs://, and the port and the addresses that the service names."""
    upload_folder(bundle, open_store("gs://bucket/models"), "7")
    port = free_port()
    environment = {
        "AIP_MODE": "PREDICTION",
        "AIP_STORAGE_URI": "gs://bucket/models/7",
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": "/alive",
        "AIP_PREDICT_ROUTE": "/answer",
        "STORAGE_EMULATOR_HOST": gcs.url,
    }
    with container(environment) as started:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(started, f"{url}/alive")
        found = ask(f"{url}/answer", {"instances": TEXTS})["predictions"]
    expected = read_bundle(bundle).predict(TEXTS)
    np.testing.assert_allclose([one["probabilities"] for one in found], expected, atol=1e-5)


def test_kserves_contract(bundle):
    """The model mounted read-only at /mnt/models, the Open Inference Protocol, and Docker's health check."""
    port = free_port()
    mount = {str(bundle): {"bind": "/mnt/models", "mode": "ro"}}
    with container({"AIP_HTTP_PORT": str(port)}, volumes=mount) as started:
        url = f"http://127.0.0.1:{port}"
        seconds = wait_until_ready(started, f"{url}/v2/health/ready")
        print(f"\nserve: {seconds:.1f} s from the container's start to ready")
        texts = {"name": "text", "shape": [len(TEXTS)], "datatype": "BYTES", "data": TEXTS}
        answer = ask(f"{url}/v2/models/bert/infer", {"inputs": [texts]})
        found = {one["name"]: one for one in answer["outputs"]}["probabilities"]
        deadline, health = time.monotonic() + 60, ""
        while health != "healthy" and time.monotonic() < deadline:
            time.sleep(0.5)
            started.reload()
            health = started.attrs["State"]["Health"]["Status"]
        assert health == "healthy"
    expected = read_bundle(bundle).predict(TEXTS)
    np.testing.assert_allclose(np.reshape(found["data"], found["shape"]), expected, atol=1e-5)
