"""What `make release-check` refuses, and the digests of images that were pushed."""

import subprocess
import sys

import pytest

from kfp_bert_components import __version__
from tests.conftest import ROOT


@pytest.fixture
def repository(tmp_path):
    """A copy of what the first step looks at."""
    for name in ("scripts/release_check.py", "CHANGELOG.md", "CITATION.cff", "component_specs/interfaces.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def refused(repository, *words):
    """The last line of a check that fails."""
    command = [sys.executable, repository / "scripts" / "release_check.py", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and not done.stderr, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("CHANGELOG.md", f"## {__version__}", "## 7.7.7", f"CHANGELOG.md has no section ## {__version__}"),
        ("CITATION.cff", f"version: {__version__}", "version: 7.7.7", "CITATION.cff names another version"),
        ("component_specs/interfaces.json", f'"{__version__}"', '"7.7.7"', "component_specs are of version 7.7.7"),
    ],
)
def test_a_version_that_is_not_one_everywhere_is_refused(repository, name, old, new, says):
    text = (repository / name).read_text()
    assert old in text
    (repository / name).write_text(text.replace(old, new, 1))
    assert says in refused(repository)


def test_a_tag_of_another_version_and_one_before_the_release_are_refused(repository):
    assert f"The tag is v7.7.7, and __version__ is {__version__}." in refused(repository, "v7.7.7")
    assert "addresses.py says that nothing is released" in refused(repository, f"v{__version__}")


def test_digests_are_those_of_the_images_that_were_pushed(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "src" / "kfp_bert_components").mkdir(parents=True)
    (tmp_path / "src" / "kfp_bert_components" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    engine = tmp_path / "engine"
    engine.write_text('#!/bin/sh\nfor last; do :; done\necho "other/x@sha256:11"\necho "${last%:1.2.3}@sha256:22"\n')
    engine.chmod(0o755)

    def make(place):
        command = ["make", "image-digests", f"IMAGES={place}", f"DOCKER={engine}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert make("my-registry/my-team").returncode == 0
    names = ("python", "python-tensorflow", "serve")
    lines = [f"22  my-registry/my-team/{name}" for name in names]
    assert (tmp_path / "dist" / "images.txt").read_text().splitlines() == lines
    engine.write_text("#!/bin/sh\n")
    done = make("my-team")
    assert done.returncode and "my-team/python:1.2.3 has no digest: push it first" in done.stderr
