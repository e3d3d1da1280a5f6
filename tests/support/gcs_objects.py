"""The buckets of the server: generations, preconditions, listings."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from bisect import bisect_right, insort
from dataclasses import dataclass, field

import google_crc32c


class ApiError(Exception):
    """An error that the API answers with."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass
class Object:
    """One generation of an object."""

    bucket: str
    name: str
    data: bytes
    generation: int
    crc32c: str
    md5: str
    content_type: str = "application/octet-stream"
    content_encoding: str = ""
    metadata: dict = field(default_factory=dict)


@dataclass
class Bucket:
    """Live objects by name, older generations where versioning is on."""

    requester_pays: bool = False
    versioning: bool = False
    forbidden: set[str] = field(default_factory=set)
    live: dict[str, Object] = field(default_factory=dict)
    old: dict[tuple[str, int], Object] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


class Buckets:
    """All buckets, under one lock."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}
        self._lock = threading.RLock()
        self._last = 0

    def create(self, bucket: str, **settings: object) -> None:
        with self._lock:
            self._buckets.setdefault(bucket, Bucket())
            for key, value in settings.items():
                setattr(self._buckets[bucket], key, value)

    def check(self, bucket: str, permission: str, user_project: str | None) -> None:
        found = self._buckets.get(bucket)
        if found is None:
            raise ApiError(404, "notFound", "The specified bucket does not exist.")
        if found.requester_pays and not user_project:
            raise ApiError(400, "required", "Bucket is a requester pays bucket but no user project provided.")
        if permission in found.forbidden:
            raise ApiError(
                403,
                "forbidden",
                f"someone@example.com does not have {permission} access to the Google Cloud Storage object. "
                f"Permission '{permission}' denied on resource (or it may not exist).",
            )

    def put(
        self, bucket: str, name: str, data: bytes, query: dict | None = None, metadata: dict | None = None
    ) -> Object:
        crc = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        metadata = metadata or {}
        if metadata.get("crc32c", crc) != crc or metadata.get("md5Hash", md5) != md5:
            raise ApiError(400, "invalid", "Provided CRC32C does not match calculated CRC32C.")
        with self._lock:
            self.create(bucket)
            self.check_precondition(bucket, name, query or {})
            self._retire(bucket, name)
            # Generations are microseconds and never repeat.
            self._last = max(time.time_ns() // 1000, self._last + 1)
            made = Object(
                bucket,
                name,
                data,
                self._last,
                crc,
                md5,
                metadata.get("contentType") or "application/octet-stream",
                metadata.get("contentEncoding") or "",
                metadata.get("metadata") or {},
            )
            self._buckets[bucket].live[name] = made
            insort(self._buckets[bucket].names, name)
            return made

    def check_precondition(self, bucket: str, name: str, query: dict) -> None:
        with self._lock:
            live = self._buckets[bucket].live.get(name)
            current = live.generation if live else 0
            expected, unexpected = query.get("ifGenerationMatch"), query.get("ifGenerationNotMatch")
            if expected is not None and int(expected) != current:
                raise ApiError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
            if unexpected is not None and int(unexpected) == current:
                raise ApiError(304, "notModified", "not modified")

    def find(self, bucket: str, name: str, query: dict) -> Object:
        with self._lock:
            live = self._buckets[bucket].live.get(name)
            wanted = query.get("generation")
            if wanted and (live is None or live.generation != int(wanted)):
                live = self._buckets[bucket].old.get((name, int(wanted)))
            if live is None:
                raise ApiError(404, "notFound", f"No such object: {bucket}/{name}")
            if not wanted:
                self.check_precondition(bucket, name, query)
            return live

    def get(self, bucket: str, name: str) -> Object:
        return self.find(bucket, name, {})

    def delete(self, bucket: str, name: str, query: dict) -> None:
        with self._lock:
            self.find(bucket, name, {})
            self.check_precondition(bucket, name, query)
            self._retire(bucket, name)

    def names(self, bucket: str) -> list[str]:
        with self._lock:
            return list(self._buckets[bucket].names) if bucket in self._buckets else []

    def page(
        self, bucket: str, prefix: str, delimiter: str, glob: str, token: str, size: int
    ) -> tuple[list[Object], list[str], str]:
        """One page of a listing in the order of names; the token is where the page before ended."""
        pattern = re.compile(_glob(glob)) if glob else None
        items: list[Object] = []
        prefixes: list[str] = []
        with self._lock:
            names = self._buckets[bucket].names
            at = bisect_right(names, token or prefix) if token else _first(names, prefix)
            while at < len(names):
                name = names[at]
                at += 1
                if not name.startswith(prefix):
                    break
                if pattern and not pattern.fullmatch(name):
                    continue
                if len(items) + len(prefixes) >= size:
                    return items, prefixes, token
                rest = name[len(prefix) :]
                if delimiter and delimiter in rest:
                    common = prefix + rest.split(delimiter)[0] + delimiter
                    prefixes.append(common)
                    token = common + "\U0010ffff"
                    at = bisect_right(names, token)
                    continue
                items.append(self._buckets[bucket].live[name])
                token = name
        return items, prefixes, ""

    def _retire(self, bucket: str, name: str) -> None:
        found = self._buckets[bucket]
        if gone := found.live.pop(name, None):
            found.names.remove(name)
            if found.versioning:
                found.old[(name, gone.generation)] = gone


def _first(names: list[str], prefix: str) -> int:
    at = bisect_right(names, prefix)
    return at - 1 if at and names[at - 1] == prefix else at


def _glob(glob: str) -> str:
    """matchGlob: * within a folder, ** across, ? one character, [] and {a,b}."""
    out, at = "", 0
    while at < len(glob):
        if glob.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif glob.startswith("**", at):
            out, at = out + ".*", at + 2
        else:
            char = glob[at]
            out += {"*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|", "[": "[", "]": "]"}.get(
                char, re.escape(char)
            )
            at += 1
    return out


def resource(found: Object) -> dict:
    """The JSON of an object."""
    return {
        "kind": "storage#object",
        "id": f"{found.bucket}/{found.name}/{found.generation}",
        "name": found.name,
        "bucket": found.bucket,
        "generation": str(found.generation),
        "metageneration": "1",
        "contentType": found.content_type,
        "contentEncoding": found.content_encoding,
        "storageClass": "STANDARD",
        "size": str(len(found.data)),
        "md5Hash": found.md5,
        "crc32c": found.crc32c,
        "etag": str(found.generation),
        **({"metadata": found.metadata} if found.metadata else {}),
    }
