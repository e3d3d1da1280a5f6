"""S3 stores that others wrote. What every store must do runs on SeaweedFS too: `place` in the tests of stores."""

import uuid
from contextlib import suppress

import boto3
import pytest

from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.fetch import fetch
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import GoneError, close_clients, open_store
from tests.support.models import promote_next
from tests.support.real_stores import rclone
from tests.support.s3_server import KEYS

pytestmark = pytest.mark.peers


@pytest.fixture
def reached(monkeypatch):
    """Lets the environment name a store."""

    def reach(url):
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)

    yield reach
    close_clients()


def test_rclone_does_not_keep_to_conditions_and_is_refused_before_anything_is_written(reached, tmp_path):
    with rclone(tmp_path) as url:
        reached(url)
        (tmp_path / "served" / "bucket").mkdir()
        store = open_store("s3://bucket")
        store.write("in/a.csv", b"text,label\n")  # what needs no condition works
        assert store.read("in/a.csv").data == b"text,label\n"
        with pytest.raises(
            UserError, match=r"s3://bucket/registry can't be written safely: .*\(If-Match where there is"
        ):
            promote_next(Registry("s3://bucket/registry"), tmp_path, "first")
        assert [entry.name for entry in store.list()] == ["in/a.csv"]


@pytest.fixture
def weed(seaweedfs, reached):
    """SeaweedFS, with a bucket that keeps versions, called "kept"."""
    reached(seaweedfs)
    client = boto3.client("s3", endpoint_url=seaweedfs)
    with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        client.create_bucket(Bucket="kept")
    client.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    return client


def test_what_is_fetched_from_seaweedfs_is_what_was_listed(weed, tmp_path):
    store = open_store(f"s3://bucket/{uuid.uuid4().hex}")
    files = {f"in/한글 {number}#?%.csv": b"%d" % number * 1000 for number in range(30)}
    for name, data in files.items():
        weed.put_object(Bucket="bucket", Key=f"{store.uri.removeprefix('s3://bucket/')}/{name}", Body=data)
    (tmp_path / "large").write_bytes(bytes(range(256)) * 80_000)  # 20 MB, so that it goes up in parts
    store.upload(tmp_path / "large", "in/large")
    found = fetch([f"{store.uri}/in"], tmp_path / "out")
    there = {path.name: path.read_bytes() for path in (tmp_path / "out" / "files").rglob("*") if path.is_file()}
    wanted = {name.removeprefix("in/"): data for name, data in files.items()}
    assert there == {**wanted, "large": (tmp_path / "large").read_bytes()}
    entry = store.stat("in/large")
    store.write("in/large", b"other")
    with pytest.raises(GoneError):
        store.download_entry(entry, tmp_path / "again")
    assert found.fingerprint


def test_of_a_bucket_of_seaweedfs_with_versions_the_version_that_was_listed_comes(weed, tmp_path):
    store = open_store(f"s3://kept/{uuid.uuid4().hex}")
    store.write("x.csv", b"first")
    (entry,) = store.list()
    assert entry == store.stat("x.csv") and " " in str(entry.generation)
    second = store.write("x.csv", b"other", if_generation=entry.generation)
    with pytest.raises(ConflictError):
        store.write("x.csv", b"third", if_generation=entry.generation)
    store.download_entry(entry, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"first"
    store.delete("x.csv", if_generation=second)
    assert store.list() == []
