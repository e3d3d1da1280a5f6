"""Each value of a deployment record in turn is another one, or is gone, at each step of a rollout.

The next rollout goes on or ends with a sentence, and where that says that the record is damaged, `verify` says so too.

All changes: KFP_BERT_DAMAGE=all python -m pytest tests/deployment/test_damaged_rollouts.py
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.registry import Registry
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.damage import some
from tests.support.directories import deploy_to_folder, promote_graph
from tests.support.kserve_rollouts import KServeWorld
from tests.support.kubernetes_server import KubernetesServer
from tests.support.rollouts import World
from tests.support.stores import gcs

__all__ = ["gcs"]
NAME = "deployments/production.json"
Deployed = tuple[Registry, Callable[[], object], Callable[[], object]]  # how the next version is promoted, and deployed


@pytest.fixture
def directory(tmp_path: Path) -> Deployed:
    registry, names = Registry(str(tmp_path / "registry")), itertools.count()
    return (
        registry,
        lambda: promote_graph(registry, tmp_path, f"m{next(names)}"),
        lambda: deploy_to_folder(registry, str(tmp_path / "serving"), tmp_path / f"s{next(names)}", lease_seconds=0.1),
    )


@pytest.fixture
def endpoint(gcs: object) -> Iterator[Deployed]:
    with AiPlatformServer() as server:
        world = World("gs://bucket/registry", server)
        yield world.registry, world.promote, lambda: world.deploy(lease_seconds=0.5)


@pytest.fixture
def service(gcs: object) -> Iterator[Deployed]:
    with KubernetesServer(factor=200) as server:
        world = KServeWorld("gs://bucket/registry", server)
        yield world.registry, world.promote, lambda: world.deploy(lease_seconds=0.5)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The last record of each step that rollouts have taken since."""
    found, real = {}, Registry.record_deployment

    def record(registry: Registry, *arguments: Any, **options: Any) -> Any:
        made = real(registry, *arguments, **options)
        found[made.details["step"]] = json.loads(registry.store.read(NAME).data)
        return made

    monkeypatch.setattr(Registry, "record_deployment", record)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("place", "step"), [("directory", 100), ("endpoint", 200), ("service", 2000)])
def test_a_damaged_record_of_a_rollout(
    place: str, step: int, written: dict[str, dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    registry, promote, deploy = request.getfixturevalue(place)
    for _ in range(2):
        promote()
        deploy()
    for number, (state, record) in enumerate([*written.items()]):
        details = {**record["details"], "holder": "", "lease_seconds": 0.1}  # as of a run that stopped
        for what, made in some({**record, "log": record["log"][-1:], "details": details}, 31 * number, step):
            registry.store.write(NAME, json.dumps(made).encode())
            named = any(NAME in problem for problem in registry.verify())
            try:
                with contextlib.suppress(TransientError):
                    deploy()
            except UserError as error:
                assert named or "is damaged" not in str(error), f"{state}, {what}: {error}"
            except Exception as error:
                raise AssertionError(f"{state}, {what}: ended with {error!r}") from error
