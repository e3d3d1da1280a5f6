"""Runs one compiled pipeline with kfp.local, in the process that `local.execute` starts and reads from."""

import json
import os
import shlex
import signal
import sys
import threading
import warnings
from pathlib import Path

from kfp_bert_components.errors import UserError
from kfp_bert_components.local.events import RunEvent, RunFailed, write_event
from kfp_bert_components.plain import printed


def main(spec_path: str, arguments_path: str, run: str, cache: str = "") -> None:
    """Run a pipeline, and exit with code 1 if a step fails.

    Args:
        spec_path: YAML file of the compiled pipeline.
        arguments_path: JSON file with the values by parameter name.
        run: Folder of the run.
        cache: "" to use no finished steps of earlier runs again.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.filterwarnings("ignore", category=FutureWarning)
    # `python -m` searches the working folder first: a folder called "docker" there would hide the package docker.
    sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]
    # A component's command names its interpreter "python3".
    os.environ["PATH"] = os.pathsep.join([_folder_with_python3(Path(spec_path).parent), os.environ.get("PATH", "")])
    with open(arguments_path) as file:
        arguments = json.load(file)
    try:
        _run(spec_path, arguments, Path(run), cache)
    except Exception as error:
        _report(RunFailed(printed(str(error) or repr(error))))
        if not isinstance(error, RuntimeError | UserError):
            raise
        sys.exit(1)


def _run(spec_path: str, arguments: dict[str, object], run: Path, cache: str) -> None:
    from kfp import components, local

    from kfp_bert_components.local.kfp_branches import drop_items_of_inner_loops, put_inputs_into_conditions
    from kfp_bert_components.local.kfp_changes import change_kfp_local
    from kfp_bert_components.local.step_cache import reuse_steps

    change_kfp_local(run.name, _report)
    if cache:
        reuse_steps(run, _report)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(run.parent))
    pipeline = components.load_component_from_file(spec_path)
    if graph := pipeline.component_spec.implementation.graph:
        drop_items_of_inner_loops(graph)
        put_inputs_into_conditions(graph)
    pipeline(**arguments)


_lock = threading.Lock()


def _report(event: RunEvent) -> None:
    with _lock:
        sys.stdout.write(write_event(event))
        sys.stdout.flush()


def _folder_with_python3(scratch: Path) -> str:
    """A folder in which "python3" is this interpreter."""
    beside = Path(sys.executable).with_name("python3")
    if beside.exists() and beside.samefile(sys.executable):
        return str(beside.parent)
    script = scratch / "bin" / "python3"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    script.chmod(0o755)
    return str(script.parent)


def _end_with_parent() -> None:
    # The parent never writes to this pipe, so the read returns when the parent has ended, in whatever way.
    os.read(sys.stdin.fileno(), 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
