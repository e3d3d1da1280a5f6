"""The step, the command and the component, with real models."""

import csv
import errno
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from kfp import dsl

from kfp_bert_components import batch_predict as batch_predict_component
from kfp_bert_components.bert import new_classifier, read_bundle, write_bundle
from kfp_bert_components.cli import group
from kfp_bert_components.deployment import deploy_to_serving_directory
from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.prediction import PredictionSettings, one_file
from kfp_bert_components.prediction.output import PartWriter
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps import batch_predict as step
from kfp_bert_components.steps.batch_predict import batch_predict
from kfp_bert_components.storage import open_store, upload_folder
from tests.conftest import ROOT
from tests.prediction.test_rows import rows_of, write_csv
from tests.support.examined import write_examined
from tests.support.gcs_server import GcsServer
from tests.support.pipeline_runs import run_pipeline

TEXTS = ["the cat sat on the mat", "a dog barks", "Fin.", "cat " * 60, "café [SEP] 한국어", "THE CAT", "x"]
MAIN = "from kfp_bert_components.cli import main; main()"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    classifier = new_classifier(TEXTS, ["no", "yes", "maybe"], vocabulary_size=60, layers=2, width=32, max_length=24)
    write_bundle(folder, classifier, max_length=24, base_model="", parameters={}, data_fingerprint="", pair=False)
    return folder


@pytest.fixture
def registry(tmp_path):
    """A registry whose champion is version 2; its SavedModel takes shouting for spam."""
    opened = Registry(str(tmp_path / "registry"))
    opened.promote(*write_examined(tmp_path / "first", "first", shout_score=0.8))
    champion = opened.champion()
    known = (champion.version, champion.generation)
    opened.promote(*write_examined(tmp_path / "second", "second", shout_score=0.9, champion=known))
    return opened


@pytest.fixture
def lines(tmp_path):
    return write_csv(tmp_path / "lines.csv", enumerate(TEXTS))


