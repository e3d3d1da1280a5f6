"""Runs the server in this process until SIGTERM or Ctrl-C."""

from __future__ import annotations

import resource
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import uvicorn

from kfp_bert_components.errors import UserError
from kfp_bert_components.progress import log_line
from kfp_bert_components.serving.app import MODEL_NAME, create_app
from kfp_bert_components.serving.connections import connection_class
from kfp_bert_components.serving.limits import Limits
from kfp_bert_components.serving.manager import ModelManager

BACKLOG = 128  # connections that the system keeps until they are accepted
# Files that the process needs beside its connections. asyncio accepts a backlog of connections in each of the four
# rounds of its loop that pass before one too many is closed.
FILES = 100 + 5 * BACKLOG


def serve(
    path: str | Path,
    host: str = "127.0.0.1",
    port: int = 8501,
    *,
    name: str = MODEL_NAME,
    limits: Limits | None = None,
    poll_seconds: float = 2.0,
    compiled: bool = True,
    threads: int = 0,
    access_log: bool = False,
    must_load: bool = False,
) -> bool:
    """Serve the model at `path` until SIGTERM or Ctrl-C, then finish the requests under way and return.

    Prints one line when the server answers, and one at each new version. Requests that are not answered within
    `limits.drain_seconds` get an error 503.

    Args:
        path: A model bundle, a SavedModel folder, a folder of versions, or a registry; here, on gs:// or on s3://.
        host: Address to listen on; 0.0.0.0 for all addresses of the machine.
        port: TCP port; 0 for any free port, which is then named in the line that says that the server is ready.
        name: The name that requests give the model.
        limits: How large a request may be, and how much the server holds; see `Limits`.
        poll_seconds: Seconds between two looks for a newer version.
        compiled: Whether a model that TensorFlow answers is compiled for single short texts; see `create_app`.
        threads: How many threads the model uses; 0: as many as there are cores, or as a container may use.
        access_log: Whether to print a line of JSON for each request, without its texts.
        must_load: Whether to end if no model can be loaded at the first look, instead of waiting for one.

    Returns:
        Whether all threads have ended. If a thread still loads a model, Python must not shut down while it runs: call
        `os._exit`.

    Raises:
        UserError: There is no model at `path`, or `must_load` is set and no model can be loaded, or the port is taken.
    """
    limits = _with_files(limits or Limits())
    app = create_app(
        path,
        name=name,
        limits=limits,
        poll_seconds=poll_seconds,
        compiled=compiled,
        threads=threads,
        access_log=log_line if access_log else None,
    )
    listener = listen(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        app,
        http=connection_class(limits, app.state.metrics.connections),
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]
        timeout_graceful_shutdown=limits.drain_seconds,  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    models: ModelManager = app.state.models
    shown = f"{url}/v1/models/{quote(name, safe='')}"
    threading.Thread(target=_announce, args=(models, server, shown, must_load), daemon=True).start()
    # uvicorn raises the signal again after it has shut down; here that is the regular end, not a failure.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _ignore)
        signal.signal(signal.SIGINT, _ignore)
    with listener:
        server.run(sockets=[listener])
    if must_load and models.looked and not models.model:
        raise UserError(models.problem)
    return getattr(app.state, "ended", True)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address, or will.

    Raises:
        UserError: The port is taken or no port, or the address is not one of this machine.
    """
    if not 0 <= port < 1 << 16:
        raise UserError(f"The port is {port}: give one from 1 to 65535, or 0 for any free one.")
    # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is said; else each waits 40 ms.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"Cannot listen on {host}:{port} ({error.strerror}): choose another address or port."
        ) from error
    return listener


def _with_files(limits: Limits) -> Limits:
    """The limits with no more connections than this process may open files; it may be allowed to open more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + FILES
    if soft < wanted:
        soft = min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return replace(limits, connections=max(1, min(limits.connections, soft - FILES)))


def _announce(models: ModelManager, server: uvicorn.Server, url: str, must_load: bool) -> None:
    while not (models.model and server.started):
        if must_load and server.started and models.looked and not models.model:
            server.should_exit = True
            return
        time.sleep(0.05)
    log_line(f"ready at {url}:predict")


def _ignore(number: int, frame: FrameType | None) -> None:
    return None
