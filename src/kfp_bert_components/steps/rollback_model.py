"""Make an older version champion, once a run."""

from kfp_bert_components.origin import Origin, here, read_origin
from kfp_bert_components.progress import say
from kfp_bert_components.registry import Champion, Registry


def rollback_model(registry: str, version: int = 0, reason: str = "", origin: Origin | None = None) -> int:
    """Make an older version champion; see `Registry.rollback`.

    A step that is tried again after it has moved the pointer changes nothing, whoever has moved it since: else it would
    go back another step, or take back what others decided later.

    Args:
        registry: URI of the registry.
        version: The version to go back to; 0 for the champion before this one.
        reason: Why, for the history.
        origin: Where this is done, for the records; by default what the environment tells.

    Returns:
        The version of the champion.

    Raises:
        UserError: There is no such version or no champion before, it is the champion already, or a file is missing.
        ConflictError: Another model became champion at the same moment.
    """
    origin = origin or here()
    models = Registry(registry, origin=origin)
    champion = models.require_champion()
    if done := _moves_of(origin, champion):
        since = "" if done[-1] == champion.version else f"; the champion is version {champion.version} since"
        say(f"This run has rolled back to version {done[-1]} already{since}.")
    else:
        champion = models.rollback(version or None, reason)
        say(f"The champion is version {champion.version}; it has to be deployed.")
    return champion.version


def _moves_of(origin: Origin, champion: Champion) -> list[int]:
    """The versions that a run has rolled back to, oldest first, but for a move that it took back at once."""
    moves: list[tuple[int, int]] = []
    for event in champion.log:
        if event["event"] != "rolled back" or not origin.is_same_run(read_origin(event.get("origin", {}))):
            continue
        move = event["previous"], event["version"]
        if moves and move == moves[-1][::-1]:  # what it moved to was removed at the same moment
            moves.pop()
        else:
            moves.append(move)
    return [version for _, version in moves]
