"""Branches and loops of kfp.local, which do in our runs what they do on a cluster.

- A condition is decided from the inputs of its branch. kfp.local looks for a named output under a wrong name and then
  skips the branch, and pastes values into Python source, which a quote in a text breaks.
- The body of a loop gets all its inputs. kfp.local finds no items in a named output, and gives the loop's item in
  place of the output of a step outside.
- A key of a loop's item has its value in each pass, and a text that is compared with a number is that number's text, as
  on a cluster. kfp.local gives the whole item for a key that is part of a text, and for one that the item lacks.
- What goes wrong in a pass of a loop is reported. kfp.local keeps it to its log.
- A loop over constants runs in a branch, in another loop, and before an exit handler. The compiler lists its item as an
  input of what is around it, which nothing can give, so that kfp.local stops.
- Collected gives what the loop's passes have made: nothing for a pass that skipped the branch, and an empty list for a
  loop without items. kfp.local fails in both.
- OneOf works on artifacts.
"""

import contextlib
import json
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from kfp.compiler.pipeline_spec_builder import to_protobuf_value
from kfp.local.io import IOStore
from kfp.local.orchestrator import enhanced_dag_orchestrator, task_spec_utils
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils
from kfp.local.orchestrator.task_spec_utils import get_artifact_iterator_items
from kfp.pipeline_spec.pipeline_spec_pb2 import (
    ComponentSpec,
    DagOutputsSpec,
    ParameterType,
    PipelineSpec,
    PipelineTaskSpec,
    TaskInputsSpec,
)

from kfp_bert_components.errors import UserError
from kfp_bert_components.local.conditions import read_condition
from kfp_bert_components.local.events import BranchSkipped, RunFailed
from kfp_bert_components.local.kfp_functions import TASK, Report, replace
from kfp_bert_components.plain import printed

_OUTPUTS = "dag_outputs_spec io_store"


def change_branches_and_loops(report: Report) -> None:
    """Change the branches and loops of kfp.local for the rest of this process.

    Args:
        report: Called with each event, from several threads.

    Raises:
        UserError: This kfp does not have a function that is replaced, or it takes other arguments.
    """
    replace(
        enhanced_dag_orchestrator.ConditionEvaluator,
        "evaluate_condition",
        "condition io_store",
        lambda _: staticmethod(lambda branch, io_store: _decide(branch, io_store, report)),
    )
    replace(enhanced_dag_orchestrator, "execute_task", TASK, lambda execute: _with_cause(execute, report))
    replace(
        task_spec_utils,
        "create_parameter_loop_iteration_task_spec",
        "original_task_spec loop_item loop_task_name",
        _with_keys,
    )
    replace(task_spec_utils, "evaluate_parameter_expression", "loop_item expression", lambda _: _taken)
    replace(OrchestratorUtils, "_apply_expression_selector", "value expression", lambda _: staticmethod(_taken))
    replace(
        enhanced_dag_orchestrator,
        "_run_parallel_for_task",
        f"{TASK} parallel_executor",
        lambda run_loop: _collecting(_with_values(run_loop)),
    )
    replace(OrchestratorUtils, "get_dag_output_parameters", _OUTPUTS, lambda find: staticmethod(_those_made(find)))
    replace(OrchestratorUtils, "get_dag_output_artifacts", _OUTPUTS, lambda _: staticmethod(_output_artifacts))


def put_inputs_into_conditions(pipeline: PipelineSpec) -> None:
    """Put name and inputs of each branch into the text of its condition, which is all that `_decide` is given.

    The names of the inputs that are texts are put there too: a key of a loop's item may be declared as one and be none.
    """
    for component in (pipeline.root, *pipeline.components.values()):
        for name, task in component.dag.tasks.items():
            if condition := task.trigger_policy.condition:
                inputs = task.inputs.SerializeToString().hex()
                declared = pipeline.components[task.component_ref.name].input_definitions.parameters
                texts = [one for one in declared if declared[one].parameter_type == ParameterType.STRING]
                task.trigger_policy.condition = json.dumps([name, condition, inputs, texts])


def drop_items_of_inner_loops(pipeline: PipelineSpec) -> None:
    """Drop the inputs that nothing can give: the compiler lists the item of a loop for all that is around the loop."""
    _drop_items(pipeline.root, pipeline.components)


def _drop_items(component: ComponentSpec, components: Mapping[str, ComponentSpec]) -> set[str]:
    """Drop them below a component; the names of the items of all loops in it."""
    items = set()
    for task in component.dag.tasks.values():
        called = components[task.component_ref.name]
        inside = _drop_items(called, components)
        for name in [one for one in task.inputs.parameters if one.partition("-subvar-")[0] in inside or one in inside]:
            del task.inputs.parameters[name], called.input_definitions.parameters[name]
        items |= inside | {task.parameter_iterator.item_input}
    return items


def whole(value: Any) -> Any:
    """A JSON value whose whole numbers are integers: protobuf has one kind of number only."""
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _decide(branch: str, io_store: IOStore, report: Report) -> bool:
    name, text, inputs, texts = json.loads(branch)
    condition = read_condition(text)
    given = TaskInputsSpec.FromString(bytes.fromhex(inputs)).parameters
    spec = TaskInputsSpec(parameters={name: given[name] for name in condition.inputs})
    values = OrchestratorUtils.make_task_arguments(spec, io_store)
    values |= {name: _as_text(values[name]) for name in values.keys() & set(texts)}
    holds = condition.holds(values)
    if not holds:
        report(BranchSkipped(name, f"{condition} does not hold, because {condition.describe(values)}"))
    return holds


