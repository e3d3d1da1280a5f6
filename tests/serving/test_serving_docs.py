"""docs/serving.md: its curl lines are answered as it says, its manifest and its metrics are real ones."""

import json
import re
import subprocess
import urllib.request

import pytest
import yaml
from kubernetes.client import ApiClient

from kfp_bert_components.cli import serve
from tests.conftest import ROOT
from tests.support.tiny_server import tiny_server

TEXT = (ROOT / "docs" / "serving.md").read_text()
CURLS = re.findall(r"^\$ (curl (?:.*\\\n)*.*)\n(\{.*\})$", TEXT, re.MULTILINE)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with tiny_server(tmp_path_factory.mktemp("tiny")) as running:
        yield running


@pytest.mark.parametrize(("command", "shown"), CURLS)
def test_the_curl_lines_are_answered_with_the_fields_shown(running, command, shown):
    command = command.replace("localhost:8501", running.url)
    answer = json.loads(subprocess.run(command, shell=True, capture_output=True, check=True).stdout)
    # What is left out in the docs has to be JSON again.
    assert list(answer) == list(json.loads(re.sub(r"(, )?\.\.\.", "", shown)))


def test_there_are_curl_lines_for_each_protocol():
    assert {re.search(r"localhost:8501/(v\d)", command)[1] for command, _ in CURLS} == {"v1", "v2"}


def test_the_manifest_is_one_of_kubernetes_and_starts_the_server_in_its_image(running):
    manifest = yaml.safe_load(re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[1])

    class Reply:
        data = json.dumps(manifest)

    client = ApiClient()
    assert client.sanitize_for_serialization(client.deserialize(Reply, "V1Deployment")) == manifest
    (server,) = manifest["spec"]["template"]["spec"]["containers"]
    # The image's entry point comes first: `args` are what follows it.
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)[-1])
    assert (entry, "command" in server) == (["kfp-bert", "serve"], False)
    assert serve.command.make_context("serve", list(server["args"])).params["path"] == "gs://my-bucket/registry"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        with urllib.request.urlopen(running.url + server[probe]["httpGet"]["path"], timeout=10) as reply:
            assert reply.status == 200


def test_the_metrics_are_those_of_the_server(running):
    named = set(re.findall(r"`(kfp_bert_\w+)", TEXT))
    with urllib.request.urlopen(f"{running.url}/metrics", timeout=10) as reply:
        served = set(
            re.findall(r"^# TYPE (kfp_bert_\w+) (?:counter|gauge|histogram)$", reply.read().decode(), re.MULTILINE)
        )
    assert named == {name for name in served if not name.endswith("_created")}
