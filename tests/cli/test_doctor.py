"""`kfp-bert doctor`: a line for each thing, the way to mend it, and code 1 where something asked for does not work."""

import base64
import json
import os
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from kfp_bert_components import __version__, cli
from tests.support.ai_platform_server import AiPlatformServer, Fault
from tests.support.gcs_server import GcsServer
from tests.support.image_registry import ImageRegistry
from tests.support.kfp_server import KfpServer
from tests.support.stores import s3

__all__ = ["s3"]

IMAGES = [f"team/{name}:{__version__}" for name in ("python", "python-tensorflow")]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("KFP_NAMESPACE", raising=False)
    (tmp_path / "docker").mkdir()
    return tmp_path


def look(*words, code=0):
    """The findings by what was looked at, as state and sentence."""
    done = CliRunner().invoke(cli.group, ["doctor", "--json", *map(str, words)])
    assert done.exit_code == code, (done.output, done.exception)
    return {one["what"]: (one["state"], one["says"]) for one in json.loads(done.stdout)}


def test_without_a_question_nothing_fails():
    found = look()
    assert found["kfp-bert-components"][1].startswith(f"{__version__}, with kfp 2.")
    assert found["extra gate"] == ("ok", "is installed")
    lines = CliRunner().invoke(cli.group, ["doctor"]).stdout.splitlines()
    assert len(lines) == len(found)
    assert "registry" not in found and "credentials" not in found


def test_an_extra_that_is_missing_fails_where_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    says = "scipy is not installed: pip install 'kfp-bert-components[gate]'"
    assert look()["extra gate"] == ("missing", says)
    assert look("--extra", "gate", code=1)["extra gate"] == ("FAILED", says)
    look("--extra", "data")


def test_a_gpu_is_what_tensorflow_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look()["GPU"][0] == "missing"
    assert "install NVIDIA's driver" in look("--gpu", code=1)["GPU"][1]
    for name, script in (("nvidia-smi", "echo 'GPU 0: H200'"), ("sees", "exit 0"), ("blind", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    assert look()["GPU"] == ("ok", "GPU 0: H200")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "blind"))
    assert "pip install 'kfp-bert-components[tensorflow-cuda]'" in look("--gpu", code=1)["GPU"][1]
    monkeypatch.setattr(sys, "executable", str(tmp_path / "sees"))
    assert look("--gpu")["GPU"] == ("ok", "GPU 0: H200")


def test_folders_are_looked_at_and_left_as_they_are(tmp_path):
    (tmp_path / "registry").mkdir()
    words = ["--registry", str(tmp_path / "registry"), "--serving-directory", str(tmp_path / "new" / "serving")]
    found = look(*words)
    assert found["registry"] == ("ok", f"{tmp_path}/registry is readable and writable")
    assert found["serving directory"] == ("ok", f"{tmp_path}/new/serving is not there yet: its first use makes it")
    assert not (tmp_path / "new").exists() and not list((tmp_path / "registry").iterdir())
    (tmp_path / "file").touch()
    assert "can't be read and written" in look("--registry", str(tmp_path / "file" / "registry"), code=1)["registry"][1]


def test_buckets_are_read_and_written(monkeypatch):
    with GcsServer() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        server.put("bucket", "lines/a.csv", b"text,label\n")
        words = ["--sources", "gs://bucket/lines", "--registry", "gs://bucket/registry"]
        found = look(*words, "--serving-directory", "gs://bucket/serving")
        assert found["sources"] == ("ok", "gs://bucket/lines: 1 object, 11 bytes")
        assert found["registry"] == ("ok", "gs://bucket/registry is readable and writable")
        assert found["serving directory"][0] == found["credentials"][0] == "ok"
        found = look("--sources", "gs://bucket/none", "--registry", "gs://nothing/registry", code=1)
        assert "matches" in found["sources"][1] or "does not exist" in found["sources"][1]
        assert found["registry"][0] == "FAILED" and "gs://nothing" in found["registry"][1]


def test_there_are_credentials_or_the_way_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    state, says = look("--registry", "gs://bucket/registry", code=1)["credentials"]
    assert state == "FAILED" and "gcloud auth application-default login" in says


