"""What of a local folder is read, and what an unfinished or damaged split says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kfp_bert_components.data.prepare_data import prepare
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.errors import UserError
from tests.conftest import ROOT

SETTINGS = PrepareSettings(stratify=True)


def write(path: Path, word: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text,label\n" + "".join(f"{word} number {i},{'xy'[i % 2]}\n" for i in range(60)))


def names(source: Path, out: Path) -> list[str]:
    found = prepare(source, *(out / name for name in ("train", "validation", "test")), SETTINGS)
    assert found.read == 60 * len(found.files)
    return [file.name for file in found.files]


def test_links_to_files_and_folders_are_followed(tmp_path: Path):
    write(tmp_path / "in/2024.csv", "new")
    write(tmp_path / "archive/part.csv", "old")
    (tmp_path / "in/2023").symlink_to(tmp_path / "archive")
    (tmp_path / "in/again.csv").symlink_to("2024.csv")
    write(tmp_path / "in/_temporary/part.csv", "unfinished")
    assert names(tmp_path / "in", tmp_path / "out") == ["2023/part.csv", "2024.csv", "again.csv"]


@pytest.mark.parametrize(("target", "says"), [("/nowhere", "is a link to nothing"), ("..", "that it lies in itself")])
def test_a_link_that_can_not_be_followed_is_named(tmp_path: Path, target: str, says: str):
    write(tmp_path / "in/2024.csv", "new")
    (tmp_path / "in/more").mkdir()
    (tmp_path / "in/more/link").symlink_to(target)
    with pytest.raises(UserError, match=f"in/more/link.*{says}"):
        names(tmp_path / "in", tmp_path / "out")


def test_a_folder_is_no_split_while_another_split_is_moved_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "first.csv", "one")
    write(tmp_path / "second.csv", "two")
    names(tmp_path / "first.csv", tmp_path / "out")
    moved: list[str] = []

    def move(source: Path, place: Path, copy: object) -> None:
        moved.append(place.name)
        if place.name == "split.json":
            raise KeyboardInterrupt
        source.replace(place)

    monkeypatch.setattr("kfp_bert_components.storage._folders.shutil.move", move)
    with pytest.raises(KeyboardInterrupt):
        names(tmp_path / "second.csv", tmp_path / "out")
    assert "examples.parquet" in moved
    with pytest.raises(UserError, match=r"out/train holds no split \(split\.json is missing\)"):
        read_split(tmp_path / "out/train")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", []),
        ("labels", None),
        ("labels", [1, None]),
        ("rows", "x"),
        ("rows", 36.0),
        ("fingerprint", 5),
        ("pair", 1),
    ],
)
def test_a_field_of_a_split_that_is_damaged_is_named(tmp_path: Path, field: str, value: object):
    good = json.loads((ROOT / "tests/records/format1/splits/train/split.json").read_text())
    for damaged in ({**good, field: value}, {key: kept for key, kept in good.items() if key != field}):
        (tmp_path / "split.json").write_text(json.dumps(damaged))
        with pytest.raises(UserError, match=rf"split\.json is damaged: .*{field}.*; run prepare_text_data again"):
            read_split(tmp_path)


LIMITED = """
import resource, signal, sys
from pathlib import Path
from kfp_bert_components.data.prepare_data import prepare
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.errors import UserError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
source, out = map(Path, sys.argv[1:])
try:
    prepare(source, out / "train", out / "validation", out / "test", PrepareSettings())
except UserError as error:
    print(error)
"""


def test_a_disk_without_room_is_said_and_no_split_is_left(tmp_path: Path):
    rows = "".join(f"{os.urandom(30).hex()} {i},{'xy'[i % 2]}\n" for i in range(2_000))
    (tmp_path / "a.csv").write_text(f"text,label\n{rows}")
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a.csv"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "The splits can't be written (" in done.stdout and "make room there" in done.stdout, done.stderr
    assert not list((tmp_path / "out").rglob("split.json"))
