"""The registry's records: plain values, and how their JSON is written and read."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from kfp_bert_components.errors import UserError
from kfp_bert_components.origin import Origin
from kfp_bert_components.plain import plain
from kfp_bert_components.records import build, dump_record, load_record
from kfp_bert_components.registry._deployment_format_1 import place_of
from kfp_bert_components.storage import Generation, Store, one_name

Read = TypeVar("Read")


@dataclass(frozen=True)
class HistoryEvent:
    """Something that happened in the registry.

    `at` is a time in UTC, `by` who did it, `text` one sentence. `origin` has what is known of where it was done, by the
    names of `origin.Origin`; {} in older records.
    """

    at: str
    by: str
    text: str
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Champion:
    """The pointer to the version to serve, as it was when its file had this generation.

    `log` holds every move of the pointer so far, oldest first, each a mapping with event ("promoted", "rolled back" or
    "repaired"), version, previous, decision_id, at, by and reason; and origin, as in `HistoryEvent`, but in older ones.
    """

    version: int
    generation: Generation
    decision_id: str
    at: str = ""
    by: str = ""
    log: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Version:
    """A complete version: what it was made from, and the hash of every file.

    `origin` has what is known of where it was promoted, by the names of `origin.Origin`: its `artifacts` are the model,
    the evaluation and the decision, with the runs that made them. `data` has what is known of the files that the
    training data were read from, by the names of `data.profile.FetchedFiles`. Both are {} in records of format 1.
    `pin` is what `pin_data` gave when it was trained, "" where that is not known.
    """

    version: int
    at: str
    by: str
    decision_id: str
    parent: int | None
    data_fingerprint: str
    bundle_fingerprint: str
    parameters: Mapping[str, Any]
    package_version: str
    metrics: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    base_model: str = ""
    reason: str = ""
    pin: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """What is known of one place that serves the champion.

    `state` is "pending", "rolling", "live" or "failed", and "none" where nothing was ever recorded. `version`
    is the version that this state is about, `live_version` the last one that was reported live, or that was seen to
    serve after a failure (None: nothing of this registry did), and `details` what the deployment wants to find again.
    A record that does not exist has generation 0.

    `place` is the full identity of the place, such as {"kind": "serving directory", "uri": ...} or {"kind": "AI
    Platform endpoint", "project": ..., "location": ..., "endpoint": ...}; {} where it is not known. `served` is what
    the place calls `version`: the number of its folder, or the id of the deployed model; `live_served` is the same for
    `live_version`. Both are "" where they are not known. `registry` is the registry's id, "" in older records.
    `origin` has where the record was written last, as in `HistoryEvent`; entries of `log` have one as well.
    """

    target: str
    state: str
    version: int | None
    generation: Generation
    reason: str = ""
    live_version: int | None = None
    at: str = ""
    by: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    log: tuple[Mapping[str, Any], ...] = ()
    place: Mapping[str, str] = field(default_factory=dict)
    served: str = ""
    live_served: str = ""
    registry: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def live_is_known(self) -> bool:
        """False where the last rollout failed, and the place could not be asked whether `live_version` still serves."""
        return self.details.get("live_is_known", True) is not False

    def place_as_given(self) -> Mapping[str, str]:
        """The place, with the address of a folder as it was given.

        An identity has s3:// for minio://, which can lead to another store.
        """
        facts = (self.details.get("live", {}).get("facts", {}), self.details.get("facts", {}))
        given = [one["directory"] for one in facts if "directory" in one]
        same = [uri for uri in given if one_name(uri) == self.place.get("uri")]
        return {**self.place, "uri": same[-1]} if same else self.place

    def place_in_words(self) -> str:
        """The place as it was given, for messages."""
        return " ".join(self.place_as_given().values()) or "another place"

    def elsewhere(self) -> list[Deployment]:
        """What is known of other places that were deployed to under this name, a record each."""
        return [_elsewhere(self.target, entry) for entry in self.details.get("elsewhere", {}).values()]


@dataclass(frozen=True)
class Mirror:
    """What a mirror was told last: a registry of others, such as MLflow, that is told of promotions.

    `champion` is the version that it was told is champion, None before the first time, and `named` what the mirror
    calls it. `problem` is why it could not be told the last time, "" where it was. `origin` is as in `HistoryEvent`.
    """

    champion: int | None = None
    named: str = ""
    problem: str = ""
    at: str = ""
    by: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)


def _elsewhere(target: str, entry: Mapping[str, Any]) -> Deployment:
    live = entry.get("live", {})
    before = live.get("facts", {})
    known = {
        "target": target,
        "state": entry["state"],
        "version": entry["version"] or None,
        "generation": 0,
        "reason": entry.get("reason", ""),
        "live_version": live.get("version"),
        "details": entry,
        "place": entry.get("place") or place_of(before) or place_of(entry.get("facts", {})),
        "live_served": str(before.get("served", "")),
    }
    return build(Deployment, known)


def now() -> str:
    """The time in UTC, to the millisecond, in a form that sorts."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def hours_since(at: str) -> float:
    """Hours since a time that `now` gave, by this machine's clock; ValueError if it is none."""
    made = datetime.fromisoformat(at.replace("Z", "+00:00"))
    return (datetime.now(UTC) - made).total_seconds() / 3600


def author() -> str:
    """Who acts: the user and the machine, which in a pipeline is the pod."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        user = f"uid {os.getuid()}"
    return plain(f"{user} on {socket.gethostname()}")


def stamp(origin: Origin) -> dict[str, Any]:
    """What a record says of its writing: when, by whom, and where. Of which artifacts, the version's record says."""
    return {"at": now(), "by": author(), "origin": replace(origin, artifacts={}).known()}


def dump(fields: Mapping[str, Any], format_number: int = 1) -> bytes:
    """The JSON of a record, of the newest format of its kind."""
    return dump_record(fields, format_number).encode()


def load(
    store: Store, name: str, *readers: Callable[[dict[str, Any]], Read], remedy: str = ""
) -> tuple[Read, Generation]:
    """Read a record and its generation.

    Args:
        store: The registry's store.
        name: Of the record.
        readers: Make the result of the fields: the first one of format 1, the second one of format 2.
        remedy: What to do where it is damaged, as the end of a sentence; by default to restore it, or, where `registry
            repair` can do something about this record, to run that.

    Raises:
        NotFoundError: There is no such record.
        DamagedError: It is damaged.
        UserError: It is of a format that this version of the package does not know.
    """
    blob = store.read(name)
    if not remedy:
        repairable = name in ("champion.json", "registry.json", "test_sets/lineages.json")
        remedy = "restore it from a backup" + (f", or run `{repair_command(store)}`" if repairable else "")
    return load_record(blob.data, store.describe(name), dict(enumerate(readers, 1)), remedy), blob.generation


def repair_command(store: Store) -> str:
    """The command that makes a whole version champion, for messages."""
    return f"kfp-bert registry repair {shlex.quote(store.uri)}"


def is_target(name: str) -> bool:
    """Whether a deployment may have this name: it can be a file's name."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name) is not None


def check_target(target: str) -> str:
    """Return a deployment's name if it can be a file's name, else raise UserError."""
    if not is_target(target):
        raise UserError(
            f"{target!r} is no usable deployment target: give up to 63 letters, digits, '.', '_' or '-', "
            "such as production."
        )
    return target