def served_answers(folder, texts):
    """The probabilities that `kfp-bert serve` gives, one request a text."""
    command = [sys.executable, "-c", MAIN, "serve", str(folder), "--port", "0", "--no-compile"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        ready = next(line for line in process.stdout if line.startswith("ready at "))
        answers = []
        for text in texts:
            request = urllib.request.Request(ready.split()[-1], json.dumps({"instances": [text]}).encode())
            with urllib.request.urlopen(request, timeout=30) as reply:
                answers.append(json.load(reply)["predictions"][0]["probabilities"])
        return answers
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_the_numbers_are_those_of_the_server(tmp_path, bundle, lines):
    batch_predict(str(lines), str(tmp_path / "out"), str(bundle))
    found = [row["probabilities"] for row in rows_of(tmp_path / "out")]
    np.testing.assert_allclose(found, served_answers(bundle, TEXTS), atol=1e-6)


def test_the_command_needs_no_tensorflow_where_the_bundle_has_an_onnx_model(tmp_path, bundle, lines):
    code = "import sys; from kfp_bert_components.cli import group; group(standalone_mode=False); "
    code += "print('imported:', [one for one in ('tensorflow', 'keras', 'transformers') if one in sys.modules])"
    command = [sys.executable, "-c", code, "predict", lines, tmp_path / "out", "--model", bundle]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported: []"
    assert "7 rows in" in done.stdout
    expected = read_bundle(bundle).predict(TEXTS, engine="tensorflow")
    np.testing.assert_allclose([row["probabilities"] for row in rows_of(tmp_path / "out")], expected, atol=1e-6)


def test_a_bundle_without_an_onnx_model_a_registry_a_version_and_what_is_served_can_be_the_model(tmp_path, registry):
    table = write_csv(tmp_path / "lines.csv", [("a", "HEY"), ("b", "hey")])
    deploy_to_serving_directory(registry.uri, str(tmp_path / "serving"))
    for number, name in (("9", "first"), ("010", "second")):
        shutil.copytree(tmp_path / name / "bundle", tmp_path / "bundles" / number)
    places = {
        tmp_path / "second" / "bundle": (None, 0.9),
        tmp_path / "bundles": (None, 0.9),
        tmp_path / "registry": (2, 0.9),
        tmp_path / "registry" / "versions" / "1": (1, 0.8),
        tmp_path / "serving": (2, 0.9),
        tmp_path / "serving" / "1": (2, 0.9),
    }
    for number, (place, (version, score)) in enumerate(places.items()):
        batch_predict(str(table), str(tmp_path / f"out-{number}"), str(place))
        shout, calm = rows_of(tmp_path / f"out-{number}")
        assert (shout["label"], calm["label"]) == ("spam", "ham"), place
        assert shout["score"] == pytest.approx(score), place
        assert shout["model_version"] == version, place
        assert shout["model_fingerprint"] == ("model first" if version == 1 else "model second"), place


def test_the_champion_changes_and_the_next_run_starts_anew_with_it(tmp_path, registry, capsys):
    table = write_csv(tmp_path / "lines.csv", [("a", "HEY")])
    batch_predict(str(table), str(tmp_path / "out"), registry.uri)
    registry.rollback()
    batch_predict(str(table), str(tmp_path / "out"), registry.uri)
    assert "with another model and model version: all rows are predicted anew" in capsys.readouterr().out
    assert rows_of(tmp_path / "out")[0]["model_version"] == 1


def test_a_model_on_cloud_storage_is_copied_here(tmp_path, bundle, lines, registry, monkeypatch):
    with GcsServer() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("KFP_BERT_ANONYMOUS", "true")
        server.create_bucket("b")
        upload_folder(bundle, open_store("gs://b/models"), "one")
        upload_folder(tmp_path / "registry", open_store("gs://b"), "registry")
        batch_predict(str(lines), str(tmp_path / "out"), "gs://b/models/one")
        np.testing.assert_allclose(
            [row["probabilities"] for row in rows_of(tmp_path / "out")], read_bundle(bundle).predict(TEXTS), atol=1e-6
        )
        batch_predict(str(lines), str(tmp_path / "out2"), "gs://b/registry")
        assert rows_of(tmp_path / "out2")[0]["model_version"] == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: None, "does not exist: give a registry, a bundle, or a folder of served versions"),
        (lambda place: place.mkdir(), r"holds no model: expected a registry \(champion.json\), a bundle"),
        (lambda place: place.write_text("x"), "is a file: give a registry"),
    ],
)
def test_what_is_no_model_is_a_clear_error(tmp_path, lines, make, message):
    make(tmp_path / "model")
    with pytest.raises(UserError, match=message):
        batch_predict(str(lines), str(tmp_path / "out"), str(tmp_path / "model"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("output", "settings", "message"),
    [
        ("tables/out", {}, "lies in the table"),
        ("tables", {}, "lies in the table"),
        ("there.csv", {}, "is a file that is there already: remove it, or give another name"),
        ("out.csv.gz", {}, "names a file, and one file is CSV or Parquet: let its name end with .csv or .parquet, or"),
        ("out.csv", {"num_shards": 2}, "is one file, and a shard is a part of a table: give a folder"),
    ],
)
def test_an_output_that_cannot_be_used_is_a_clear_error_before_any_work(tmp_path, output, settings, message):
    write_csv(tmp_path / "tables" / "lines.csv", [("a", "HEY")])
    (tmp_path / "there.csv").write_text("x")
    with pytest.raises(UserError, match=message):
        batch_predict(str(tmp_path / "tables"), str(tmp_path / output), "no model", PredictionSettings(**settings))
    with pytest.raises(UserError, match="names one file, which is made on a local disk only: give a folder"):
        batch_predict(str(tmp_path / "tables"), "gs://b/out.parquet", "no model")


@pytest.mark.parametrize(
    ("table", "kind", "grows"),
    [
        *(("**", "parquet", True), ("**.csv", "csv", True), ("*/*.csv", "csv", True), ("{out,in}/**", "csv", True)),
        *(("*.csv", "csv", False), ("**.csv", "parquet", False), ("in/**", "csv", False)),
    ],
)
def test_an_output_that_its_own_glob_means_is_refused(table, kind, grows):
    said = "The output s3://b/out lies in the table s3://b/.*, which would grow by it" if grows else "no model"
    with pytest.raises(UserError, match=said):
        batch_predict(f"s3://b/{table}", "s3://b/out", "no model", PredictionSettings(output_format=kind))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_one_file_has_all_rows_and_nothing_stays_beside_it(tmp_path, bundle, kind):
    table = tmp_path / "lines.jsonl"
    table.write_text("\n".join(json.dumps({"two\nlines": i, "text": f"the cat {i}"}) for i in range(25)))
    out = tmp_path / "result" / f"out.{kind}"
    out.parent.mkdir()
    batch_predict(str(table), str(out), str(bundle), PredictionSettings(part_rows=10))
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    if kind == "csv":
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = pq.read_table(out).to_pylist()
    assert [int(row["two\nlines"]) for row in rows] == list(range(25))
    assert {row["label"] for row in rows} <= {"no", "yes", "maybe"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("moment", ["before its parts are read", "before its file is there"])
def test_one_file_that_two_runs_make_is_whole(tmp_path, bundle, lines, monkeypatch, kind, moment):
    out, done = tmp_path / f"out.{kind}", []
    settings = PredictionSettings(part_rows=1)
    target, name = (one_file, "write_joined") if moment == "before its parts are read" else (os, "replace")
    real = getattr(target, name)

    def after_another_run(*arguments):
        if not done and (target is one_file or Path(arguments[1]) == out):
            done.append(True)
            batch_predict(str(lines), str(out), str(bundle), settings)
        return real(*arguments)

    monkeypatch.setattr(target, name, after_another_run)
    with pytest.raises(ConflictError, match=f"Another process has made {out} meanwhile"):
        batch_predict(str(lines), str(out), str(bundle), settings)
    rows = pq.read_table(out) if kind == "parquet" else pyarrow.csv.read_csv(out)
    assert rows.column("text").to_pylist() == TEXTS
    assert {path.name for path in tmp_path.iterdir()} - {"lines.csv"} == {out.name}


def test_one_file_of_fewer_parts_than_there_were_is_not_made(tmp_path, bundle, lines, monkeypatch):
    """As while another run, which has joined them, removes them."""
    real = step.join_parts

    def without_one(folder, *arguments):
        next(folder.glob("part-*")).unlink()
        real(folder, *arguments)

    monkeypatch.setattr(step, "join_parts", without_one)
    with pytest.raises(ConflictError, match="Another process has made"):
        batch_predict(str(lines), str(tmp_path / "out.csv"), str(bundle), PredictionSettings(part_rows=1))
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("content", ["id,text\n", "", None, "id,words\na,HEY\n"])
@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out"])
def test_a_table_that_has_no_row_leaves_nothing_behind(tmp_path, bundle, content, name):
    if content is not None:
        (tmp_path / "empty.csv").write_text(content)
    before = sorted(tmp_path.iterdir())
    done = CliRunner().invoke(
        group, ["predict", str(tmp_path / "empty.csv"), str(tmp_path / name), "--model", str(bundle)]
    )
    assert re.search("not one row|does not exist|no column 'text'", str(done.exception))
    assert sorted(tmp_path.iterdir()) == before


def test_one_row_is_said_as_one(tmp_path, bundle, capsys):
    batch_predict(str(write_csv(tmp_path / "one.csv", [(0, "")])), str(tmp_path / "out"), str(bundle))
    said = capsys.readouterr().out
    assert f"1 row in {tmp_path}/out." in said and "  1 row without text and without an answer" in said


def test_after_a_stop_it_is_said_that_the_same_command_goes_on(tmp_path, bundle, lines, monkeypatch):
    def stopped(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "predict_table", stopped)
    done = CliRunner().invoke(group, ["predict", str(lines), str(tmp_path / "out"), "--model", str(bundle)])
    assert done.exit_code != 0 and "The same command goes on after the last part that is whole" in done.stderr


def test_of_one_file_that_fails_what_the_next_run_can_go_on_with_stays(tmp_path, bundle, lines, monkeypatch):
    settings, real = PredictionSettings(part_rows=2), PartWriter.close
    for good, left in ((0, []), (2, ["_predictions.json", "part-00000.csv", "part-00001.csv"])):
        calls = itertools.count()

        def close(writer, calls=calls, good=good):
            if next(calls) == good:
                raise UserError("the model fails")
            real(writer)

        monkeypatch.setattr(PartWriter, "close", close)
        with pytest.raises(UserError, match="the model fails"):
            batch_predict(str(lines), str(tmp_path / "out.csv"), str(bundle), settings)
        assert sorted(path.name for path in (tmp_path / "out.csv.parts").glob("[!.]*")) == left
        assert (tmp_path / "out.csv.parts").exists() == bool(left)
    monkeypatch.setattr(PartWriter, "close", lambda writer: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batch_predict(str(lines), str(tmp_path / "out.csv"), str(bundle), settings)
    monkeypatch.setattr(PartWriter, "close", real)
    assert batch_predict(str(lines), str(tmp_path / "out.csv"), str(bundle), settings)[0].parts == 4
    assert sorted(tmp_path.iterdir()) == [lines, tmp_path / "out.csv"]


def test_a_file_that_can_not_be_joined_leaves_no_half_of_it(tmp_path, bundle, lines, monkeypatch):
    def full(folder, made, *arguments):
        made.write_text("id,text")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(one_file, "write_joined", full)
        with pytest.raises(UserError, match="No space left on device"):
            batch_predict(str(lines), str(tmp_path / "out.csv"), str(bundle))
    left = [path.name for path in (tmp_path / "out.csv.parts").iterdir()]
    assert sorted(left) == [".store", "_predictions.json", "part-00000.csv"]
    batch_predict(str(lines), str(tmp_path / "out.csv"), str(bundle))
    assert sorted(tmp_path.iterdir()) == [lines, tmp_path / "out.csv"]


@pytest.fixture
def mounted(monkeypatch, tmp_path):
    """As if the folder of the test lay in a mounted bucket, and the temporary folder on a disk."""

    def file_system(path):
        return "fuse.gcsfuse" if tmp_path in path.absolute().parents else "ext4"

    monkeypatch.setattr("kfp_bert_components.storage.mounts.file_system", file_system)


def test_one_file_on_a_mount_is_one_file(tmp_path, bundle, lines, mounted):
    batch_predict(str(lines), str(tmp_path / "out.csv"), str(bundle), PredictionSettings(part_rows=1))
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == TEXTS


def test_a_folder_on_a_mount_has_the_parts_of_one_run_only(tmp_path, bundle, lines, mounted, monkeypatch, capsys):
    out, settings = tmp_path / "out", PredictionSettings(part_rows=1)
    batch_predict(str(lines), str(out), str(bundle), settings)
    assert len(list(out.glob("part-*"))) == len(TEXTS)
    batch_predict(str(lines), str(out), str(bundle), settings)
    assert "holds the predictions already" in capsys.readouterr().out

    def stop(source, target):
        if target.name == "part-00001.parquet":
            raise KeyboardInterrupt
        copy(source, target)

    copy = shutil.copyfile
    write_csv(lines, enumerate(TEXTS[:2]))
    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stopped.setattr(shutil, "copyfile", stop)
        batch_predict(str(lines), str(out), str(bundle), settings)
    assert not json.loads((out / "_predictions.json").read_text())["complete"]
    batch_predict(str(lines), str(out), str(bundle), settings)
    assert [row["text"] for row in rows_of(out)] == TEXTS[:2]
    assert len(list(out.glob("part-*"))) == 2
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt, which no prediction of a table wrote"):
        batch_predict(str(lines), str(out), str(bundle), settings)


def test_shards_on_a_mount_share_a_folder(tmp_path, bundle, lines, mounted):
    out = tmp_path / "out"
    for index in (0, 1, 0):
        batch_predict(str(lines), str(out), str(bundle), PredictionSettings(num_shards=2, shard_index=index))
    assert sorted(row["text"] for row in rows_of(out)) == sorted(TEXTS)
    assert len(list(out.glob("_shard-*predictions.json"))) == 2


@pytest.mark.parametrize(("full", "name"), [(PartWriter, "close"), (step, "join_parts")])
def test_a_full_disk_is_named_and_the_same_command_goes_on(tmp_path, bundle, lines, monkeypatch, full, name):
    def no_room(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(full, name, no_room)
        with pytest.raises(UserError, match=f"No space left on device: make room for {tmp_path}/out.csv .*set TMPDIR"):
            batch_predict(str(lines), str(tmp_path / "out.csv"), str(bundle))
    batch_predict(str(lines), str(tmp_path / "out.csv"), str(bundle))
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == TEXTS


def test_the_command_says_what_is_wrong_in_one_sentence(tmp_path, lines):
    done = CliRunner().invoke(group, ["predict", str(lines), str(tmp_path / "out"), "--model", str(tmp_path / "none")])
    assert isinstance(done.exception, UserError)
    done = CliRunner().invoke(group, ["predict", str(lines), str(tmp_path / "out")])
    assert "Missing option '--model'" in done.output


def artifact(kind, path):
    """An artifact at a path of this machine, as kfp.local gives it to a step."""
    made = kind(uri=str(path))
    made.path = str(path)
    return made


def test_the_component_takes_artifacts_and_its_own_is_complete_or_not_there(tmp_path, bundle, lines):
    out = artifact(dsl.Dataset, tmp_path / "out")
    data, model = artifact(dsl.Dataset, tmp_path / "data"), artifact(dsl.Model, bundle)
    write_csv(tmp_path / "data" / "files" / "lines.csv", enumerate(TEXTS))
    (tmp_path / "data" / "manifest.json").write_text("{}")
    batch_predict_component.python_func(out, data=data, model=model, settings={"prefix": "model_"})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_predictions.json", "part-00000.parquet"]
    assert [row["model_source"] for row in rows_of(tmp_path / "out")] == ["lines.csv"] * len(TEXTS)
    assert (out.metadata["rows"], out.metadata["labels"]) == (len(TEXTS), ["no", "yes", "maybe"])
    with pytest.raises(UserError, match="Give table or data, one of the two"):
        batch_predict_component.python_func(out, data=data, table=str(lines), model=model)
    with pytest.raises(UserError, match="Give model_uri or model, one of the two"):
        batch_predict_component.python_func(out, data=data)


@pytest.mark.docs
def test_the_example_predicts_one_table_in_shards_into_one_folder(tmp_path, registry):
    table = write_csv(tmp_path / "lines.csv", [(i, f"{'LOUD' if i % 3 else 'quiet'} {i}") for i in range(3500)])
    example = (ROOT / "examples" / "batch_predict.py").read_text()
    (tmp_path / "in_two.py").write_text(example.replace("SHARDS = 8", "SHARDS = 2"))
    subprocess.run([sys.executable, tmp_path / "in_two.py", tmp_path / "pipeline.yaml"], check=True)
    run_pipeline(
        str(tmp_path / "pipeline.yaml"),
        tmp_path / "run",
        table=table,
        model=registry.uri,
        output=tmp_path / "out",
        settings=json.dumps({"part_rows": 1000, "prefix": "model_"}),
    )
    rows = rows_of(tmp_path / "out")
    assert sorted(int(row["id"]) for row in rows) == list(range(3500))
    assert all(row["model_label"] == ("spam" if row["text"].isupper() else "ham") for row in rows)
    names = [path.name for path in (tmp_path / "out").glob("*.parquet")]
    assert all(re.fullmatch(r"shard-0000[01]-of-00002-part-0000\d\.parquet", name) for name in names)
