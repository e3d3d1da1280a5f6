"""A folder that a model server watches, as a rollout target."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kfp_bert_components.bert import read_bundle
from kfp_bert_components.bert.bundle import served_files
from kfp_bert_components.deployment.engines import check_engines
from kfp_bert_components.deployment.journal import LeaseLostError
from kfp_bert_components.deployment.model_server import ModelServer
from kfp_bert_components.deployment.smoke_requests import load_smoke_requests
from kfp_bert_components.deployment.smoke_test import SmokeSettings, check_answers, smoke_test
from kfp_bert_components.deployment.states import FINISHING, INTRODUCING, PREPARING, SHIFTING, TESTING
from kfp_bert_components.deployment.target import ForeignOwnerError, RolloutError, Target
from kfp_bert_components.deployment.versioned_folder import (
    GRAPH,
    MARKER,
    METADATA,
    Check,
    Owner,
    VersionContent,
    VersionedFolder,
    dump_metadata,
)
from kfp_bert_components.errors import DamagedError, NotFoundError, UserError
from kfp_bert_components.progress import say
from kfp_bert_components.storage import one_name

if TYPE_CHECKING:
    from kfp_bert_components.deployment.journal import Journal
    from kfp_bert_components.registry import Registry
    from kfp_bert_components.storage import Entry

_LARGEST_NUMBER = 2**63 - 1  # that TensorFlow Serving reads as a version
# Loads the folder of a version: a function from instances, {"text": ...}, to predictions as a server gives them.
Engine = Callable[[Path], Callable[[list[dict[str, str]]], list[dict[str, Any]]]]


class DirectoryTarget(Target):
    """The serving directory as a rollout target. A server sends all requests to the newest version that it sees.

    Facts: `number` (the version's name in the serving directory), `holder` (the run that chose it), `fingerprint` (of
    the bundle in it), and `directory` (the URI). Memory: `number` (the highest one ever chosen) and `tried` (the
    numbers that were chosen since a version went live last, and did not pass). Only these are ever reverted.

    A number is used by one run only: a run that takes a rollout over chooses another one. So whatever a run still does
    that was stopped at the wrong moment, it does to its own number, which is not the one that serves.

    Args:
        registry: The registry whose version is rolled out.
        folder: The serving directory.
        target: Name of the deployment record.
        scratch: A local folder for the bundle.
        keep: Number of versions that stay in the folder.
        server: A server that watches the folder; None: no server is asked.
        smoke: When a version passes its test.
        engine: Loads a version here, to test it before it is visible; None: it is not tested here.
        take_over: Whether the folder is taken from another owner.
    """

    words: ClassVar[Mapping[str, str]] = {
        PREPARING: "preparing it, invisible to servers",
        INTRODUCING: "making it visible to servers",
        TESTING: "checking what is in the folder now",
        SHIFTING: "",
        FINISHING: "removing what is not needed any more",
    }

    def __init__(
        self,
        registry: Registry,
        folder: VersionedFolder,
        target: str,
        scratch: Path,
        *,
        keep: int,
        server: ModelServer | None,
        smoke: SmokeSettings,
        engine: Engine | None,
        take_over: bool,
    ) -> None:
        self._registry, self._folder, self._target, self._scratch = registry, folder, target, scratch
        self._keep, self._server, self._smoke = keep, server, smoke
        self._engine, self._take_over = engine, take_over

    def place(self) -> dict[str, str]:
        """The folder's URI."""
        return {"kind": "serving directory", "uri": one_name(self._folder.uri)}

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the version, with its files, is the newest one of the folder, and what the server serves.

        At most two calls to the folder, one to the registry, and one to the server; with `take_over` also one more to
        the folder, and on s3:// two, and one for each file of the version.
        """
        number, files = self._folder.newest()
        if not number or number != facts.get("number"):
            return False
        if self._take_over and not self._is_ours():
            return False  # it serves, and the folder is still to be taken over
        found = self._look_at(number)
        known = facts.get("fingerprint")  # format 1 of the record does not have it
        if found is None or found.registry_version != version or known not in (None, found.fingerprint):
            return False
        if not self._holds(found, number, files):
            return False
        return self._server is None or self._server.serves(number, found.fingerprint)

    def what_serves(self, journal: Journal) -> dict[str, Any]:
        """The newest version of the folder, if it is one of this registry's; no server is asked."""
        live = journal.live
        number, files = self._folder.newest()
        content = self._folder.content(number) if number else None
        if not content or not self._is_of_registry(content, number, files):
            return {}
        if live and (live["facts"].get("number"), live["version"]) == (number, content.registry_version):
            return dict(live)
        facts = {"number": number, "fingerprint": content.fingerprint, "directory": self._folder.uri}
        return {"version": content.registry_version, "facts": {**facts, "served": str(number)}}

    def admit(self, journal: Journal) -> None:
        """Look at the folder's marker file."""
        self._check_owner(self._folder.read_owner()[0], journal)

    def prepare(self, journal: Journal) -> None:
        """Choose a number that was never used, fetch the version, and test it here."""
        self._number(journal)
        served = self._fetch(journal)
        check_engines(self._registry, journal.version)
        if self._engine or self._server:  # what it is to be asked must be there before it is visible
            requests = load_smoke_requests(self._registry, journal.version)
        if self._engine:
            instances = [row.instance for row in requests.rows]
            try:
                predictions = self._engine(served)(instances)
            except UserError:
                raise
            except Exception as error:
                raise RolloutError(f"it cannot be loaded: {error}") from error
            say(f"version {journal.version}: {check_answers(predictions, requests, self._smoke.tolerance)}")

    def introduce(self, journal: Journal) -> None:
        """Copy the version into the folder. A server may load it from then on."""
        number = self._number(journal)
        if number in self._folder.complete():
            return
        served = self._fetch(journal)
        journal.check()
        if not self._is_ours(journal):
            raise ForeignOwnerError(f"another owner took {self._folder.uri} over meanwhile")
        try:
            self._folder.add(served, number, journal.check)
            journal.check()
        except LeaseLostError:  # we were stopped in between; the number is nobody else's
            with suppress(Exception):  # it must not hide that the lease is lost
                self._take_away(number)
            raise

    def test(self, journal: Journal) -> None:
        """Check that the folder holds this version, and, if there is a server, that it answers as it should."""
        self.introduce(journal)  # another run may have done it so far, with a number of its own
        number, content = journal.facts["number"], self._content(journal)
        if self._folder.content(number) != content:
            raise UserError(f"{self._folder.uri}/{number} is not version {journal.version}.")
        if self._server:
            requests = load_smoke_requests(self._registry, journal.version)
            self._server.wait_for(number, content.fingerprint, self._smoke.timeout_seconds, journal.check)
            ask = partial(self._server.ask, number)
            found = smoke_test(ask, str(number), requests, self._smoke, journal.check)
            say(f"version {journal.version}, asked through the server: {found}")

    def shift(self, journal: Journal) -> None:
        """Nothing is left to do: the server sends all requests to the newest version."""
        self.introduce(journal)

    def finish(self, journal: Journal) -> None:
        """Delete what killed runs left, and the versions of this package that are not needed any more.

        The newest `keep` that served stay, the new one among them. In a folder that another owner took over meanwhile
        all stays as it is.
        """
        own, tried = journal.facts["number"], self._tried(journal)
        served = [number for number in self._deployed() if number not in tried]
        failed = [number for number in self._folder.numbers() if number in tried - {own}]
        journal.check()
        if self._is_ours(journal):
            self._remove(failed, own, journal)
            for number in served[: 1 - self._keep]:
                self._folder.remove(number, journal.check)
            journal.remember(tried=[])

    def revert(self, journal: Journal) -> None:
        """Remove what was tried since a version went live last, so that this version is the newest again.

        Nothing else is removed, whatever its number: it may serve. So a record that was restored from a backup, and
        another owner who took the folder over, do no harm.
        """
        tried = self._tried(journal)
        there = [number for number in self._folder.numbers() if number in tried]
        journal.check()
        if tried and self._is_ours(journal):
            self._remove(there, max(tried), journal)

    def _remove(self, tried: Sequence[int], newest: int, journal: Journal) -> None:
        """Remove what was tried, and what killed runs left that made a version up to `newest`."""
        self._folder.remove_leftovers(newest)
        for number in tried:
            self._take_away(number, journal.check)

    def _take_away(self, number: int, check: Check = bool) -> None:
        """Remove a version, or the part of it that is there. What others have put under the number since stays."""
        found = self._look_at(number)
        if found and self._is_version(found):
            self._folder.remove(number, check)
        else:
            self._folder.remove_parts(number, self._is_part, check)
            if number in self._folder.in_use():
                say(f"{self._folder.uri}/{number} holds what is not this registry's: it is left there.")

    def _is_version(self, content: VersionContent) -> bool:
        """Whether what a number holds is a version of the registry, by its fingerprint; older ones have none."""
        try:
            return content.fingerprint in ("", self._registry.version(content.registry_version).bundle_fingerprint)
        except NotFoundError:
            return False

    def _is_part(self, file: Entry) -> bool:
        """Whether a file of a folder is one of a version of the registry: part of an upload that was stopped."""
        return (file.name.partition("/")[2], file.size, file.crc32c) in self._parts

    @cached_property
    def _parts(self) -> set[tuple[str, int, str]]:
        """Name, size and checksum of each file that is served of the registry's versions."""
        parts = {(GRAPH, 0, "AAAAAA==")}  # the empty one of a version that has none
        for number in self._registry.numbers():
            with suppress(UserError):  # one that is damaged, or that nobody finished
                files = self._registry.version(number).files
                bundle = {name.removeprefix("bundle/"): one for name, one in files.items()}
                parts |= {(name, bundle[of]["size"], bundle[of]["crc32c"]) for of, name in served_files(bundle).items()}
        return parts

    def _tried(self, journal: Journal) -> set[int]:
        """The numbers of which this record knows that they did not pass: an upload of any of them may still come."""
        own = [journal.facts["number"]] if "number" in journal.facts else []
        return {*journal.memory.get("tried", []), *own}

    def _number(self, journal: Journal) -> int:
        """The number that this run uses, chosen and written down at the first call."""
        if journal.facts.get("holder") == journal.holder:
            return int(journal.facts["number"])
        owner, generation = self._folder.read_owner()
        self._check_owner(owner, journal)
        chosen = [0, journal.memory.get("number", 0), owner.number if owner else 0, *self._folder.numbers()]
        number = max(chosen) + 1
        if number > _LARGEST_NUMBER:
            raise RolloutError(
                f"{self._folder.uri} has a folder {max(chosen)}, after which there is no number for a next version: "
                "remove that folder."
            )
        journal.remember(number=number, tried=sorted({*journal.memory.get("tried", []), number}))
        ours = Owner(self._registry.id(), self._target, self._registry.uri, number)
        if owner and owner.is_same(ours) and owner.registry_uri not in ("", ours.registry_uri):
            say(
                f"warning: the registry was at {owner.registry_uri} when it last wrote to {self._folder.uri}; now it "
                f"is at {ours.registry_uri}. A copy of a registry counts as the same one: if both deploy, each "
                "replaces what the other one serves."
            )
        journal.check()
        self._folder.write_owner(ours, generation)
        journal.note(number=number, holder=journal.holder, directory=self._folder.uri, served=str(number))
        return number

    def _check_owner(self, owner: Owner | None, journal: Journal) -> None:
        """ForeignOwnerError where the folder is not ours and is not to be taken over."""
        if self._take_over or self._belongs_to_us(owner, journal):
            return
        uri, numbers = self._folder.uri, [] if owner else self._folder.in_use()
        if owner:
            whose = f"belongs to the target {owner.target!r} of the registry {owner.registry_uri}"
        elif numbers:
            shown = ", ".join(map(str, numbers[-5:]))
            whose = f"holds versions ({shown}), and nothing says whose it is: it has no marker file {MARKER}, and the "
            whose += f"deployment record {self._target!r} does not name it"
        else:
            return
        raise ForeignOwnerError(
            f"The serving directory {uri} {whose}. Give a serving_directory of its own (a server watches one folder "
            "for each model), or take_over=True to take this one over."
        )

    def _belongs_to_us(self, owner: Owner | None, journal: Journal | None) -> bool:
        if owner:
            return owner.is_same(Owner(self._registry.id(), self._target))
        # The record names it: it was ours before folders had owners.
        return journal is not None and "number" in journal.memory

    def _is_ours(self, journal: Journal | None = None) -> bool:
        """Whether the folder is ours now, whatever `take_over` allows."""
        return self._belongs_to_us(self._folder.read_owner()[0], journal)

    def _deployed(self) -> list[int]:
        """The complete numbers that this package deployed."""
        return [number for number in self._folder.complete() if self._look_at(number)]

    def _look_at(self, number: int) -> VersionContent | None:
        """What a number holds; None where it is not ours, or cannot be told."""
        try:
            return self._folder.content(number)
        except DamagedError as error:
            say(f"{error} Until then it is left there, as if it were not ours.")
            return None

    def _is_of_registry(self, content: VersionContent, number: int, files: Mapping[str, Entry]) -> bool:
        """As `_holds`; not where the registry does not have the version."""
        try:
            return self._holds(content, number, files)
        except NotFoundError:
            return False

    def _holds(self, content: VersionContent, number: int, files: Mapping[str, Entry]) -> bool:
        """Whether it is the registry's version, and every file is there, by size and, where it is known, checksum."""
        version = content.registry_version
        record = self._registry.version(version)
        if content.fingerprint not in ("", record.bundle_fingerprint):
            say(f"{self._folder.uri}/{number} holds another model than version {version}")
            return False
        stored = record.files
        bundle = {path.removeprefix("bundle/"): one for path, one in stored.items() if path.startswith("bundle/")}
        served = served_files(bundle)
        # A server can prefer a file of another engine. Names that end with "/" stand for folders.
        if others := [name for name in files if name not in {*served.values(), METADATA, GRAPH} and name[-1] != "/"]:
            say(f"{self._folder.uri}/{number} holds {min(others)}, which version {version} does not have")
            return False
        for path, name in served.items():
            if name == METADATA:  # written anew for the folder
                continue
            wanted = bundle[path]
            seen = files.get(name)
            if seen is None:
                say(f"{self._folder.uri}/{number} lacks {name} of version {version}")
                return False
            if seen.size != wanted["size"] or (seen.crc32c and seen.crc32c != wanted["crc32c"]):
                say(f"{self._folder.uri}/{number}/{name} is not the file of version {version}")
                return False
        return True

    def _fetch(self, journal: Journal) -> Path:
        """The folder of the version as it is to be served, in scratch space."""
        bundle = self._scratch / str(journal.version)
        served = self._scratch / f"{journal.version} served"
        if not served.exists():
            self._registry.fetch_bundle(journal.version, bundle)
            names = [path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()]
            for name, target in served_files(names).items():
                (served / target).parent.mkdir(parents=True, exist_ok=True)
                os.replace(bundle / name, served / target)
            if not (served / GRAPH).exists():
                # A file makes a version complete. Of an empty one TensorFlow Serving says that it can't load it, and
                # goes on with the version that it has.
                (served / GRAPH).touch()
            (served / METADATA).parent.mkdir(exist_ok=True)
            metadata = dump_metadata(read_bundle(bundle).metadata, journal.version)
            (served / METADATA).write_text(metadata, encoding="utf-8")
        journal.note(fingerprint=read_bundle(bundle).fingerprint)
        return served

    def _content(self, journal: Journal) -> VersionContent:
        return VersionContent(journal.version, journal.facts["fingerprint"])
