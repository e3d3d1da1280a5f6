"""Whether a revision of an InferenceService in Knative mode serves, and gets its share of the requests: looked at.

The server that answers at its address tells what it has loaded. The status is a further witness: it names the newest
revision (`latestCreatedRevision`), the newest one that was ready (`latestReadyRevision`), the last one that had all
requests (`latestRolledoutRevision`), and the shares (`traffic`). docs/kserve.md says what rests on documents only.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.kserve.modes import KNATIVE, check_same, mode_of
from kfp_bert_components.kserve.objects import check_runs, has_spec, percent_of
from kfp_bert_components.kserve.paths import inference_service
from kfp_bert_components.kserve.witnesses import (
    SERVERS,
    STATUS,
    Seen,
    condition,
    is_wanted,
    pods_of,
    server_says,
)
from kfp_bert_components.kubernetes_api import Cluster

TAGS = "serving.kserve.io/enable-tag-routing"  # the annotation by which a revision has an address of its own
_REVISION = "serving.knative.dev/revision"  # the label of the pods
# Questions to the address of the InferenceService: the routers learn of new shares one by one.
_QUESTIONS = 10


def predictor_of(found: dict[str, Any] | None) -> dict[str, Any]:
    """What the status says of the predictor: its revisions, its traffic."""
    return dict((found or {}).get("status", {}).get("components", {}).get("predictor") or {})


def ready_revision(found: dict[str, Any] | None) -> str:
    """The newest revision that was ready; "" where none was."""
    return str(predictor_of(found).get("latestReadyRevision", ""))


def newest_revision(found: dict[str, Any] | None) -> str:
    """The newest revision, ready or not; "" where there is none."""
    return str(predictor_of(found).get("latestCreatedRevision", ""))


def share_of(predictor: dict[str, Any], revision: str) -> int:
    """The share of the requests, in percent, that the status gives a revision."""
    return sum(one.get("percent") or 0 for one in predictor.get("traffic") or () if one.get("revisionName") == revision)


def is_new(found: dict[str, Any] | None, wanted: dict[str, Any], before: str, pods: list[dict[str, Any]]) -> bool:
    """Whether the newest revision is ready and is of this InferenceService.

    Args:
        found: The InferenceService.
        wanted: As it was written.
        before: The newest revision before it was written, which a status of then names; "" for none.
        pods: The pods of the newest revision that is ready, as far as they are known.
    """
    revision = ready_revision(found)
    if revision in ("", before) or revision != newest_revision(found):
        return False
    return all(is_wanted(one, wanted) for one in pods)


def of_revision(pods: list[dict[str, Any]] | None, revision: str) -> list[dict[str, Any]]:
    """The pods of a revision."""
    return [one for one in pods or () if one["metadata"].get("labels", {}).get(_REVISION) == revision]


def tag_addresses(found: dict[str, Any], revision: str) -> list[str]:
    """The addresses of a revision by its tag: the one in the status, and the one inside the cluster.

    Knative makes a Service TAG-ROUTE in the namespace for each tag, and the one in the status may be for clients
    outside of the cluster only.
    """
    predictor = predictor_of(found)
    inside = urlsplit(predictor.get("address", {}).get("url", ""))
    addresses = []
    for one in predictor.get("traffic") or ():
        if one.get("revisionName") == revision and one.get("latestRevision") and one.get("tag"):
            addresses += [one["url"]] if one.get("url") else []
            addresses += [f"{inside.scheme}://{one['tag']}-{inside.netloc}"] if ".svc" in inside.netloc else []
    return list(dict.fromkeys(addresses))


class Revisions:
    """Looks at the revisions of the InferenceServices of a namespace.

    Args:
        cluster: The API.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def look(
        self,
        wanted: dict[str, Any],
        fingerprint: str,
        before: str = "",
        *,
        percent: int,
        rolled_out: str = "",
        brief: bool = False,
    ) -> Seen:
        """Look at the newest revision of one.

        Args:
            wanted: The InferenceService as it was written, whatever its `canaryTrafficPercent`.
            fingerprint: Of the bundle that its servers are to have loaded.
            before: As in `is_new`.
            percent: The share of the requests that it is to have. With less than 100 it is asked at the address of its
                tag, else at that of the InferenceService.
            rolled_out: The revision that is to have the rest; "" where there is none.
            brief: Whether the server is asked once, and believed to be right where it can't be reached: one call of the
                API, and one to the server.

        Raises:
            RolloutError: KServe gives the rest to another revision, or the InferenceService is stopped, or was made
                anew in another mode.
            TransientError, UserError: The API can't be asked.
        """
        name = wanted["metadata"]["name"]
        found = self._cluster.find(inference_service(self._cluster.namespace, name))
        if found is None or found["metadata"].get("deletionTimestamp"):
            return Seen(False, service=found)
        if not brief:
            check_same(name, mode_of(found), KNATIVE)
            check_runs(found)
        pods = None if brief else pods_of(self._cluster, name)
        revision, predictor = ready_revision(found), predictor_of(found)
        seen = Seen(False, (), revision, "", found, pods)
        if not has_spec(found, wanted) or percent_of(found) != percent:
            return seen
        if not is_new(found, wanted, before, of_revision(pods, revision)):
            return seen
        rest = predictor.get("latestRolledoutRevision", "")
        if percent < 100 and rolled_out and rest != rolled_out:
            raise RolloutError(f"KServe gives the requests to the revision {rest}, and {rolled_out} had them before")
        routed = condition(found["status"], "PredictorRouteReady").get("status", "True") == "True"
        if share_of(predictor, revision) < percent or not routed:
            return seen
        if percent < 100:
            urls, questions = tag_addresses(found, revision), 1
        else:
            urls, questions = [found["status"].get("address", {}).get("url", "")], 1 if brief else _QUESTIONS
        return self._asked(seen, name, fingerprint, list(filter(None, urls)), questions, brief)

    def _asked(self, seen: Seen, name: str, fingerprint: str, urls: list[str], questions: int, brief: bool) -> Seen:
        """What was seen, with what the server says; the first address that answers counts."""
        for url in urls:
            answers = [server_says(self._cluster, url, name, fingerprint)]
            if answers[0] is None:
                continue
            answers += [server_says(self._cluster, url, name, fingerprint) for _ in range(questions - 1)]
            if all(answers):
                return Seen(True, (SERVERS, STATUS), seen.revision, url, seen.service, seen.pods)
            doubt = f"the revision {seen.revision} is ready, and not every answer at {url} is its version's"
            return Seen(False, (), seen.revision, url, seen.service, seen.pods, doubt)
        if brief:
            return Seen(True, (STATUS,), seen.revision, "", seen.service, seen.pods)
        where = " or ".join(urls) or f"an address of its own, which the annotation {TAGS} gives it"
        doubt = f"the revision {seen.revision} is ready, and does not answer at {where}"
        return Seen(False, (), seen.revision, "", seen.service, seen.pods, doubt)
