"""The server as a process: it says when it is ready, and ends cleanly."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from kfp_bert_components.bert import new_classifier, write_bundle
from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.serving.server import _fetched
from kfp_bert_components.serving.source import newest
from kfp_bert_components.storage import open_store, upload_folder
from tests.support.stores import gcs
from tests.support.tiny_model import write_tiny_saved_model

__all__ = ["gcs"]

START = "from kfp_bert_components.serving import serve; import sys; serve(sys.argv[1], port=int(sys.argv[2]))"


def label_before_the_signal(folder, number, text):
    """Serve a folder, ask for the label of a text, send the signal, and see the server end cleanly."""
    command = [sys.executable, "-c", START, str(folder), "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stdout.readline, "")
        address = next(line for line in lines if line.startswith("ready at ")).split()[-1]
        request = urllib.request.Request(address, json.dumps({"instances": [text]}).encode())
        with urllib.request.urlopen(request, timeout=30) as reply:
            label = json.load(reply)["predictions"][0]["label"]
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in errors
    return label


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_and_ends_cleanly(tmp_path, number):
    assert label_before_the_signal(write_tiny_saved_model(tmp_path / "model"), number, "HI") == "shout"


@pytest.mark.slow
def test_it_answers_and_ends_cleanly_while_it_compiles(tmp_path):
    classifier = new_classifier(["the cat"], ["no", "yes"], vocabulary_size=20, layers=1, width=16, max_length=64)
    write_bundle(tmp_path, classifier, max_length=64, base_model="", parameters={}, data_fingerprint="", pair=False)
    assert label_before_the_signal(tmp_path, signal.SIGTERM, "the cat") in ("no", "yes")


def test_a_model_on_gs_is_copied_and_served(gcs, tmp_path):
    upload_folder(write_tiny_saved_model(tmp_path / "model"), open_store("gs://bucket/a"), "model")
    folder = Path(_fetched("gs://bucket/a/model/"))
    assert newest(folder).version == 1
    with pytest.raises(NotFoundError, match="holds no files"):
        _fetched("gs://bucket/a/none")
