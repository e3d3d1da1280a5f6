"""Where something was made: the run of a pipeline and its pod, or a person's machine, and of which artifacts."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from kfp_bert_components import __version__
from kfp_bert_components.records import build

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# An output lies at ROOT/PIPELINE/RUN/STEP/TRY/NAME on Kubeflow, where releases before 2.5 have no TRY, and at
# ROOT/PROJECT_NUMBER/RUN/STEP_NUMBER/NAME on Vertex.
_ON_KUBEFLOW = re.compile(rf"/({_UUID})/[^/]+/(?:{_UUID}/)?[^/]+$")
_ON_VERTEX = re.compile(r"^gs://.+/\d+/([^/]+)/[^/]+_-?\d+/[^/]+$")
_ITERATION = re.compile(r"for-loop-\d+-iteration-\d+")  # a folder that KFP makes in that of a run on one machine
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Origin:
    """Where a record, or what it is about, was made. Whatever is not known is "".

    Attributes:
        run_id: Id of the pipeline's run.
        run_name: Its name: on Kubeflow the one that its UI shows, on Vertex the last part of its full name.
        workflow: Its name in the cluster.
        namespace: Of the cluster.
        pod: The pod.
        image: The image that the step ran in, as far as the variable KFP_BERT_IMAGE names it.
        package_version: Version of this package.
        user: The user's name.
        folder: Of a run on one machine, its folder.
        page: Address of the run's page, where the variable KFP_UI_URL says where Kubeflow's UI is, or on Vertex.
        artifacts: What it was made of, by name: the address of each (`uri`), and the run that made it (`run_id`,
            `run_name`, `folder` and `page`, as far as they are known).
    """

    run_id: str = ""
    run_name: str = ""
    workflow: str = ""
    namespace: str = ""
    pod: str = ""
    image: str = ""
    package_version: str = ""
    user: str = ""
    folder: str = ""
    page: str = ""
    artifacts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The shortest name of the run, "" where there is none."""
        return self.workflow or self.run_name or self.run_id or Path(self.folder).name

    @property
    def label(self) -> str:
        """The run's name in labels, "" where there is none: the same in each step of it, cached or not.

        A cached step knows only what the addresses of its outputs tell: on Kubeflow the run's id, on Vertex its name.
        """
        told = self.run_id if re.fullmatch(_UUID, self.run_id) else self.run_name
        return told or Path(self.folder).name or self.run_id or self.workflow

    def known(self) -> dict[str, Any]:
        """What is known, for a record."""
        return {name: value for name, value in vars(self).items() if value}

    def is_of(self, run: str) -> bool:
        """Whether this was made by a run that is called so: by its id, name, workflow, folder or page."""
        names = (self.run_id, self.run_name, self.workflow, self.folder, Path(self.folder).name, self.page)
        return bool(run) and run in names

    def is_same_run(self, other: Origin) -> bool:
        """Whether one run made both. A run's name, which another run may have too, counts where no more is known."""
        names = ("folder", "workflow", "run_id", "run_name")
        pairs = [(getattr(self, name), getattr(other, name)) for name in names]
        return next((one == another for one, another in pairs if one and another), False)

    def facts(self) -> list[tuple[str, str]]:
        """What is known, in words: names and values to show, the run first."""
        workflow = "/".join(filter(None, [self.namespace, self.workflow])) if self.workflow else ""
        found = [
            ("run", _named(self.run_id, self.run_name)),
            ("page", self.page),
            ("workflow", workflow),
            ("pod", self.pod),
            ("image", self.image),
            ("folder", self.folder),
            ("user", self.user),
        ]
        for name, one in self.artifacts.items():
            found.append((name, one.get("uri", "")))
            if other := _other_run(one, self):
                found.append((f"{name}: made by", other))
        return [(name, value) for name, value in found if value]


def here(task: str = "", run_id: str = "", run_name: str = "", artifacts: Mapping[str, str] | None = None) -> Origin:
    """Where this process runs, from its environment.

    Args:
        task: Address of an output of this step, which tells the run where `run_id` and `run_name` do not.
        run_id: The run's id, as KFP's placeholder gives it.
        run_name: The run's name, likewise.
        artifacts: Addresses of what the step was given, by name.
    """
    told = run_of(task)
    if "folder" in told:  # on one machine the id is a random number, by which nothing can be found
        run_id = ""
    run = {"run_id": run_id, "run_name": run_name, **told}
    return Origin(
        **run,
        page=page_of(run["run_id"], run["run_name"]),
        workflow=os.environ.get("ARGO_WORKFLOW_NAME", ""),
        namespace=_namespace(),
        pod=os.environ.get("KFP_POD_NAME", ""),
        image=os.environ.get("KFP_BERT_IMAGE", ""),
        package_version=__version__,
        user=_user(),
        artifacts={name: _artifact(uri) for name, uri in (artifacts or {}).items() if uri},
    )


def read_origin(found: Mapping[str, Any]) -> Origin:
    """The origin in a record; names that a later version wrote are passed over.

    Raises:
        ValueError: A value is not of its field's type.
        AttributeError: It is no mapping.
    """
    names = {one.name for one in fields(Origin)}
    return build(Origin, {name: value for name, value in found.items() if name in names})


def run_of(uri: str) -> dict[str, str]:
    """The run whose output lies at an address: its `run_id` or `run_name`, or the `folder` of a local run; or {}."""
    if match := _ON_KUBEFLOW.search(uri):
        return {"run_id": match[1]}
    if match := _ON_VERTEX.search(uri):
        return {"run_name": match[1]}
    if uri.startswith("/") and not os.environ.get("KFP_POD_NAME") and len(Path(uri).parents) > 2:
        return {"folder": str(_run_folder(Path(uri).parents[1]))}
    return {}


def _run_folder(folder: Path) -> Path:
    """The folder of a run on one machine, of one that may be of a loop's iteration in it."""
    while _ITERATION.fullmatch(folder.name) and len(folder.parents) > 1:
        folder = folder.parent
    return folder


def page_of(run_id: str, run_name: str = "") -> str:
    """Address of a run's page; "" where it is not known."""
    project, location = os.environ.get("CLOUD_ML_PROJECT_ID"), os.environ.get("CLOUD_ML_REGION")
    if project and location and run_name:
        console = "https://console.cloud.google.com/vertex-ai"
        return f"{console}/locations/{location}/pipelines/runs/{run_name}?project={project}"
    url = os.environ.get("KFP_UI_URL", "").rstrip("/")
    return f"{url}/#/runs/details/{run_id}" if url and run_id else ""


def _artifact(uri: str) -> dict[str, str]:
    run = run_of(uri)
    page = page_of(run.get("run_id", ""), run.get("run_name", ""))
    return {"uri": uri, **run, **({"page": page} if page else {})}


def _other_run(artifact: Mapping[str, str], origin: Origin) -> str:
    """The run that made an artifact, in words; "" if it is not known, or is the run of the origin."""
    keys = [key for key in ("run_id", "run_name", "folder") if artifact.get(key)]
    if not keys or any(artifact[key] == getattr(origin, key) for key in keys):
        return ""
    page = f", {artifact['page']}" if artifact.get("page") else ""
    return f"run {artifact[keys[0]]}{page}"


def _named(identity: str, name: str) -> str:
    return f"{identity} ({name})" if identity and name else identity or name


def _namespace() -> str:
    """The namespace of the pod: from its service account, or where it has none from the trace of Argo."""
    try:
        return _NAMESPACE.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        found = re.search(r"(?:^|,)workflow=([^/,]+)/", os.environ.get("TRACESTATE", ""))
        return found[1] if found else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return ""
