"""What kfp.local does differently in our runs. It has no hook for any of this, so its functions are replaced here.

- A step's process gets its arguments as they are. kfp.local replaces the text "python3" in all of them.
- What a step prints is reported line by line with the step's name, so that steps side by side do not mix.
- A whole number is written without a point where it becomes part of a text or of a list, as on a cluster: "2", not
  "2.0".
- An exit handler is told which step failed. kfp.local names the handler itself.
- An optional parameter of a pipeline that has no default is None. kfp.local stops at it.
- The caller names the folder of the run.
- Branches and loops do what they do on a cluster: see `kfp_branches`.

tests/local/test_kfp_changes.py fails where a kfp release no longer has a function that is replaced, or changes it.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp.local import executor_input_utils, importer_handler
from kfp.local.executor_output_utils import pb2_value_to_python
from kfp.local.io import IOStore
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils
from kfp.local.status import Status
from kfp.local.subprocess_task_handler import SubprocessTaskHandler
from kfp.pipeline_spec.pipeline_spec_pb2 import ComponentInputsSpec, ComponentSpec, TaskInputsSpec

from kfp_bert_components.local.events import StepEnded, StepPrinted, StepStarted
from kfp_bert_components.local.kfp_branches import change_branches_and_loops, whole
from kfp_bert_components.local.kfp_functions import Report, replace
from kfp_bert_components.plain import printed

_IMPORTER = (
    "pipeline_resource_name component_name component_spec executor_spec arguments pipeline_root unique_pipeline_id"
)


def change_kfp_local(run: str, report: Report) -> None:
    """Change kfp.local for the rest of this process.

    Args:
        run: Name of the run's folder in the pipeline root.
        report: Called with each event of the run, from several threads.

    Raises:
        UserError: This kfp does not have a function that is replaced, or it takes other arguments.
    """
    replace(executor_input_utils, "get_local_pipeline_resource_name", "pipeline_name", lambda _: lambda _: run)
    replace(
        executor_input_utils,
        "executor_input_to_dict",
        "executor_input component_spec",
        lambda to_dict: lambda **arguments: whole(to_dict(**arguments)),
    )
    replace(
        executor_input_utils,
        "construct_executor_input",
        "component_spec arguments task_root block_input_artifact",
        _without_none,
    )
    failed: list[str] = []
    replace(SubprocessTaskHandler, "run", "self", lambda _: lambda handler: _run_step(handler, report, failed))
    replace(
        OrchestratorUtils,
        "make_task_arguments",
        "task_inputs_spec io_store",
        lambda make: staticmethod(_told(make, failed)),
    )
    replace(importer_handler, "run_importer", _IMPORTER, lambda run_importer: _reported(run_importer, report))
    replace(
        OrchestratorUtils,
        "join_user_inputs_and_defaults",
        "dag_arguments dag_inputs_spec",
        lambda _: staticmethod(_with_defaults),
    )
    change_branches_and_loops(report)


def _run_step(handler: SubprocessTaskHandler, report: Report, failed: list[str]) -> Status:
    step = _step_name(handler.full_command, handler.pipeline_root)
    if step in failed:  # it is tried again
        failed.remove(step)
    report(StepStarted(step))
    with subprocess.Popen(
        handler.full_command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **handler.env_vars},
    ) as process:
        for line in process.stdout or ():
            report(StepPrinted(step, printed(line.rstrip("\n"))))
    ok = process.returncode == 0
    if not ok:
        failed.append(step)
    report(StepEnded(step, ok, "" if ok else _how_it_ended(process.returncode)))
    return Status.SUCCESS if ok else Status.FAILURE


def _told(make: Callable[..., dict[str, Any]], failed: list[str]) -> Callable[..., dict[str, Any]]:
    """`make`, the arguments of a task, with the step that failed in the final status that an exit handler gets."""

    def run(task_inputs_spec: TaskInputsSpec, io_store: IOStore) -> dict[str, Any]:
        arguments = make(task_inputs_spec=task_inputs_spec, io_store=io_store)
        for name, spec in task_inputs_spec.parameters.items():
            if failed and spec.HasField("task_final_status") and (error := arguments[name]["error"]):
                error["message"] = f"step {failed[0]} failed"
        return arguments

    return run


def _how_it_ended(status: int) -> str:
    # The step is a child of a shell, which gives 128 and the number of the signal that ended it.
    names = {128 + one: one.name for one in signal.Signals}
    return f"ended with status {status}" + (f", as after {names[status]}" if status in names else "")


def _step_name(command: list[str], root: str) -> str:
    """The step's folder below the folder of the run: its name, in a loop after those of the loop's passes."""
    executor_input = json.loads(command[command.index("--executor_input") + 1])
    folder = Path(executor_input["outputs"]["outputFile"]).parent
    return "/".join(folder.relative_to(root).parts[1:])


def _reported(run_importer: Callable[..., Any], report: Report) -> Callable[..., Any]:
    def run(**arguments: Any) -> Any:
        step = executor_input_utils.get_local_task_resource_name(arguments["component_name"])
        report(StepStarted(step))
        outputs, status = run_importer(**arguments)
        report(StepEnded(step, status == Status.SUCCESS))
        return outputs, status

    return run


def _with_defaults(dag_arguments: dict[str, Any], dag_inputs_spec: ComponentInputsSpec) -> dict[str, Any]:
    defaults = {name: one.default_value for name, one in dag_inputs_spec.parameters.items()}
    known = {name: pb2_value_to_python(one) if one.WhichOneof("kind") else None for name, one in defaults.items()}
    return known | dag_arguments


def _without_none(construct: Callable[..., Any]) -> Callable[..., Any]:
    """`construct`, which makes a step's input, where a parameter that is None is left out: the step has its default."""

    def run(component_spec: ComponentSpec, arguments: dict[str, Any], **others: Any) -> Any:
        inputs = component_spec.input_definitions.parameters
        given = {name: value for name, value in arguments.items() if value is not None or name not in inputs}
        made = construct(component_spec=component_spec, arguments=given, **others)
        for name in inputs:
            if not made.inputs.parameter_values[name].WhichOneof("kind"):
                del made.inputs.parameter_values[name]
        return made

    return run
