"""What a place that serves models must do to be rolled out to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kfp_bert_components.errors import UserError

if TYPE_CHECKING:
    from kfp_bert_components.deployment.journal import Journal


class RolloutError(UserError):
    """The new version was not rolled out. What served before serves as before."""


class ForeignOwnerError(RolloutError):
    """The place belongs to others. Nothing was changed there."""


class Target(ABC):
    """A place that can serve a model. Derive a class from this one; `DirectoryTarget` is an example.

    `roll_out` calls the methods in this order: prepare, introduce, test, shift, finish. If one of the first four
    raises, it calls `revert` instead of the rest. The state is written to the deployment record before each of them.
    After finish it asks `serves` before the record says that the version is live.

    Every method but `is_live`, `serves` and `what_serves`, which only look, must keep five promises:

    1. It can be called again. A run can be killed at any line, and the next run calls the method from its start. So
       look at what is there first, and do only what is missing.
    2. What a later call needs (a name, an identifier, the traffic before) is written with `journal.note(name=value)`,
       and read from `journal.facts`: the later call may be made by another process. It is written BEFORE it is created
       or changed, unless a later call can find it at the place itself. Facts are plain JSON values. What later rollouts
       must know as well is written with `journal.remember(name=value)`, and read from `journal.memory`.
    3. `journal.check()` is called before each call that changes something, and at least every few seconds while
       waiting. It raises LeaseLostError when the lease is over; let that error pass. One call to the place takes at
       most `journal.call_seconds`, and uses the place's own condition (a generation, an etag) where there is one.
    4. It raises TransientError if the same call may succeed later: the method is then called again, four times in all.
       Any other error is taken as final.
    5. It leaves alone what is not ours: `journal.memory`, or a mark at the place, says what is.

    `journal.version` is the registry's version to serve. `journal.facts` are the facts of this rollout, and
    `journal.live["facts"]` those of the last one that ended live (`journal.live` is {} before that).

    Attributes:
        words: What is printed when a state begins, by state; the state itself where it is absent, nothing for "".
    """

    words: ClassVar[Mapping[str, str]] = {}

    def place(self) -> dict[str, str]:
        """The full identity of the place: another one is another deployment. Plain texts, the kind first.

        It is the same however the settings name the place; calls that only read may be needed for that. {}, the
        default, is for a target whose name alone says which place it is.
        """
        return {}

    def is_named_by(self, facts: Mapping[str, Any]) -> bool:
        """Whether facts that a rollout noted under another identity are about this place all the same."""
        return False

    @abstractmethod
    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the registry's `version` gets all requests now, at the place that the settings mean.

        It looks at the place itself and changes nothing. It may be asked about a rollout of long ago.

        Args:
            version: The registry's version.
            facts: The facts of the rollout that ended live.
        """

    def serves(self, version: int, facts: dict[str, Any]) -> bool:
        """Like `is_live`, but as the rollout with these facts left the version, whatever the settings are now.

        It is asked before a record says that a version is live, or is not any more.
        """
        return self.is_live(version, facts)

    def what_serves(self, journal: Journal) -> dict[str, Any]:
        """What gets all requests at the place now, whatever the settings ask for; asked after a rollout that failed.

        If this can't be found out, raise UserError or TransientError. It changes nothing.

        Returns:
            `journal.live` if this version still serves, or another version of this registry that serves, in the same
            form. {} if no version of this registry serves, or will serve by itself. The files of versions that are not
            named here may be removed. The default asks `serves`.
        """
        live = journal.live
        return dict(live) if live and self.serves(live["version"], live["facts"]) else {}

    def admit(self, journal: Journal) -> None:
        """Raise ForeignOwnerError if the place belongs to others, RolloutError if anything else is in the way.

        It changes nothing.
        """
        return

    @abstractmethod
    def prepare(self, journal: Journal) -> None:
        """Put the version where it can be loaded. It must not get a request yet."""

    @abstractmethod
    def introduce(self, journal: Journal) -> None:
        """Let the version get its first share of the requests. What serves now must stay ready to serve."""

    @abstractmethod
    def test(self, journal: Journal) -> None:
        """Send the version requests, with `smoke_test`; RolloutError if it answers wrongly or too slowly."""

    @abstractmethod
    def shift(self, journal: Journal) -> None:
        """Let the version get all requests. What served before must stay ready to serve."""

    @abstractmethod
    def finish(self, journal: Journal) -> None:
        """Delete what is not needed any more. An error is not followed by `revert`: the next run calls this again."""

    @abstractmethod
    def revert(self, journal: Journal) -> None:
        """Send all requests to what served before, then remove the version.

        It is called after an error of any method before `finish`, also of `prepare`, so facts may be missing.
        """
