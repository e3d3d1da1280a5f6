"""What `kfp-bert registry list` prints of versions, places and mirrors, as lines and as JSON."""

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp_bert_components.cli.taken_over import TakenOver
    from kfp_bert_components.registry import Deployment, Mirror, Registry, Version


def mirror_lines(models: "Registry", champion: int | None, mirrors: "dict[str, Mirror]") -> list[str]:
    """A line for each mirror: what it was told, and what to do where that is not all."""
    lines = []
    for address, one in mirrors.items():
        told = f"version {one.champion} ({one.named})" if one.champion else "no version yet"
        why = f"the last try failed: {one.problem.rstrip('.')}" if one.problem else ""
        if not why and one.champion != champion:
            why = "the champion has changed since"
        todo = f"; {why}. Run {mirror_command(models)}" if why else ""
        lines.append(f"mirror {address} was told of {told}{todo}")
    return lines


def mirror_command(models: "Registry") -> str:
    """The command that tells the mirrors of a registry."""
    return f"kfp-bert registry mirror {shlex.quote(models.uri)}"


def version_lines(models: "Registry", champion: int | None, records: "dict[str, Deployment]") -> list[str]:
    """A line for each version, and for each that should be there and is not."""
    from kfp_bert_components.cli.taken_over import TakenOver
    from kfp_bert_components.origin import read_origin

    found, damaged = _versions(models)
    gone = TakenOver(records)
    needed = {champion} if champion else set()
    places = [one for record in records.values() for one in (record, *record.elsewhere())]
    needed |= {number for one in places for number in (one.version, one.live_version) if number}
    lines = []
    for number in sorted({*found, *damaged, *needed}):
        what = f"{'is damaged' if number in damaged else 'is not there':<44}"
        if one := found.get(number):
            what = f"{one.at[:19]}Z  {first_metric(one.metrics):<22}"
        notes = ["champion"] if number == champion else []
        notes += [note for name, record in records.items() for note in notes_on(name, record, number, gone)]
        if one and (run := read_origin(one.origin).run):
            notes.append(f"made by run {run}")
        lines.append(f"{number:>5}  {what}  {', '.join(notes)}".rstrip())
    return lines


def _versions(models: "Registry") -> "tuple[dict[int, Version], dict[int, str]]":
    """The complete versions by number, and what is wrong with those that can't be read."""
    from kfp_bert_components.errors import DamagedError, NotFoundError

    found, damaged = {}, {}
    for number in models.numbers():
        try:
            found[number] = models.version(number)
        except NotFoundError:  # never became complete
            continue
        except DamagedError as error:
            damaged[number] = str(error)
    return found, damaged


def notes_on(name: str, record: "Deployment", number: int, gone: "TakenOver") -> list[str]:
    """What a deployment record says of a version, but for places that are another target's now."""
    from kfp_bert_components.cli.deploy_command import served

    known = served(record)
    others = [
        f"{'' if one.live_is_known else 'not known whether '}live on {name}, {place_and_number(one)}"
        for one in record.elsewhere()
        if one.live_version == number and one not in gone
    ]
    if record in gone:
        return others
    live = f"live on {name}" + (f" as {known}" if known else "")
    live = live if record.live_is_known else f"not known whether {live}"
    if record.version == number and record.state == "live":
        return [live, *others]
    states = [f"{record.state} on {name}"] if record.version == number else []
    return states + ([live] if record.live_version == number else []) + others


def place_and_number(record: "Deployment") -> str:
    """A place that another one has taken the name of, and what it calls its version."""
    from kfp_bert_components.cli.deploy_command import place_name, served

    known = served(record)
    return (place_name(record) or "another place") + (f" as {known}" if known else "")


def versions_as_json(models: "Registry", champion: int | None, records: "dict[str, Deployment]") -> dict[str, Any]:
    """The versions, and the places where they are deployed."""
    found, damaged = _versions(models)
    return {
        "champion": champion,
        "versions": [asdict(one) for one in found.values()],
        "damaged": damaged,
        "deployments": {
            name: {**_place_as_json(one), "elsewhere": [_place_as_json(other) for other in one.elsewhere()]}
            for name, one in records.items()
        },
    }


def _place_as_json(record: "Deployment") -> dict[str, Any]:
    from kfp_bert_components.cli.deploy_command import place_name, served

    return {
        "state": record.state,
        "version": record.version,
        "live_version": record.live_version,
        "live_is_known": record.live_is_known,
        "served": served(record),
        "place": place_name(record),
        "origin": record.origin,
    }


def first_metric(metrics: object) -> str:
    """The first metric and its interval, for a table."""
    for name, one in dict(metrics).items():  # type: ignore[call-overload]
        if isinstance(one, dict) and isinstance(one.get("value"), (int, float)):
            return f"{name} {one['value']:.4f}"
    return ""
