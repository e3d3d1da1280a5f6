"""The server as a process: it says when it is ready, and ends cleanly."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import click
import numpy as np
import pytest
from click.testing import CliRunner

from kfp_bert_components.bert import new_classifier, read_bundle, write_bundle
from kfp_bert_components.cli import group
from kfp_bert_components.errors import UserError
from tests.support.tiny_model import write_tiny_saved_model
from tests.support.tiny_server import tiny_server


@contextmanager
def served(folder, number=signal.SIGTERM):
    """`kfp-bert serve` on a folder, as its address and the lines it prints; the signal ends it cleanly."""
    command = [sys.executable, "-c", "from kfp_bert_components.cli import main; main()", "serve", folder, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stdout.readline, "")
        yield next(line for line in lines if line.startswith("ready at ")).split()[-1], lines
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in errors


def predictions(address, texts):
    request = urllib.request.Request(address, json.dumps({"instances": texts}).encode())
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)["predictions"]


def read(address):
    with urllib.request.urlopen(address, timeout=10) as reply:
        return reply.read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_and_ends_cleanly(tmp_path, number):
    with served(write_tiny_saved_model(tmp_path / "model"), number) as (address, _):
        assert predictions(address, ["HI"])[0]["label"] == "shout"


def loads(running):
    lines = read(f"{running.url}/metrics").splitlines()
    return next(line for line in lines if line.startswith("kfp_bert_model_loads_total "))


def test_a_log_that_nobody_reads_any_more_ends_neither_requests_nor_the_watching(tmp_path):
    with tiny_server(tmp_path, access_log=True, poll_seconds=0.05) as running:
        running.process.stdout.close()
        for time_of_change in range(1, 4):
            before = loads(running)
            os.utime(tmp_path / "saved_model.pb", (time_of_change, time_of_change))
            end = time.monotonic() + 10
            while loads(running) == before:
                assert time.monotonic() < end
                time.sleep(0.02)
        assert json.loads(read(f"{running.url}/healthz"))["refused"] == []
    assert running.errors == ""


def test_a_request_on_which_the_model_fails_has_an_id_and_is_logged_once(tmp_path):
    with tiny_server(tmp_path, access_log=True) as running:
        for name in ("first", "second"):
            request = urllib.request.Request(
                f"{running.url}/v1/models/bert:predict", b'{"instances": ["fail"]}', {"X-Request-Id": name}
            )
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=10)
            with caught.value as reply:
                assert (reply.status, reply.headers["X-Request-Id"], reply.headers["X-Model-Version"]) == (
                    500,
                    name,
                    "1",
                )
    lines = [json.loads(line) for line in running.lines if line.startswith("{")]
    assert [(one["status"], one["request_id"]) for one in lines] == [(500, "first"), (500, "second")]
    assert running.errors.count("ValueError: this text fails") == 2


def test_a_process_whose_log_nobody_reads_ends_well():
    # The second line is that of a thread that the end of the process stops before it is written.
    code = "import sys, kfp_bert_components.progress as p; sys.stdin.read(); p.log_line('a'); sys.stdout.write('b')"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert (process.communicate("")[1], process.returncode) == ("", 0)


@pytest.mark.long
@pytest.mark.parametrize("lengths", [(1, 3, 9, 20), (20, 9, 3, 1)])
def test_each_version_answers_with_its_own_weights_whatever_the_length(tmp_path, lengths):
    texts = ["the cat " * n for n in lengths]
    for seed in (1, 2):
        classifier = new_classifier(
            texts, ["no", "yes"], vocabulary_size=20, layers=2, width=64, heads=2, max_length=48, seed=seed
        )
        folder = tmp_path / str(seed)
        write_bundle(folder, classifier, max_length=48, base_model="", parameters={}, data_fingerprint="", pair=False)
    versions = tmp_path / "versions"
    shutil.copytree(tmp_path / "1" / "saved_model", versions / "1")

    expected_of = {seed: read_bundle(tmp_path / str(seed)).predict(texts) for seed in (1, 2)}
    assert np.abs(expected_of[1] - expected_of[2]).max() > 1e-3

    def ask(address, seed):
        expected = expected_of[seed]
        single = [predictions(address, [text])[0]["probabilities"] for text in texts]
        together = [answer["probabilities"] for answer in predictions(address, texts)]
        np.testing.assert_allclose(single, expected, atol=1e-6)
        np.testing.assert_allclose(together, expected, atol=1e-6)

    with served(versions) as (address, lines):
        ask(address, 1)
        shutil.copytree(tmp_path / "2" / "saved_model", tmp_path / "copy")
        (tmp_path / "copy").rename(versions / "2")
        next(line for line in lines if line.startswith("serving version 2"))
        ask(address, 2)


def test_ai_platform_starts_it_without_arguments(monkeypatch):
    called = {}
    monkeypatch.setattr(
        "kfp_bert_components.serving.server.serve", lambda *args, **options: called.update(options, args=args)
    )
    monkeypatch.setenv("AIP_HTTP_PORT", "8080")
    monkeypatch.setenv("AIP_STORAGE_URI", "gs://bucket/model")
    result = CliRunner().invoke(group, ["serve"], catch_exceptions=False)
    assert result.exit_code == 0
    assert called["args"] == ("gs://bucket/model", "0.0.0.0", 8080)
    monkeypatch.delenv("AIP_HTTP_PORT")
    CliRunner().invoke(group, ["serve", "folder", "--threads", "3"], catch_exceptions=False)
    assert called["args"] == ("folder", "127.0.0.1", 8501)
    assert called["threads"] == 3


@pytest.mark.parametrize(
    ("words", "environment", "says"),
    [
        (["--port", "70000"], {}, "The port is 70000: give one from 1 to 65535"),
        (["--host", "192.0.2.7"], {}, "choose another address or port"),
        (["--threads", "-1"], {}, "Invalid value for '--threads'"),
        ([], {"AIP_PREDICT_ROUTE": "predict"}, "AIP_PREDICT_ROUTE is 'predict': it must begin with a slash"),
        (["--name", "a/b"], {}, "The name of the model is 'a/b'"),
        (["--name", ""], {}, "The name of the model is ''"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(tmp_path, words, environment, says, monkeypatch):
    write_tiny_saved_model(tmp_path / "model")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((UserError, click.ClickException)) as caught:
        group(["serve", str(tmp_path / "model"), *words], standalone_mode=False)
    assert says in (
        caught.value.format_message() if isinstance(caught.value, click.ClickException) else str(caught.value)
    )
