"""After a rollback the command that deploys it is printed whole, and the list shows both numbers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.deployment import deploy_to_serving_directory, open_versioned_folder
from kfp_bert_components.local.arguments import parse_arguments
from kfp_bert_components.local.pipelines import compile_pipeline
from kfp_bert_components.registry import Registry
from tests.support.models import candidate_for


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


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
    assert shown == {"state": "live", "version": 1, "live_version": 1, "served": "3", "place": serving}


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


def test_a_record_without_a_place_gets_no_command(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for name in ("a", "b"):
        promote(registry, tmp_path, name)
    registry.record_deployment("production", "live", 2)
    assert run("rollback", registry.uri).splitlines()[-1] == "It has to be deployed to production."
