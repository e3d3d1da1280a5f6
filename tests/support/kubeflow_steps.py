"""Steps as Kubeflow Pipelines runs them: the component's own command, with recorded inputs and environment.

`kubeflow_steps.jsonl` has, of each step of one run on Kubeflow Pipelines 2.17, the input that the launcher gave to
KFP's executor, and the variables of its environment. The launcher mounts the store at /minio; here that is a folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import kfp_bert_components

RUN_ID = "7ce82970-d2e6-40eb-b980-9dcaf816aab0"
WORKFLOW = "train-and-deploy-qhfhp"
UI = "https://kubeflow.example.com/pipeline"
# KFP has no setting for where the store is mounted.
_MOUNT = """\
import os
from kfp.dsl.types import artifact_types
artifact_types._MINIO_LOCAL_MOUNT_PREFIX = os.environ["MOUNT"]
"""


class Steps:
    """The steps of the recorded run, below a folder.

    Args:
        folder: An empty one.
        environment: Further variables; a value None takes one away.
    """

    def __init__(self, folder: Path, **environment: str | None) -> None:
        self.mount, site = folder / "minio", folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(_MOUNT)
        self._environment = {
            "MOUNT": f"{self.mount}/",
            "PYTHONPATH": os.pathsep.join([str(site), *sys.path]),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONWARNINGS": "default",
            **environment,
        }

    def input(self, name: str, /, **parameters: Any) -> dict[str, Any]:
        """The recorded input of a component, with other values; what the recording lacks is made like the rest."""
        recorded = _recorded().get(name, _recorded()["promote_model"])
        found = json.loads(json.dumps(recorded["executor_input"]))
        spec = getattr(kfp_bert_components, name).component_spec
        known = spec.inputs or {}
        if name not in _recorded():
            found = json.loads(json.dumps(found).replace("promote-model", name.replace("_", "-")))
            given = found["inputs"]["artifacts"]
            needed = {key: given[key] for key in given if key in known and not known[key].optional}
            found["inputs"], found["outputs"]["artifacts"] = {"artifacts": needed} if needed else {}, {}
        values = found["inputs"].get("parameterValues", {}) | parameters
        found["inputs"]["parameterValues"] = {key: value for key, value in values.items() if key in known}
        folder = found["outputs"]["outputFile"].replace("/minio/", "minio://").rpartition("/")[0]
        outputs = found["outputs"].setdefault("artifacts", {})
        for key, output in (spec.outputs or {}).items():
            if output.type.startswith("system.") and key not in outputs:
                kind = {"schemaTitle": output.type.partition("@")[0], "schemaVersion": "0.0.1"}
                outputs[key] = {"artifacts": [{"name": key, "type": kind, "uri": f"{folder}/{key}"}]}
        found["outputs"]["outputFile"] = found["outputs"]["outputFile"].replace("/minio", str(self.mount))
        return found

    def path(self, name: str, artifact: str) -> Path:
        """Where an input or output of a step lies here."""
        executor_input = self.input(name)
        for group in ("inputs", "outputs"):
            if one := executor_input[group].get("artifacts", {}).get(artifact):
                return self.mount / one["artifacts"][0]["uri"].removeprefix("minio://")
        raise KeyError(artifact)

    def run(self, name: str, /, **parameters: Any) -> subprocess.CompletedProcess[str]:
        """Run a component as a pod of the run does; what it prints is one text, as in a pod's log."""
        container = getattr(kfp_bert_components, name).component_spec.implementation.container
        given = json.dumps(self.input(name, **parameters))
        command = [given if part == "{{$}}" else part for part in [*container.command, *container.args]]
        recorded = _recorded().get(name, _recorded()["promote_model"])["environment"]
        pod = {"KFP_POD_NAME": f"{WORKFLOW}-system-container-impl-{recorded['ARGO_NODE_ID'].rpartition('-')[2]}"}
        environment = {**os.environ, **recorded, **pod, **self._environment}
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            env={key: value for key, value in environment.items() if value is not None},
        )

    def outputs(self, name: str) -> dict[str, Any]:
        """What the executor wrote for the launcher: values of parameters, and artifacts with their metadata."""
        found: dict[str, Any] = json.loads(Path(self.input(name)["outputs"]["outputFile"]).read_text())
        return found

    def metadata(self, name: str, artifact: str) -> dict[str, Any]:
        """The metadata that a step gave one of its artifacts."""
        found: dict[str, Any] = self.outputs(name)["artifacts"][artifact]["artifacts"][0]["metadata"]
        return found


@lru_cache
def _recorded() -> dict[str, dict[str, Any]]:
    lines = Path(__file__).with_name("kubeflow_steps.jsonl").read_text(encoding="utf-8").splitlines()
    return {one["component"]: one for one in map(json.loads, lines)}
