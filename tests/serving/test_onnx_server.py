"""The server with ONNX Runtime: no TensorFlow is imported, and swaps under load fail no request."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest

from kfp_bert_components.bert import new_classifier, read_bundle, write_bundle

TEXTS = ["the cat sat", "THE CAT " * 9, "", "cat " * 60]
WITHOUT_TENSORFLOW = """
import sys
sys.modules |= dict.fromkeys(["tensorflow", "keras", "transformers"])
from kfp_bert_components.serving import serve
serve(sys.argv[1], port=0, poll_seconds=0.05)
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two bundles with different weights."""
    folders = []
    for seed in (1, 2):
        classifier = new_classifier(
            TEXTS, ["no", "yes"], vocabulary_size=20, layers=2, width=32, heads=2, max_length=24, seed=seed
        )
        folder = tmp_path_factory.mktemp("bundle")
        write_bundle(folder, classifier, max_length=24, base_model="", parameters={}, data_fingerprint="", pair=False)
        folders.append(folder)
    return folders


@contextlib.contextmanager
def served(folder):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout.readline, "")
            yield next(line for line in lines if line.startswith("ready at ")).split()[-1].split("/v1/")[0]
            process.terminate()
            _, errors = process.communicate(timeout=30)
            assert (process.returncode, errors) == (0, "")
        finally:
            process.kill()


def ask(url, texts):
    body = json.dumps({"instances": texts}).encode()
    with urllib.request.urlopen(f"{url}/v1/models/bert:predict", body, timeout=30) as reply:
        return [answer["probabilities"] for answer in json.load(reply)["predictions"]]


def health(url):
    with urllib.request.urlopen(f"{url}/healthz", timeout=30) as reply:
        return json.load(reply)


def test_a_bundle_is_served_without_tensorflow(bundles):
    with served(bundles[0]) as url:
        got = ask(url, TEXTS)
        assert health(url)["engine"] == "onnxruntime"
    np.testing.assert_allclose(got, read_bundle(bundles[0]).predict(TEXTS), atol=1e-6)


def put(bundle, versions, number):
    shutil.copytree(bundle, versions / ".scratch", ignore=shutil.ignore_patterns("saved_model"))
    (versions / ".scratch").rename(versions / str(number))


@pytest.mark.parametrize("swaps", [4, pytest.param(100, marks=pytest.mark.long)])
def test_no_request_fails_while_models_are_swapped(bundles, tmp_path, swaps):
    expected = [read_bundle(bundle).predict(TEXTS) for bundle in bundles]
    put(bundles[1], tmp_path, 1)
    done, failed, answered = threading.Event(), [], [0]

    def client():
        while not done.is_set():
            try:
                got = np.array(ask(url, TEXTS))
                answered[0] += 1
                if min(np.abs(got - one).max() for one in expected) > 1e-6:
                    failed.append(got)
            except Exception as error:
                failed.append(repr(error))

    with served(tmp_path) as url:
        clients = [threading.Thread(target=client) for _ in range(4)]
        for one in clients:
            one.start()
        for number in range(2, swaps + 2):
            put(bundles[number % 2], tmp_path, number)
            end = time.monotonic() + 30
            while health(url)["version"] != number:
                assert time.monotonic() < end
                time.sleep(0.02)
            assert np.abs(np.array(ask(url, TEXTS)) - expected[number % 2]).max() < 1e-6
            shutil.rmtree(tmp_path / str(number - 1))
        done.set()
        for one in clients:
            one.join()
    assert failed == []
    assert answered[0] > swaps
