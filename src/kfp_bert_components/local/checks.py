"""What must be right about a compiled pipeline before its first step runs on this machine."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.extras import missing_extra
from kfp_bert_components.local.conditions import read_condition


def check_pipeline(spec: dict[str, Any], arguments: Mapping[str, Any]) -> None:
    """Check that a compiled pipeline can run on this machine, and that its steps accept the settings they are given.

    Args:
        spec: The pipeline, as read from its YAML.
        arguments: Values by parameter name; a parameter that is absent has its default.

    Raises:
        UserError: A condition cannot be decided, a value would be taken for one of KFP's placeholders, or a step needs
            its image, or would refuse its settings.
    """
    for name, value in arguments.items():
        if _PLACEHOLDER.search(json.dumps(value)):
            raise UserError(
                f"Parameter {name!r} holds '{{{{$', which begins what KFP replaces by a value of the run: give another "
                "text, or rename the file."
            )
    for component in (spec["root"], *spec.get("components", {}).values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            read_condition(task.get("triggerPolicy", {}).get("condition", ""))
    for label, executor in spec.get("deploymentSpec", {}).get("executors", {}).items():
        _check_step(label.removeprefix("exec-"), executor)
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    check_settings(spec, _defaults(parameters) | dict(arguments), here=True)


def check_settings(spec: dict[str, Any], known: Mapping[str, Any], here: bool = False) -> None:
    """Check the settings of this package's steps, as far as they are known before a run.

    A step is passed over where one of its parameters is not known, where a condition decides whether it runs, and where
    what it would run by is not installed here: it looks itself when it starts.

    Args:
        spec: A compiled pipeline, as read from its YAML.
        known: Values of its parameters by name.
        here: Whether the steps will run on this machine, so that a file which their settings name can be looked at.

    Raises:
        UserError: A step would refuse its settings.
    """
    _check_tasks(spec, spec["root"], known, here)


def _check_step(name: str, executor: dict[str, Any]) -> None:
    command = executor.get("container", {}).get("command", [])
    # A lightweight Python component brings its code along; all others have it in their image.
    if "importer" not in executor and not any("ephemeral_component.py" in part for part in command):
        raise UserError(
            f"Step {name} is no lightweight Python component (@dsl.component) and needs its image: run the pipeline on "
            "a cluster, or without this step."
        )


def _check_tasks(spec: dict[str, Any], component: dict[str, Any], known: Mapping[str, Any], here: bool) -> None:
    for name, task in component.get("dag", {}).get("tasks", {}).items():
        if "condition" in task.get("triggerPolicy", {}):
            continue
        called = spec["components"][task["componentRef"]["name"]]
        parameters = called.get("inputDefinitions", {}).get("parameters", {})
        values = _values(task.get("inputs", {}).get("parameters", {}), parameters, known)
        check = _CHECKS.get(_function(spec, called))
        if check and parameters.keys() - values.keys() <= _OF_OTHER_STEPS:
            try:
                check(values, here)
            except UserError as error:
                raise UserError(f"Step {name}: {error}") from None
            except ImportError as error:
                if here or not missing_extra(str(error)):
                    raise
        _check_tasks(spec, called, values, here)


def _values(
    given: Mapping[str, dict], parameters: Mapping[str, dict[str, Any]], known: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of a task's parameters, without those that another step or a loop will give."""
    values = _defaults({name: one for name, one in parameters.items() if name not in given})
    for name, source in given.items():
        constant = source.get("runtimeValue", {}).get("constant")
        if constant is not None and "{{$" not in _NAME_OF_RUN.sub("", json.dumps(constant)):
            values[name] = constant
        elif source.get("componentInputParameter") in known and "parameterExpressionSelector" not in source:
            values[name] = known[source["componentInputParameter"]]
    return values


def _defaults(parameters: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: one["defaultValue"] for name, one in parameters.items() if "defaultValue" in one}


def _function(spec: dict[str, Any], component: dict[str, Any]) -> str:
    """The function of this package that a component calls; "" for all others."""
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    container = executors.get(component.get("executorLabel"), {}).get("container", {})
    name = (container.get("args") or [""])[-1]
    ours = f"from kfp_bert_components.steps.{name} import"
    return name if any(ours in part for part in container.get("command", [])) else ""


def _check_prepare(values: dict[str, Any], here: bool) -> None:
    from kfp_bert_components.data.settings import PrepareSettings
    from kfp_bert_components.validation import with_further

    PrepareSettings(**_only(PrepareSettings, with_further(values.pop("settings"), **values)))


def _check_training(values: dict[str, Any], here: bool) -> None:
    from kfp_bert_components.steps.finetune_bert import check_run_on
    from kfp_bert_components.training import TrainingSettings
    from kfp_bert_components.validation import with_further

    values = with_further(values.pop("settings"), **values)
    check_run_on(values["run_on"])
    TrainingSettings(**_only(TrainingSettings, values))


def _check_gate(values: dict[str, Any], here: bool) -> None:
    from kfp_bert_components.gate import Policy, is_policy_file, policy_from

    rules = Policy(**{name: value for name, value in values.items() if name in Policy.model_fields})
    if here or not is_policy_file(values["policy"]):
        policy_from(values["policy"], rules)


def _only(settings: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a class of settings has; a pipeline may be compiled by another version of this package."""
    names = {field.name for field in fields(settings)}
    return {name: value for name, value in values.items() if name in names}


# Parameters that another step gives, and that no setting depends on.
_OF_OTHER_STEPS = {"base_model_pin"}
# What stands for the id or name of the run: no setting depends on it.
_NAME_OF_RUN = re.compile(r'^"\{\{\$\.pipeline_job_\w+\}\}"$')
# In what is given to a run only a few can be filled in, such as {{$.pipeline_job_name}}.
_PLACEHOLDER = re.compile(r"\{\{\$(?!\.pipeline_)")
_CHECKS: dict[str, Callable[[dict[str, Any], bool], None]] = {
    "prepare_text_data": _check_prepare,
    "finetune_bert": _check_training,
    "compare_models": _check_gate,
}
