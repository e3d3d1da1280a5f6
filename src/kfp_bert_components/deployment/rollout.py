"""One rollout, as a controller: read the state, take one safe step, write it down, look again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kfp_bert_components.cancellation import cancellable
from kfp_bert_components.deployment.journal import Journal, LeaseLostError
from kfp_bert_components.deployment.states import (
    CANARY,
    FAILED,
    FINISHING,
    LIVE,
    NEXT,
    PREPARING,
    RESTING,
    REVERTING,
    SHIFTING,
    TESTING,
    TRANSITIONS,
)
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.registry import Registry


T = TypeVar("T")


class RolloutError(UserError):
    """The new version does not serve; the old one does, as before."""


class Target(Protocol):
    """A place that can serve a model.

    Every method looks at what is there first and does only what is missing, so that it can be called again
    after a crash at any point. Facts that a later call needs are noted in the journal before they are true.
    """

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether `version` really serves, as the facts of its rollout say. Changes nothing."""

    def prepare(self, journal: Journal) -> None:
        """Put the version where it can be loaded; nobody is answered by it yet."""

    def introduce(self, journal: Journal) -> None:
        """Let it answer its first share of requests."""

    def test(self, journal: Journal) -> None:
        """Ask it, and raise RolloutError unless it answers as it should."""

    def shift(self, journal: Journal) -> None:
        """Give it all requests."""

    def finish(self, journal: Journal) -> None:
        """Clear away what is not needed any more."""

    def revert(self, journal: Journal) -> None:
        """Give all requests back to what answered before, and take the version away."""


def roll_out(
    registry: Registry,
    name: str,
    target: Target,
    *,
    lease_seconds: float = 60.0,
    tries: int = 4,
    pause_seconds: float = 1.0,
    report: Callable[[str], None] = say,
) -> dict[str, Any]:
    """Make `target` serve the champion.

    Args:
        registry: The registry whose champion is wanted.
        name: Name of the deployment record in the registry.
        target: The place that shall serve.
        lease_seconds: Time without a sign of life after which another run's rollout is taken over.
        tries: How often a step is tried whose calls fail in a way that may pass.
        pause_seconds: First pause between two tries; it doubles.
        report: Called with each line about what is going on.

    Returns:
        `{"version": n, "facts": {...}}` of the live version.

    Raises:
        RolloutError: The version did not pass; what answered before answers again, and the record says why.
        LeaseLostError: Another run took over.
        TransientError: The target could not be asked whether the champion is live; nothing was changed.
        UserError: There is no champion.
    """
    report = _unfailing(report)
    with cancellable():
        while True:
            champion = registry.champion()
            if champion is None:
                raise UserError(f"The registry {registry.uri} has no champion: promote a model first.")
            journal = Journal(registry, name, lease_seconds)
            if journal.state == LIVE and journal.version == champion.version:
                if _with_retries(partial(_is_live, target), journal, tries, pause_seconds, report):
                    return journal.live
                report(f"version {journal.version} is recorded as live, but it is not: doing it again")
            resumed = journal.state not in RESTING
            if not journal.acquire(champion.version, report):
                continue
            with journal:
                clearing = resumed and _clears(journal, champion.version)
                cause = _drive(journal, target, tries, pause_seconds, report)
            if journal.state == FAILED and not clearing:
                raise RolloutError(f"Version {journal.version} was not rolled out: {journal.reason}") from cause


def _is_live(target: Target, journal: Journal) -> bool:
    return target.is_live(journal.version, journal.facts)


def _clears(journal: Journal, version: int) -> bool:
    """Whether what a dead run left has to be cleared up before `version` can be rolled out."""
    if journal.version != version and REVERTING in TRANSITIONS[journal.state]:
        journal.enter(REVERTING, f"version {version} became champion meanwhile")
    return journal.state == REVERTING


def _drive(
    journal: Journal, target: Target, tries: int, pause: float, report: Callable[[str], None]
) -> BaseException | None:
    """Take step after step until the rollout rests; returns what made it go back, if something did."""
    cause: BaseException | None = None
    work = {
        PREPARING: target.prepare,
        CANARY: target.introduce,
        TESTING: target.test,
        SHIFTING: target.shift,
        FINISHING: target.finish,
        REVERTING: target.revert,
    }
    while journal.state not in RESTING:
        try:
            report(f"version {journal.version}: {journal.state}")
            _with_retries(work[journal.state], journal, tries, pause, report)
            journal.enter(NEXT[journal.state])
        except LeaseLostError:
            raise
        except BaseException as error:
            if REVERTING not in TRANSITIONS[journal.state]:
                if isinstance(error, TransientError):
                    raise RolloutError(
                        f"Version {journal.version} is left {journal.state} ({error}): run again to go on."
                    ) from error
                raise  # the record stays as it is, and the next run goes on from there
            cause = error
            reason = str(error) if isinstance(error, Exception) else "the run was cancelled"
            report(f"version {journal.version}: going back, because {reason}")
            _go_back(journal, target, reason)
            if not isinstance(error, Exception):
                _with_retries(target.revert, journal, tries, pause, report)
                journal.enter(FAILED)
                raise
    report(f"version {journal.version}: {journal.state}")
    return cause


def _go_back(journal: Journal, target: Target, reason: str) -> None:
    try:
        journal.enter(REVERTING, reason)
    except LeaseLostError:
        raise
    except Exception:  # without its record the way back is still the safe way
        target.revert(journal)
        raise


def _with_retries(
    step: Callable[[Journal], T], journal: Journal, tries: int, pause: float, report: Callable[[str], None]
) -> T:
    for attempt in range(1, tries):
        journal.check()
        try:
            return step(journal)
        except TransientError as error:
            report(f"{error}: trying again")
            time.sleep(pause * 2 ** (attempt - 1))
    journal.check()
    return step(journal)


def _unfailing(report: Callable[[str], None]) -> Callable[[str], None]:
    """A closed log must not stop the way back."""

    def tell(line: str) -> None:
        with suppress(OSError, ValueError):
            report(line)

    return tell
