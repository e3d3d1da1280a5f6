"""The serve image as AI Platform and KServe start it: its variables, its folder, its port, and nothing else."""

import time

import numpy as np
import pytest

from kfp_bert_components.bert import new_classifier, read_bundle, write_bundle
from kfp_bert_components.storage import open_store, upload_folder
from tests.support.containers import ask, free_port, serve_image, wait_until_ready
from tests.support.stores import gcs

__all__ = ["gcs"]
pytestmark = [
    pytest.mark.docker,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
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
    with serve_image(environment) as started:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(started, f"{url}/alive")
        found = ask(f"{url}/answer", {"instances": TEXTS})["predictions"]
    expected = read_bundle(bundle).predict(TEXTS)
    np.testing.assert_allclose([one["probabilities"] for one in found], expected, atol=1e-5)


def test_kserves_contract(bundle):
    """The model mounted read-only at /mnt/models, the Open Inference Protocol, and Docker's health check."""
    port = free_port()
    mount = {str(bundle): {"bind": "/mnt/models", "mode": "ro"}}
    with serve_image({"AIP_HTTP_PORT": str(port)}, volumes=mount) as started:
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
