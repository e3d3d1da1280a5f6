"""Places that another deployment target of the same registry has taken over."""

from collections.abc import Mapping

from kfp_bert_components.cli.deploy_command import identity
from kfp_bert_components.registry import Deployment


class TakenOver:
    """The places at which another target went live after the one that a record is of was last at work there.

    A place has one owner: a step of the former one is refused there.

    Args:
        records: The deployment records of a registry, by target.
    """

    def __init__(self, records: Mapping[str, Deployment]) -> None:
        self._worked = {target: _last(record, ("rolling", "live")) for target, record in records.items()}
        self._live = {target: _last(record, ("live",)) for target, record in records.items()}

    def __contains__(self, record: Deployment) -> bool:
        """Whether the place of a record, which may be one of `Deployment.elsewhere`, is another target's now."""
        place = _key(identity(record))
        worked = self._worked.get(record.target, {}).get(place)
        others = [live[place] for target, live in self._live.items() if target != record.target and place in live]
        return worked is not None and any(live > worked for live in others)


def _last(record: Deployment, states: tuple[str, ...]) -> dict[str, str]:
    """By place: when the record was in one of the states last. Entries of older records do not name theirs."""
    found: dict[str, str] = {}
    place = "" if any("place" in event for event in record.log) else _key(identity(record))
    for event in record.log:
        place = _key(event["place"]) if "place" in event else place
        if event["state"] in states:
            found[place] = max(event["at"], found.get(place, ""))
    return found


def _key(place: Mapping[str, str]) -> str:
    return " ".join(place.values())
