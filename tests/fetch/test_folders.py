"""Fetching from a folder as people have them: with links, pipes, mounted ConfigMaps, and files that can't be read."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.fetch import fetch, fetching
from kfp_bert_components.storage import open_store
from tests.support.files import files_of
from tests.support.gcs_server import GcsServer
from tests.support.stores import cloud, gcs, s3

__all__ = ["cloud", "gcs", "s3"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.csv").write_text("a")
    (tmp_path / "in" / "deep" / "b.csv").write_text("b")
    return tmp_path / "in"


def fetched(source: Path | str, tmp_path: Path) -> dict[str, bytes]:
    fetch([str(source)], tmp_path / "data")
    return files_of(tmp_path / "data")


def test_links_to_files_and_folders_inside_are_followed(source: Path, tmp_path: Path) -> None:
    (source / "newest").symlink_to("deep")
    (source / "c.csv").symlink_to(source / "deep" / "b.csv")
    expected = {"a.csv": b"a", "c.csv": b"b", "deep/b.csv": b"b", "newest/b.csv": b"b"}
    assert fetched(source, tmp_path) == expected
    (tmp_path / "link").symlink_to(source)
    assert fetched(tmp_path / "link", tmp_path) == expected
    assert fetched(source / "newest" / "*.csv", tmp_path) == {"b.csv": b"b"}
    assert fetched(source / "c.csv", tmp_path) == {"c.csv": b"b"}


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_link_that_leads_outside_is_named(source: Path, tmp_path: Path, is_folder: bool) -> None:
    far = tmp_path / "disk2"
    far.mkdir()
    (far / "b.csv").write_text("b")
    (source / "2024").symlink_to(far if is_folder else far / "b.csv")
    with pytest.raises(UserError, match=r"in/2024 is a link to .*/disk2.*, outside .*/in: name that place"):
        fetched(source, tmp_path)
    assert not (tmp_path / "data").exists()


def test_a_folder_of_the_name_that_a_store_keeps_is_read_unless_it_is_a_stores(source: Path, tmp_path: Path) -> None:
    open_store(str(source)).write("c.csv", b"c")
    assert (source / ".store").is_dir()
    assert fetched(source, tmp_path).keys() == {"a.csv", "c.csv", "deep/b.csv"}
    (source / ".store" / "d.csv").write_text("d")
    assert ".store/d.csv" in fetched(source, tmp_path)


@pytest.mark.parametrize("target", ["nowhere", "../in/none.csv"])
def test_a_link_to_nothing_is_named(source: Path, tmp_path: Path, target: str) -> None:
    (source / "gone.csv").symlink_to(target)
    for what in (source, source / "gone.csv", source / "*.csv"):
        with pytest.raises(UserError, match=r"in/gone\.csv (is a link to nothing|can't be read)"):
            fetched(what, tmp_path)


@pytest.mark.parametrize("links", [{"deep/up": ".."}, {"self": "self"}, {"x": "deep/y", "deep/y": "../x"}])
def test_links_that_lead_back_are_named(source: Path, tmp_path: Path, links: dict[str, str]) -> None:
    for name, target in links.items():
        (source / name).symlink_to(target)
    with pytest.raises(UserError, match=r"in/(deep/up|self|x|deep/y) (is a link to .* lies in itself|can't be read)"):
        fetched(source, tmp_path)


def test_two_folders_that_link_to_each_other_are_a_loop(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / "in" / one).mkdir(parents=True)
        (tmp_path / "in" / one / "other").symlink_to(f"../{other}")
    with pytest.raises(UserError, match="lies in itself: remove the link"):
        fetched(tmp_path / "in", tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_regular_file_is_named_and_not_waited_for(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = source / "deep" / "it"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            monkeypatch.chdir(path.parent)  # the addresses of sockets are short
            listening.bind(path.name)
    for what in (source, path, source / "**"):
        with pytest.raises(UserError, match=rf"in/deep/it is a (named )?{kind}|in/deep/it is a link to /dev/null"):
            fetched(what, tmp_path)


def test_a_file_that_became_a_pipe_since_it_was_pinned_is_not_waited_for(source: Path, tmp_path: Path) -> None:
    fetch([str(source)], tmp_path / "first")
    (source / "a.csv").unlink()
    os.mkfifo(source / "a.csv")
    with pytest.raises(UserError, match="in/a.csv does not hold the bytes"):
        fetch([], tmp_path / "data", manifest=str(tmp_path / "first"))


def test_a_mounted_config_map_is_read_once(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    (mount / "..2026_11_28" / "sub").mkdir(parents=True)
    (mount / "..2026_11_28" / "a.csv").write_text("a")
    (mount / "..2026_11_28" / "sub" / "b.csv").write_text("b")
    (mount / "..data").symlink_to("..2026_11_28")
    (mount / "a.csv").symlink_to("..data/a.csv")
    (mount / "sub").symlink_to("..data/sub")
    assert fetched(mount, tmp_path) == {"a.csv": b"a", "sub/b.csv": b"b"}
    assert fetched(mount / "**.csv", tmp_path) == {"a.csv": b"a", "sub/b.csv": b"b"}
    assert fetched(mount / "a.csv", tmp_path) == {"a.csv": b"a"}


def test_a_name_that_is_not_utf_8_is_named_in_words_that_can_be_printed(source: Path, tmp_path: Path) -> None:
    (source / "deep" / os.fsdecode(b"caf\xe9.csv")).write_text("c")
    with pytest.raises(UserError, match="has a name that is not UTF-8: rename it") as caught:
        fetched(source, tmp_path)
    assert r"in/deep/caf\xe9.csv" in str(caught.value).encode().decode()


@contextmanager
def nobody() -> Iterator[Path]:
    """As a user who may not read everything, who is given a folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        if os.geteuid() == 0:
            os.seteuid(65534)
            try:
                yield Path(folder)
            finally:
                os.seteuid(0)
        else:
            yield Path(folder)


