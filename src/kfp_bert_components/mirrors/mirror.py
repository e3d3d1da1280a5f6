"""Tell mirrors of a promotion, when it is done.

A mirror is looked at, and what is missing is added: so it can be killed anywhere and done again, by the next run or by
`kfp-bert registry mirror`. Where two do it at once, both look at the champion again when they have told it, so that the
last one told is the champion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from kfp_bert_components.errors import ConflictError, TransientError, UserError
from kfp_bert_components.mirrors.address import MirrorAddress
from kfp_bert_components.mirrors.facts import Facts, facts_of
from kfp_bert_components.mirrors.mlflow_server import MlflowServer
from kfp_bert_components.mirrors.model_registry import ModelRegistry
from kfp_bert_components.plain import plain
from kfp_bert_components.progress import say
from kfp_bert_components.registry import Mirror, Registry

_ROUNDS = 5
_LETTERS = 500  # of a problem
_SERVERS: dict[str, type[MlflowServer] | type[ModelRegistry]] = {
    "mlflow": MlflowServer,
    "model-registry": ModelRegistry,
}


class Server(Protocol):
    """A registered model on a server."""

    def tell(self, registry_id: str, versions: Sequence[Facts], champion: int) -> str:
        """Add what the server lacks, and make it name the champion; return what it calls that version."""


def mirror(models: Registry, addresses: Sequence[MirrorAddress], call_seconds: float = 15.0) -> list[str]:
    """Tell mirrors which versions were promoted and which one is champion.

    A mirror that can't be told is a problem in the registry's record, and never an error.

    Args:
        models: The registry. Without a champion nothing is told.
        addresses: The mirrors, as `parse_mirrors` gives them.
        call_seconds: Longest time for one answer of a server. A call is tried again, up to two times.

    Returns:
        One sentence for each mirror that could not be told.
    """
    if not addresses or models.champion() is None:
        return []
    return [problem for address in addresses if (problem := _mirror(models, address, call_seconds))]


def _mirror(models: Registry, address: MirrorAddress, call_seconds: float) -> str:
    """Tell one mirror, and write down what came of it; the problem as a sentence, "" where there is none."""
    try:
        told = _tell(models, address, call_seconds)
    except Exception as error:  # whatever it is: the promotion is done, and nothing here may undo it
        problem = plain(_words(error))[:_LETTERS]
        sentence = f"{address} could not be told of the champion: {problem}"
        return sentence + _recorded(models, address, problem)
    say(f"{address} knows that version {told.champion} is champion: {told.named}.")
    return _recorded(models, address, told)


def _tell(models: Registry, address: MirrorAddress, call_seconds: float) -> Mirror:
    server: Server = _SERVERS[address.kind](address.url, address.name, call_seconds)
    identity = models.id()
    for _ in range(_ROUNDS):
        champion = models.require_champion()
        named = server.tell(identity, facts_of(models, champion, identity), champion.version)
        if models.require_champion().generation == champion.generation:
            return Mirror(champion.version, named)
    raise ConflictError("the champion changes all the time: try again later.")


def _recorded(models: Registry, address: MirrorAddress, told: Mirror | str) -> str:
    """Write down what a mirror was told, or why it was not; what is wrong with the record, as a sentence, or ""."""
    try:
        if isinstance(told, str):
            told = replace(models.mirrors().get(str(address), Mirror()), problem=told)
        models.record_mirror(str(address), told)
    except Exception as error:  # as above
        return f" What {address} was told could not be written down: {plain(_words(error))[:_LETTERS]}"
    return ""


def _words(error: Exception) -> str:
    if isinstance(error, UserError | TransientError):
        return str(error)
    return f"{type(error).__name__}: {error}"
