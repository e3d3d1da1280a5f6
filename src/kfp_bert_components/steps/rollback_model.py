"""Make an older version champion, once a run."""

from kfp_bert_components.origin import Origin, here, read_origin
from kfp_bert_components.progress import say
from kfp_bert_components.registry import Registry


def rollback_model(registry: str, version: int = 0, reason: str = "", origin: Origin | None = None) -> int:
    """Make an older version champion; see `Registry.rollback`.

    A step that is tried again after it has moved the pointer changes nothing: else it would go back another step.

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
    last = champion.log[-1]
    if last["event"] == "rolled back" and origin.is_same_run(read_origin(last.get("origin", {}))):
        say(f"This run has rolled back to version {champion.version} already.")
    else:
        champion = models.rollback(version or None, reason)
        say(f"The champion is version {champion.version}; it has to be deployed.")
    return champion.version
