"""Files about the project say what is true of it."""

import re
import tomllib

import pytest
import yaml

import kfp_bert_components as package
from kfp_bert_components.cli.registry import command as registry_commands
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = set(re.findall(r"^([a-z][a-z-]*)(?=:.*## )", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "type", "authors"} <= set(citation)
    assert citation["title"] == PROJECT["name"] and citation["license"] == PROJECT["license"]
    assert str(citation["version"]) == package.__version__
    assert citation["abstract"].strip() == PROJECT["description"] and citation["keywords"] == PROJECT["keywords"]


@pytest.mark.parametrize("form", ["bug", "idea", "question"])
def test_a_form_for_issues_asks_for_something_and_names_each_question_once(form):
    asked = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text())
    questions = [one for one in asked["body"] if one["type"] != "markdown"]
    names = [one["id"] for one in questions]
    assert len(names) == len(set(names)) and all(one["attributes"]["label"] for one in questions)
    assert any(one.get("validations", {}).get("required") for one in questions)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"])
def test_links_and_commands_lead_somewhere(name):
    text = (ROOT / name).read_text()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / link).exists(), link
    named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE))
    assert named <= TARGETS, named - TARGETS


def test_badges_are_made_of_what_the_project_says():
    shown = {one.stem: one.read_text() for one in (ROOT / "docs" / "badges").iterdir()}
    assert PROJECT["license"] in shown["licence"] and "2.17 or newer" in shown["kfp"]
    assert PROJECT["requires-python"] == ">=3.11" and "3.11 to 3.13" in shown["python"]
    for name in ("README.md", "README.ko.md"):
        text = (ROOT / name).read_text()
        assert set(re.findall(r"docs/badges/(\w+)\.svg", text)) == set(shown)
        assert not re.findall(r"!\[[^]]*\]\(https?:", text), "a picture from a host"


def test_the_permissions_of_every_component_and_registry_command_are_listed():
    page = (ROOT / "docs" / "permissions.md").read_text().split("## Cloud Storage")[0]
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(package.COMPONENTS)
    changes = re.search(r"^\| `kfp-bert registry (.*) \| writes the registry", page, re.MULTILINE)
    named = set(re.findall(r"\w+", changes.group(1)))
    assert named | {"list", "show", "history", "verify"} == set(registry_commands.commands)
