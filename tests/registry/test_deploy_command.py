"""After a rollback the command that deploys it is printed whole, and the list shows both numbers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.deployment import deploy_to_serving_directory, open_versioned_folder
from kfp_bert_components.errors import UserError
from kfp_bert_components.local.arguments import parse_arguments
from kfp_bert_components.local.pipelines import compile_pipeline
from kfp_bert_components.registry import Registry
from tests.support.kserve_rollouts import NAMESPACE, KServeWorld
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import KubernetesServer
from tests.support.models import candidate_for
from tests.support.s3_server import S3Server
from tests.support.stores import s3

__all__ = ["s3"]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def said_by(*arguments: str) -> str:
    """What a command prints, and the sentence that it ends with where it fails."""
    result = CliRunner().invoke(command, list(arguments))
    assert result.exception is None or isinstance(result.exception, UserError)
    return f"{result.output}{result.exception or ''}"


def promote(registry: Registry, folder: Path, name: str) -> None:
    candidate = candidate_for(registry, folder, name)
    (candidate[0] / "saved_model" / "saved_model.pb").write_text(name)
    registry.promote(*candidate)


def printed(output: str, folder: Path) -> tuple[str, dict[str, object]]:
    """The pipeline and the arguments of the command in an output, as `kfp-bert run` reads them."""
    (line,) = [line for line in output.splitlines() if line.startswith("    kfp-bert run ")]
    program, verb, pipeline, *options = shlex.split(line)
    assert (program, verb) == ("kfp-bert", "run") and set(options[::2]) == {"-p"}
    spec = compile_pipeline(pipeline, folder / "pipeline.yaml")
    return pipeline, parse_arguments(spec, options[1::2])


def test_the_command_after_a_rollback_deploys_it(tmp_path: Path) -> None:
    registry, serving = Registry(str(tmp_path / "my models")), str(tmp_path / "it's served")
    for name in ("a", "b"):
        promote(registry, tmp_path, name)
        deploy_to_serving_directory(registry.uri, serving, "shop")
    promote(registry, tmp_path, "c")
    registry.rollback(1)
    lines = run("list", registry.uri).splitlines()
    assert lines[0].endswith("champion") and lines[1].endswith("live on shop as 2")
    output = run("rollback", registry.uri, "--to", "3") + run("rollback", registry.uri, "--to", "1")
    first, _, second = output.partition("The champion is version 1.")
    pipeline, arguments = printed(second, tmp_path)
    assert printed(first, tmp_path) == (pipeline, arguments)
    assert pipeline == "kfp_bert_components:deploy_to_serving_directory"
    assert arguments == {"registry": registry.uri, "serving_directory": serving, "deployment_target": "shop"}
    places = [arguments[name] for name in ("registry", "serving_directory", "deployment_target")]
    deployed = deploy_to_serving_directory(*map(str, places))
    assert deployed.version == 1 and open_versioned_folder(serving).complete()[-1] == 3
    assert run("list", registry.uri).splitlines()[0].endswith("champion, live on shop as 3")
    shown = json.loads(run("list", registry.uri, "--json"))["deployments"]["shop"]
    origin = registry.deployment("shop").origin
    assert shown == {
        "state": "live",
        "version": 1,
        "live_version": 1,
        "live_is_known": True,
        "served": "3",
        "place": serving,
        "origin": origin,
        "elsewhere": [],
    }


def test_the_command_for_a_folder_on_minio_names_it_as_the_step_did(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an endpoint in the environment minio:// is the store of Kubeflow, and s3:// is AWS."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setattr("kfp_bert_components.storage._s3_settings.STORE", s3.url)
    registry = Registry("minio://bucket/registry")
    for name in ("a", "b"):
        promote(registry, tmp_path, name)
        deploy_to_serving_directory(registry.uri, "minio://bucket/first")
    deploy_to_serving_directory(registry.uri, "minio://bucket/second")
    assert "live on production, minio://bucket/first as 2" in run("list", registry.uri)
    output = run("rollback", registry.uri)
    commands = [shlex.split(line) for line in output.splitlines() if line.startswith("    kfp-bert run ")]
    assert [[one for one in command if "serving_directory=" in one] for command in commands] == [
        ["serving_directory=minio://bucket/second"],
        ["serving_directory=minio://bucket/first"],
    ]
    assert deploy_to_serving_directory(registry.uri, "minio://bucket/second").version == 1


def test_what_is_said_of_a_registry_and_a_folder_on_minio_names_them_as_they_were_given(
    s3: S3Server, tmp_path: Path
) -> None:
    registry = Registry("minio://bucket/registry")
    for name in ("a", "b", "c"):
        promote(registry, tmp_path, name)
        deploy_to_serving_directory(registry.uri, f"minio://bucket/{'first' if name == 'a' else 'second'}")
    said = run("gc", registry.uri, "--keep", "1")
    assert "kept     1: live on production, serving directory minio://bucket/first" in said
    versions = registry.store.list("versions/1/")
    for entry in versions:
        registry.store.delete(entry.name)
    said += said_by("verify", registry.uri)
    assert "Version 1 is live on production, serving directory minio://bucket/first, but the registry" in said
    for words in (["list"], ["show"], ["show", "7"], ["history"], ["repair"], ["rollback"], ["verify"]):
        said += said_by(words[0], registry.uri, *words[1:])
    assert "minio://bucket/registry" in said and "s3://" not in said


def test_a_rollout_to_a_folder_on_minio_that_another_run_left_is_said_with_its_address(
    s3: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry("minio://bucket/registry")
    promote(registry, tmp_path, "a")
    deploy_to_serving_directory(registry.uri, "minio://bucket/first")
    record = registry.deployment("production")
    registry.record_deployment("production", "rolling", 1, details={**record.details, "step": "testing", "holder": ""})
    deploy_to_serving_directory(registry.uri, "minio://bucket/second")
    said = capsys.readouterr().out
    assert "stays as it is until the step runs for serving directory minio://bucket/first again" in said
    assert "s3://" not in said


def test_the_command_for_an_endpoint_names_project_and_location(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for name in ("a", "b"):
        promote(registry, tmp_path, name)
    facts = {"endpoint": "projects/p/locations/europe-west4/endpoints/shop", "deployed": "42"}
    details = {"facts": facts, "live": {"version": 2, "facts": facts}}
    registry.record_deployment("production", "live", 2, details=details)
    assert run("list", registry.uri).splitlines()[1].endswith("champion, live on production as 42")
    output = run("rollback", registry.uri)
    pipeline, arguments = printed(output, tmp_path)
    assert pipeline == "kfp_bert_components:deploy_to_ai_platform"
    assert arguments == {
        "registry": registry.uri,
        "project": "p",
        "location": "europe-west4",
        "endpoint": "shop",
        "deployment_target": "production",
    }
    assert "Add the settings that your pipeline gives" in output


def test_the_command_for_kserve_names_namespace_and_name(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for name in ("a", "b"):
        promote(registry, tmp_path, name)
    facts = {"served": "films-predictor-5ff996b4fd", "url": "http://films"}
    place = {"kind": "KServe", "cluster": "uid", "namespace": "serving", "name": "films"}
    details = {"facts": facts, "live": {"version": 2, "facts": facts}}
    registry.record_deployment(
        "production", "live", 2, details=details, place=place, served="films-predictor-5ff996b4fd"
    )
    output = run("rollback", registry.uri)
    pipeline, arguments = printed(output, tmp_path)
    assert pipeline == "kfp_bert_components:deploy_to_kserve"
    assert arguments == {
        "registry": registry.uri,
        "name": "films",
        "namespace": "serving",
        "deployment_target": "production",
    }
    assert "Add the settings that your pipeline gives" in output


def test_the_commands_for_one_name_on_two_clusters_say_which_is_which(tmp_path: Path) -> None:
    registry, servers = str(tmp_path / "registry"), [KubernetesServer(factor=200) for _ in range(2)]
    worlds = [KServeWorld(registry, server) for server in servers]
    with servers[0], servers[1]:
        for _ in range(2):
            worlds[0].promote()
        for world in worlds:
            world.deploy(storage="gs://bucket/registry")
        first, second = (one.cluster.store.get(by_kind("Namespace"), "", NAMESPACE) for one in servers)
    uids = [one["metadata"]["uid"] for one in (second, first)]
    assert f"live on production, default/films (cluster {uids[1]}) as " in run("list", registry)
    lines = run("rollback", registry).splitlines()
    commands = [line for line in lines if line.startswith("    kfp-bert run ")]
    assert len(commands) == 2
    assert [line for line in lines if "kubeconfig" in line] == [
        f"Run it with the kubeconfig of the cluster on which the namespace default has the uid {uid}." for uid in uids
    ]


def test_a_record_without_a_place_gets_no_command(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for name in ("a", "b"):
        promote(registry, tmp_path, name)
    registry.record_deployment("production", "live", 2)
    assert run("rollback", registry.uri).splitlines()[-1] == "It has to be deployed to production."


def test_every_place_of_a_name_is_listed_and_gets_its_command(tmp_path: Path) -> None:
    registry, prod, trial = Registry(str(tmp_path / "registry")), str(tmp_path / "prod"), str(tmp_path / "trial")
    for name in ("a", "b"):
        promote(registry, tmp_path, name)
    for serving in (prod, trial):
        deploy_to_serving_directory(registry.uri, serving)
    assert f"live on production as 1, live on production, {prod} as 1" in run("list", registry.uri)
    output = run("rollback", registry.uri)
    commands = [shlex.split(line) for line in output.splitlines() if line.startswith("    kfp-bert run ")]
    assert [[one for one in command if "serving" in one][1] for command in commands] == [
        f"serving_directory={trial}",
        f"serving_directory={prod}",
    ]
    assert (
        f"Version 2 is live on production, {prod} as 1; if that is still used, it has to be deployed there:" in output
    )
    deploy_to_serving_directory(registry.uri, trial)
    lines = run("list", registry.uri).splitlines()
    assert lines[0].endswith("champion, live on production as 2")
    assert lines[1].endswith(f"live on production, {prod} as 1")
    (other,) = json.loads(run("list", registry.uri, "--json"))["deployments"]["production"]["elsewhere"]
    assert (other["live_version"], other["place"], other["served"]) == (2, prod, "1")


@pytest.mark.parametrize("moved", [False, True], ids=["its place", "a place it had before"])
def test_a_folder_that_another_target_took_over_is_that_ones(tmp_path: Path, moved: bool) -> None:
    registry, serving = Registry(str(tmp_path / "registry")), str(tmp_path / "serving")
    promote(registry, tmp_path, "a")
    deploy_to_serving_directory(registry.uri, serving, "former")
    if moved:
        deploy_to_serving_directory(registry.uri, str(tmp_path / "second"), "former")
    deploy_to_serving_directory(registry.uri, serving, "prod", take_over=True)
    promote(registry, tmp_path, "b")
    deploy_to_serving_directory(registry.uri, serving, "prod")

    def targets() -> list[str]:
        """Of the commands for this folder, after a rollback."""
        lines = [line for line in run("rollback", registry.uri, "--to", "1").splitlines() if serving in line]
        registry.rollback(2)
        return [shlex.split(line)[-1].partition("=")[2] for line in lines if "kfp-bert run" in line]

    assert targets() == ["prod"]
    assert run("list", registry.uri).count("live on ") == 1 + moved
    with pytest.raises(UserError, match="belongs to the target 'prod'"):
        deploy_to_serving_directory(registry.uri, serving, "former")
    assert targets() == ["prod"]
    deploy_to_serving_directory(registry.uri, serving, "former", take_over=True)
    assert targets() == ["former"]
    assert "on prod" not in run("list", registry.uri)


def test_what_serves_under_a_name_that_went_to_another_place_is_kept(tmp_path: Path) -> None:
    registry, first = Registry(str(tmp_path / "registry")), str(tmp_path / "first")
    for name in ("a", "b", "c", "d"):
        promote(registry, tmp_path, name)
        deploy_to_serving_directory(registry.uri, first if name == "a" else str(tmp_path / "second"))
    found = registry.gc(keep=1)
    assert found.keep[1] == f"live on production, serving directory {first}" and found.remove.keys() == {2}
    registry.store.delete("versions/1/version.json")
    assert f"Version 1 is live on production, serving directory {first}, but" in registry.verify()[0]


@pytest.mark.parametrize("content", [b"", b'{"format": 2, "state": "live"}'])
def test_a_damaged_deployment_record_is_named_and_the_rest_goes_on(tmp_path: Path, content: bytes) -> None:
    registry, serving = Registry(str(tmp_path / "registry")), str(tmp_path / "served")
    for name in ("a", "b", "c"):
        promote(registry, tmp_path, name)
        deploy_to_serving_directory(registry.uri, serving)
        deploy_to_serving_directory(registry.uri, str(tmp_path / "trial"), "trial")
    registry.store.write("deployments/trial.json", content)
    named = f"{registry.store.describe('deployments/trial.json')} is damaged"
    for verb, shown in (
        ("list", "champion, live on production as 3"),
        ("history", "Version 3 went live on production"),
    ):
        result = CliRunner().invoke(command, [verb, registry.uri])
        assert isinstance(result.exception, UserError) and named in str(result.exception) and shown in result.output
    output = run("gc", registry.uri, "--keep", "1")
    assert "kept     1: a former champion, which may be deployed" in output and named in output
    output = run("rollback", registry.uri)
    assert "kfp-bert run" in output and named in output and "delete it" in output
    (problem,) = registry.verify()
    assert named in problem
    (tmp_path / "registry" / "deployments" / "trial.json").unlink()  # as the message says
    for target, place in (("production", serving), ("trial", str(tmp_path / "trial"))):
        assert deploy_to_serving_directory(registry.uri, place, target).version == 2
    assert registry.verify() == [] and open_versioned_folder(str(tmp_path / "trial")).complete()[-1] == 4
