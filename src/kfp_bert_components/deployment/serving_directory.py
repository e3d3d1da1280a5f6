"""A folder that a model server watches, as a rollout target."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.bert import read_bundle
from kfp_bert_components.deployment.model_server import ModelServer
from kfp_bert_components.deployment.rollout import roll_out
from kfp_bert_components.deployment.smoke_requests import load_smoke_requests
from kfp_bert_components.deployment.smoke_test import SmokeSettings, smoke_test
from kfp_bert_components.deployment.target import Target
from kfp_bert_components.deployment.versioned_folder import (
    METADATA,
    VersionedFolder,
    dump_metadata,
    open_versioned_folder,
)
from kfp_bert_components.errors import UserError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.deployment.journal import Journal
    from kfp_bert_components.registry import Registry


@dataclass(frozen=True)
class DeployedVersion:
    """What serves now.

    Attributes:
        serving_uri: Folder of the SavedModel; its name is the number that it has in the serving directory.
        version: The registry's version in it.
    """

    serving_uri: str
    version: int


def deploy_to_serving_directory(
    registry: str,
    serving_directory: str,
    target: str = "production",
    *,
    server_url: str = "",
    smoke: SmokeSettings | None = None,
    keep: int = 2,
    lease_seconds: float = 60.0,
) -> DeployedVersion:
    """Make the registry's champion the newest version in a folder that a model server watches.

    The version is complete before a server can see it. If an earlier run was killed, its rollout is completed or
    reverted first. If the champion is the newest version already, nothing is changed.

    Args:
        registry: gs:// URI or folder of the registry.
        serving_directory: gs:// URI or folder, in TensorFlow Serving's layout.
        target: Name of the deployment record in the registry.
        server_url: Address of a server that watches the folder, such as http://serving:8501. If it is given, the
            version is asked for texts of the test split, and removed if it fails. Default: no test.
        smoke: When the version passes that test. Default: `SmokeSettings()`.
        keep: Number of versions that stay in the folder, with the new one; at least 2.
        lease_seconds: Another run's rollout is taken over when its record did not change for this time.

    Returns:
        Where the champion is, and its version in the registry.

    Raises:
        UserError: There is no champion, or the directory cannot be used.
        RolloutError: The version failed; the folder has the versions that it had before.
    """
    from kfp_bert_components.registry import Registry

    if keep < 2:
        raise UserError(f"keep is {keep}: expected 2 or more, so that there is a version to go back to.")
    opened, folder = Registry(registry), open_versioned_folder(serving_directory)
    server = ModelServer(server_url) if server_url else None
    directory = DirectoryTarget(opened, folder, keep, server, smoke or SmokeSettings())
    live = roll_out(opened, target, directory, lease_seconds=lease_seconds)
    return DeployedVersion(f"{folder.uri}/{live['facts']['number']}", live["version"])


class DirectoryTarget(Target):
    """The serving directory as a rollout target. A server sends all requests to the newest version that it sees.

    Facts: `number` (the folder's name in the serving directory) and `directory` (the directory's URI).
    """

    def __init__(
        self, registry: Registry, folder: VersionedFolder, keep: int, server: ModelServer | None, smoke: SmokeSettings
    ) -> None:
        self._registry, self._folder, self._keep = registry, folder, keep
        self._server, self._smoke = server, smoke

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the version is the newest one of the folder."""
        newest = max(self._folder.complete(), default=None)
        return newest is not None and newest == facts.get("number") and self._holds(newest, version)

    def prepare(self, journal: Journal) -> None:
        """Choose a number that was never used, and note it before anything is written under it."""
        if "number" not in journal.facts:
            used = [0, *self._folder.numbers(), journal.live.get("facts", {}).get("number", 0)]
            journal.note(number=max(used) + 1, directory=self._folder.uri)

    def introduce(self, journal: Journal) -> None:
        """Copy the version into the folder. A server may load it from then on."""
        number = journal.facts["number"]
        if number in self._folder.complete():
            return
        with tempfile.TemporaryDirectory() as scratch:
            bundle = Path(scratch) / "bundle"
            self._registry.fetch_bundle(journal.version, bundle)
            metadata = bundle / "saved_model" / METADATA
            metadata.parent.mkdir(exist_ok=True)
            metadata.write_text(dump_metadata(read_bundle(bundle).metadata, journal.version), encoding="utf-8")
            journal.check()
            self._folder.add(bundle / "saved_model", number)

    def test(self, journal: Journal) -> None:
        """Check that the folder holds this version, and, if there is a server, that it answers as it should."""
        number = journal.facts["number"]
        if not self._holds(number, journal.version):
            raise UserError(f"{self._folder.uri}/{number} is not version {journal.version}.")
        if self._server:
            requests = load_smoke_requests(self._registry, journal.version)
            self._server.wait_for(number, self._smoke.timeout_seconds, journal.check)
            ask = partial(self._server.ask, number)
            say(smoke_test(ask, str(number), requests, self._smoke, journal.check))

    def shift(self, journal: Journal) -> None:
        """Nothing to do: the server sends all requests to the newest version."""

    def finish(self, journal: Journal) -> None:
        """Delete what a killed run left, and all but the newest `keep` versions that this package deployed."""
        self._folder.remove_leftovers()
        deployed = [number for number in self._folder.complete() if self._folder.registry_version(number)]
        for number in deployed[: -self._keep]:
            journal.check()
            self._folder.remove(number)

    def revert(self, journal: Journal) -> None:
        """Remove the version, so that the one before it is the newest again."""
        self._folder.remove_leftovers()
        if "number" in journal.facts:
            self._folder.remove(journal.facts["number"])

    def _holds(self, number: int, version: int) -> bool:
        return self._folder.registry_version(number) == version
