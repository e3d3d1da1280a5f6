"""What every test may rely on: no network, quiet TensorFlow, where the real data lies."""

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def films() -> Path:
    """Folder of the three films: real data that is not part of the repository."""
    folder = Path(os.environ.get("IMSDB_FOLDER", ROOT.parent / "shared" / "data" / "imsdb"))
    if not folder.is_dir():
        pytest.skip(f"the films are not here: {folder} (set IMSDB_FOLDER)")
    return folder


@pytest.fixture(autouse=True)
def _no_stray_signal_handlers():
    """The command line installs a handler; a test that calls it must not leave it behind."""
    before = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
    yield
    for sign, handler in before.items():
        signal.signal(sign, handler)
