"""One rollout, as a controller: read the state, take one step that can be repeated, write the new state, and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from kfp_bert_components.cancellation import cancellable
from kfp_bert_components.deployment.journal import Journal, LeaseLostError
from kfp_bert_components.deployment.states import (
    FAILED,
    FINISHING,
    IDLE,
    INTRODUCING,
    LIVE,
    NEXT,
    PREPARING,
    REVERTING,
    SHIFTING,
    TESTING,
    TRANSITIONS,
)
from kfp_bert_components.deployment.target import ForeignOwnerError, RolloutError, Target
from kfp_bert_components.errors import NoChampionError, TransientError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.registry import Champion, Registry


T = TypeVar("T")


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
    """Make a target serve the champion, or go on with a rollout that another run did not complete.

    Args:
        registry: The registry whose champion is to be served.
        name: Name of the deployment record in the registry.
        target: The place that serves.
        lease_seconds: Another run's rollout is taken over when its record did not change for this time.
        tries: How often a step is tried in all if it raises TransientError.
        pause_seconds: First pause between two tries; each following one is twice as long.
        report: Called with each line about what is going on.

    Returns:
        `{"version": n, "facts": {...}}` of the version that is live now, as in `Journal.live`.

    Raises:
        RolloutError: The version was not rolled out; what served before serves again, and the record says why. Or the
            place is not ours to use; then nothing was changed.
        LeaseLostError: Another run has taken over, or the registry did not answer until the lease ended.
        TransientError: The target did not answer whether the champion is live; nothing was changed.
        NoChampionError: Nothing was promoted yet.
        UserError: There is no registry, or `lease_seconds` is 0 or less.
    """
    report, rolled_out = _never_raising(report), False
    with cancellable():
        while True:
            champion = champion_to_deploy(registry)
            place = _with_retries(target.place, lambda: None, tries, pause_seconds, report)
            journal = Journal(registry, name, lease_seconds, pause_seconds, place, target.is_named_by)
            if journal.state == LIVE and journal.version == champion.version:
                if _with_retries(partial(_is_live, target, journal), journal.check, tries, pause_seconds, report):
                    if not journal.make_current(report):
                        continue
                    if not rolled_out:
                        report(f"version {journal.version} is live: nothing to do")
                    return journal.live
                lost = _was_lost(target, journal, _what_serves(target, journal))
                what = "is recorded as live, but it is not" if lost else "serves with other settings"
                report(f"version {journal.version} {what}: rolling it out again")
            try:
                _with_retries(partial(target.admit, journal), journal.check, tries, pause_seconds, report)
            except RolloutError as error:
                _record_refusal(target, journal, error, report)
                raise
            resumed = journal.state not in IDLE
            if not journal.acquire(champion.version, report):
                continue
            with journal:
                ends_another = (resumed and _reverts(journal, champion.version)) or journal.version != champion.version
                cause = _take_steps(journal, target, tries, pause_seconds, report)
            rolled_out = True
            if journal.state == FAILED and not ends_another:
                raise RolloutError(f"Version {journal.version} was not rolled out: {journal.reason}") from cause


def champion_to_deploy(registry: Registry) -> Champion:
    """The version that a place is to serve.

    Raises:
        NoChampionError: Nothing was promoted yet.
        UserError: There is no registry.
    """
    champion = registry.champion()
    if champion is None:
        registry.check_exists()
        raise NoChampionError(f"There is nothing to deploy: the registry {registry.uri} has no champion yet.")
    return champion


def _is_live(target: Target, journal: Journal) -> bool:
    return target.is_live(journal.version, journal.facts)


def _serves(target: Target, journal: Journal) -> bool:
    return target.serves(journal.version, journal.facts)


def _record_refusal(target: Target, journal: Journal, error: RolloutError, report: Callable[[str], None]) -> None:
    """Let the record say no more than what is so now. A rollout can't go on where the place is another owner's."""
    under_way = journal.state not in IDLE
    if under_way and not isinstance(error, ForeignOwnerError):
        return
    live = _what_serves(target, journal)
    if under_way or _was_lost(target, journal, live):
        journal.retract(str(error), live, report)


def _was_lost(target: Target, journal: Journal, live: dict[str, Any] | None) -> bool:
    """Whether what the record calls live does not serve. Where that cannot be told, it is not said."""
    if live is not None or not journal.live:
        return bool(journal.live) and live != journal.live
    try:  # that it does not serve can be told where it is not known what serves instead
        return not target.serves(journal.live["version"], journal.live["facts"])
    except LeaseLostError:
        raise
    except Exception:
        return False


def _what_serves(target: Target, journal: Journal) -> dict[str, Any] | None:
    """What serves at the place, as `Journal.live`; None where that cannot be told."""
    try:
        return target.what_serves(journal)
    except LeaseLostError:
        raise
    except Exception:  # looking must not hide why the rollout failed
        return None


def _reverts(journal: Journal, version: int) -> bool:
    """Whether another run's rollout has to be reverted before `version` can be rolled out."""
    if journal.version != version and REVERTING in TRANSITIONS[journal.state]:
        journal.enter(REVERTING, f"version {version} became champion meanwhile")
    return journal.state == REVERTING


