"""Makes the registry's champion the newest version in a folder that a model server watches."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_bert_components.deployment.directory_target import DirectoryTarget, Engine
from kfp_bert_components.deployment.journal import longest_call
from kfp_bert_components.deployment.model_server import ModelServer
from kfp_bert_components.deployment.open_folder import open_versioned_folder, without_links
from kfp_bert_components.deployment.rollout import roll_out
from kfp_bert_components.deployment.smoke_test import SmokeSettings
from kfp_bert_components.deployment.time_limits import check_lease
from kfp_bert_components.deployment.versioned_folder import is_number
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.progress import say
from kfp_bert_components.storage import known_address, one_name

if TYPE_CHECKING:
    from kfp_bert_components.origin import Origin

_PATTERN = frozenset("[\\")


@dataclass(frozen=True)
class DeployedVersion:
    """What serves now.

    Attributes:
        serving_uri: Folder of the version; its name is the number that it has in the serving directory.
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
    engine: Engine | None = None,
    take_over: bool = False,
    origin: Origin | None = None,
) -> DeployedVersion:
    """Make the registry's champion the newest version in a folder that a model server watches.

    The version is complete before a server can see it. If an earlier run was killed, its rollout is completed or
    reverted first. If the champion is the newest version already, nothing is changed.

    Args:
        registry: gs:// or s3:// URI, or folder, of the registry.
        serving_directory: gs:// or s3:// URI, or folder, in TensorFlow Serving's layout.
        target: Name of the deployment record in the registry.
        server_url: Address of a server that watches the folder, such as http://serving:8501. If it is given, the
            version is tested with texts of the test split once the server has it, and removed if it fails. A champion
            that the folder holds already is live only if the server says that it serves it.
        smoke: When the version passes its test. Default: `SmokeSettings()`.
        keep: Number of versions that stay in the folder, with the new one; at least 2.
        lease_seconds: Another run's rollout is taken over when its record did not change for this time.
        engine: Loads the version here, to test it with texts of the test split before a server can see it. Default: it
            is not tested here. The component deploy_to_serving_directory gives one.
        take_over: Whether to take over the folder if another registry or target owns it.
        origin: Where this is done, for the deployment record; by default what the environment tells.

    Returns:
        Where the champion is, and its version in the registry.

    Raises:
        UserError: There is no champion, `lease_seconds` is 0 or less, or the directory cannot be used: it is a file, or
            overlaps with the registry.
        RolloutError: The version failed, or the folder belongs to others; it has the versions that it had before.
    """
    from kfp_bert_components.registry import Registry

    check_lease(lease_seconds)
    if keep < 2:
        raise UserError(f"keep is {keep}: expected 2 or more, so that there is a version to go back to.")
    opened, folder = Registry(registry, origin=origin), open_versioned_folder(serving_directory)
    folder.limit_calls(longest_call(lease_seconds))
    _refuse_overlap(opened.uri, folder.uri)
    _refuse_inside_a_version(folder.uri)
    if not _PATTERN.isdisjoint(folder.uri):
        say(
            f"TensorFlow Serving takes {folder.uri} as a pattern and finds no variables there; `kfp-bert serve` does. "
            "For TensorFlow Serving choose a path without '[' and '\\'."
        )
    with tempfile.TemporaryDirectory() as scratch:
        directory = DirectoryTarget(
            opened,
            folder,
            target,
            Path(scratch),
            keep=keep,
            server=ModelServer(server_url, min(30.0, lease_seconds / 2)) if server_url else None,
            smoke=smoke or SmokeSettings(),
            engine=engine,
            take_over=take_over,
        )
        try:
            live = roll_out(opened, target, directory, lease_seconds=lease_seconds)
        except TransientError as error:
            raise UserError(f"The server cannot be asked what it serves: {error}. Nothing was changed.") from error
    return DeployedVersion(f"{folder.uri}/{live['facts']['number']}", live["version"])


def _refuse_overlap(registry: str, folder: str) -> None:
    """UserError where one of the two places is the other one or lies in it: each would take files for its own."""
    store, serving = (f"{_real(uri).rstrip('/')}/" for uri in (registry, folder))
    if store.startswith(serving) or serving.startswith(store):
        how = "is" if store == serving else "lies inside" if serving.startswith(store) else "holds"
        raise UserError(
            f"The serving directory {folder} {how} the registry {registry}: give a serving_directory beside it."
        )


def _refuse_inside_a_version(uri: str) -> None:
    """UserError where the folder is, or lies in, a version of another serving directory, which will be removed."""
    folder, last = known_address(uri).split()
    while last:
        if is_number(last) and open_versioned_folder(folder).read_owner()[0]:
            raise UserError(
                f"The serving directory {uri} lies inside a version of the serving directory {folder}: give one beside "
                "that one."
            )
        folder, last = folder.split()


def _real(uri: str) -> str:
    address = without_links(known_address(uri))
    return str(address) if address.is_local else one_name(str(address))
