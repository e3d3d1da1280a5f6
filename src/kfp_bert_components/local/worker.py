"""Runs one compiled pipeline with kfp.local: the process that `local.execute` starts and watches."""

import json
import os
import signal
import sys
import threading
import warnings


def main(spec_path: str, arguments_path: str, root: str) -> None:
    """Run the pipeline in `spec_path` on the JSON arguments; exit with 1 when a step fails."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.filterwarnings("ignore", category=FutureWarning)
    # `python -m` puts the working folder first: a folder called "docker" there would pass for the package.
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
    # The parent never writes: its end of the pipe closes when it dies, however it dies.
    os.read(sys.stdin.fileno(), 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
