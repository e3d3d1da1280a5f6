"""KServe's mode Knative: each version is a revision, and the requests are shared between two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.deployment.states import FINISHING
from kfp_bert_components.kserve.before import refuse_changed, written
from kfp_bert_components.kserve.checks import is_there
from kfp_bert_components.kserve.merging import touched
from kfp_bert_components.kserve.modes import KNATIVE, Mode
from kfp_bert_components.kserve.objects import check_runs, has_spec, is_version, kept, percent_of, with_percent
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


class Knative(Mode):
    """A version is written into the InferenceService at `canaryTrafficPercent: 0`, which makes a revision of it.

    The revision is asked at the address of its tag. Then its share of the requests grows in steps, and the field is
    removed. The way back begins with 0, as the old revision still has its pods. Where an InferenceService is new, its
    first revision has all requests from the start.

    Two things are never done. The field is not removed, or raised above 0, while another revision than the wanted one
    is the newest that is ready: that one would get the requests. And a version that has all requests does not get less,
    unless the rollout is taken back: KServe would give the rest to the revision before.

    Before each step it is looked whether the InferenceService is as the step before left it. Where somebody changed it,
    the rollout is taken back.

    Facts: `rolled_out`, the revision that had all requests before; `revision`, the newest one before the version was
    written; `tested`, its revision that passed the test; `shares`, the percentages that the rollout gave it last; and
    `served`, its revision.
    """

    name = of_kserve = KNATIVE

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
        steps = ", ".join(str(one) for one in self.steps())
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

    def serves(self, version: int, facts: dict[str, Any]) -> bool:
        """As `is_live`, with whatever settings the version was written."""
        found = self.services.find(self.services.name)
        if not found or not is_version(found, version, facts["fingerprint"]):
            return False
        return self._revisions.look(kept(found), facts["fingerprint"], percent=100, brief=True).serves

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
        journal.note(tested=seen.revision)

    def _start(self, journal: Journal) -> Seen:
        services = self.services
        found = services.wait_until_gone(journal, services.name)
        share = self._share(found, journal.version)
        if share is None:
            share = 100 if journal.facts["before"] is None else 0
            # Noted here, as a run that could not write its record may have taken the version back.
            facts = {"revision": newest_revision(found), "tested": "", "shares": [share]}
            facts["rolled_out"] = predictor_of(found).get("latestRolledoutRevision", "")
            self.before.write(journal, found, self.wanted(journal.version), share, **facts)
        elif "shares" in journal.facts:
            self._check_untouched(journal, found, journal.facts["shares"])
        else:
            journal.note(shares=[share])
        return self._wait(journal, share)

    def shift(self, journal: Journal) -> None:
        """Raise the share of the revision in steps, give it all requests, and ask it where these go."""
        services, version = self.services, journal.version
        found = services.find(services.name)
        if self._share(found, version) is None:
            self.test(journal)
            found = services.find(services.name)
        self._check_untouched(journal, found, journal.facts.get("shares"))
        share = self._share(found, version) or 0
        smoke = self.raise_share(journal, share, partial(self._give, journal), partial(self._wait, journal))
        seen = self._wait(journal, 100)
        services.ask(journal, seen.url, smoke)
        journal.note(served=seen.revision, url=seen.url, witnesses=list(seen.witnesses))

    def _give(self, journal: Journal, share: int, percent: int) -> bool:
        """Give the revision that was tested a larger share of the requests, where nobody changed anything since."""
        self.services.look_again(journal, partial(self._write_share, journal, share, percent))
        self._wait(journal, percent)
        return True

    def _write_share(self, journal: Journal, share: int, percent: int) -> None:
        found = self.services.find(self.services.name)
        self._check_untouched(journal, found, [share])
        wanted = self.wanted(journal.version)
        journal.note(shares=[share, percent], wrote=[wanted])
        self.services.apply(journal, with_percent(wanted, percent), found)

    def _check_untouched(self, journal: Journal, found: dict[str, Any] | None, shares: list[int] | None) -> None:
        """RolloutError where the InferenceService is not as the rollout left it, with one of these shares."""
        name, facts, wanted = self.services.name, journal.facts, self.wanted(journal.version)
        if found is None or found["metadata"].get("deletionTimestamp"):
            raise RolloutError(f"somebody deleted the InferenceService {name} during the rollout: run again")
        check_runs(found)
        if not has_spec(found, wanted):
            refuse_changed(name, touched(None, found["spec"], [wanted["spec"]], "spec"))
        if shares and percent_of(found) not in shares:
            raise RolloutError(
                f"somebody set canaryTrafficPercent of the InferenceService {name} to {percent_of(found)} during the "
                f"rollout, which had given version {journal.version} {shares[-1]} %: run again to give it the requests"
            )
        newest, tested = newest_revision(found), facts.get("tested")
        if facts.get("wrote") and tested and newest != tested:
            raise RolloutError(
                f"the newest revision of the InferenceService {name} is {newest}, and {tested} was tested: somebody "
                "changed its labels or annotations during the rollout. Run again to test it"
            )

    def finish(self, journal: Journal) -> None:
        """Remove `canaryTrafficPercent`, which is 100 and means the same, and what only the rollout needed."""
        self.services.look_again(journal, partial(self._remove_percent, journal))
        self.before.forget(journal)

    def _remove_percent(self, journal: Journal) -> None:
        found, version = self.services.find(self.services.name), journal.version
        if not found or not is_version(found, version, journal.facts["fingerprint"]):
            return
        if percent_of(found) == 100 and with_percent(found, None) != found:
            # Other settings than those of the run that wrote it are for the next rollout.
            whole = self.wanted(version) if has_spec(found, self.wanted(version)) else kept(found)
            self.services.apply(journal, with_percent(whole, None), found)

    def after(self, journal: Journal, found: dict[str, Any] | None) -> dict[str, Any] | None:
        """As it is, without the share where that is removed."""
        if found and journal.state == FINISHING and percent_of(found) == 100:
            return with_percent(found, None)
        return super().after(journal, found)

    def write_back(self, journal: Journal) -> None:
        """Give the requests back to the revision that had them, then write the old fields."""
        services, facts = self.services, journal.facts
        if not services.can_read():  # the first step of the way back, which is right whatever is there
            known = written(journal) or [self.wanted(journal.version)]
            services.force(with_percent(known[-1], 0), facts.get("uid", ""))
        self._write_old(journal, self.before.full(journal))

    def _write_old(self, journal: Journal, before: dict[str, Any]) -> None:
        services = self.services
        self._take_requests(journal, before)
        found = services.wait_until_gone(journal, services.name)
        old = self.before.back(journal, found)
        if found and kept(found) == old:
            return
        newest = ""
        if found is None or not has_spec(found, with_percent(old, None)):
            newest = newest_revision(found)
            services.apply(journal, with_percent(old, 0), found)
        if percent_of(before) == 0:
            return
        keeps = f"{services.name} keeps canaryTrafficPercent: 0; the revision from before serves"
        if old["spec"] != before["spec"]:
            services.report(f"{keeps}: look at what somebody changed meanwhile, and remove the field")
            return
        try:
            look = partial(self._look_at_old, journal, old, newest)
            seen = services.wait(journal, old, look, failure=failure_of(found))
        except RolloutError as error:
            services.report(f"{keeps}: {error}")
            return
        services.apply(journal, old, seen.service)

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
        if found:
            check_runs(found)
        return Seen(share_of(predictor_of(found), old) == 100, service=found)

    def _look_at_old(self, journal: Journal, before: dict[str, Any], newest: str) -> Seen:
        """Whether the newest revision is the old version's again, and ready.

        Where the revision before it is not known, as in another run, its pods or its server must say that it is.
        """
        services = self.services
        found = services.find(services.name)
        if found:
            check_runs(found)
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
        return self.services.wait(
            journal, wanted, partial(self._look, journal, look, percent), failure=facts["failure"]
        )

    def _look(self, journal: Journal, look: Callable[[], Seen], percent: int) -> Seen:
        seen = look()
        if seen.service:
            self._check_untouched(journal, seen.service, [percent])
        return seen
