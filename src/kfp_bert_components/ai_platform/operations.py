"""The operations of an endpoint: deploying and undeploying, which take minutes. Others may have begun some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kfp_bert_components.deployment import LeaseLostError
from kfp_bert_components.errors import UserError

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatformClient
    from kfp_bert_components.deployment import Journal


class Operations:
    """Operations at one endpoint, as a rollout sees them.

    Facts of the rollout: `operation` (the name of its last one; "" until the answer with the name has come) and
    `operations_before` (what others had under way when it began).

    Args:
        client: The API.
        endpoint: Full name of the endpoint.
        journal: The rollout under way.
        seconds: How long an operation is waited for.
    """

    def __init__(self, client: AiPlatformClient, endpoint: str, journal: Journal, seconds: float) -> None:
        self._client, self._endpoint, self._journal, self._seconds = client, endpoint, journal, seconds

    def run(self, call: Callable[[], str], description: str) -> None:
        """Begin an operation and wait for its end. It is known as ours even where the answer to the call is lost.

        Args:
            call: Begins it, and returns its name.
            description: What it does, for messages.

        Raises:
            UserError: It failed or took too long.
        """
        self._journal.note(operation="", operations_before=self._under_way()[1])
        self._journal.check()
        operation = call()
        self._journal.note(operation=operation)
        self._wait(operation, description)

    def wait_for_ours(self, description: str) -> None:
        """Wait for the end of what the rollout began.

        Raises:
            UserError: It failed or took too long.
        """
        for operation in self._under_way()[0]:
            self._wait(operation, description)

    def wait_for_all(self, description: str) -> None:
        """Wait until no operation is under way. Whether they succeeded is for the caller to check.

        One that others began is not cancelled, however long it takes.
        """
        ours, others = self._under_way()
        for operation in (*ours, *others):
            with _unless_lost():
                self._wait(operation, description, cancels=operation in ours)

    def cancel(self, seconds: float = 60.0) -> None:
        """Cancel what the rollout began, and wait up to `seconds` for its end."""
        for operation in self._under_way()[0]:
            self._journal.check()
            with _unless_lost():
                self._client.cancel(operation)
                self._client.wait(operation, "cancelling", min(seconds, self._seconds), self._journal.check)

    def _under_way(self) -> tuple[list[str], list[str]]:
        """The operations under way: those that this rollout began, and those of others.

        Where the rollout's last one has no name, as its answer was lost, it is any that was not under way before it.
        """
        running, facts = self._client.running_operations(self._endpoint), self._journal.facts
        if named := facts.get("operation"):
            ours = [one for one in running if one == named]
        else:
            ours = [one for one in running if one not in facts.get("operations_before", running)]
        return ours, [one for one in running if one not in ours]

    def _wait(self, operation: str, description: str, *, cancels: bool = True) -> None:
        self._client.wait(operation, description, self._seconds, self._journal.check, cancels=cancels)


@contextmanager
def _unless_lost() -> Iterator[None]:
    """Go on after an operation that failed, but not after the end of the lease."""
    try:
        yield
    except LeaseLostError:
        raise
    except UserError:
        return
