"""Records whose values somebody changed by hand to another type: named as damaged, wherever they are read."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.deployment import deploy_to_serving_directory
from kfp_bert_components.errors import DamagedError
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.promote_model import promote_model
from tests.support.directories import promote_graph
from tests.support.models import write_candidate


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


DETAILS: dict[str, Any] = {"facts": {}, "memory": {"number": 1, "served": [1]}}


@pytest.fixture
def deployed(tmp_path: Path) -> Registry:
    registry = Registry(str(tmp_path / "registry"))
    promote_graph(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, str(tmp_path / "serving"))
    return registry


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"version": "1"}, 'version is "1"'),
        ({"version": 1.5}, "version is 1.5"),
        ({"state": "serving"}, "state is 'serving', which is none of pending, rolling, live, failed"),
        ({"reason": None}, "reason is null"),
        ({"place": "x"}, 'place is "x"'),
        ({"place": {"uri": 5}}, 'place is {"uri": 5}'),
        ({"log": [{}]}, "lacks 'state', 'version'"),
        ({"log": [3]}, "log is [3]"),
        ({"details": []}, "details is []"),
        ({"details": {**DETAILS, "facts": []}}, "facts is []"),
        ({"details": {**DETAILS, "memory": {"number": "9"}}}, 'number is "9"'),
        ({"details": {**DETAILS, "memory": {"number": 9, "served": ["1"]}}}, 'served is ["1"]'),
        ({"details": {**DETAILS, "elsewhere": [1]}}, "elsewhere is [1]"),
    ],
)
def test_a_deployment_record(deployed: Registry, tmp_path: Path, values: dict[str, Any], says: str) -> None:
    edit(tmp_path / "registry/deployments/production.json", **values)
    named = f"{deployed.store.describe('deployments/production.json')} is damaged"
    (problem,) = [one for one in deployed.verify() if named in one]
    assert says in problem
    for verb in ("list", "history"):
        result = CliRunner().invoke(command, [verb, deployed.uri])
        assert named in str(result.exception)
    with pytest.raises(DamagedError, match="production.json is damaged"):
        deploy_to_serving_directory(deployed.uri, str(tmp_path / "serving"))


def test_a_rollout_in_a_step_that_there_is_none_of(deployed: Registry, tmp_path: Path) -> None:
    edit(tmp_path / "registry/deployments/production.json", state="rolling", details={**DETAILS, "step": "dancing"})
    with pytest.raises(DamagedError, match="its rollout is 'dancing', which is none of preparing, introducing"):
        deploy_to_serving_directory(deployed.uri, str(tmp_path / "serving"))


@pytest.mark.parametrize("values", [{"number": "1"}, {"registry": 5}])
def test_the_marker_of_a_serving_directory(deployed: Registry, tmp_path: Path, values: dict[str, Any]) -> None:
    marker = next(path for path in (tmp_path / "serving").iterdir() if path.is_file())
    edit(marker, **values)
    promote_graph(deployed, tmp_path, "second")
    with pytest.raises(DamagedError, match=f"{marker.name} is damaged: its fields are not as expected"):
        deploy_to_serving_directory(deployed.uri, str(tmp_path / "serving"))


@pytest.mark.parametrize(("field", "value"), [("reason", ["why"]), ("at", 3), ("version", "1"), ("decision_id", None)])
def test_the_log_of_the_champion(deployed: Registry, tmp_path: Path, field: str, value: Any) -> None:
    path = tmp_path / "registry/champion.json"
    log = json.loads(path.read_text())["log"]
    edit(path, log=[{**log[-1], field: value}])
    assert [one for one in deployed.verify() if "champion.json is damaged" in one]
    result = CliRunner().invoke(command, ["history", deployed.uri])
    assert isinstance(result.exception, DamagedError)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"reason": None}, "reason is null, but it should be a valid string"),
        ({"difference": None}, "difference is null"),
        ({"decision_id": 7}, "decision_id is 7"),
        ({"guardrails": {}}, "guardrails is {}"),
        ({"champion_generation": [0]}, "champion_generation is [0]"),
    ],
)
def test_a_decision(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    candidate = write_candidate(tmp_path / "candidate", "first")
    edit(candidate[2] / "decision.json", **values)
    with pytest.raises(DamagedError, match="decision.json is damaged") as error:
        promote_model(str(tmp_path / "registry"), *candidate)
    assert says in str(error.value)
    assert not (tmp_path / "registry/versions").exists()
