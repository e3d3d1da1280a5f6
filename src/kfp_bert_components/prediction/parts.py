"""A folder of parts, written whole one after the other, so that a run that was killed goes on where it was.

The record `_predictions.json` says which parts there are and what they were made of. It is written before the first
part, and again after each: a part that it does not name yet is written again. To start anew, the parts are deleted
first and the record is written then, so that whoever is killed in between leaves a record that the next run starts anew
by. Each shard has parts and a record of its own, and touches no others'.

Of two runs at once the one that began last has the record, and the other one ends: a part is written only by who has
the record, and where nobody else has written it since. What the other one had under way is removed at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.progress import say
from kfp_bert_components.records import build, dump_record, load_record
from kfp_bert_components.storage import Entry, Generation, check_writable, open_store

RECORD = "predictions.json"
# Of what the parts of a shard are made of: what is the same for all shards, and what is its own.
TABLE, OWN = "table", "input"
_TRIES = 5  # one for each part that another process may still have under way
_NAME = re.compile(r"_?(?:shard-(\d{5})-of-(\d{5})-)?(?:part-(\d{5})\.(?:parquet|csv)|predictions\.json)")


@dataclass
class Progress:
    """What the record says.

    Attributes:
        run: What the parts are made of: model, table, the shard's input in it, settings.
        labels: The classes, in the order of the probabilities.
        parts: Name, rows and bytes of each part.
        counts: Rows of all parts, and those of them that were mended, had no text, or could not be read; and rows that
            could not be read and were left out.
        complete: Whether all rows of the shard are there.
    """

    run: dict[str, str]
    labels: list[str]
    parts: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    complete: bool = False

    @property
    def rows(self) -> int:
        """Rows in all parts."""
        return sum(int(part["rows"]) for part in self.parts)


class Parts:
    """The parts of one shard in a folder, which is looked at first and changed from `begin` on.

    Attributes:
        progress: What is there and is gone on with.

    Args:
        folder: gs:// URI or folder.
        run: What the parts are made of, by names that a user knows. All but `OWN` of it is the same for all shards.
        labels: The classes.
        num_shards: In how many shards the table is predicted.
        shard_index: Which of them this is.
        suffix: Of the parts: parquet or csv.

    Raises:
        UserError: The folder holds something else, a run in another number of shards, or a shard of another table.
    """

    def __init__(
        self,
        folder: str,
        run: Mapping[str, str],
        labels: list[str],
        *,
        num_shards: int = 1,
        shard_index: int = 0,
        suffix: str = "parquet",
    ) -> None:
        self._store = open_store(folder, parameter="the output")
        self._stem = f"shard-{shard_index:05d}-of-{num_shards:05d}-" if num_shards > 1 else ""
        self._record, self._suffix = f"_{self._stem}{RECORD}", suffix
        there = self._store.list(checksums=False)
        sizes = {one.name: one.size for one in there}
        self._check(list(sizes), num_shards)
        self.progress = Progress(dict(run), labels)
        self._check_others(list(sizes))
        found, self._generation = self._read(self._record)
        self._states = {one.name: one.generation for one in there if self._is_part(one.name)}
        own = list(self._states)
        if found is None and own:
            raise UserError(
                f"{folder} holds {own[0]} of another run, without its record {self._record}: give an empty folder."
            )
        if found and found.run == self.progress.run:
            self._go_on(found, sizes)
        elif found:
            other = [name for name, value in self.progress.run.items() if found.run.get(name) != value]
            say(f"{folder} holds predictions with another {' and '.join(other)}: all rows are predicted anew.")
        self._stale = own if not self.progress.parts else []

    def begin(self) -> None:
        """Make the folder ready for the next part: parts that are not gone on with are removed.

        Raises:
            UserError: The folder can't be written.
        """
        check_writable(self._store.uri, "the output")
        for name in self._stale:
            with suppress(NotFoundError):
                self._store.delete(name)
            del self._states[name]
        self._write()

    def give_up(self) -> None:
        """After an error: remove the record, where there is no part that the next run could go on with."""
        if not self.progress.parts:
            with suppress(UserError):  # it must not hide the error, and the record may be another run's
                self._store.delete(self._record, if_generation=self._generation)

    def next_name(self) -> str:
        """The name of the part to be written next."""
        return f"{self._stem}part-{len(self.progress.parts):05d}.{self._suffix}"

    def add(self, path: Path, rows: int, counts: Mapping[str, int]) -> None:
        """Put a part in its place, under `next_name`.

        Args:
            path: The file.
            rows: Its rows.
            counts: The counts of all parts, this one included.

        Raises:
            ConflictError: Another process writes the same parts.
        """
        name = self.next_name()
        self._put(path, name)
        self.progress.parts.append({"name": name, "rows": rows, "bytes": path.stat().st_size})
        self.progress.counts = dict(counts)
        self._write()

    def finish(self, counts: Mapping[str, int]) -> None:
        """All rows are there, and these are their counts.

        Raises:
            UserError: A shard of another table has come meanwhile.
            ConflictError: Another process writes the same parts.
        """
        there = self._store.list(checksums=False)
        self._check_others([one.name for one in there])
        self._check_owner()
        self._clean(there)
        self.progress.counts, self.progress.complete = dict(counts), True
        self._write()

    def _put(self, path: Path, name: str) -> None:
        """Write a part. What a run without the record has written there meanwhile is written over."""
        for _ in range(_TRIES):
            try:
                self._store.upload(path, name, if_generation=self._states.get(name, 0), check=self._check_owner)
                return
            except ConflictError:
                self._check_owner()
                self._states[name] = self._state(name)
        raise self._conflict()

    def _clean(self, there: Sequence[Entry]) -> None:
        """Remove parts of a run without the record; ConflictError where a part is not the one that was written."""
        written = {part["name"]: part["bytes"] for part in self.progress.parts}
        sizes = {one.name: one.size for one in there}
        if any(sizes.get(name) != size for name, size in written.items()):
            raise self._conflict()
        for one in there:
            if self._is_part(one.name) and one.name not in written:
                with suppress(NotFoundError, ConflictError):
                    self._store.delete(one.name, if_generation=one.generation)

    def _state(self, name: str) -> Generation:
        try:
            return self._store.stat(name).generation
        except NotFoundError:
            return 0

    def _check_owner(self) -> None:
        """ConflictError where another process has written the record since: the parts are its own now."""
        if self._state(self._record) != self._generation:
            self._write()

    def _check(self, names: list[str], num_shards: int) -> None:
        for name in names:
            found, last = _NAME.fullmatch(name), name.rpartition("/")[2]
            if not last or last.startswith("."):  # without a last name it stands for a folder, as consoles make them
                continue
            if not found:
                raise UserError(
                    f"{self._store.uri} holds {name}, which no prediction of a table wrote: give an empty folder."
                )
            shards = int(found[2] or 1)
            if shards != num_shards:
                raise UserError(
                    f"{self._store.uri} holds parts of a run in {shards} shard{'s' * (shards > 1)}: give an empty "
                    f"folder, or num_shards={shards}."
                )

    def _is_part(self, name: str) -> bool:
        return name.startswith(f"{self._stem}part-")

    def _check_others(self, names: list[str]) -> None:
        """Compare this shard's run with another one's. One is enough, as all look at the same.

        Raises:
            UserError: It is of another table.
        """
        others = [name for name in names if _NAME.fullmatch(name) and name.endswith(RECORD) and name != self._record]
        found, _ = self._read(min(others)) if others else (None, 0)
        run = self.progress.run
        differs = [name for name in run if name != OWN and found and found.run.get(name) != run[name]]
        if TABLE in differs:
            raise UserError(
                f"{self._store.uri} holds {min(others)}, of a shard of another {TABLE}: give all shards the same "
                f"{TABLE}, or an empty folder."
            )
        if differs:
            say(f"{self._store.uri} holds a shard with another {' and '.join(differs)}: predict all shards alike.")

    def _read(self, name: str) -> tuple[Progress | None, Generation]:
        """What a record says, None where there is none, and its generation."""
        try:
            blob = self._store.read(name)
        except NotFoundError:
            return None, 0
        place, remedy = self._store.describe(name), "give an empty folder"
        return load_record(blob.data, place, {1: partial(build, Progress)}, remedy), blob.generation

    def _go_on(self, found: Progress, sizes: Mapping[str, int]) -> None:
        whole = [sizes.get(part["name"]) == part["bytes"] for part in found.parts]
        if not all(whole):
            lost = found.parts[whole.index(False)]["name"]
            say(f"{self._store.uri} has lost {lost}, or it is not what was written: all rows are predicted anew.")
            return
        self.progress = found
        if found.parts and not found.complete:
            say(f"{self._store.uri} holds {found.rows:,} rows already: going on after them.")

    def _write(self) -> None:
        data = dump_record(asdict(self.progress)).encode()
        try:
            self._generation = self._store.write(self._record, data, if_generation=self._generation)
        except ConflictError:
            raise self._conflict() from None

    def _conflict(self) -> ConflictError:
        return ConflictError(
            f"Another process writes predictions to {self._store.uri}: let it end, or give another folder."
        )
