"""KServe's mode Knative: each version is a revision, and the requests are shared between two of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment import LeaseLostError, RolloutError
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.kserve.checks import is_there
from kfp_bert_components.kserve.modes import KNATIVE, Mode
from kfp_bert_components.kserve.objects import has_spec, kept, percent_of, with_percent
from kfp_bert_components.kserve.reasons import failure_of
from kfp_bert_components.kserve.revisions import (
    TAGS,
    Revisions,
    is_new,
    newest_revision,
    of_revision,
    predictor_of,
    ready_revision,
    share_of,
    tag_addresses,
)
from kfp_bert_components.kserve.services import Services
from kfp_bert_components.kserve.witnesses import Seen, pods_of, server_says

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Journal

_API = "/apis/serving.knative.dev/v1"
_STEPS = (10, 50, 100)


class Knative(Mode):
    """A version is written into the InferenceService at `canaryTrafficPercent: 0`, which makes a revision of it.

    The revision is asked at the address of its tag. Then its share of the requests grows in steps, and the field is
    removed. The way back begins with 0, as the old revision still has its pods. Where an InferenceService is new, its
    first revision has all requests from the start.

    Two things are never done. The field is not removed, or raised above 0, while another revision than the wanted one
    is the newest that is ready: that one would get the requests. And a version that has all requests does not get less,
    unless the rollout is taken back: KServe would give the rest to the revision before.

    Facts: `rolled_out`, the revision that had all requests before; `revision`, the newest one before the version was
    written; and `served`, its revision.
    """

    name = KNATIVE

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._revisions = Revisions(services.cluster)

    def admit(self, found: dict[str, Any] | None, *, begun: bool = False) -> None:
        """RolloutError where the cluster has no Knative, or somebody else moves the requests."""
        if not is_there(self.services.cluster, _API):
            raise RolloutError(
                f"{self.services.name} would be in KServe's mode {KNATIVE}, and the cluster has no Knative Serving: "
                "install it, or ask for Standard in annotations, with a name that is new."
            )
        if found and not begun and 0 < percent_of(found) < 100:
            raise RolloutError(
                f"The InferenceService {self.services.name} has canaryTrafficPercent: {percent_of(found)}, so somebody "
                "moves its requests from one revision to another: remove the field, or set it to 0."
            )

    def wanted(self, version: int) -> dict[str, Any]:
        """With the tags, and without `canaryTrafficPercent`."""
        made = self.services.main(version)
        annotations = {**made["metadata"].get("annotations", {}), TAGS: "true"}
        return {**made, "metadata": {**made["metadata"], "annotations": annotations}}

    def plan(self, version: int) -> str:
        """The steps."""
        steps = ", ".join(str(one) for one in self._steps())
        return (
            f"would test version {version} in a revision that gets no requests, give it {steps} % of them, and so "
            "change this:"
        )

    def facts(self, found: dict[str, Any] | None, version: int) -> dict[str, Any]:
        """The revision that has the requests, for where nothing needs to be written."""
        return {"rolled_out": predictor_of(found).get("latestRolledoutRevision", "")}

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the status and the server at the address say so."""
        wanted = self.wanted(version)
        return self._revisions.look(wanted, facts["fingerprint"], percent=100, brief=True).serves

    def prepare(self, journal: Journal) -> None:
        """Remove a second InferenceService, as there is of a rollout in another mode."""
        self.services.remove(journal, self.services.next)

    def introduce(self, journal: Journal) -> None:
        """Make a revision of the version that gets no requests, and wait until it serves."""
        self._start(journal)

    def test(self, journal: Journal) -> None:
        """Ask the revision; a run that could not write its record may have taken it back."""
        seen = self._start(journal)
        self.services.ask(journal, seen.url, replace(self.services.smoke, bake_seconds=0.0))

    def _start(self, journal: Journal) -> Seen:
        services = self.services
        found = services.wait_until_gone(journal, services.name)
        share = self._share(found, journal.version)
        if share is None:
            # Noted here, as a run that could not write its record may have taken the version back.
            rolled_out = predictor_of(found).get("latestRolledoutRevision", "")
            journal.note(revision=newest_revision(found), rolled_out=rolled_out)
            share = 100 if journal.facts["before"] is None else 0
            services.apply(journal, with_percent(self.wanted(journal.version), share), found)
        return self._wait(journal, share)

    def shift(self, journal: Journal) -> None:
        """Raise the share of the revision in steps, ask it again, give it all requests, and ask it where these go.

        It is asked for `bake_seconds` before it has all: until then the old revision keeps its pods.
        """
        services, version = self.services, journal.version
        share = self._share(services.find(services.name), version)
        if share is None:
            self.test(journal)
            share = self._share(services.find(services.name), version) or 0
        smoke = services.smoke
        for percent in self._steps():
            if percent <= share:
                continue
            if percent == 100 and smoke.bake_seconds:
                services.ask(journal, self._wait(journal, share).url, smoke)
                smoke = replace(smoke, bake_seconds=0.0)
            services.write(journal, with_percent(self.wanted(version), percent))
            self._wait(journal, percent)
            share = percent
            services.report(f"version {version} gets {percent} % of the requests")
            services.pause(journal, services.settings.step_seconds if percent < 100 else 0.0)
        seen = self._wait(journal, 100)
        services.ask(journal, seen.url, smoke)
        journal.note(served=seen.revision, url=seen.url, witnesses=list(seen.witnesses))

    def finish(self, journal: Journal) -> None:
        """Remove `canaryTrafficPercent`, which is 100 and means the same."""
        found = self.services.find(self.services.name)
        if found and self._share(found, journal.version) == 100 and with_percent(found, None) != found:
            self.services.apply(journal, self.wanted(journal.version), found)

    def revert(self, journal: Journal) -> None:
        """Give the requests back to the revision that had them, then write what was there, readable or not."""
        services, before = self.services, journal.facts["before"]
        if before is None:
            services.remove(journal, services.name)
            return
        try:
            self._write_back(journal, before)
        except LeaseLostError:
            raise
        except (TransientError, UserError):
            # The first step of the way back, which is right whatever is there, where the version may be.
            services.force(with_percent(self.wanted(journal.version), 0) if "revision" in journal.facts else before)
            self._write_back(journal, before)

    def _write_back(self, journal: Journal, before: dict[str, Any]) -> None:
        services = self.services
        self._take_requests(journal, before)
        found = services.wait_until_gone(journal, services.name)
        if found and kept(found) == before:
            return
        newest = ""
        if found is None or not has_spec(found, with_percent(before, None)):
            newest = newest_revision(found)
            services.apply(journal, with_percent(before, 0), found)
        if percent_of(before) == 0:
            return
        try:
            look = partial(self._look_at_old, journal, before, newest)
            seen = services.wait(journal, before, look, failure=failure_of(found))
        except RolloutError as error:
            services.report(f"{services.name} keeps canaryTrafficPercent: 0; the revision from before serves: {error}")
            return
        services.apply(journal, before, seen.service)

    def _take_requests(self, journal: Journal, before: dict[str, Any]) -> None:
        """Let a revision that had no requests before get none, and wait until the old one has them."""
        services, old = self.services, journal.facts["rolled_out"]
        found = services.find(services.name)
        if found is None or not percent_of(found):
            return
        if has_spec(found, with_percent(before, None)) and percent_of(before) > 0:
            return
        services.apply(journal, with_percent(kept(found), 0), found)
        if old:
            try:
                services.wait(journal, found, partial(self._look_at_requests, old), failure=failure_of(found))
            except RolloutError as error:
                services.report(str(error))

    def _look_at_requests(self, old: str) -> Seen:
        found = self.services.find(self.services.name)
        return Seen(share_of(predictor_of(found), old) == 100, service=found)

    def _look_at_old(self, journal: Journal, before: dict[str, Any], newest: str) -> Seen:
        """Whether the newest revision is the old version's again, and ready.

        Where the revision before it is not known, as in another run, its pods or its server must say that it is.
        """
        services = self.services
        found = services.find(services.name)
        pods, revision = pods_of(services.cluster, services.name), ready_revision(found)
        own = of_revision(pods, revision)
        is_old = is_new(found, before, newest, own)
        if is_old and found and not newest and not own:
            says = [
                server_says(services.cluster, url, services.name, journal.facts["fingerprint"])
                for url in tag_addresses(found, revision)
            ]
            is_old = False in says
        return Seen(is_old, service=found, pods=pods)

    def _steps(self) -> tuple[int, ...]:
        return self.services.settings.traffic_steps or _STEPS

    def _share(self, found: dict[str, Any] | None, version: int) -> int | None:
        """The share of the requests that a version is to get as it is written; None where it is not written."""
        return percent_of(found) if found and has_spec(found, self.wanted(version)) else None

    def _wait(self, journal: Journal, percent: int) -> Seen:
        """Wait until the revision of the version serves, and has its share of the requests."""
        facts, wanted = journal.facts, self.wanted(journal.version)
        look = partial(
            self._revisions.look,
            wanted,
            facts["fingerprint"],
            facts.get("revision", ""),
            percent=percent,
            rolled_out=facts["rolled_out"],
        )
        return self.services.wait(journal, wanted, look, failure=facts["failure"])
