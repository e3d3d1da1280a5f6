"""A local place that can't be looked at is one sentence, in every command and step that takes one."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components import cli
from kfp_bert_components.bert import read_bundle
from kfp_bert_components.bert.source import checkpoint_folder, pin_checkpoint
from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import read_evaluation
from kfp_bert_components.fetch import fetch
from kfp_bert_components.gate import Policy, policy_from, read_decision
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.pin_data import pin_data
from kfp_bert_components.steps.predictor import find_model
from kfp_bert_components.steps.reference import read_reference
from kfp_bert_components.steps.rollback_model import rollback_model
from kfp_bert_components.storage import check_writable, denied, find_objects, is_file, is_folder, is_there, open_store
from kfp_bert_components.tables.files import list_files

ANYBODY = 65534
VERBS = ("list", "show", "history", "rollback", "approve", "repair", "mirror", "verify", "gc")
COMMANDS = {
    **{f"registry {verb}": ["registry", verb, "PLACE"] for verb in VERBS},
    "registry reject": ["registry", "reject", "PLACE", "decision", "--reason", "no"],
    "predict: table": ["predict", "PLACE", "out", "--model", "EMPTY"],
    "predict: out": ["predict", "TABLE", "PLACE", "--model", "EMPTY"],
    "predict: file": ["predict", "TABLE", "PLACE.csv", "--model", "EMPTY"],
    "predict: model": ["predict", "TABLE", "out", "--model", "PLACE"],
    "serve": ["serve", "PLACE", "--port", "0"],
    "run": ["run", "PLACE.py:pipeline"],
    "run: compiled": ["run", "PLACE.yaml"],
    "compile": ["compile", "PLACE.py:pipeline", "out.yaml"],
    "components verify": ["components", "verify", "PLACE"],
    "quickstart": ["quickstart", "--folder", "PLACE"],
}
CALLS: dict[str, Callable[[str, Path], object]] = {
    "fetch from": lambda place, scratch: fetch([place], scratch / "fetched"),
    "fetch into": lambda place, scratch: fetch([str(scratch / "table.csv")], Path(place)),
    "fetch by": lambda place, scratch: fetch([], scratch / "fetched", manifest=place),
    "pin_data": lambda place, scratch: pin_data([place], str(scratch / "registry"), scratch / "summary.md"),
    "find_objects": lambda place, scratch: find_objects(f"{place}/*.csv"),
    "reference": lambda place, scratch: read_reference(place),
    "base_model": lambda place, scratch: checkpoint_folder(place, scratch),
    "pin of base_model": lambda place, scratch: pin_checkpoint(place),
    "check_writable": lambda place, scratch: check_writable(place, "checkpoint_dir"),
    "policy": lambda place, scratch: policy_from(place, Policy()),
    "model": lambda place, scratch: find_model(place, scratch),
    "rollback_model": lambda place, scratch: rollback_model(place),
    "tables": lambda place, scratch: list_files(Path(place)),
    "bundle": lambda place, scratch: read_bundle(Path(place)),
    "evaluation": lambda place, scratch: read_evaluation(Path(place)),
    "decision": lambda place, scratch: read_decision(Path(place)),
    "exists": lambda place, scratch: Registry(place).exists(),
    "store: read": lambda place, scratch: open_store(place).read("name"),
    "store: write": lambda place, scratch: open_store(place).write("name", b""),
    "store: delete": lambda place, scratch: open_store(place).delete("name"),
    "store: list": lambda place, scratch: open_store(place).list(),
    "store: folders": lambda place, scratch: open_store(place).folders(),
}


@pytest.fixture(params=["a long name", "a circle of links"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "a long name":
        return str(tmp_path / ("x" * 300))
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    return str(tmp_path / "circle" / "place")


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("text,label\na,b\n")
    return tmp_path / "table.csv"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_so(place: str, table: Path, command: str) -> None:
    given = {"EMPTY": str(table.parent / "empty"), "TABLE": str(table), "PLACE": place}
    words = COMMANDS[command]
    for name, value in given.items():
        words = [word.replace(name, value) for word in words]
    result = CliRunner().invoke(cli.group, words)
    assert isinstance(result.exception, UserError), result.exception


@pytest.mark.parametrize("option", ["--registry", "--serving-directory", "--sources"])
def test_doctor_goes_on(place: str, option: str) -> None:
    result = CliRunner().invoke(cli.group, ["doctor", option, place])
    assert "FAILED" in result.output and f"{place} can't be read: " in result.output


@pytest.mark.parametrize("call", CALLS)
def test_a_call_says_so(place: str, tmp_path: Path, call: str) -> None:
    with pytest.raises(UserError, match=f"{place}|{tmp_path / 'circle'}"):
        CALLS[call](place, tmp_path)


def test_what_lies_at_a_path_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    asked = [
        tmp_path,
        tmp_path / "table.csv",
        tmp_path / "nothing",
        tmp_path / "link",
        tmp_path / "table.csv" / "below",
    ]
    found = [(is_there(one), is_folder(one), is_file(one)) for one in asked]
    assert found == [(True, True, False), (True, False, True), *[(False, False, False)] * 3]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path) -> None:
    private = tmp_path / "private"
    (private / "registry").mkdir(parents=True)
    private.chmod(0o700)
    Registry(str(tmp_path)).check_exists()  # imports what another user may not even read
    os.seteuid(ANYBODY)
    try:
        with pytest.raises(UserError, match="private/registry can't be read: permission denied to this user"):
            Registry(str(private / "registry")).check_exists()
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("checksums", [True, False])
def test_a_link_in_a_circle_is_named_in_a_listing(tmp_path: Path, checksums: bool) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nothing").symlink_to("nowhere")  # as a file that was removed since its folder was read
    with pytest.raises(UserError, match=f"{tmp_path}/circle can't be read: "):
        open_store(str(tmp_path)).list(checksums=checksums)
    (tmp_path / "circle").unlink()
    assert [one.name for one in open_store(str(tmp_path)).list(checksums=checksums)] == ["table.csv"]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_what_lies_in_a_folder_that_may_only_be_listed_is_named() -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's folders are closed to another user
        Path(place).chmod(0o755)
        folder = Path(place, "folder")
        folder.mkdir()
        (folder / "file").write_text("x")
        folder.chmod(0o444)
        store = open_store(place)
        os.seteuid(ANYBODY)
        try:
            with pytest.raises(UserError, match=f"{folder}/file can't be read: permission denied to this user"):
                store.list(checksums=False)
        finally:
            os.seteuid(0)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder of root's that another user may enter and read, and not write."""
    with tempfile.TemporaryDirectory() as place:  # pytest's folders are closed to another user
        Path(place).chmod(0o755)
        open_store(place).write("one", b"1")
        with suppress(UserError):
            check_writable(place, "registry")  # imports what another user may not even read
        CliRunner().invoke(cli.group, ["doctor", "--registry", place])
        os.seteuid(ANYBODY)
        try:
            yield Path(place)
        finally:
            os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_it_is_said_whose_a_place_is_and_which_right_is_needed(closed: Path) -> None:
    remedy = r"belongs to root: let them give you the right to write it, or run this as root\.$"
    denied = rf"permission denied to this user\. {closed}/\.store/new \(drwxr-xr-x\) {remedy}"
    with pytest.raises(UserError, match=rf"^{closed}/two can't be reached: {denied}"):
        open_store(str(closed)).write("two", b"2")
    with pytest.raises(UserError, match=rf"^registry {closed} can't be written: {denied}"):
        check_writable(str(closed), "registry")
    for place, begins in (
        (closed, f"{closed} can't be"),
        (closed / "new", f"{closed}/new can't be made, as {closed} "),
    ):
        result = CliRunner().invoke(cli.group, ["doctor", "--json", "--registry", str(place)])
        (says,) = [one["says"] for one in json.loads(result.stdout) if one["what"] == "registry"]
        assert says.startswith(begins) and re.search(rf"user\. {closed} \(drwxr-xr-x\) {remedy}", says), says


def test_the_owner_is_told_to_give_itself_the_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda place, right, **_: right != os.W_OK)
    assert denied(tmp_path).endswith("is this user's own: give yourself the right to write it, with chmod")