@pytest.mark.parametrize("name", ["deep", "deep/b.csv"])
def test_what_may_not_be_read_is_named(name: str) -> None:
    with nobody() as folder:
        (folder / "in" / "deep").mkdir(parents=True)
        (folder / "in" / "deep" / "b.csv").write_text("b")
        (folder / "in" / name).chmod(0)
        try:
            for what in (folder / "in", folder / "in" / "deep" / "b.csv", folder / "in" / "**"):
                with pytest.raises(UserError, match=rf"in/{name}.* can't be read: permission denied"):
                    fetched(what, folder)
        finally:
            (folder / "in" / name).chmod(0o700)


def test_what_a_glob_does_not_mean_is_no_fault(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "pipe")
    (source / ".#a.csv").symlink_to("nowhere")
    (source / "far").symlink_to("/usr")
    (source / "deep" / "up").symlink_to("..")
    assert fetched(source / "[!.]*.csv", tmp_path) == {"a.csv": b"a"}
    assert fetched(source / "d*" / "*.csv", tmp_path) == {"deep/b.csv": b"b"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[draft] lines.csv", {"[draft] lines.csv"}),
        ("a{1}.csv", {"a{1}.csv"}),
        ("exports [2024]", {"l.csv"}),
        ("exports [2024]/", {"l.csv"}),
        ("exports [2024]/*.csv", {"l.csv"}),
        ("[a]*.csv", {"a{1}.csv"}),
        ("e*/l.csv", {"exports [2024]/l.csv"}),
        ("{exports [[]2024[]]/l,none}.csv", {"exports [2024]/l.csv"}),
    ],
)
@pytest.mark.parametrize("root", ["local", "gs", "s3"])
def test_a_name_is_taken_as_it_is_written_and_as_a_glob_only_where_nothing_has_it(
    request: pytest.FixtureRequest, tmp_path: Path, root: str, source: str, expected: set[str]
) -> None:
    names = ("[draft] lines.csv", "a{1}.csv", "exports [2024]/l.csv")
    if root != "local":
        for name in names:
            request.getfixturevalue("gcs" if root == "gs" else "s3").put("bucket", f"x/{name}", b"x")
    for name in names:
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_text("x")
    place = str(tmp_path / "x") if root == "local" else f"{root}://bucket/x"
    assert set(fetched(f"{place}/{source}", tmp_path)) == expected


@pytest.mark.parametrize("source", ["[z-a]*.csv", "/no/such/*.csv"])
def test_a_glob_that_means_nothing_is_said(tmp_path: Path, source: str) -> None:
    with pytest.raises(UserError, match=r"is no glob: a range|matches no object"):
        fetched(tmp_path / source, tmp_path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [("dup/in", {"l.csv"}), ("dup/in/", {"l.csv"}), ("dup", {"in/l.csv"}), ("dup/*/*", {"in/l.csv"})],
)
def test_an_empty_object_beside_a_prefix_of_its_name_is_the_folders_marker(
    cloud: GcsServer, tmp_path: Path, source: str, expected: set[str]
) -> None:
    for name, data in (("dup/in", b""), ("dup/in/", b""), ("dup/in/l.csv", b"x")):
        cloud.put("bucket", name, data)
    assert set(fetched(f"{cloud.root}/{source}", tmp_path)) == expected


def test_an_empty_object_alone_and_a_full_one_beside_a_prefix_are_objects(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.put("bucket", "alone", b"")
    cloud.put("bucket", "full", b"x")
    cloud.put("bucket", "full/l.csv", b"y")
    assert fetched(f"{cloud.root}/alone", tmp_path) == {"alone": b""}
    assert fetched(f"{cloud.root}/full", tmp_path) == {"full": b"x"}
    with pytest.raises(NotFoundError):
        fetched(f"{cloud.root}/none", tmp_path)


def test_an_empty_folder_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(NotFoundError, match=r"/in is a folder with nothing in it\.$"):
        fetched(tmp_path / "in", tmp_path)


def folder(path: Path) -> None:
    path.mkdir(parents=True)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        (".fetch", Path.touch),
        (".fetch/left", folder),
        ("manifest.json", folder),
    ],
)
def test_a_target_with_something_else_in_the_place_of_ours_is_named(tmp_path: Path, name: str, make) -> None:
    (tmp_path / "in.csv").write_text("a")
    (tmp_path / "out").mkdir()
    make(tmp_path / "out" / name)
    with pytest.raises(UserError, match=f"out can't be filled .*{name}: .*give an empty folder"):
        fetch([str(tmp_path / "in.csv")], tmp_path / "out")


def test_a_target_below_a_file_or_at_the_end_of_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a")
    (tmp_path / "link").symlink_to("nowhere")
    for target in (tmp_path / "in.csv/out", tmp_path / "link"):
        with pytest.raises(UserError, match=f"{target} can't be filled"):
            fetch([str(tmp_path / "in.csv")], target)


def test_of_two_fetches_into_one_folder_the_second_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.csv").write_text("a")
    transfer = "kfp_bert_components.fetch.fetching.transfer"
    inner = []

    def during(*arguments):
        with pytest.raises(UserError, match="Another fetch fills .*out: wait for its end"):
            monkeypatch.undo()
            fetch([str(tmp_path / "in.csv")], tmp_path / "out")
        inner.append("told")
        return fetching.transfer(*arguments)

    monkeypatch.setattr(transfer, during)
    assert fetch([str(tmp_path / "in.csv")], tmp_path / "out").files == 1
    assert inner == ["told"]
    assert fetch([str(tmp_path / "in.csv")], tmp_path / "out").files == 1
