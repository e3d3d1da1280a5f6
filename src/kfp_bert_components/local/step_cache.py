"""Finished steps of earlier runs, which are used again where nothing changed that a step depends on."""

import json
import os
import threading
from collections.abc import Callable
from copy import copy
from os.path import exists
from pathlib import Path
from typing import Any

from kfp.dsl import Artifact
from kfp.local import cache
from kfp.local.executor_input_utils import construct_local_task_root, get_local_task_resource_name
from kfp.local.orchestrator import task_executor
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineTaskSpec

from kfp_bert_components.local.events import StepNotReused, StepReused
from kfp_bert_components.local.kfp_functions import TASK, Report, replace

_CACHE, _KEY = ".cache", ".cache_key"
_FOLDER, _ABSENT = "folder of the step", "artifacts without a file"


class _StepCache(cache.LocalCache):
    """kfp.local's cache, of which each run has a part in its own folder.

    The folder of a step says of what it is the result, and which files are. A step that is used again has a link in the
    folder of its run.
    """

    def __init__(self, run: Path, report: Report) -> None:
        super().__init__(str(run / _CACHE))
        self._runs = run.parent
        self._report = report
        self._next = threading.local()

    def begin(self, folder: Path, step: str) -> None:
        """Say which step this thread runs next, and where its folder would be."""
        if folder.is_symlink():  # the same step of this run, with other inputs, was used again
            folder.unlink()
        (folder / _KEY).unlink(missing_ok=True)
        self._next.folder, self._next.step = folder, step

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        # kfp takes an artifact without a file, such as metrics, for one that was removed.
        absent = {name: one.uri for name, one in outputs.items() if isinstance(one, Artifact) and not exists(one.uri)}
        entry = {**outputs, _FOLDER: str(self._next.folder), _ABSENT: absent}
        for name in absent:
            entry[name] = copy(outputs[name])
            entry[name].uri = ""
        made = {"key": key, "files": _files(self._next.folder)}
        (self._next.folder / _KEY).write_text(json.dumps(made), encoding="utf-8")
        super().put(key, entry)

    def get(self, key: str) -> dict[str, Any] | None:
        for entry in sorted(self._runs.glob(f"*/{_CACHE}/{key}.json"), reverse=True):
            if not (before := _folder_of(entry, key)):
                continue
            if reason := _difference(before):
                self._report(StepNotReused(self._next.step, str(before), entry.parent.parent.name, reason))
            elif outputs := cache.LocalCache(str(entry.parent)).get(key):
                del outputs[_FOLDER]
                for name, uri in outputs.pop(_ABSENT).items():
                    outputs[name].uri = uri
                self._use(before, entry.parent.parent.name)
                return outputs
        return None

    def _use(self, before: Path, run: str) -> None:
        folder = self._next.folder
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.symlink_to(os.path.relpath(before, folder.parent), target_is_directory=True)
        self._report(StepReused(self._next.step, str(before), run))


def reuse_steps(run: Path, report: Report) -> None:
    """Let kfp.local use finished steps of earlier runs again, for the rest of this process.

    The key of a step is kfp's own: component, image, command, environment, values of the parameters, and the artifacts
    with their paths and metadata. A cluster has ids in place of the paths.

    Args:
        run: Folder of the run, beside those of the earlier ones.
        report: Called with an event for each step that is used again.

    Raises:
        UserError: This kfp does not have a function that is replaced, or it takes other arguments.
    """
    steps = _StepCache(run, report)
    replace(cache, "get_local_cache", "", lambda _: lambda: steps)
    replace(task_executor, "execute_single_task", TASK, lambda execute: _announced(execute, steps))


def _announced(execute: Callable[..., Any], steps: _StepCache) -> Callable[..., Any]:
    def run(*, task_spec: PipelineTaskSpec, pipeline_resource_name: str, pipeline_root: str, **arguments: Any) -> Any:
        name = get_local_task_resource_name(task_spec.component_ref.name)
        folder = Path(construct_local_task_root(pipeline_root, pipeline_resource_name, name))
        steps.begin(folder, "/".join(folder.relative_to(pipeline_root).parts[1:]))
        return execute(
            task_spec=task_spec,
            pipeline_resource_name=pipeline_resource_name,
            pipeline_root=pipeline_root,
            **arguments,
        )

    return run


def _folder_of(entry: Path, key: str) -> Path | None:
    """The folder of a finished step; None where it was removed, or holds what another step has made."""
    try:
        folder = Path(json.loads(entry.read_text(encoding="utf-8"))[_FOLDER])
        return folder if _made(folder)["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _difference(folder: Path) -> str:
    """Which file is not as the step left it; "" where all are."""
    before, now = _made(folder)["files"], _files(folder)
    for name in sorted(before | now):
        if name not in now:
            return f"{name} was removed"
        if before.get(name) != now[name]:
            return f"{name} was {'changed' if name in before else 'added'}"
    return ""


def _made(folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((folder / _KEY).read_text(encoding="utf-8"))
    return made


def _files(folder: Path) -> dict[str, list[int]]:
    """Size and time of modification (ns) of each file that a step has made, by its path in the folder of the step."""
    files = {}
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            if path.parent != folder or (path.name != _KEY and path.suffix != ".html"):  # a copy by `name_pages`
                status = path.lstat()
                files[str(path.relative_to(folder))] = [status.st_size, status.st_mtime_ns]
    return files
