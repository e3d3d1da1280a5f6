"""Errors name what was typed, in words that a person knows."""

import json
import socket
import ssl
import urllib.request
from urllib.error import URLError

import pytest
import requests
from click.testing import CliRunner

from kfp_bert_components import cli
from kfp_bert_components.errors import TransientError, UserError, reason_of


def error_of(*words):
    done = CliRunner().invoke(cli.group, [str(word) for word in words])
    assert isinstance(done.exception, UserError | TransientError), (done.output, done.exception)
    return str(done.exception)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--text-column="], "--text-column is empty: name the column with the text."),
        (["--pair-column", "text"], "--pair-column and --text-column are both 'text': give two different columns."),
        (["--shard-index", 3], "--shard-index is 3, but there are 1 shards (--num-shards): give one from 0 to 0."),
        (["--header", "x"], "--header is 'x', but it must be one of 'auto', 'yes', 'no'."),
    ],
)
def test_a_setting_is_named_as_the_option_that_was_typed(tmp_path, words, says):
    assert error_of("predict", tmp_path / "t.csv", tmp_path / "out", "--model", tmp_path, *words) == says


def test_a_key_of_a_file_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text("service_account: 5\n")
    words = ["submit", "train_and_deploy", "--host", "http://127.0.0.1:9", "--cluster", "cluster.yaml"]
    assert error_of(*words) == "cluster.yaml: service_account is 5, but it should be a valid string."
    said = error_of(*words[:-1], "nope.yaml")
    assert said == "nope.yaml can't be read: check its name (No such file or directory)."


def test_a_file_that_is_called_as_an_option_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["compile", "train_and_deploy", "x.yaml", "--cluster"], ["run", "train_and_deploy", "--params-file"]):
        for name in ("settings", "params_file"):
            assert f"{name} can't be read" in error_of(*words, name)


def test_the_parameters_of_a_pipeline_keep_their_names(tmp_path):
    pipeline = tmp_path / "mine.py"
    pipeline.write_text(
        "from kfp import dsl\n\n\n@dsl.component(base_image='python:3.11')\ndef say(a: str):\n    print(a)\n\n\n"
        "@dsl.pipeline\ndef mine(service_account: str, pipeline_root: str):\n    say(a=service_account)\n"
    )
    said = error_of("submit", f"{pipeline}:mine", "--project", "p", "--location", "l", "--pipeline-root", "gs://b/r")
    assert "The pipeline needs --param for pipeline_root, service_account" in said


def test_ai_platform_out_of_reach_is_said_with_its_host_and_what_to_check():
    words = ["schedule", "list", "--project", "p", "--location", "l", "--api-endpoint", "http://127.0.0.1:9"]
    assert error_of(*words) == (
        "list_schedules failed, as 127.0.0.1:9 does not answer: check the network (Connection refused)"
    )


def raised(kind, call, *arguments, **how):
    with pytest.raises(kind) as caught:
        call(*arguments, **how)
    return caught.value


def test_the_reason_is_the_systems_without_what_libraries_say_around_it():
    assert reason_of(raised(OSError, open, "/nowhere")) == "No such file or directory"
    assert reason_of(raised(URLError, urllib.request.urlopen, "http://127.0.0.1:9")) == "Connection refused"
    assert reason_of(raised(OSError, requests.get, "http://127.0.0.1:9")) == "Connection refused"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert reason_of(raised(OSError, requests.get, address, timeout=0.1)) == "no answer in time"
    assert reason_of(raised(ValueError, b"\xff".decode)) == "it is no text in UTF-8"
    refused = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    refused.verify_message = "self-signed certificate"
    assert reason_of(refused) == "self-signed certificate"
    assert reason_of(KeyError()) == "KeyError"
    assert reason_of(raised(ValueError, json.loads, "no JSON")).startswith("Expecting value")
