"""A TrainJob as a job that is started once: made, found again by its name, looked at, deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.labels import JOB_LABEL
from kfp_bert_components.jobs.remote_jobs import JobClient, RemoteJob, patiently
from kfp_bert_components.kubernetes_api import Cluster, ForbiddenError
from kfp_bert_components.progress import say
from kfp_bert_components.trainjob.objects import API, job_name, waiting_pod
from kfp_bert_components.trainjob.pods import Pods
from kfp_bert_components.trainjob.runtime import RIGHTS

Answer = TypeVar("Answer")
_GONE_SECONDS = 120.0  # for pods to end: they may take 30 s after SIGTERM


class TrainJobs(JobClient):
    """The TrainJob of a key; there is one at most, as its name is made of the key.

    So it is found without the right to list jobs, and its name is known before it is made.

    Args:
        cluster: The namespace.
        key: The key.
        max_hours: Longest time that it may run, for messages.
        pods: Its pods.
    """

    def __init__(self, cluster: Cluster, key: str, max_hours: float, pods: Pods) -> None:
        self._cluster, self._key, self._max_hours, self._pods = cluster, key, max_hours, pods
        self.name = job_name(key)
        self._all = f"/apis/{API}/namespaces/{cluster.namespace}/trainjobs"
        self._path = f"{self._all}/{self.name}"
        self._uid = ""
        self._owners: list[dict[str, Any]] = []

    def find(self) -> list[RemoteJob]:
        found = self._patiently(self._read)
        return [self._seen(found)] if found else []

    def create(self, job: Any) -> str:
        try:
            self._note(self._cluster.create(self._all, job))
        except ForbiddenError as error:
            raise _without_rights(error) from None
        return self.name

    def get(self, name: str) -> RemoteJob:
        try:
            found = self._read()
        except ForbiddenError as error:
            raise _without_rights(error) from None
        if found is None:
            why = "somebody deleted it or the pod that had started it; run again to go on from its checkpoint"
            return RemoteJob(name, "deleted", over=True, why=why)
        return self._seen(found)

    def cancel(self, name: str) -> None:
        self._patiently(lambda: self._cluster.delete({"metadata": {"uid": self._uid}}, self._path))

    def remove(self) -> bool:
        """Delete what is left of an earlier job, and wait until its pods have ended: they write to the same folder.

        Returns:
            Whether there is no job now: one that another step has made meanwhile stays.

        Raises:
            UserError: The pods do not end.
        """
        until, deleted = time.monotonic() + _GONE_SECONDS, ""
        while (jobs := self.find()) or self._pods.names():
            if jobs and not (jobs[0].over or jobs[0].ending):
                return False
            if jobs and self._uid != deleted:
                self.cancel(self.name)
                deleted = self._uid
            if time.monotonic() > until:
                raise UserError(
                    f"The TrainJob {self.name} of an earlier try does not end: see `kubectl get trainjob,pods -n "
                    f"{self._cluster.namespace} -l jobset.sigs.k8s.io/jobset-name={self.name}`."
                )
            time.sleep(0.5)
        return True

    def own(self) -> None:
        """Make this step's pod an owner of the job, so that the job does not go with the pod of a step before."""
        owner, owners = waiting_pod(self._cluster.namespace), self._owners
        if owner is None or not owners or owner["uid"] in [one["uid"] for one in owners]:
            return
        metadata = {"name": self.name, "ownerReferences": [*owners, owner]}
        try:
            self._patiently(
                lambda: self._cluster.apply(self._path, {"apiVersion": API, "kind": "TrainJob", "metadata": metadata})
            )
        except UserError as error:
            say(f"The job would end if the pod that started it were deleted, as this step can't own it, too: {error}")

    def _read(self) -> dict[str, Any] | None:
        found = self._cluster.find(self._path)
        if found and found["metadata"].get("labels", {}).get(JOB_LABEL) != self._key:
            raise UserError(
                f"There is a TrainJob {self.name} in the namespace {self._cluster.namespace} that is not of this "
                "package: delete it, or give another job_staging, which makes another name."
            )
        if found:
            self._note(found)
        return found

    def _note(self, job: dict[str, Any]) -> None:
        self._uid = job["metadata"]["uid"]
        self._owners = list(job["metadata"].get("ownerReferences") or ())

    def _seen(self, job: dict[str, Any]) -> RemoteJob:
        """What the conditions say. The numbers in jobsStatus count no pods, flap on a restart, freeze at a deadline."""
        conditions = {
            one["type"]: one for one in job.get("status", {}).get("conditions") or () if one["status"] == "True"
        }
        if failed := conditions.get("Failed"):
            return RemoteJob(self.name, "failed", over=True, why=self._why(failed), detail=job)
        if "Complete" in conditions:
            return RemoteJob(self.name, "succeeded", over=True, succeeded=True, detail=job)
        if job["metadata"].get("deletionTimestamp"):
            return RemoteJob(self.name, "being deleted", ending=True, detail=job)
        return RemoteJob(self.name, "suspended" if "Suspended" in conditions else "active", detail=job)

    def _why(self, failed: dict[str, Any]) -> str:
        if failed.get("reason") == "DeadlineExceeded":
            said = self._pods.trouble or self._pods.waits
            waited = f"; before that, {said}" if said else ""
            return f"it ran, or waited for nodes, for more than job_max_hours ({self._max_hours:g}){waited}"
        said = failed.get("message") or failed.get("reason", "")
        self._pods.look()
        ended = self._pods.why()
        return f"{ended} ({said})" if ended else said

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        try:
            return patiently(call, "Kubernetes")
        except ForbiddenError as error:
            raise _without_rights(error) from None


def _without_rights(error: UserError) -> UserError:
    return UserError(f"{str(error).rstrip('.')}: {RIGHTS}.")
