"""The pods of a TrainJob: the log of its first worker, how its workers ended, and why they do not start."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kfp_bert_components.errors import NotFoundError, TransientError, UserError
from kfp_bert_components.kubernetes_api import Cluster
from kfp_bert_components.progress import say
from kfp_bert_components.trainjob.objects import NODE

_JOBSET, _NUMBER = "jobset.sigs.k8s.io/jobset-name", "batch.kubernetes.io/job-completion-index"
_ATTEMPT = "jobset.sigs.k8s.io/restart-attempt"
# A container that waits for one of these still starts.
_STARTING = ("ContainerCreating", "PodInitializing")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)  # RFC 3339
_LONGEST = 600  # letters of a reason


@dataclass(frozen=True)
class _End:
    """How a worker ended: in which attempt, when, whether its pod was deleted, and in words."""

    attempt: int
    moment: str
    deleted: bool
    text: str


class Pods:
    """What its pods tell of a job, as far as this account may see them; where it may not, one line says so.

    Args:
        cluster: The namespace.
        job: Name of the TrainJob.
        workers: How many pods it is to have.

    Attributes:
        trouble: Why pods do not start, "" while they do.
        waits: What the cluster says of the job while not all of its workers run, and no pod says why; "" before that.
    """

    def __init__(self, cluster: Cluster, job: str, workers: int = 1) -> None:
        self._cluster, self._job, self._workers = cluster, job, workers
        self._path = f"/api/v1/namespaces/{cluster.namespace}/pods"
        self.trouble, self._since, self._attempt = "", 0.0, 0
        self.waits, self._all_ran = "", time.monotonic()
        self._ends: dict[str, _End] = {}  # by the pod's uid
        self._printed: dict[str, str] = {}  # the time of the last line that was printed, by the pod's uid
        self._read_out: set[str] = set()  # pods that have ended, whose logs were printed to the end
        self._said: set[str] = set()

    def names(self) -> list[str]:
        """The names of the pods; none where they can't be seen."""
        return [pod["metadata"]["name"] for pod in self._list() or ()]

    def look(self) -> bool | None:
        """Print what is new; whether there are pods, None where they can't be seen."""
        pods = self._list()
        if pods is None:
            return None
        attempt = max((_attempt(pod) for pod in pods), default=0)
        if attempt > self._attempt:
            self._attempt = attempt
            say(f"All workers are started again (attempt {attempt + 1}).")
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp"))):
            self._note_end(pod)
            if _number(pod) == 0 and _container(pod).keys() & {"running", "terminated"}:
                self._print_log(pod)
        self._note_trouble(pods)
        if len(pods) >= self._workers and all(_container(pod).keys() & {"running", "terminated"} for pod in pods):
            self.waits, self._all_ran = "", time.monotonic()
        return bool(pods)

    def stuck(self, seconds: float) -> str:
        """Why pods can't start, where that does not heal by itself and they have not for so long; else ""."""
        heals = not self.trouble or (self.trouble.startswith("no node") and "not found" not in self.trouble)
        return "" if heals or time.monotonic() - self._since < seconds else self.trouble

    def tell_waits(self, seconds: float) -> None:
        """Print what the cluster says of workers that have not started for so long, where no pod says why."""
        if self.trouble or time.monotonic() - self._all_ran < seconds:
            return
        self._all_ran += seconds  # it is asked again after as long
        self.waits = self._warning()
        self._say_once(f"Not all workers have started yet: {self.waits.rstrip('.')}.")

    def _warning(self) -> str:
        """The last warning about the job, its Jobs and its pods."""
        try:
            found = self._cluster.get(self._path.removesuffix("pods") + "events", fieldSelector="type=Warning")["items"]
        except (TransientError, UserError):
            return "the events of the job and its pods may say why, and can't be read here"
        told = [one for one in found if f"{one['involvedObject'].get('name')}-".startswith(f"{self._job}-")]
        if not told:
            return "no event of the job and its pods says why"
        last = max(told, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
        return f"{last.get('reason')}: {last.get('message', '')}"[:_LONGEST]

    def why(self) -> str:
        """How the first worker that ended badly in the last attempt did, "" where that is not known."""
        known = [one for one in self._ends.values() if one.attempt == self._attempt]
        return min(known, key=lambda one: (one.deleted, one.moment)).text if known else ""

    def events(self) -> str:
        """What the cluster has said of the job itself, where this account may read that."""
        path = self._path.removesuffix("pods") + "events"
        try:
            found = self._cluster.get(path, fieldSelector=f"involvedObject.name={self._job}")["items"]
        except (TransientError, UserError):
            return "its events may say why, and can't be read here"
        return found[-1].get("message", "")[:_LONGEST] if found else "is the controller of Kubeflow Trainer running?"

    def _list(self) -> list[dict[str, Any]] | None:
        try:
            found: list[dict[str, Any]] = self._cluster.get(self._path, labelSelector=f"{_JOBSET}={self._job}")["items"]
        except TransientError:
            return None
        except UserError as error:
            self._say_once(f"The job's pods can't be seen, so there is no log here: {error}")
            return None
        return found

    def _note_end(self, pod: dict[str, Any]) -> None:
        metadata, ended = pod["metadata"], _container(pod).get("terminated") or {}
        if metadata["uid"] in self._ends:
            return
        worker = f"worker {_number(pod)}"
        if metadata.get("deletionTimestamp"):  # the others end with one that fails
            text = f"the pod of {worker} was deleted, by somebody or with its node"
            self._ends[metadata["uid"]] = _End(_attempt(pod), _deleted_at(metadata), True, text)
        elif ended.get("exitCode") or pod.get("status", {}).get("reason"):
            status = pod["status"]
            kind = status.get("reason") or ended.get("reason") or "Error"
            code = f"exit code {ended['exitCode']}" if ended else "its pod"
            how = code if kind == "Error" else f"{code} ({kind})"
            said = status.get("message") or ended.get("message") or self._last_words(pod)
            text = f"{worker} ended with {how}: {said}"[:_LONGEST]
            self._ends[metadata["uid"]] = _End(_attempt(pod), str(ended.get("finishedAt") or ""), False, text)
            say(f"{text[0].upper()}{text[1:].rstrip('.')}.")

    def _last_words(self, pod: dict[str, Any]) -> str:
        lines = self._log(pod, tailLines="5") or ""
        return " / ".join([line.strip() for line in lines.splitlines() if line.strip()][-2:]) or "its log is empty"

    def _print_log(self, pod: dict[str, Any]) -> None:
        """Print the lines since the last one that was printed: by their times, of which the API takes whole seconds."""
        uid, ended = pod["metadata"]["uid"], "terminated" in _container(pod)
        if uid in self._read_out:
            return
        last = self._printed.get(uid, "")
        since = {"sinceTime": last[:19] + last[29:]} if last else {}
        text = self._log(pod, timestamps="true", **since)
        for line in (text or "").split("\n"):  # a line may have other characters at which splitlines() would split it
            moment, _, words = line.partition(" ")
            if _MOMENT.fullmatch(moment) and moment > last:
                self._printed[uid] = moment
                say(words)
        if ended and text is not None:
            self._read_out.add(uid)

    def _log(self, pod: dict[str, Any], **query: str) -> str | None:
        try:
            return self._cluster.text(f"{self._path}/{pod['metadata']['name']}/log", container=NODE, **query)
        except (TransientError, NotFoundError):  # a pod may be gone meanwhile
            return None
        except UserError as error:
            self._say_once(f"The job's log can't be read: {error}")
            return None

    def _note_trouble(self, pods: list[dict[str, Any]]) -> None:
        trouble = next(filter(None, map(_trouble, pods)), "")
        # An image that can't be pulled changes between two reasons; what is said of it is the first.
        if trouble.partition(":")[0] != self.trouble.partition(":")[0]:
            self._since = time.monotonic()
            if trouble:
                self._say_once(f"Not all workers can start: {trouble.rstrip('.')}.")
        self.trouble = trouble

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            say(line)


def _trouble(pod: dict[str, Any]) -> str:
    """Why a pod does not start, "" where it does."""
    status = pod.get("status", {})
    if status.get("phase") != "Pending" or pod["metadata"].get("deletionTimestamp"):
        return ""
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"no node takes worker {_number(pod)}: {scheduled.get('message') or scheduled.get('reason')}"[:_LONGEST]
    waiting = _container(pod).get("waiting") or {}
    if waiting and waiting.get("reason") not in _STARTING:
        said = f"{waiting.get('reason')}: {waiting.get('message') or 'no message'}"
        return f"worker {_number(pod)} can't start: {said}"[:_LONGEST]
    return ""


def _container(pod: dict[str, Any]) -> dict[str, Any]:
    """The state of the container that trains."""
    for one in pod.get("status", {}).get("containerStatuses") or ():
        if one["name"] == NODE:
            return dict(one.get("state") or {})
    return {}


def _number(pod: dict[str, Any]) -> int:
    return int(pod["metadata"].get("labels", {}).get(_NUMBER, 0))


def _attempt(pod: dict[str, Any]) -> int:
    return int(pod["metadata"].get("labels", {}).get(_ATTEMPT, 0))


def _deleted_at(metadata: dict[str, Any]) -> str:
    """When a pod was asked to end: its deletionTimestamp is when it will be killed."""
    end = datetime.fromisoformat(metadata["deletionTimestamp"]).timestamp()
    return f"{end - (metadata.get('deletionGracePeriodSeconds') or 0):020.3f}"
