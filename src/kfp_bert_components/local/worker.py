"""Runs one compiled pipeline with kfp.local, in the process that `local.execute` starts and reads from."""

import json
import os
import signal
import sys
import threading
import warnings


def main(spec_path: str, arguments_path: str, root: str) -> None:
    """Run a pipeline, and exit with code 1 if a step fails.

    Args:
        spec_path: YAML file of the compiled pipeline.
        arguments_path: JSON file with the values by parameter name.
        root: Folder for the run's artifacts.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.filterwarnings("ignore", category=FutureWarning)
    # `python -m` searches the working folder first: a folder called "docker" there would hide the package docker.
    sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]
    from kfp import components, local

    with open(arguments_path) as file:
        arguments = json.load(file)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root)
    pipeline = components.load_component_from_file(spec_path)
    try:
        pipeline(**arguments)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def _end_with_parent() -> None:
    # The parent never writes to this pipe, so the read returns when the parent has ended, in whatever way.
    os.read(sys.stdin.fileno(), 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
