"""Deployment to a folder, tested through the server that watches it."""

import json
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager

import pyarrow.parquet as pq
import pytest

from kfp_bert_components.deployment import RolloutError, SmokeSettings, deploy_to_serving_directory
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.deploy_to_serving_directory import deploy_to_serving_directory as deploy
from tests.support.examined import write_examined

SERVE = "from kfp_bert_components.serving import serve; import sys; serve(sys.argv[1], port=0, poll_seconds=0.1)"


@contextmanager
def server(folder):
    command = [sys.executable, "-c", SERVE, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout.readline, "")
            ready = next(line for line in lines if line.startswith("ready at ")).split()[-1]
            yield ready.removesuffix("/v1/models/bert:predict")
        finally:
            process.terminate()


@contextmanager
def asking(url):
    """Ask all the time, and collect what fails."""
    stop, failed = threading.Event(), []

    def ask():
        body = json.dumps({"instances": ["HELLO"]}).encode()
        while not stop.is_set():
            try:
                with urllib.request.urlopen(f"{url}/v1/models/bert:predict", body, timeout=20) as reply:
                    json.load(reply)
            except OSError as error:
                failed.append(repr(error))
            stop.wait(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield failed
    finally:
        stop.set()
        thread.join()


def promote(registry, folder, name, **settings):
    champion = registry.champion()
    known = (champion.version, champion.generation) if champion else None
    return registry.promote(*write_examined(folder / name, name, champion=known, **settings))


@pytest.mark.slow
def test_a_version_that_answers_differently_is_removed_and_the_server_goes_back(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    smoke = SmokeSettings(answers=4, timeout_seconds=20, max_latency_seconds=5)
    promote(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, str(folder), smoke=smoke)
    with server(folder) as url, asking(url) as failed:
        promote(registry, tmp_path, "second", shout_score=0.8)
        deployed = deploy_to_serving_directory(registry.uri, str(folder), server_url=url, smoke=smoke)
        assert deployed.version == 2
        assert version(url) == 2
        promote(registry, tmp_path, "third", model_score=0.6)
        with pytest.raises(RolloutError, match=r"differs by 0\.3000"):
            deploy_to_serving_directory(registry.uri, str(folder), server_url=url, smoke=smoke)
        assert wait_for(url, 2)
    assert failed == []
    record = registry.deployment("production")
    assert (record.state, record.live_version) == ("failed", 2)
    assert sorted(path.name for path in folder.glob("[0-9]*")) == ["1", "2"]


def version(url):
    with urllib.request.urlopen(f"{url}/healthz", timeout=10) as reply:
        return json.load(reply)["version"]


def wait_for(url, number):
    import time

    for _ in range(100):
        if version(url) == number:
            return True
        time.sleep(0.1)
    return False


def test_a_server_that_does_not_answer_is_a_failure(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), tmp_path / "serving"
    paths = write_examined(tmp_path / "first", "first", saved_model=False)
    (paths[0] / "saved_model" / "saved_model.pb").write_text("graph")
    registry.promote(*paths)
    with pytest.raises(RolloutError, match="does not serve version 1 after 1 s"):
        deploy_to_serving_directory(
            registry.uri,
            str(folder),
            server_url="http://127.0.0.1:9",
            smoke=SmokeSettings(timeout_seconds=1),
        )
    assert [path.name for path in folder.iterdir()] == [".kfp-bert-owner.json"]


def test_a_version_whose_evaluation_keeps_no_texts_is_deployed_and_asked_fixed_ones(tmp_path, capsys):
    registry, folder = Registry(str(tmp_path / "registry")), str(tmp_path / "serving")
    paths = write_examined(tmp_path / "first", "first")
    table = pq.read_table(paths[1] / "predictions.parquet")
    pq.write_table(table.drop(["text"]), paths[1] / "predictions.parquet")
    registry.promote(*paths)
    assert deploy(registry.uri, folder).version == 1
    printed = capsys.readouterr().out
    assert "The evaluation of version 1 keeps no texts" in printed
    assert "version 1: asked here for 7 fixed texts, and all answers have the right form" in printed
