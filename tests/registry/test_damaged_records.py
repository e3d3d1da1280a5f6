"""Each value of each record in turn is another one, or is gone: a sentence or a good read, never another error.

All of them: KFP_BERT_DAMAGE=all python -m pytest tests/registry/test_damaged_records.py
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.errors import DamagedError, UserError
from kfp_bert_components.evaluation import read_evaluation
from kfp_bert_components.gate import read_decision
from kfp_bert_components.gate.alarm import not_recovered
from kfp_bert_components.registry import Mirror, Registry
from kfp_bert_components.steps.predictor import find_model
from kfp_bert_components.steps.promote_model import promote_model
from tests.support.damage import some
from tests.support.directories import deploy_to_folder
from tests.support.evaluations import some_test_set
from tests.support.models import candidate_for, promote_next, write_candidate

SAMPLES = Path(__file__).parents[1] / "records"
REGISTRIES = ("format1/registry", "format2/registry", "format2/promoted", "format2/lineages", "format4/registry")
CANDIDATES = ("format1/registry/versions/1", "format2/promoted/versions/1", "format4/registry/versions/1")
PARTS = (
    "bundle/bundle.json",
    "bundle/data_profile.json",
    "decision/decision.json",
    "evaluation/evaluation.json",
)
RECORDS = [
    (SAMPLES / name, path)
    for name in REGISTRIES
    for path in sorted((SAMPLES / name).rglob("*.json"))
    if path.parent.name not in ("bundle", "evaluation")  # known by their hashes alone
]
INPUTS = [path for name in CANDIDATES for one in PARTS if (path := SAMPLES / name / one).exists()]
CHAMPION = SAMPLES / "format3/champion/evaluation.json"


def name_of(value: Any) -> str:
    return str((value[1] if isinstance(value, tuple) else value).relative_to(SAMPLES))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to outlive a power cut here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def changes(record: Path) -> list[tuple[str, Any]]:
    """What `some` makes of a record in a file."""
    return some(json.loads(record.read_text()), len(name_of(record)))


def run(*words: str) -> None:
    result = CliRunner().invoke(command, list(words))
    if result.exception and not isinstance(result.exception, UserError):
        raise result.exception


def promote(uri: str) -> None:
    """Promote another model, which was compared with the champion as it is now."""
    registry = Registry(uri)
    champion = registry.champion()
    known = {"champion_version": champion.version, "champion_generation": champion.generation} if champion else {}
    scratch = Path(uri).with_name("candidate")
    promote_model(uri, *write_candidate(scratch, "another", **known))  # type: ignore[arg-type]
    shutil.rmtree(scratch)


@contextlib.contextmanager
def sentences_only(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{what}: ended with {error!r}") from error


def expect_sentences(uri: str, what: str) -> None:
    """Everything that reads records of a registry either reads them or ends with a sentence."""
    scratch = Path(uri).with_name("scratch")
    scratch.mkdir()
    calls: list[Callable[[], object]] = [
        *(lambda words=words: run(*words) for words in (["verify", uri], ["list", uri], ["list", uri, "--json"])),
        *(lambda words=words: run(*words) for words in (["history", uri], ["show", uri], ["show", uri, "1", "--json"])),
        lambda: promote(uri),
        *(lambda words=words: run(*words) for words in (["rollback", uri], ["rollback", uri, "--to", "1"])),
        lambda: Registry(uri).fetch_promotion(1, scratch / "promotion"),
        lambda: deploy_to_folder(Registry(uri), str(scratch / "serving"), scratch / "model", lease_seconds=0.1),
        lambda: Registry(uri).count_use(some_test_set(["a", "b"]), 0.05, {"candidate": "another"}),
        *(lambda words=words: run(*words) for words in (["approve", uri], ["repair", uri, "--version", "1"])),
        lambda: run("gc", uri, "--keep", "1", "--unfinished-hours", "0"),
    ]
    for number, call in enumerate(calls):
        with sentences_only(f"{what}, call {number}"), contextlib.suppress(UserError):
            call()
    shutil.rmtree(scratch)


@pytest.mark.long
@pytest.mark.parametrize("sample", RECORDS, ids=name_of)
def test_a_record_of_a_registry(sample: tuple[Path, Path], tmp_path: Path) -> None:
    folder, record = sample
    for what, made in changes(record):
        shutil.copytree(folder, tmp_path / "registry")
        (tmp_path / "registry" / record.relative_to(folder)).write_text(json.dumps(made))
        expect_sentences(str(tmp_path / "registry"), what)
        shutil.rmtree(tmp_path / "registry")


@pytest.mark.long
def test_a_record_of_a_decision_a_mirror_or_a_pin(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "whole"))
    promote_next(registry, tmp_path, "first")
    waits = read_decision(candidate_for(registry, tmp_path, "second")[2])
    registry.ask_approval(waits, 1.0)
    registry.record_mirror("mlflow+http://127.0.0.1:9", Mirror(1, "films/1", "it was down"))
    registry.keep_pin("f" * 16, {"sources": ["a"], "files": []}, "run")
    records = [path for name in ("decisions", "pins") for path in (tmp_path / "whole" / name).iterdir()]
    copy = tmp_path / "registry"
    for number, record in enumerate([*records, tmp_path / "whole/mirrors.json"]):
        for what, made in some(json.loads(record.read_text()), 7 * number, 20):
            shutil.copytree(tmp_path / "whole", copy)
            (copy / record.relative_to(tmp_path / "whole")).write_text(json.dumps(made))
            expect_sentences(str(copy), what)
            for call in (
                lambda: Registry(str(copy)).ask_approval(waits, 1.0),
                lambda: Registry(str(copy)).answer_approval(waits.decision_id, approve=True),
                lambda: Registry(str(copy)).record_mirror("mlflow+http://127.0.0.1:9", None),
                lambda: Registry(str(copy)).keep_pin("f" * 16, {"sources": ["a"], "files": []}, "run"),
            ):
                with sentences_only(what), contextlib.suppress(UserError):
                    call()
            shutil.rmtree(copy)


@pytest.mark.slow
@pytest.mark.parametrize("record", INPUTS, ids=name_of)
def test_a_record_of_what_is_promoted(record: Path, tmp_path: Path) -> None:
    for what, made in changes(record):
        shutil.copytree(record.parents[1], tmp_path / "made")
        (tmp_path / "made" / record.relative_to(record.parents[1])).write_text(json.dumps(made))
        registry = str(tmp_path / "registry")
        parts = [tmp_path / "made" / part for part in ("bundle", "evaluation", "decision")]
        with sentences_only(what), contextlib.suppress(UserError):
            promote_model(registry, *parts)
            for verb in ("verify", "show", "history"):
                run(verb, registry)
        for name in ("made", "registry"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)


def test_the_evaluation_of_a_champion_with_an_alarm(tmp_path: Path) -> None:
    shutil.copytree(CHAMPION.parent, tmp_path / "champion")
    whole = read_evaluation(CHAMPION.parent)
    for what, made in changes(CHAMPION):
        (tmp_path / "champion/evaluation.json").write_text(json.dumps(made))
        with sentences_only(what), contextlib.suppress(UserError):
            found = read_evaluation(tmp_path / "champion")
            assert isinstance(not_recovered(whole, found), str)
            assert isinstance(found.overall(), dict)


def test_a_model_card_that_is_no_text(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "format4/registry", tmp_path / "registry")
    (tmp_path / "registry/versions/1/README.md").write_bytes(b"\xff\xfe")
    with pytest.raises(DamagedError, match=r"versions/1/README\.md is damaged: it is no UTF-8"):
        Registry(str(tmp_path / "registry")).card(1)


def test_a_version_that_lies_elsewhere_is_named(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "format4/registry", tmp_path / "registry")
    assert find_model(str(tmp_path / "registry/versions/1"), tmp_path / "scratch")[1] == 1
    shutil.copytree(tmp_path / "registry/versions/1", tmp_path / "registry/versions/7")
    with pytest.raises(DamagedError, match="version.json is damaged: .*its version is 1, and it is that of version 7"):
        Registry(str(tmp_path / "registry")).version(7)
    for name in ("mine", "registry/1", "versions/one", "versions/01"):
        shutil.copytree(tmp_path / "registry/versions/1", tmp_path / name)
        with pytest.raises(UserError, match=f"{name} is a version of a registry, but does not lie in .*{name}/bundle"):
            find_model(str(tmp_path / name), tmp_path / "scratch")
