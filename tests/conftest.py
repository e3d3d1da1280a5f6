"""What every test may rely on: no network, quiet TensorFlow, where the real data lies."""

import os
import signal
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["HF_HUB_OFFLINE"] = "1"

hypothesis.settings.register_profile("tests", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("tests")

ROOT = Path(__file__).resolve().parent.parent

# What cannot run without TensorFlow: `make test-pythons` leaves it out.
NEEDS_TENSORFLOW = [
    "bert",
    "docker",
    "pipelines",
    "serving",
    "training",
    "deployment/test_custom_job.py",
    "deployment/test_engines.py",
    "deployment/test_smoke_through_server.py",
    "evaluation/test_evaluate.py",
    "examples/test_notebook.py",
    "examples/test_run.py",
    "gate/test_slices_by_column.py",
    "prediction/test_batch_predict.py",
]
collect_ignore = NEEDS_TENSORFLOW if "KFP_BERT_WITHOUT_TENSORFLOW" in os.environ else []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With KFP_BERT_ONE_CASE=1 a test of many cases runs its first one: for what is tested whole elsewhere."""
    if os.environ.get("KFP_BERT_ONE_CASE") == "1":
        first = list({item.nodeid.partition("[")[0]: item for item in reversed(items)}.values())[::-1]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(first)])
        items[:] = first


@pytest.fixture(scope="session")
def films() -> Path:
    """Folder of the three films: real data that is not part of the repository."""
    folder = Path(os.environ.get("IMSDB_FOLDER", ROOT.parent / "shared" / "data" / "imsdb"))
    if not folder.is_dir():
        pytest.skip(f"the films are not here: {folder} (set IMSDB_FOLDER)")
    return folder


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory):
    """Address of a SeaweedFS with an empty bucket called "bucket"."""
    from tests.support.real_stores import seaweedfs

    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as url:
        yield url


@pytest.fixture(autouse=True)
def _no_stray_signal_handlers():
    """The command line installs a handler; a test that calls it must not leave it behind."""
    before = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
    yield
    for sign, handler in before.items():
        signal.signal(sign, handler)
