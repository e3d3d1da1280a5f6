"""Runs the REST server in this process until SIGTERM or Ctrl-C."""

from __future__ import annotations

import atexit
import shutil
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType

import uvicorn

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.app import MODEL_NAME, create_app
from kfp_bert_components.serving.manager import ModelManager


def local_copy(path: str | Path) -> Path:
    """The path that an address means: on gs:// of a local copy, which is removed when this process ends.

    Raises:
        NotFoundError: There is nothing at this gs:// path.
    """
    from kfp_bert_components.storage import download_folder, open_store, parse_address

    address = parse_address(path, "the path to serve")
    if address.is_local:
        return address.path
    scratch = tempfile.mkdtemp(prefix="kfp-bert-serve-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    parent, name = address.split()
    download_folder(open_store(parent), name, Path(scratch))
    return Path(scratch)


def serve(
    path: str | Path,
    host: str = "127.0.0.1",
    port: int = 8501,
    *,
    poll_seconds: float = 2.0,
    compiled: bool = True,
) -> None:
    """Serve the model at `path` until SIGTERM or Ctrl-C, then finish the requests under way and return.

    Prints one line when the server answers, and one at each new version.

    Args:
        path: A model bundle, a SavedModel folder, or a folder of versions. A path on gs:// is copied once at the
            start, so later versions are not seen.
        host: Address to listen on; 0.0.0.0 for all addresses of the machine.
        port: TCP port; 0 for any free one, which the line that says that the server is ready names.
        poll_seconds: Seconds between two looks for a newer version.
        compiled: Whether the network is compiled for single short texts; see `create_app`.

    Raises:
        UserError: There is no model at `path`, or the port is taken.
    """
    app = create_app(local_copy(path), poll_seconds=poll_seconds, compiled=compiled)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(f"Cannot listen on {host}:{port} ({error.strerror}): choose another port.") from error
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=20))
    threading.Thread(target=_announce, args=(app.state.models, server, url), daemon=True).start()
    # uvicorn raises the signal again after it has shut down; here that is the regular end, not a failure.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _ignore)
        signal.signal(signal.SIGINT, _ignore)
    with listener:
        server.run(sockets=[listener])


def _announce(models: ModelManager, server: uvicorn.Server, url: str) -> None:
    while not (models.model and server.started):
        time.sleep(0.05)
    print(f"ready at {url}/v1/models/{MODEL_NAME}:predict", flush=True)


def _ignore(number: int, frame: FrameType | None) -> None:
    return None
