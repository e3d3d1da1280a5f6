"""Our images as a strict cluster runs them, and the time that a step takes from its start to its first line of work."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from kfp import local

import docker
import kfp_bert_components as package

SERVE = f"kfp-bert-components/serve:{package.__version__}"
# Whoever runs the tests, it is not root who runs the steps, and it is nobody whom the image knows.
USER = 12345
CONFINED = {
    "network_mode": "host",
    "user": str(USER),
    "read_only": True,
    "tmpfs": {"/tmp": "exec,mode=1777"},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


def confined_runner(**environment: str) -> local.DockerRunner:
    """Runs steps as a user without a name, without any rights, on a root file system that is read-only."""
    return local.DockerRunner(**CONFINED, environment=environment)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=30) as reply:
        return json.load(reply)


@contextlib.contextmanager
def serve_image(environment: dict[str, str], **options: Any) -> Iterator[Any]:
    """The serve image without arguments; it must become healthy, and end by SIGTERM within seconds with code 0."""
    client = docker.from_env()
    started = client.containers.run(SERVE, detach=True, environment=environment, **CONFINED, **options)
    try:
        yield started
        started.stop(timeout=30)
        assert started.wait()["StatusCode"] == 0, started.logs().decode()
    finally:
        started.remove(force=True)
        client.close()


def wait_until_ready(started: Any, url: str) -> float:
    begun = time.monotonic()
    while time.monotonic() < begun + 60:
        with contextlib.suppress(OSError, urllib.error.URLError):
            ask(url)
            return time.monotonic() - begun
        time.sleep(0.02)
    raise AssertionError(started.logs().decode())


class FirstLines:
    """Use it as a context manager: `seconds` has the time from a container's start to its first line, by component.

    What KFP's executor prints, of itself and of the inputs as indented JSON, is not work.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._client = docker.from_env()
        self._events = self._client.events(decode=True, filters={"type": "container", "event": "start"})
        self._threads = [threading.Thread(target=self._listen, daemon=True)]

    def __enter__(self) -> FirstLines:
        self._threads[0].start()
        return self

    def __exit__(self, *error: object) -> None:
        self._events.close()
        for thread in self._threads:
            thread.join(10)
        self._client.close()

    def _listen(self) -> None:
        for event in self._events:
            self._threads.append(threading.Thread(target=self._read, args=(event["id"],), daemon=True))
            self._threads[-1].start()

    def _read(self, identity: str) -> None:
        container = self._client.containers.get(identity)
        words = container.attrs["Config"]["Cmd"] or []
        if "--function_to_execute" not in words:
            return
        name = words[words.index("--function_to_execute") + 1]
        started = _time(container.attrs["State"]["StartedAt"])
        lines = container.logs(stream=True, timestamps=True, stderr=False)  # TensorFlow logs to stderr
        with contextlib.closing(lines):
            for line in lines:
                when, _, text = line.decode().partition(" ")
                if text.strip() and not text.startswith(("[KFP Executor", "{", " ", "}")):
                    self.seconds.setdefault(name, (_time(when) - started).total_seconds())
                    return


def _time(text: str) -> datetime:
    return datetime.fromisoformat(f"{text[:26].rstrip('Z')}+00:00")