def _as_text(value: Any) -> Any:
    """What a parameter that is declared a text is on a cluster: JSON of what is none."""
    return value if value is None or isinstance(value, str) else json.dumps(whole(value))


def _with_cause(execute: Callable[..., Any], report: Report) -> Callable[..., Any]:
    """`execute`, which runs a task, where an exception in the pass of a loop is reported."""

    def run(*, task_name: str, **arguments: Any) -> Any:
        try:
            return execute(task_name=task_name, **arguments)
        except Exception as error:
            if "-iteration-" in task_name:
                report(RunFailed(printed(f"{task_name}: {str(error) or repr(error)}")))
            raise

    return run


def _with_keys(create: Callable[..., PipelineTaskSpec]) -> Callable[..., PipelineTaskSpec]:
    """`create`, which makes the task of a pass, with the keys of the item that the compiler lists as inputs."""

    def run(loop: PipelineTaskSpec, item: Any, name: str) -> PipelineTaskSpec:
        made = create(loop, item, name)
        for one, parameter in made.inputs.parameters.items():
            of, _, key = one.rpartition("-subvar-")
            if of == loop.parameter_iterator.item_input:
                parameter.runtime_value.constant.CopyFrom(to_protobuf_value(_key(item, key)))
        return made

    return run


def _taken(item: Any, expression: str) -> Any:
    """What an expression such as `parseJson(string_value)["key"]`, the only kind that KFP's compiler writes, takes."""
    return _key(item, expression.partition('["')[2].removesuffix('"]'))


def _key(item: Any, key: str) -> Any:
    found = item
    if isinstance(item, str):
        with contextlib.suppress(ValueError):
            found = json.loads(item)
    if not isinstance(found, dict) or key not in found:
        raise UserError(f"The item {printed(reprlib.repr(item))} of a loop has no key {key!r}: add it to each item.")
    return found[key]


def _with_values(run_loop: Callable[..., bool]) -> Callable[..., bool]:
    """`run_loop` with the loop's items and inputs as constants, which it cannot get wrong."""

    def run(*, task_spec: PipelineTaskSpec, io_store: IOStore, **arguments: Any) -> bool:
        constant = PipelineTaskSpec()
        constant.CopyFrom(task_spec)
        values = _values(task_spec.inputs, io_store)
        for name, value in values.items():
            constant.inputs.parameters[name].runtime_value.constant.CopyFrom(to_protobuf_value(value))
        if task_spec.WhichOneof("iterator") == "artifact_iterator":
            # It raises where `run_loop` would log that there are no items, and go on.
            get_artifact_iterator_items(task_spec, io_store, arguments["task_name"])
        items = constant.parameter_iterator.items
        if items.input_parameter in values:
            items.raw = json.dumps(values[items.input_parameter])
        return run_loop(task_spec=constant, io_store=io_store, **arguments)

    return run


def _values(inputs: TaskInputsSpec, io_store: IOStore) -> dict[str, Any]:
    """The values of the parameters, but for an inner loop's item: the compiler lists it for the outer loop too."""
    values = {}
    for name, parameter in inputs.parameters.items():
        with contextlib.suppress(ValueError):
            spec = TaskInputsSpec(parameters={name: parameter})
            values.update(OrchestratorUtils.make_task_arguments(spec, io_store))
    return {name: value for name, value in values.items() if value is not None}


def _collecting(run_loop: Callable[..., bool]) -> Callable[..., bool]:
    """`run_loop` whose outputs are lists of what its passes have made."""

    def run(
        *, task_name: str, task_spec: PipelineTaskSpec, components: Any, io_store: IOStore, **arguments: Any
    ) -> bool:
        made = components[task_spec.component_ref.name].output_definitions
        names = [*made.parameters, *made.artifacts]
        for name in names:
            io_store.put_task_output(task_name, name, [])
        failed = run_loop(
            task_name=task_name, task_spec=task_spec, components=components, io_store=io_store, **arguments
        )
        for name in names:
            values = io_store.get_task_output(task_name, name)
            io_store.put_task_output(task_name, name, [value for value in values if value is not None])
        return failed

    return run


def _those_made(find: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """`find` for the parameters whose steps have run: a branch that was skipped has none."""

    def run(dag_outputs_spec: DagOutputsSpec, io_store: IOStore) -> dict[str, Any]:
        made = DagOutputsSpec()
        for name, spec in dag_outputs_spec.parameters.items():
            one = spec.value_from_parameter
            if spec.WhichOneof("kind") != "value_from_parameter" or _outputs(
                io_store, one.producer_subtask, one.output_parameter_key
            ):
                made.parameters[name].CopyFrom(spec)
        return find(dag_outputs_spec=made, io_store=io_store)

    return run


def _output_artifacts(dag_outputs_spec: DagOutputsSpec, io_store: IOStore) -> dict[str, Any]:
    outputs = {}
    for name, spec in dag_outputs_spec.artifacts.items():
        found = [
            output
            for selector in spec.artifact_selectors
            for output in _outputs(io_store, selector.producer_subtask, selector.output_artifact_key)
        ]
        if not found and len(spec.artifact_selectors) == 1:
            continue  # its branch was skipped
        if len(found) != 1:
            raise UserError(f"{len(found)} branches have made the artifact {name}, of which exactly one may.")
        outputs[name] = found[0]
    return outputs


def _outputs(io_store: IOStore, task: str, key: str) -> list[Any]:
    try:
        return [io_store.get_task_output(task, key)]
    except ValueError:
        return []
