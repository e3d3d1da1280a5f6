"""A step as Kubeflow runs and ends it: a launcher, a shell and Python in one process group.

Seen on Kubeflow Pipelines 2.17: SIGTERM goes to the whole group. Launcher and shell have no handler and die at once,
and with them the end of the pipe that Python prints to. The container ends with the launcher, and so Python is killed
0.1 to 1.4 s later, whatever it does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from typing import Any

GRACE = 0.2  # seconds between SIGTERM and the end
_PRELOADED = ["kfp_bert_components.ai_platform.job", "kfp_bert_components.storage._gcs", "tests.support.waiting_step"]


class Step:
    """A function of a module as a step; `terminate`, `kill` or `end` it.

    Args:
        function: What runs in Python's process.
        *arguments: Its arguments.
        log: File that gets what the step prints.
        environment: Further variables of its environment.
    """

    def __init__(self, function: Any, *arguments: object, log: str = os.devnull, **environment: str) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        variables = {"STORAGE_EMULATOR_HOST": os.environ.get("STORAGE_EMULATOR_HOST", ""), **environment}
        receiver, sender = context.Pipe(duplex=False)
        self._launcher = context.Process(target=_launch, args=(sender, log, variables, function, arguments))
        self._launcher.start()
        self._group, self.python = receiver.recv()

    def terminate(self) -> None:
        """End it as Kubeflow does when a run is terminated, a pod deleted, or a node drained."""
        os.killpg(self._group, signal.SIGTERM)
        time.sleep(GRACE)
        self.kill()

    def kill(self) -> None:
        """End it without any signal before, as where a node dies. Does nothing where it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self._group, signal.SIGKILL)
        self._launcher.join()

    def pause(self) -> None:
        """Stop all its processes, as where the machine sleeps."""
        os.killpg(self._group, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self._group, signal.SIGCONT)

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None where it has not ended in time."""
        self._launcher.join(seconds)
        return self._launcher.exitcode


def _launch(sender: Any, log: str, variables: dict[str, str], function: Any, arguments: tuple[Any, ...]) -> None:
    """The launcher: starts the shell, and copies what Python prints to the log."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update({name: value for name, value in variables.items() if value})
    reading, writing = os.pipe()
    shell = os.fork()
    if not shell:
        python = os.fork()
        if not python:
            os.close(reading)
            for stream in (1, 2):
                os.dup2(writing, stream)
            os._exit(_run(function, arguments))
        os.close(reading)
        os.close(writing)
        sender.send((os.getpgrp(), python))
        os._exit(os.waitstatus_to_exitcode(os.waitpid(python, 0)[1]) & 255)
    os.close(writing)
    with open(log, "ab", buffering=0) as file:
        while printed := os.read(reading, 1 << 16):
            file.write(printed)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1]))


def _run(function: Any, arguments: tuple[Any, ...]) -> int:
    try:
        function(*arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return 1
    return 0
