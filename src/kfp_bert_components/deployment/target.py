"""What a place that serves models must do to be rolled out to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from kfp_bert_components.errors import UserError

if TYPE_CHECKING:
    from kfp_bert_components.deployment.journal import Journal


class RolloutError(UserError):
    """The new version was not rolled out. What served before serves as before."""


class Target(Protocol):
    """A place that can serve a model. `roll_out` calls the methods; `DirectoryTarget` is an example.

    The methods are called in this order: prepare, introduce, test, shift, finish. If one of the first four raises,
    `revert` is called instead of the rest. The state is written to the deployment record after each of them.

    Every method but `is_live` must keep four promises:

    1. It can be called again. A run can be killed at any line, and the next run calls the method from its start. So
       look at what is there first, and do only what is missing.
    2. What a later call needs (a name, an identifier, the traffic before) is written with `journal.note(name=value)`
       BEFORE it is created or changed, and read from `journal.facts`. Keep nothing of it on `self`: the next method
       may be called by another process. Facts are plain JSON values.
    3. `journal.check()` is called before each call that changes something, and at least every few seconds while
       waiting. It raises LeaseLostError when another run has taken over; let that error pass.
    4. Errors say what to do next: TransientError (the method is tried again, four times in all), any other error (the
       rollout goes to `revert`).

    `journal.version` is the registry's version to serve. `journal.facts` are the facts of this rollout, and
    `journal.live["facts"]` those of the last one that ended live (`journal.live` is {} before that).
    """

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the registry's `version` gets all requests now, at the place that the settings mean.

        It looks at the place itself and changes nothing. It may be asked about a rollout of long ago.

        Args:
            version: The registry's version.
            facts: The facts of the rollout that ended live.
        """

    def prepare(self, journal: Journal) -> None:
        """Put the version where it can be loaded. It must not get a request yet."""

    def introduce(self, journal: Journal) -> None:
        """Let the version get its first share of the requests. What serves now must stay ready to serve."""

    def test(self, journal: Journal) -> None:
        """Send the version requests, with `smoke_test`; RolloutError if it answers wrongly or too slowly."""

    def shift(self, journal: Journal) -> None:
        """Let the version get all requests. What served before must stay ready to serve."""

    def finish(self, journal: Journal) -> None:
        """Delete what is not needed any more. An error is not followed by `revert`: the next run calls this again."""

    def revert(self, journal: Journal) -> None:
        """Send all requests to what served before, then remove the version.

        It is called after an error of any method before `finish`, also of `prepare`, so facts may be missing.
        """