def test_an_s3_store_is_named_with_what_says_so(s3, tmp_path, monkeypatch):
    s3.put("bucket", "lines/a.csv", b"text,label\n")
    words = ["--sources", "s3://bucket/lines", "--registry", "s3://bucket/registry"]
    found = look(*words)
    where = f"s3://bucket/registry: the store at {s3.url} is asked with credentials from AWS_ACCESS_KEY_ID"
    assert found["S3 store"] == ("ok", f"{where}, region us-east-1")
    assert found["registry"] == ("ok", "s3://bucket/registry is readable and writable")
    assert s3.names("bucket") == ["lines/a.csv"]
    monkeypatch.setenv("KFP_BERT_ANONYMOUS", "true")
    assert "is asked without credentials" in look(*words[:2])["S3 store"][1]
    monkeypatch.delenv("KFP_BERT_ANONYMOUS")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "set AWS_ACCESS_KEY_ID" in look(*words, code=1)["S3 store"][1]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ACCESS_KEY_ID", "key\n", "The value of AWS_ACCESS_KEY_ID has white space at an end"),
        (
            "AWS_ENDPOINT_URL",
            "http://host:port",
            "The address of the S3 store is 'http://host:port', from AWS_ENDPOINT",
        ),
        ("AWS_ENDPOINT_URL", "http://user:hunter2@host", "The address of the S3 store in AWS_ENDPOINT_URL has a user"),
    ],
)
def test_a_variable_that_can_not_be_what_it_stands_for_is_named(s3, monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    found = look("--sources", "s3://bucket/lines", "--registry", "s3://bucket/registry", code=1)
    assert all(found[what][0] == "FAILED" and said in found[what][1] for what in ("S3 store", "sources", "registry"))
    assert "hunter2" not in str(found)


def test_the_right_that_is_lacking_on_a_bucket_is_named(s3):
    s3.put("bucket", "lines/a.csv", b"text,label\n")
    s3.create_bucket("bucket", forbidden={"LIST"})
    found = look("--sources", "s3://bucket/lines", "--registry", "s3://bucket/registry", code=1)
    assert found["sources"][0] == "FAILED" and "or s3:ListBucket on the bucket" in found["sources"][1]
    assert found["registry"][0] == "FAILED" and "lacks the permission s3:ListBucket on" in found["registry"][1]


def test_a_store_that_overlooks_conditions_is_no_place_for_a_registry(s3):
    s3.overlooks = {"if-none-match"}
    state, says = look("--registry", "s3://bucket/registry", code=1)["registry"]
    assert state == "FAILED" and "does not keep to conditions (If-None-Match)" in says


def test_a_place_that_is_a_file_is_no_registry(tmp_path):
    (tmp_path / "file").write_text("")
    assert look("--registry", tmp_path / "file", code=1)["registry"][0] == "FAILED"


def sign_in(tmp_path, host, login):
    auth = base64.b64encode(login.encode()).decode()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def test_images_are_there_or_have_to_be_pushed():
    with ImageRegistry(IMAGES[:1]) as registry:
        found = look("--images", f"{registry.host}/team", code=1)
    assert found["image python"] == ("ok", f"{registry.host}/{IMAGES[0]} is there")
    assert "make images" in found["image python-tensorflow"][1]


@pytest.mark.parametrize("login", ["*", "me:secret"])
def test_images_behind_a_sign_in_are_asked_for_as_docker_does(tmp_path, login):
    with ImageRegistry(IMAGES, login) as registry:
        if login != "*":
            assert (
                f"docker login {registry.host}" in look("--images", f"{registry.host}/team", code=1)["image python"][1]
            )
            sign_in(tmp_path, registry.host, "me:wrong")
            look("--images", f"{registry.host}/team", code=1)
            sign_in(tmp_path, registry.host, login)
        assert look("--images", f"{registry.host}/team")["image python"][0] == "ok"


def test_a_login_goes_to_no_other_machine_in_the_clear(tmp_path):
    with ImageRegistry(IMAGES, "me:secret") as registry:
        sign_in(tmp_path, registry.host, "me:secret")
        registry.realm = "http://127.0.0.1.example.com/token"
        assert "which is not https" in look("--images", f"{registry.host}/team", code=1)["image python"][1]


def test_a_helper_of_docker_knows_the_login(tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-mine"
    helper.write_text('#!/bin/sh\ncat > /dev/null\necho \'{"Username": "me", "Secret": "secret"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with ImageRegistry(IMAGES, "me:secret") as registry:
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"credHelpers": {registry.host: "mine"}}))
        assert look("--images", f"{registry.host}/team")["image python"][0] == "ok"


@pytest.mark.parametrize(
    ("images", "path"),
    [
        ("docker.io/team", "team/python"),
        ("index.docker.io/team", "team/python"),
        ("team", "team/python"),
        ("docker.io", "library/python"),
    ],
)
def test_the_names_of_docker_s_own_registry_are_those_that_docker_knows(tmp_path, monkeypatch, images, path):
    sign_in(tmp_path, "https://index.docker.io/v1/", "me:secret")
    with ImageRegistry([f"{path}:{__version__}"], "me:secret") as registry:
        monkeypatch.setattr(urllib.request, "urlopen", sent_to(registry))
        found = look("--images", images, code=1)  # the other image is not there
        sign_in(tmp_path, "https://index.docker.io/v1/", "me:wrong")
        refused = look("--images", images, code=1)["image python"][1]
    assert found["image python"] == ("ok", f"{images}/python:{__version__} is there")
    assert refused.endswith(": docker login.")


def sent_to(registry):
    """What opens addresses, with a registry on loopback for Docker's."""
    urlopen = urllib.request.urlopen

    def opened(request, **how):
        assert request.full_url.startswith(("https://registry-1.docker.io/", f"{registry.realm}?")), request.full_url
        request.full_url = request.full_url.replace("https://registry-1.docker.io", f"http://{registry.host}")
        return urlopen(request, **how)

    return opened


def test_a_registry_that_is_not_there_and_a_place_that_can_be_none():
    assert look("--images", "127.0.0.1:9/team", code=1)["image python"][1] == (
        "127.0.0.1:9 can't be reached: check --images and the network (Connection refused)."
    )
    assert "No images can lie at" in look("--images", "https://a/b", code=1)["image python"][1]


def test_the_places_that_run_pipelines_answer():
    with KfpServer() as kfp, AiPlatformServer() as google:
        words = ["--host", kfp.url, "--project", "p", "--location", "l", "--api-endpoint", google.url]
        found = look(*words)
        assert found["Kubeflow Pipelines"] == ("ok", f"{kfp.url} answers; it has 0 schedules")
        assert found["AI Platform"] == ("ok", "pipelines of p in l can be listed")
        kfp.token = "secret"
        google.faults.append(Fault("ListPipelineJobs", status=403))
        found = look(*words, code=1)
        assert "KFP_EXISTING_TOKEN" in found["Kubeflow Pipelines"][1]
        assert "AI Platform refused" in found["AI Platform"][1]
    assert "can't be reached" in look("--host", "http://127.0.0.1:9", code=1)["Kubeflow Pipelines"][1]
