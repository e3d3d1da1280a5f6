"""What is said, or refused, about folders that are on no local disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage import is_fuse, mounts, open_store


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Gives a function that lets a folder with a space in its name be a mount of some kind."""

    def mount(kind: str) -> Path:
        folder = tmp_path / "a mount"
        point = str(folder).replace(" ", "\\040")
        table = tmp_path / "mounts"
        table.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {point} {kind} rw 0 0\n")
        monkeypatch.setattr(mounts, "MOUNTS", table)
        return folder

    return mount


@pytest.mark.parametrize("kind", ["nfs4", "cifs"])
def test_a_network_file_system_is_used_and_what_it_relies_on_is_said_once(mounted, capsys, kind: str) -> None:
    store = open_store(str(mounted(kind) / "registry"))
    store.write("a", b"1")
    store.write("a", b"2")
    assert capsys.readouterr().out.count("relies on flock being honoured") == 1


@pytest.mark.parametrize(
    ("kind", "advice"),
    [("fuse.gcsfuse", "give the bucket itself, as gs://"), ("fuse.rclone", "give a folder on a disk, gs:// or s3://")],
)
def test_a_mounted_bucket_is_refused(mounted, kind: str, advice: str) -> None:
    folder = mounted(kind)
    with pytest.raises(UserError, match=advice):
        open_store(str(folder / "registry")).write("a", b"1")
    assert is_fuse(folder / "any")
    assert not is_fuse(folder.parent)