def _take_steps(
    journal: Journal, target: Target, tries: int, pause: float, report: Callable[[str], None]
) -> BaseException | None:
    """Take step after step until the rollout is live or failed; returns the error that made it revert, if any."""
    cause: BaseException | None = None
    steps = {
        PREPARING: target.prepare,
        INTRODUCING: target.introduce,
        TESTING: target.test,
        SHIFTING: target.shift,
        FINISHING: target.finish,
        REVERTING: target.revert,
    }
    serves = partial(_serves, target, journal)
    while journal.state not in IDLE:
        try:
            if words := target.words.get(journal.state, journal.state):
                report(f"version {journal.version}: {words}")
            _with_retries(partial(steps[journal.state], journal), journal.check, tries, pause, report)
            if journal.state == FINISHING and not _with_retries(serves, journal.check, tries, pause, report):
                journal.saw(_what_serves(target, journal))
                journal.enter(FAILED, "it passed its test, but somebody else changed the place, and it does not serve")
            elif journal.state == REVERTING:
                journal.saw(_what_serves(target, journal))
                journal.enter(FAILED)
            else:
                journal.enter(NEXT[journal.state])
        except LeaseLostError:
            raise
        except BaseException as error:
            if REVERTING not in TRANSITIONS[journal.state]:
                with suppress(LeaseLostError):
                    journal.saw(_what_serves(target, journal))
                if isinstance(error, TransientError):
                    raise RolloutError(
                        f"Version {journal.version} is left {journal.state} ({error}): run again to go on."
                    ) from error
                raise  # the record stays as it is, and the next run goes on from this state
            cause = error
            reason = str(error) if isinstance(error, Exception) else "the run was cancelled"
            report(f"version {journal.version}: reverting, because {reason}")
            _enter_reverting(journal, target, reason)
            if not isinstance(error, Exception):
                _with_retries(partial(target.revert, journal), journal.check, tries, pause, report)
                journal.saw(_what_serves(target, journal))
                journal.enter(FAILED)
                raise
    report(f"version {journal.version}: {journal.state}")
    return cause


def _enter_reverting(journal: Journal, target: Target, reason: str) -> None:
    """Write the state; if that fails, revert all the same, as the old version must serve."""
    try:
        journal.enter(REVERTING, reason)
    except LeaseLostError:
        raise
    except Exception:
        target.revert(journal)
        raise


def _with_retries(
    step: Callable[[], T], check: Callable[[], None], tries: int, pause: float, report: Callable[[str], None]
) -> T:
    for attempt in range(1, tries):
        check()
        try:
            return step()
        except TransientError as error:
            report(f"{error}: trying again")
            time.sleep(pause * 2 ** (attempt - 1))
    check()
    return step()


def _never_raising(report: Callable[[str], None]) -> Callable[[str], None]:
    """`report` without its errors: a log that is closed must not stop a rollout from reverting."""

    def call(line: str) -> None:
        with suppress(OSError, ValueError):
            report(line)

    return call
