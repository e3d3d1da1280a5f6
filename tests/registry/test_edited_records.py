"""Records whose values somebody changed by hand to another type: named as damaged, wherever they are read."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.deployment import deploy_to_serving_directory
from kfp_bert_components.errors import DamagedError, UserError
from kfp_bert_components.gate import read_decision
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.promote_model import promote_model
from tests.support.directories import promote_graph
from tests.support.models import write_candidate
from tests.support.promoters import interrupt


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


ENTRY: dict[str, Any] = {"state": "live", "version": 1, "facts": {"number": 1}}
PLACE = {"kind": "serving directory", "uri": "/elsewhere"}
EVENT: dict[str, Any] = {"state": "failed", "version": 1, "reason": "", "at": "", "by": ""}
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
        ({"details": {**DETAILS, "elsewhere": {"a": {"state": 5, "version": 1}}}}, "state is 5"),
        ({"details": {**DETAILS, "live": {"version": "1", "facts": {}}}}, 'version is "1"'),
        ({"details": {**DETAILS, "live": {"version": 1}}}, "lacks 'facts'"),
        ({"details": {**DETAILS, "live": {"version": 1, "facts": {}}}}, "lacks 'number'"),
        ({"details": {**DETAILS, "live": {"version": 1, "facts": {"number": "1"}}}}, 'number is "1"'),
        ({"details": {**DETAILS, "facts": {"directory": 5}}}, "directory is 5"),
        ({"details": {**DETAILS, "live_is_known": "no"}}, 'live_is_known is "no"'),
        ({"state": "rolling", "details": {**DETAILS, "step": "dancing"}}, "its rollout is 'dancing', which is none of"),
        ({"state": "rolling", "details": {**DETAILS, "step": "finishing"}}, "lacks 'number'"),
        ({"details": {**DETAILS, "facts": {"number": 1}}}, "live is {}, but its state is 'live'"),
        ({"details": {**DETAILS, "facts": {"attempt": None}}}, "attempt is null"),
        ({"details": {**DETAILS, "facts": {"attempt": 1.5}}}, "attempt is 1.5"),
        ({"details": {**DETAILS, "lease_seconds": float("nan")}}, "Out of range float values are not JSON compliant"),
        ({"details": {"elsewhere": {"a": {"version": 1}}}}, "lacks 'state'"),
        ({"details": {"elsewhere": {"a": {"state": "", "version": 1}}}}, "state is ''"),
        ({"details": {"elsewhere": {"a": {**ENTRY, "live": {}}}}}, "live is {}, but its state is 'live'"),
        ({"details": {"elsewhere": {"a": {**ENTRY, "facts": ["a"]}}}}, 'facts is ["a"]'),
        ({"details": {"elsewhere": {"a": {**ENTRY, "memory": {"tried": ""}}}}}, 'tried is ""'),
        ({"details": {"elsewhere": {"a": {**ENTRY, "live": {"version": 1, "facts": {}}, "place": PLACE}}}}, "'number'"),
        ({"place": {"kind": "serving directory"}}, "lacks 'uri'"),
        ({"log": [{**EVENT, "live": "1"}]}, 'live is "1"'),
        ({"log": [{"state": "lost", "version": 1, "reason": "", "at": "", "by": ""}]}, 'state is "lost"'),
        ({"format": 1, "details": {"facts": {"directory": 5}}}, 'place is {"kind": "serving directory", "uri": 5}'),
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


ENDPOINT = {"kind": "AI Platform endpoint", "project": "p", "location": "l", "endpoint": "e"}
SERVICE = {"kind": "KServe", "cluster": "c", "namespace": "n", "name": "s"}
BEGUN = {"before": None, "failure": {}, "fingerprint": "", "revision": ""}


def noted(metadata: dict[str, Any] | None = None, **predictor: Any) -> dict[str, Any]:
    """An InferenceService, as a record of a rollout has it."""
    return {"metadata": {"name": "s", "namespace": "n"} | (metadata or {}), "spec": {"predictor": predictor}}


NAME = "projects/p/locations/l/endpoints/e"


@pytest.mark.parametrize(
    ("place", "step", "facts", "says"),
    [
        (ENDPOINT, "live", {"endpoint": NAME}, "lacks 'deployed'"),
        (ENDPOINT, "live", {"endpoint": NAME, "deployed": 5}, "deployed is 5"),
        (ENDPOINT, "live", {"endpoint": NAME, "deployed": "5", "ours": "5"}, 'ours is "5"'),
        (ENDPOINT, "introducing", {"endpoint": NAME}, "lacks 'model'"),
        (ENDPOINT, "reverting", {"deployed": "5"}, "lacks 'before'"),
        (ENDPOINT, "reverting", {"deployed": "5", "before": {"4": "100"}}, 'before is {"4": "100"}'),
        (SERVICE, "live", {"url": ""}, "lacks 'served'"),
        (SERVICE, "live", {"served": ""}, "lacks 'url'"),
        (SERVICE, "testing", {}, "lacks 'before'"),
        (SERVICE, "reverting", {"before": None}, "lacks 'failure', 'fingerprint'"),
        (SERVICE, "reverting", {**BEGUN, "mode": "Knative"}, "lacks 'rolled_out'"),
        (SERVICE, "shifting", {**BEGUN, "mode": "Canary"}, "lacks 'shares', 'splits'"),
        (SERVICE, "shifting", {**BEGUN, "mode": "Other"}, 'mode is "Other"'),
        (SERVICE, "shifting", {**BEGUN, "before": {**noted(), "spec": {}}}, "before spec lacks 'predictor'"),
        (SERVICE, "reverting", {**BEGUN, "before": {**noted(), "metadata": {}}}, "before metadata lacks 'name'"),
        (SERVICE, "reverting", {**BEGUN, "before": noted({"annotations": True})}, "before is {"),
        *(
            (SERVICE, "reverting", {**BEGUN, "wrote": [noted(), noted(**one)]}, "wrote is [")
            for one in (
                {"name": 5},
                {"minReplicas": "many"},
                {"canaryTrafficPercent": []},
                {"containers": {}},
                {"containers": [{"env": [5]}]},
                {"model": None},
                {"model": {"storageUri": 5}},
            )
        ),
        *(
            (SERVICE, "reverting", {**BEGUN, "wrote": [noted(volumes=[{"name": name}])]}, "wrote has the name ")
            for name in ([], {}, None, 5)
        ),
        (SERVICE, "reverting", {**BEGUN, "gave": {"spec": {"volumes": [{"name": []}]}}}, "gave has the name []"),
        (SERVICE, "reverting", {**BEGUN, "canaries": [{}]}, "canaries 0 lacks 'predictor'"),
        (SERVICE, "reverting", {**BEGUN, "held": [{"minReplicas": "x"}]}, "held is ["),
        (SERVICE, "finishing", {**BEGUN, "mode": "Canary", "pods": [1], "pods_after": [1, 1]}, "pods lacks 1"),
    ],
)
def test_a_deployment_record_of_another_kind_of_place(
    deployed: Registry, tmp_path: Path, place: dict[str, str], step: str, facts: dict[str, Any], says: str
) -> None:
    live = {"version": 1, "facts": facts} if step == "live" else {}
    state = "live" if step == "live" else "rolling"
    edit(
        tmp_path / "registry/deployments/production.json",
        place=place,
        state=state,
        details={"step": step, "facts": facts, "live": live},
    )
    (problem,) = [one for one in deployed.verify() if "production.json is damaged" in one]
    assert says in problem
    with pytest.raises(DamagedError, match="production.json is damaged"):
        deploy_to_serving_directory(deployed.uri, str(tmp_path / "serving"))


@pytest.mark.parametrize("values", [{"number": "1"}, {"registry": 5}])
def test_the_marker_of_a_serving_directory(deployed: Registry, tmp_path: Path, values: dict[str, Any]) -> None:
    marker = next(path for path in (tmp_path / "serving").iterdir() if path.is_file())
    edit(marker, **values)
    promote_graph(deployed, tmp_path, "second")
    with pytest.raises(DamagedError, match=f"{marker.name} is damaged: its fields are not as expected"):
        deploy_to_serving_directory(deployed.uri, str(tmp_path / "serving"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("reason", ["why"]), ("at", 3), ("version", "1"), ("decision_id", None), ("event", "sold"), ("previous", "0")],
)
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
        ({"difference": {"value": "0.05"}}, 'value is "0.05"'),
        ({"policy": {"override": "PROMOTE", "override_by": None}}, "override_by is null"),
        ({"guardrails": [{"name": "F1", "passed": 1}]}, "passed is 1"),
        ({"test_set": {"alpha": "x"}, "difference": {"p_value": 0.1}}, 'alpha is "x"'),
    ],
)
def test_a_decision(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    candidate = write_candidate(tmp_path / "candidate", "first")
    edit(candidate[2] / "decision.json", **values)
    with pytest.raises(DamagedError, match="decision.json is damaged") as error:
        promote_model(str(tmp_path / "registry"), *candidate)
    assert says in str(error.value)
    assert not (tmp_path / "registry/versions").exists()


@pytest.mark.parametrize(
    ("part", "values", "says"),
    [
        (0, {"labels": None}, "bundle.json is damaged: .*labels is null"),
        (0, {"labels": [1]}, r"labels is \[1\]"),
        (0, {"versions": [1]}, r"versions is \[1\]"),
        (0, {"parameters": [1]}, r"parameters is \[1\]"),
        (0, {"base_model": 5}, "base_model is 5"),
        (0, {"data_fingerprint": None}, "data_fingerprint is null"),
        (0, {"format": 2, "engines": {"tensorflow": {}}}, "engines tensorflow lacks 'precision'"),
        (1, {"empty": "yes"}, 'evaluation.json is damaged: .*empty is "yes"'),
        (1, {"metrics": {"accuracy": 0.1}}, "metrics is"),
        (1, {"alarm": {"sentence": "fell"}}, "lacks 'labels', 'chance'"),
    ],
)
def test_a_bundle_and_an_evaluation(tmp_path: Path, part: int, values: dict[str, Any], says: str) -> None:
    candidate = write_candidate(tmp_path / "candidate", "first")
    edit(candidate[part] / ("bundle.json", "evaluation.json")[part], **values)
    with pytest.raises(DamagedError, match=says):
        promote_model(str(tmp_path / "registry"), *candidate)
    assert not (tmp_path / "registry/versions").exists()


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("versions/1/version.json", {"files": {"bundle/a": {"size": 5}}}, "files bundle/a lacks 'sha256'"),
        ("versions/1/version.json", {"files": {"bundle/a": {"sha256": ""}}}, "files bundle/a lacks 'size'"),
        (
            "versions/1/version.json",
            {"files": {"bundle/a": {"size": 5, "sha256": ""}}},
            "files bundle/a lacks 'crc32c'",
        ),
        ("versions/1/version.json", {"version": 2}, "its version is 2, and it is that of version 1"),
        ("removed/7.json", {"version": "7", "at": "", "by": "", "reason": ""}, 'version is "7"'),
        ("promotions/a.json", {"version": "7", "at": "2026-11-29", "decision_id": "a"}, 'version is "7"'),
        ("test_sets/a.json", {"uses": ["a"]}, r'uses is \["a"\]'),
        ("test_sets/lineages.json", {"decisions": {}}, "decisions is {}"),
        (
            "test_sets/lineages.json",
            {"decisions": [{"identity": {}, "test_fingerprint": "", "lineages": [], "number": 1}]},
            "a decision names no lineage",
        ),
    ],
)
def test_a_record_beside_the_champion(
    deployed: Registry, tmp_path: Path, name: str, values: dict[str, Any], says: str
) -> None:
    path = tmp_path / "registry" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {"format": 1}) | values))
    (problem,) = [one for one in deployed.verify() if f"{path} is damaged" in one]
    assert re.search(says, problem)
    for verb in ("list", "history", "gc", "rollback", "show"):
        result = CliRunner().invoke(command, [verb, deployed.uri])
        assert result.exception is None or isinstance(result.exception, UserError)


def test_a_note_of_a_promotion_that_is_tried_again(deployed: Registry, tmp_path: Path) -> None:
    champion = deployed.require_champion()
    candidate = write_candidate(
        tmp_path / "next", "next", champion_version=1, champion_generation=champion.generation, decision_id="next"
    )
    killed = Registry(deployed.uri)
    interrupt(killed, "write", "champion.json", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        killed.promote(*candidate)
    (note,) = [one for one in (tmp_path / "registry/promotions").iterdir() if '"next"' in one.read_text()]
    edit(note, version="x")
    with pytest.raises(DamagedError, match=f'{note} is damaged: .*version is "x".* or delete it'):
        deployed.promote(*candidate)
    note.unlink()
    assert deployed.promote(*candidate) == 3


def test_an_approval(deployed: Registry, tmp_path: Path) -> None:
    decision = read_decision(write_candidate(tmp_path / "next", "next", outcome="PROMOTE")[2])
    record = deployed.ask_approval(decision, 1.0)
    (path,) = (tmp_path / "registry/decisions").glob("*.json")
    edit(path, approval={**asdict(record.approval), "state": "forgotten"})  # type: ignore[arg-type]
    assert any('state is "forgotten"' in problem for problem in deployed.verify())
    assert deployed.decisions() == [] and deployed.history()
