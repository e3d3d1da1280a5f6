"""Which steps of a compiled pipeline Kubeflow takes from its cache.

It is what the Go code of Kubeflow Pipelines 2.17 does: backend/src/v2/driver/cache.go and
backend/src/v2/cacheutils/cache.go, there `GenerateCacheKey`.

- A step is looked up if its task has `enableCache`, among those of the same pipeline name and namespace.
- The key is the SHA-256 of the JSON of: for each input artifact the list of its *names*, which on a cluster are the ids
  of the artifacts in the metadata store; the value of each input parameter, with defaults and placeholders filled in;
  for each output artifact its name, type and metadata, without its address; the type of each output parameter; image,
  command and arguments; the names of mounted volume claims. Names of run, task and component are not in it, nor the
  environment, memory or processors.
- A step that is taken from the cache gives the very artifacts, with their ids, and the parameters of the earlier one. A
  step that runs makes artifacts with new ids, also where its files are the same as before.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

Values = Mapping[str, Any]


class Cluster:
    """Runs compiled pipelines of one name without their code, and remembers what each step has made."""

    def __init__(self) -> None:
        self._cache: dict[str, dict[str, Any]] = {}
        self._ids = itertools.count(1)
        self._runs = itertools.count(1)

    def run(self, spec: Values, arguments: Values, outputs: Callable[[str], Values]) -> set[str]:
        """Run a pipeline, also one whose steps are in an exit handler; the names of the steps that were not cached.

        Args:
            spec: The compiled pipeline.
            arguments: Values of its parameters; the others have their defaults.
            outputs: Gives the output parameters of a step that runs.
        """
        run = f"run-{next(self._runs)}"
        return self._run(spec, spec["root"], _defaults(spec["root"]) | dict(arguments), outputs, run)

    def _run(self, spec: Values, part: Values, given: Values, outputs: Callable[[str], Values], run: str) -> set[str]:
        tasks, made, ran = dict(part["dag"]["tasks"]), {}, set()
        while tasks:
            name = next(one for one, task in tasks.items() if _before(task) <= made.keys())
            task = tasks.pop(name)
            component = spec["components"][task["componentRef"]["name"]]
            artifacts, parameters = _inputs(task, component, given, made, run)
            if "dag" in component:
                made[name] = {}
                ran |= self._run(spec, component, parameters, outputs, run)
                continue
            executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
            key = _key(component, executor["container"], artifacts, parameters)
            if not (_is_cached(task) and key in self._cache):
                ran.add(name)
                names = component.get("outputDefinitions", {}).get("artifacts", {})
                self._cache[key] = {one: str(next(self._ids)) for one in names} | dict(outputs(name))
            made[name] = self._cache[key]
        return ran


def steps_of(spec: Values) -> dict[str, Values]:
    """The tasks of a compiled pipeline that run code, by name, also those in an exit handler."""
    found = {}
    for part in (spec["root"], *spec["components"].values()):
        for name, task in part.get("dag", {}).get("tasks", {}).items():
            if "dag" not in spec["components"][task["componentRef"]["name"]]:
                found[name] = task
    return found


def cached_steps(spec: Values) -> set[str]:
    """The names of those that may be taken from the cache."""
    return {name for name, task in steps_of(spec).items() if _is_cached(task)}


def _is_cached(task: Values) -> bool:
    return bool(task.get("cachingOptions", {}).get("enableCache"))


def _key(component: Values, container: Values, artifacts: Values, parameters: Values) -> str:
    outputs = component.get("outputDefinitions", {})
    facts = {
        "inputArtifactNames": {name: {"artifactNames": [one]} for name, one in artifacts.items()},
        "inputParameterValues": parameters,
        "outputArtifactsSpec": {
            name: {"name": name, "type": one["artifactType"]} for name, one in outputs.get("artifacts", {}).items()
        },
        "outputParametersSpec": {name: one["parameterType"] for name, one in outputs.get("parameters", {}).items()},
        "containerSpec": {
            "image": container["image"],
            "cmdArgs": [*container["command"], *container["args"]],
            "pvcNames": [],
        },
    }
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _before(task: Values) -> set[str]:
    inputs = task.get("inputs", {})
    sources = [one.get("taskOutputParameter", {}) for one in inputs.get("parameters", {}).values()]
    sources += [one["taskOutputArtifact"] for one in inputs.get("artifacts", {}).values()]
    return {one["producerTask"] for one in sources if one} | set(task.get("dependentTasks", []))


def _inputs(task: Values, component: Values, given: Values, made: Values, run: str) -> tuple[Values, Values]:
    """The ids of the input artifacts and the values of the input parameters."""
    inputs = task.get("inputs", {})
    artifacts = {name: _made(made, one["taskOutputArtifact"]) for name, one in inputs.get("artifacts", {}).items()}
    parameters = _defaults(component)
    for name, source in inputs.get("parameters", {}).items():
        if "taskOutputParameter" in source:
            parameters[name] = _made(made, source["taskOutputParameter"])
        elif "componentInputParameter" in source:
            parameters[name] = given[source["componentInputParameter"]]
        elif "taskFinalStatus" in source:
            parameters[name] = run
        else:
            constant = source["runtimeValue"]["constant"]
            # A placeholder, such as that for the name of the run.
            parameters[name] = run if isinstance(constant, str) and constant.startswith("{{$.") else constant
    return artifacts, parameters


def _made(made: Values, source: Values) -> Any:
    return made[source["producerTask"]][source.get("outputArtifactKey") or source["outputParameterKey"]]


def _defaults(component: Values) -> dict[str, Any]:
    parameters = component.get("inputDefinitions", {}).get("parameters", {})
    return {name: one["defaultValue"] for name, one in parameters.items() if "defaultValue" in one}
