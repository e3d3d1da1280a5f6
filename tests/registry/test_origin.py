"""From a champion to the run that made it, and from a run to what it did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kfp_bert_components import __version__
from kfp_bert_components.cli.registry import command
from kfp_bert_components.deployment import deploy_to_serving_directory
from kfp_bert_components.errors import DamagedError
from kfp_bert_components.gate import read_decision
from kfp_bert_components.origin import Origin, here, read_origin, run_of
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import close_clients
from tests.support.evaluations import scores, write_nobody, write_numbers
from tests.support.gcs_server import GcsServer
from tests.support.kubeflow_steps import RUN_ID, UI, WORKFLOW, Steps
from tests.support.models import candidate_for, write_candidate
from tests.support.promoters import InterruptedStore

PAGE = f"{UI}/#/runs/details/{RUN_ID}"
NAME = "Nightly run of 28 November"
ADDRESS = (
    f"minio://mlpipeline/v2/artifacts/train-and-deploy/{RUN_ID}/finetune-bert/6101dd6a-a18c-4f28-b8cf-c79cd3ef8cbe"
)
OTHER = "11111111-2222-4333-8444-555555555555"
EVIL = "x\n2026-01-01T00:00:00Z  Version 9 became champion\r\x1b[2J\u202e<script>|`[a](http://b)"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory):
    """The recorded run on a store that holds its data; the model and the evaluation are made of a few numbers."""
    tmp_path = tmp_path_factory.mktemp("recorded")
    (tmp_path / "run").mkdir()
    with GcsServer() as server, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        rows = [f"line number {i} about {('war', 'love')[i % 2]},{('a', 'b')[i % 2]}" for i in range(60)]
        server.put("my-bucket", "lines/one.csv", "\n".join(["text,label", *rows]).encode())
        steps = Steps(tmp_path / "run", KFP_UI_URL=f"{UI}/", KFP_BERT_IMAGE="kfp-bert-components/python:0.1.0")
        for name in ("fetch_gcs_data", "prepare_text_data"):
            done = steps.run(name, reference="", test_fraction=0.3)
            assert done.returncode == 0, done.stdout
        bundle, _, _ = write_candidate(tmp_path / "made", "evaluation")
        shutil.copy(steps.path("finetune_bert", "train") / "data_profile.json", bundle)
        shutil.copytree(bundle, steps.path("promote_model", "model"))
        truth, rng = np.arange(200) % 2, np.random.default_rng(0)
        write_numbers(steps.path("promote_model", "evaluation"), truth, scores(rng, truth, 2, 3.0), ["a", "b"])
        write_nobody(steps.path("compare_models", "champion"), ["a", "b"])
        for name in ("compare_models", "promote_model"):
            done = steps.run(name, run_id=RUN_ID, run_name=NAME)
            assert done.returncode == 0, done.stdout
        yield steps
        close_clients()


def test_from_the_champion_to_its_run_and_back(recorded: Steps, tmp_path: Path) -> None:
    registry = Registry("gs://my-bucket/registry")
    version = registry.version(registry.require_champion().version)
    origin = read_origin(version.origin)
    assert (origin.run_id, origin.run_name, origin.workflow, origin.namespace) == (RUN_ID, NAME, WORKFLOW, "kubeflow")
    assert origin.pod.startswith(WORKFLOW) and origin.page == PAGE and origin.package_version == __version__
    assert origin.image == "kfp-bert-components/python:0.1.0"
    assert {name: one["run_id"] for name, one in origin.artifacts.items()} == dict.fromkeys(
        ("model", "evaluation", "decision"), RUN_ID
    )
    assert origin.artifacts["model"]["uri"] == f"{ADDRESS}/model"
    assert (version.data["sources"], version.data["files"]) == (["gs://my-bucket/lines/*.csv"], 1)
    ((address, generation, size),) = version.data["objects"]
    assert address == "gs://my-bucket/lines/one.csv" and generation > 0 and size == version.data["bytes"]
    assert version.data["fingerprint"] == recorded.metadata("fetch_gcs_data", "data")["fingerprint"]

    card = run("show", registry.uri)
    for line in (
        f"- Run: `{RUN_ID} ({NAME})`",
        f"- Page: <{PAGE}>",
        f"- Workflow: `kubeflow/{WORKFLOW}`",
        f"- Model: `{ADDRESS}/model`",
        f"  - `{address}`, generation {generation}",
        f"- Training data: 1 file, {size / 1000:.1f} kB, of `gs://my-bucket/lines/*.csv`; fingerprint "
        f"`{version.data['fingerprint']}`",
    ):
        assert line in card.splitlines()
    assert f"champion, made by run {WORKFLOW}" in run("list", registry.uri)
    assert json.loads(run("list", registry.uri, "--json"))["versions"][0]["origin"]["run_id"] == RUN_ID
    assert json.loads(run("show", registry.uri, "--json"))["origin"]["page"] == PAGE

    registry.rollback(promoted_by_hand(registry, tmp_path) - 1, "as a test")
    for name in (RUN_ID, NAME, WORKFLOW, PAGE):
        (line,) = run("history", registry.uri, "--run", name).splitlines()
        assert "Version 1 became champion, the first one" in line and line.endswith(f", run {WORKFLOW})")
    assert [one["origin"].get("run_id", "") for one in json.loads(run("history", registry.uri, "--json"))] == [
        RUN_ID,
        "",
        "",
    ]
    assert run("history", registry.uri, "--run", "another") == "Nothing was done by run another.\n"
    empty = CliRunner().invoke(command, ["history", registry.uri, "--run", ""])  # as a variable that is not set
    assert empty.exit_code == 2 and "--run is empty: give the id of a run" in empty.output


def promoted_by_hand(registry: Registry, tmp_path: Path) -> int:
    """A model that somebody promoted on a machine of their own."""
    return registry.promote(*candidate_for(registry, tmp_path / "by hand", "b"))


def test_the_decision_and_its_page_name_the_run_and_the_baseline(recorded: Steps) -> None:
    decision = read_decision(recorded.path("promote_model", "decision"))
    origin = read_origin(decision.origin)
    assert (origin.run_id, origin.page) == (RUN_ID, PAGE) and set(origin.artifacts) == {"candidate", "champion"}
    page = recorded.path("compare_models", "report").read_text()
    assert f'<a href="{PAGE}">{PAGE}</a>' in page and origin.artifacts["candidate"]["uri"] in page
    assert '<th class="n">champion</th>' not in page
    command = f"kfp-bert registry history gs://my-bucket/registry --run {RUN_ID}"
    assert command in page
    assert "Version 1 became champion" in run(*command.split()[2:])
    summary = recorded.path("compare_models", "summary").read_text()
    assert "|  | candidate | most frequent class | change |" in summary
    assert summary.endswith(f" |\n\nWhat the run did in the registry:\n\n    {command}\n")
    metadata = recorded.metadata("compare_models", "decision")
    assert (metadata["outcome"], metadata["metric"], metadata["overridden"]) == ("PROMOTE", "macro_f1", False)
    assert metadata["candidate"] > metadata["champion"] and metadata["champion_version"] == 0
    assert metadata["registry"] == "gs://my-bucket/registry"
    train = recorded.metadata("prepare_text_data", "train")
    assert train["rows"] > 20 and (train["classes"], train["labels"]) == (2, ["a", "b"])


def test_deployment_records_name_the_run(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    candidate = write_candidate(tmp_path / "c")
    (candidate[0] / "saved_model" / "saved_model.pb").write_text("graph")
    registry.promote(*candidate)
    origin = here(f"{ADDRESS}/Output", run_name=NAME)
    deploy_to_serving_directory(registry.uri, str(tmp_path / "serving"), origin=origin)
    record = registry.deployment("production")
    assert read_origin(record.origin).run_id == RUN_ID
    assert {read_origin(one["origin"]).run_id for one in record.log} == {RUN_ID}
    assert len(run("history", registry.uri, "--run", RUN_ID).splitlines()) == len(record.log)
    places = json.loads(run("list", registry.uri, "--json"))["deployments"]
    assert places["production"]["origin"]["run_name"] == NAME


def test_a_promotion_that_another_pod_goes_on_with_keeps_where_it_began(tmp_path: Path) -> None:
    first, second = (Registry(str(tmp_path / "registry"), origin=Origin(RUN_ID, pod=pod)) for pod in ("a", "b"))
    candidate = candidate_for(first, tmp_path, "m")

    def killed() -> None:
        raise KeyboardInterrupt

    first.store = InterruptedStore(first.store, "write", "champion.json", killed)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        first.promote(*candidate)
    assert second.promote(*candidate) == 1
    assert second.version(1).origin == {"run_id": RUN_ID, "pod": "a"} and "- Pod: `a`" in second.card(1)
    assert second.require_champion().log[-1]["origin"]["pod"] == "b"


def test_a_model_of_another_run_is_named_as_such(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("KFP_UI_URL", UI)
    taken = f"minio://mlpipeline/v2/artifacts/train-and-deploy/{OTHER}/finetune-bert/{OTHER}/model"
    origin = here(f"{ADDRESS}/Output", artifacts={"model": taken})
    assert ("model: made by", f"run {OTHER}, {UI}/#/runs/details/{OTHER}") in origin.facts()
    assert [name for name, _ in here(f"{ADDRESS}/O", artifacts={"model": f"{ADDRESS}/model"}).facts()][-1] == "model"


@pytest.mark.parametrize(
    ("uri", "run"),
    [
        (f"{ADDRESS}/model", {"run_id": RUN_ID}),
        (f"gs://bucket/pipelines/train-and-deploy/{RUN_ID}/finetune-bert/model", {"run_id": RUN_ID}),
        (
            "gs://bucket/pipelines/123456789/train-and-deploy-20261128140554/finetune-bert_-8031/model",
            {"run_name": "train-and-deploy-20261128140554"},
        ),
        (
            "/home/ann/runs/train-and-deploy-2026-11-28/finetune-bert/model",
            {"folder": "/home/ann/runs/train-and-deploy-2026-11-28"},
        ),
        (
            "/home/ann/runs/sweep-2026-11-28/for-loop-1-iteration-0/for-loop-2-iteration-11/finetune-bert/model",
            {"folder": "/home/ann/runs/sweep-2026-11-28"},
        ),
        ("gs://bucket/models/mine", {}),
        ("", {}),
    ],
)
def test_an_address_tells_the_run_that_made_it(uri: str, run: dict[str, str], monkeypatch) -> None:
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    assert run_of(uri) == run


def test_on_vertex_the_page_is_that_of_the_console(monkeypatch) -> None:
    monkeypatch.setenv("CLOUD_ML_PROJECT_ID", "my-project")
    monkeypatch.setenv("CLOUD_ML_REGION", "europe-west4")
    found = here("gs://bucket/pipelines/123456789/train-20261128/promote-model_-8031/Output", run_id="4711")
    assert (found.run_id, found.run_name) == ("4711", "train-20261128")
    assert found.page == (
        "https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/train-20261128"
        "?project=my-project"
    )


@pytest.mark.parametrize(
    ("uri", "run_id", "run_name", "label"),
    [
        (f"{ADDRESS}/model", RUN_ID, NAME, RUN_ID),
        ("gs://b/1234/train-20261128/finetune-bert_-8031/model", "4711", "train-20261128", "train-20261128"),
        ("/home/ann/runs/train-2026/finetune-bert/model", "17", "train-2026", "train-2026"),
    ],
)
def test_a_cached_step_and_one_with_placeholders_label_what_they_make_alike(
    uri: str, run_id: str, run_name: str, label: str, monkeypatch
) -> None:
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    for workflow in (WORKFLOW, ""):
        monkeypatch.setenv("ARGO_WORKFLOW_NAME", workflow)
        assert here(uri).label == here(uri, run_id, run_name).label == label
    assert Origin(run_id=run_id, run_name=run_name).label == label  # as a record says it
    assert here("").label == Origin().label == ""


def test_names_from_people_stay_on_their_line(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"), origin=Origin(EVIL, EVIL, EVIL, page=f"https://{EVIL}"))
    registry.promote(*write_candidate(tmp_path / "c"))
    for output in (run("list", registry.uri), run("history", registry.uri)):
        assert len(output.splitlines()) == 1 and "\x1b" not in output and "\u202e" not in output
    card = registry.card(1)
    assert "\x1b" not in card and "\u202e" not in card
    assert all(
        line.startswith(("- Run: `", "- Page: `", "- Workflow: `")) for line in card.splitlines() if "script" in line
    )


def test_an_origin_that_was_edited_by_hand_is_named_as_damaged(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    registry.promote(*write_candidate(tmp_path / "c"))
    path = tmp_path / "registry/versions/1/version.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"origin": {"pod": 5}}))
    with pytest.raises(DamagedError, match="version.json is damaged: .*pod is 5"):
        registry.version(1)
    assert read_origin({"pod": "a", "of a later version": 1}) == Origin(pod="a")
