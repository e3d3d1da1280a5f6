"""Functions of tests in processes of their own, to be ended or to compete."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess
from typing import Any

_PRELOADED = [
    *("tests.support.promoters", "kfp_bert_components.fetch.fetching", "google.cloud.storage"),
    *("kfp_bert_components.training.checkpoints", "safetensors.numpy"),
]


def start(function: Any, *arguments: object) -> BaseProcess:
    """Start a function of a module in a process that inherits no threads and no connections."""
    context = multiprocessing.get_context("forkserver")
    # Imported once, in the process that the others are forked from.
    context.set_forkserver_preload(_PRELOADED)
    stores = {name: os.environ[name] for name in _STORES if name in os.environ}
    process = context.Process(target=_with_stores, args=(stores, function, arguments))
    process.start()
    return process


# The variables that say where the stores of a test are.
_STORES = ("STORAGE_EMULATOR_HOST", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


def _with_stores(stores: dict[str, str], function: Any, arguments: tuple[Any, ...]) -> None:
    os.environ.update(stores)
    function(*arguments)


def end(process: BaseProcess, how: str) -> bool:
    """End a process and say whether it was still at work.

    Args:
        process: From `start`.
        how: "killed", or "SIGTERM" as on Kubeflow, where it is killed 0.2 s after the signal.
    """
    if how == "SIGTERM":
        process.terminate()
        process.join(0.2)
    process.kill()
    process.join()
    return process.exitcode in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM)
