"""Changes that break pipelines are caught; addresses and checksums are those of the specs."""

import copy
import hashlib
import json
import re
import shutil
import subprocess
import sys

import pytest

import kfp_bert_components as package
from kfp_bert_components import addresses
from tests.conftest import ROOT

SPECS = ROOT / "component_specs"
RELEASED = json.loads((SPECS / "interfaces.json").read_text())


def check(tmp_path, change, version="0.2.0", changelog=""):
    """Code and output of the check, where `change` was made to finetune_bert since the last release."""

    def change_it(components):
        change(components["finetune_bert"])

    return check_all(tmp_path, change_it, version, changelog)


def check_all(tmp_path, change, version="0.2.0", changelog=""):
    """The same for a change to the components."""
    now = copy.deepcopy(RELEASED) | {"version": version}
    change(now["components"])
    for name, content in (("released", json.dumps(RELEASED)), ("now", json.dumps(now)), ("changelog", changelog)):
        (tmp_path / name).write_text(content)
    options = [word for name in ("released", "now", "changelog") for word in (f"--{name}", tmp_path / name)]
    command = [sys.executable, ROOT / "scripts" / "check_interfaces.py", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.stderr
    return done.returncode, done.stdout


def renamed(interface):
    interface["inputs"]["passes"] = interface["inputs"].pop("epochs")


BREAKING = {
    "finetune_bert has no input seeds any more (removed or renamed).": lambda one: one["inputs"].pop("seeds"),
    "The output report of finetune_bert was HTML and is Markdown.": lambda one: one["outputs"]["report"].update(
        type="Markdown"
    ),
    "finetune_bert has no input epochs any more (removed or renamed).": renamed,
    "finetune_bert has no output metrics any more (removed or renamed).": lambda one: one["outputs"].pop("metrics"),
    "The input epochs of finetune_bert was int and is float.": lambda one: one["inputs"]["epochs"].update(type="float"),
    "The input passes of finetune_bert is required, and was not": lambda one: one["inputs"].update(
        passes={"type": "int", "required": True}
    ),
    "The input epochs of finetune_bert is required, and was not": lambda one: one["inputs"]["epochs"].update(
        required=True
    ),
}


@pytest.mark.parametrize("says", BREAKING)
def test_a_breaking_change_needs_a_major_version(tmp_path, says):
    code, output = check(tmp_path, BREAKING[says])
    assert code == 1
    assert says in output
    assert "make the next version 1.0.0" in output


def test_a_breaking_change_needs_a_line_of_the_changelog(tmp_path):
    other = "# Changelog\n\n## 1.0.0\n\n- `finetune_bert`: faster.\n\n## 0.1.0\n\n- `finetune_bert`: `epochs`.\n"
    code, output = check(tmp_path, renamed, "1.0.0", other)
    assert code == 1
    assert "Say so in a line of CHANGELOG.md under 1.0.0, with `finetune_bert` and `epochs` in it." in output
    told = other.replace("faster.", "the input\n  `epochs` is now called `passes`.")
    assert check(tmp_path, renamed, "1.0.0", told) == (0, "")


def test_a_component_that_is_gone_is_a_breaking_change(tmp_path):
    def rename(components):
        components["train_bert"] = components.pop("finetune_bert")

    code, output = check_all(tmp_path, rename)
    assert code == 1
    assert f"finetune_bert is gone. That breaks pipelines written for {RELEASED['version']}" in output
    assert check_all(tmp_path, rename, "1.0.0", "## 1.0.0\n\n- `finetune_bert` is now `train_bert`.\n") == (0, "")


def test_compatible_changes_pass(tmp_path):
    def change(interface):
        interface["inputs"]["passes"] = {"type": "int", "required": False, "default": 3}
        interface["inputs"]["epochs"]["default"] = 4
        interface["inputs"]["train"]["required"] = False
        interface["outputs"]["log"] = {"type": "Markdown"}

    assert check(tmp_path, change) == (0, "")


def test_the_last_release_is_that_of_the_newest_tag(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    def write(version, change=bool):
        now = copy.deepcopy(RELEASED) | {"version": version}
        change(now["components"]["finetune_bert"])
        (tmp_path / "component_specs" / "interfaces.json").write_text(json.dumps(now))

    def check_there():
        command = [sys.executable, tmp_path / "scripts" / "check_interfaces.py"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert not done.stderr
        return done.returncode, done.stdout

    for folder in ("scripts", "component_specs"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "scripts" / "check_interfaces.py", tmp_path / "scripts")
    (tmp_path / "scripts" / "interfaces-0.1.0.json").write_text(json.dumps(RELEASED))
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n")
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "begin")
    write("0.9.0", renamed)
    code, output = check_there()
    assert code == 1 and "As long as nothing is released, this is allowed too: cp " in output
    for version, change in (("0.9.0", bool), ("0.10.0", renamed)):
        write(version, change)
        git("add", ".")
        git("commit", "--quiet", "--message", version)
        git("tag", f"v{version}")
    assert check_there() == (0, "")
    write("0.11.0")
    code, output = check_there()
    assert code == 1 and "has no input passes any more" in output and "written for 0.10.0" in output


def test_the_interfaces_of_now_break_nothing_released():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "check_interfaces.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_record_has_what_the_components_take():
    assert tuple(RELEASED["components"]) == package.COMPONENTS
    assert RELEASED["components"]["finetune_bert"]["inputs"]["base_model"] == {
        "type": "str",
        "required": False,
        "default": "",
    }
    assert RELEASED["components"]["finetune_bert"]["inputs"]["train"] == {"type": "Dataset", "required": True}
    assert not RELEASED["components"]["batch_predict"]["inputs"]["model"]["required"]


def test_the_checksums_are_those_of_the_specs():
    lines = dict(reversed(line.split("  ")) for line in (SPECS / "SHA256SUMS").read_text().splitlines())
    assert lines == {
        f"{name}/component.yaml": hashlib.sha256((SPECS / name / "component.yaml").read_bytes()).hexdigest()
        for name in package.COMPONENTS
    }


@pytest.mark.parametrize("path", ["README.md", "component_specs/README.md"])
def test_documents_name_the_address_that_the_package_names(path):
    text = (ROOT / path).read_text()
    found = set(re.findall(r"https://[^\s`\"]*/component_specs\b", text))
    assert found == {addresses.specs_url()}
    assert (addresses.NOT_RELEASED in text) is not addresses.RELEASED
