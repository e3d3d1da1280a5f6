"""docs/errors.md has the sentences that users see, and other pages quote them as they are."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components import cli
from tests.conftest import ROOT
from tests.docs.blocks import read_page

pytestmark = pytest.mark.docs
SENTENCES = [
    re.sub(r"\\(.)", r"\1", line[2:]) for line in (ROOT / "docs/errors.md").read_text().splitlines() if line[:2] == "- "
]


def is_listed(message: str) -> bool:
    """Whether a sentence of docs/errors.md, with some text for each …, is in a message."""
    patterns = (".+?".join(map(re.escape, one.rstrip("…").split("…"))) for one in SENTENCES if len(one.split()) > 3)
    return any(re.search(pattern, message) for pattern in patterns)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "nothing.py:nothing"],
        ["run", "train_and_deploy", "-p", "epoch=3"],
        ["run", "train_and_deploy", "-p", "sources=x.csv"],
        ["compile", "train_and_deploy", "pipeline.json"],
        ["compile", "train_and_deploy", "p.yaml", "--set", "training.memory=16Gi"],
        ["compile", "train_and_deploy", "p.yaml", "--set", "platform=vertex", "--volume", "data:/data"],
        ["registry", "list", "nowhere"],
        ["registry", "rollback", "nowhere"],
        ["predict", "nothing.csv", "out", "--model", "nothing"],
        ["components", "copy", "finetune_bert", "finetune_bert.json"],
        ["submit", "train_and_deploy"],
    ],
    ids=" ".join,
)
def test_what_the_command_line_refuses_is_listed(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.group, words)
    message = done.output + str(done.exception or "")
    assert done.exit_code and is_listed(message), message


@pytest.mark.parametrize("page", ["docs/troubleshooting.md", "docs/deciding.md", "docs/buckets.md"])
def test_quotes_of_errors_are_in_the_code(page):
    """A quote is in the source as it is: what stands between two … are words of one text there."""
    source = " ".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in (ROOT / "src/kfp_bert_components").rglob("*.py")
    )
    source = re.sub(r"\s+", " ", source)
    text = (ROOT / page).read_text()
    assert read_page(Path(page)).path.name in page
    for quote in re.findall(r'"([^"\n]{12,})"', re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)):
        for part in quote.split("…"):
            assert len(part.split()) < 3 or part.strip(" .,:;()") in source, f"{page}: nothing says {part!r}"


def test_an_error_whose_text_is_elsewhere_must_name_the_place(tmp_path):
    """The script that makes docs/errors.md stops where it can't see a text, so that none is left out in silence."""
    scripts, source = tmp_path / "scripts", tmp_path / "src" / "kfp_bert_components"
    scripts.mkdir()
    source.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "error_sentences.py", scripts)
    (source / "errors.py").write_text("class UserError(Exception): pass\nclass LateError(UserError): pass\n")
    (source / "one.py").write_text('def f(n):\n    raise LateError(f"It is {n} hours late: " "start earlier.")\n')
    listed = [sys.executable, "-c", "from error_sentences import sentences; print(sentences())"]
    done = subprocess.run(listed, cwd=scripts, capture_output=True, text=True)
    assert done.stdout.strip() == str({"one": ["It is … hours late: start earlier."]})
    (source / "one.py").write_text("def f(text):\n    raise LateError(text)\n")
    done = subprocess.run(listed, cwd=scripts, capture_output=True, text=True)
    assert done.returncode and "one.py line 2: an error has no text here" in done.stderr
