"""A folder that a model server watches, as a place to roll out to."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment.model_server import ModelServer
from kfp_bert_components.deployment.rollout import roll_out
from kfp_bert_components.deployment.shelf import LABEL, Shelf, open_shelf
from kfp_bert_components.deployment.smoke import SmokeSettings, smoke_test
from kfp_bert_components.errors import UserError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.deployment.journal import Journal
    from kfp_bert_components.registry import Registry


@dataclass(frozen=True)
class Deployed:
    """What serves now.

    Attributes:
        serving_uri: Folder of the SavedModel, whose name is a number of the serving directory's own.
        version: The registry's version that lies there.
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
) -> Deployed:
    """Make the registry's champion the newest version in a folder that a model server watches.

    The version is complete before a server can see it. A run that was killed is gone on with by the next one,
    and a champion that is there already is left alone.

    Args:
        registry: gs:// URI or folder of the registry.
        serving_directory: gs:// URI or folder, in TensorFlow Serving's layout.
        target: Name of the deployment record in the registry.
        server_url: Address of a server that watches the folder, such as http://serving:8501. Where it is
            given, the version is asked for texts of the test split, and taken away if it fails.
        smoke: The bounds of that test.
        keep: Versions that stay in the folder, the new one included; at least 2, to fall back on.
        lease_seconds: Time without a sign of life after which another run's deployment is taken over.

    Returns:
        Where the champion lies, and its version in the registry.

    Raises:
        UserError: There is no champion, or the directory cannot be used.
        RolloutError: The version failed; what was there before still is.
    """
    from kfp_bert_components.registry import Registry

    if keep < 2:
        raise UserError(f"keep is {keep}: keep at least 2 versions, so that there is one to fall back on.")
    opened, shelf = Registry(registry), open_shelf(serving_directory)
    server = ModelServer(server_url) if server_url else None
    place = DirectoryTarget(opened, shelf, keep, server, smoke or SmokeSettings())
    live = roll_out(opened, target, place, lease_seconds=lease_seconds)
    return Deployed(f"{shelf.uri}/{live['facts']['number']}", live["version"])


class DirectoryTarget:
    """The serving directory as a rollout target: a version that is visible gets every request."""

    def __init__(
        self, registry: Registry, shelf: Shelf, keep: int, server: ModelServer | None, smoke: SmokeSettings
    ) -> None:
        self._registry, self._shelf, self._keep = registry, shelf, keep
        self._server, self._smoke = server, smoke

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the version is the newest one of the folder."""
        complete = self._shelf.complete()
        return bool(complete) and complete[-1] == facts.get("number") and self._is(complete[-1], version)

    def prepare(self, journal: Journal) -> None:
        """Claim a number that was never used."""
        if "number" not in journal.facts:
            used = [0, *self._shelf.numbers(), journal.live.get("facts", {}).get("number", 0)]
            journal.note(number=max(used) + 1, directory=self._shelf.uri)

    def introduce(self, journal: Journal) -> None:
        """Make the version visible, whole."""
        number = journal.facts["number"]
        if number in self._shelf.complete():
            return
        with tempfile.TemporaryDirectory() as scratch:
            bundle = Path(scratch) / "bundle"
            self._registry.fetch_bundle(journal.version, bundle)
            model = bundle / "saved_model"
            label = model / LABEL
            label.parent.mkdir(exist_ok=True)
            metadata = json.loads((bundle / "bundle.json").read_text())
            label.write_text(json.dumps({**metadata, "registry_version": journal.version}, indent=2))
            journal.check()
            self._shelf.put(model, number)

    def test(self, journal: Journal) -> None:
        """See that what lies there is what was meant to, and that the server answers with it as it should."""
        if not self._is(journal.facts["number"], journal.version):
            raise UserError(f"{self._shelf.uri}/{journal.facts['number']} is not version {journal.version}.")
        if self._server:
            from kfp_bert_components.deployment.examples import load_examples

            number, examples = journal.facts["number"], load_examples(self._registry, journal.version)
            self._server.wait_for(number, self._smoke.timeout_seconds, journal.check)
            ask = partial(self._server.ask, number)
            say(smoke_test(ask, str(number), examples.rows, examples.labels, self._smoke, journal.check))

    def shift(self, journal: Journal) -> None:
        """Nothing to do: a visible version gets every request."""

    def finish(self, journal: Journal) -> None:
        """Delete old versions of ours, all but the newest few, and what a killed run left."""
        self._shelf.sweep()
        complete = self._shelf.complete()
        ours = [number for number in complete if self._shelf.label(number).get("registry_version")]
        for number in ours[: -self._keep]:
            journal.check()
            self._shelf.remove(number)

    def revert(self, journal: Journal) -> None:
        """Take the version away, so that the one before it is the newest again."""
        self._shelf.sweep()
        if "number" in journal.facts:
            self._shelf.remove(journal.facts["number"])

    def _is(self, number: int, version: int) -> bool:
        return self._shelf.label(number).get("registry_version") == version
