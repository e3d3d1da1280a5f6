"""One way to write an address, for every parameter that takes a place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli import group
from kfp_bert_components.errors import UserError
from kfp_bert_components.storage import Address, parse_address

UNSUPPORTED = [
    "az://bucket/x",
    "pvc://models/bert",
    "GS://bucket/x",
    "https://storage.googleapis.com/bucket/x",
    "S3://bucket/x",
    "http://127.0.0.1/x",
    "s3a:x",
    "HDFS:x",
    "abfss:x/y",
]
UNUSABLE = [
    *UNSUPPORTED,
    "",
    "  ",
    " gs://bucket/x",
    "gs://bucket/x\n",
    "/folder ",
    "gs://",
    "gs:/bucket/x",
    "gs:bucket/x",
    "gs://Bucket/x",
    *(f"{scheme}:{rest}" for scheme in ("s3", "minio") for rest in ("//", "/bucket/x", "x", "//Bucket/x", "///x")),
    "file:x",
    *(f"{name}:x" for name in ("https", "pvc", "abfs", "wasb", "wasbs", "az", "dbfs", "s3:", "FILE")),
]
UNUSABLE += [
    f"{scheme}://bucket/{name}" for scheme in ("gs", "s3", "minio") for name in ("/lead", "a//", "/", "/a/", "a//b")
]
UNUSABLE += [
    "file://machine/x",
    "file:///a%ff",
    "gs://buc\tket/x",
    "/caf\udce9",
    "gs://bucket/\udce9",
    "~nobody-of-this-name/x",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the test, which is the home folder too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gs://bucket", Address("gs", "bucket", "")),
        ("gs://bucket/a/b.csv", Address("gs", "bucket", "a/b.csv")),
        ("gs://bucket/a%20b#1?", Address("gs", "bucket", "a%20b#1?")),
        ("s3://bucket", Address("s3", "bucket", "")),
        ("s3://bucket/a%20b#1?", Address("s3", "bucket", "a%20b#1?")),
        ("minio://mlpipeline/v2/artifacts", Address("minio", "mlpipeline", "v2/artifacts")),
        ("/a/b", Address("file", "", "/a/b")),
        ("/a%20b", Address("file", "", "/a%20b")),
        ("/s3:x", Address("file", "", "/s3:x")),
        ("/notes:/2024", Address("file", "", "/notes:/2024")),
        ("file:///a%20b/%EC%98%81", Address("file", "", "/a b/영")),
        ("file://localhost/a", Address("file", "", "/a")),
        ("file:/a", Address("file", "", "/a")),
    ],
)
def test_an_address_means_one_place(text: str, expected: Address, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_address(text) == expected
    assert expected.is_local or str(expected) == text
    assert capsys.readouterr() == ("", "")


def test_a_name_that_looks_like_a_scheme_is_a_path_after_a_dot_and_a_slash(here: Path) -> None:
    assert parse_address("./s3:x").path == here / "s3:x"
    assert parse_address("notes:x").path == here / "notes:x"


@pytest.mark.parametrize("text", ["a/b", "./a/b", "~/a/b"])
def test_a_relative_path_is_made_absolute_and_said_once(
    here: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert parse_address(text, "registry").path == here / "a/b"
    assert parse_address(text, "registry").path == here / "a/b"
    assert capsys.readouterr().err == f"registry {text!r} is {here}/a/b on this machine.\n"


def test_a_working_folder_whose_name_is_not_utf_8_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "caf\udce9").mkdir()
    monkeypatch.chdir(here / "caf\udce9")
    with pytest.raises(UserError, match=r"registry 'a' is '.*caf\\udce9/a' on this machine, which is not UTF-8: give"):
        parse_address("a", "registry")


@pytest.mark.parametrize("text", UNUSABLE)
def test_what_is_no_address_is_one_sentence_that_names_the_parameter(text: str) -> None:
    forms = "gs://bucket/folder, s3://bucket/folder or a local path"
    with pytest.raises(UserError, match=rf"^registry .*(give {forms}|leave that out)\.$"):
        parse_address(text, "registry")


@pytest.mark.parametrize("scheme", ["gs", "s3", "minio"])
@pytest.mark.parametrize("name", [".", "./a", "a/./b", "a/../b", "a/."])
def test_a_place_from_which_no_bytes_would_come_is_refused(scheme: str, name: str) -> None:
    with pytest.raises(UserError, match=r"^registry .* has a part '\.' or '\.\.'"):
        parse_address(f"{scheme}://bucket/{name}", "registry")


@pytest.mark.parametrize("text", ["/a", "file:///a", "s3://b/x"])
def test_where_only_a_bucket_will_do_nothing_else_is_taken(text: str) -> None:
    with pytest.raises(UserError, match=r"^job_staging .*: give gs://bucket/folder\.$"):
        parse_address(text, "job_staging", schemes=["gs"])


def _fetch(text: str) -> None:
    from kfp_bert_components.fetch import fetch

    fetch([text], Path("data"))


def _fetch_by_manifest(text: str) -> None:
    from kfp_bert_components.fetch import fetch

    fetch([], Path("data"), manifest=text)


def _registry(text: str) -> None:
    from kfp_bert_components.registry import Registry

    Registry(text).record_deployment("production", "pending", 1)


def _serving_directory(text: str) -> None:
    from kfp_bert_components.deployment import open_versioned_folder

    open_versioned_folder(text).add(Path("model"), 1)


def _base_model(text: str) -> None:
    from kfp_bert_components.bert.source import checkpoint_folder

    checkpoint_folder(text, Path("scratch"))


def _reference(text: str) -> None:
    from kfp_bert_components.steps.reference import read_reference

    read_reference(text)


def _staging(text: str) -> None:
    from kfp_bert_components.ai_platform import AiPlatformSettings

    AiPlatformSettings(project="p", location="l", staging=text)


def _job_staging(text: str) -> None:
    from kfp_bert_components.ai_platform import JobSettings

    JobSettings(project="p", location="l", image="i", staging=text)


def _finetune(parameter: str) -> Callable[[str], None]:
    def call(text: str) -> None:
        from kfp_bert_components.steps.finetune_bert import finetune_bert
        from kfp_bert_components.training import TrainingSettings

        none = Path("none")
        finetune_bert(none, none, none, none, TrainingSettings(**{parameter: text}))

    return call


def _serve(text: str) -> None:
    from kfp_bert_components.serving.sources import open_source

    open_source(text)()


def _command(*arguments: str) -> Callable[[str], None]:
    def call(text: str) -> None:
        result = CliRunner().invoke(group, [*arguments, text])
        if result.exception:
            raise result.exception

    return call


PLACES: dict[str, Callable[[str], None]] = {
    "the source": _fetch,
    "manifest": _fetch_by_manifest,
    "registry": _registry,
    "serving_directory": _serving_directory,
    "base_model": _base_model,
    "reference": _reference,
    "checkpoint_dir": _finetune("checkpoint_dir"),
    "tensorboard_dir": _finetune("tensorboard_dir"),
    "base_model, by the component": _finetune("base_model"),
    "staging": _staging,
    "job_staging": _job_staging,
    "the path to serve": _serve,
    "registry, by the command": _command("registry", "list"),
    "--root": _command("run", "kfp_bert_components:promote_model", "--root"),
    "--folder": _command("quickstart", "--folder"),
}


@pytest.mark.parametrize("text", [*UNSUPPORTED, " gs://bucket/x"])
@pytest.mark.parametrize("place", PLACES)
def test_no_place_is_written_to_or_read_by_another_name(here: Path, place: str, text: str) -> None:
    with pytest.raises(UserError, match=rf"^{place.partition(',')[0]} .*{text.split(':')[0]}:"):
        PLACES[place](text)
    assert os.listdir(here) == []


@pytest.mark.parametrize("place", ["~/a b", "a b", "file://{here}/a%20b", "file:{here}/a%20b", "{here}/a b"])
@pytest.mark.parametrize("parameter", ["registry", "serving_directory"])
def test_all_ways_to_write_a_folder_lead_to_the_same_one(here: Path, parameter: str, place: str) -> None:
    (here / "model").mkdir()
    (here / "model" / "saved_model.pb").write_text("a model")
    PLACES[parameter](place.format(here=here))
    assert sorted(path.name for path in here.iterdir()) == ["a b", "model"]
