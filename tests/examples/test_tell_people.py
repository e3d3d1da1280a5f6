"""People are told how a run ended, without texts and in bounded time; whether they are told changes nothing else."""

import time

import pytest

from kfp_bert_components.errors import RunError, UserError
from kfp_bert_components.gate import read_decision
from kfp_bert_components.origin import Origin
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.clean_up_run import clean_up_run
from kfp_bert_components.steps.webhook import tell
from tests.support.easy_tables import write_easy_lines
from tests.support.examples import EXAMPLES, given
from tests.support.models import candidate_for, promote_next, write_candidate
from tests.support.pipeline_runs import run_pipeline
from tests.support.webhooks import webhook

EXAMPLE = f"{EXAMPLES / 'tell_people.py'}:train_and_tell"
RUN = Origin(run_id="7ce82970", workflow="train-qhfhp", page="https://ui/#/runs/details/7ce82970")


@pytest.fixture
def chat():
    with webhook() as chat:
        yield chat


@pytest.fixture
def registry(tmp_path):
    """The registry in which the run works, with a champion of an earlier run that is live."""
    registry = Registry(str(tmp_path / "registry"), origin=RUN)
    before = Registry(registry.uri, origin=Origin(workflow="another-run"))
    promote_next(before, tmp_path, "first")
    before.record_deployment("production", "live", 1)
    before.keep_decision(read_decision(write_candidate(tmp_path / "old", "old", outcome="HOLD")[2]), "gs://old")
    return registry


def told(chat, registry, state="SUCCEEDED", error="", **more):
    """The message about a run that ended, by lines."""
    clean_up_run(state, error, ["7ce82970"], registry=registry.uri, webhook=chat.url, origin=RUN, **more)
    return chat.messages[-1].splitlines()


def test_a_hold_is_told_with_its_reason_its_alarm_and_its_page_and_another_run_is_not(chat, registry, tmp_path):
    held = read_decision(write_candidate(tmp_path / "held", "held", outcome="HOLD")[2])
    held.warnings.append("The labels disagree with the champion.")
    registry.keep_decision(held, "gs://bucket/report")
    assert told(chat, registry, deployment_target="production") == [
        "Run train-qhfhp ended well. https://ui/#/runs/details/7ce82970",
        "HOLD: macro F1 is 0.05 higher.",
        "Alarm: The labels disagree with the champion.",
        "Comparison: gs://bucket/report",
    ]


def test_a_failed_rollout_is_told_without_the_text_that_the_new_version_got_wrong(chat, registry, tmp_path):
    promote_next(registry, tmp_path, "next")
    registry.record_deployment("production", "failed", 2, reason="its answer to 'I AM ANN' differs by 0.9")
    lines = told(chat, registry, "FAILED", "its answer to 'I AM ANN' differs by 0.9", deployment_target="production")
    why = f"Why: kfp-bert registry history {registry.uri} --run 7ce82970"
    assert lines == [
        "Run train-qhfhp failed. https://ui/#/runs/details/7ce82970",
        f"The rollout of version 2 to production failed, and version 1 serves as before. {why}",
    ]
    assert "I AM ANN" in registry.history()[-1].text  # where the command shows it


def test_an_approval_that_nobody_gave_is_told(chat, registry, tmp_path):
    asked = read_decision(candidate_for(registry, tmp_path, "asked")[2])
    registry.ask_approval(asked, 0.001 / 3600)
    time.sleep(0.01)
    registry.ask_approval(asked, 1.0)
    (line,) = (line for line in told(chat, registry, deployment_target="production") if line.startswith("Approval"))
    assert line.startswith("Approval: expired by ") and line.endswith(": nobody answered in time")


def test_what_could_not_be_cleaned_up_is_told_before_the_step_fails(chat, registry):
    with pytest.raises(UserError, match="Jobs of this run may go on"):
        told(chat, registry, "FAILED", deployment_target="production", project="p", api_endpoint="http://127.0.0.1:9")
    assert "Jobs of this run may go on: see them with `kfp-bert jobs list" in chat.messages[-1]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [("error", "status 500"), ("redirect", "status 302"), ("hang", "no answer within 1 s"), ("drip", "no answer")],
)
def test_a_webhook_that_fails_changes_nothing_and_its_address_is_shown_nowhere(chat, answer, problem):
    chat.answer = answer
    start = time.monotonic()
    said = tell(chat.url, "hello", seconds=1.0)
    assert time.monotonic() - start < 2.0
    host = chat.url.split("/")[2]
    assert said.startswith(f"Nobody was told: the webhook at {host} failed ({problem}")
    assert chat.messages == ["hello"]


@pytest.mark.parametrize("address", ["chat.example.com/secret", "ftp://host/secret", "https://", "http://[::1/secret"])
def test_what_is_no_address_is_said_without_it(address):
    said = tell(address, "hello")
    assert said.startswith("Nobody was told: the webhook's address must begin with https://") and "secret" not in said


def test_nothing_listens_there_and_the_outcome_is_the_same(registry, monkeypatch, capsys):
    monkeypatch.setenv("KFP_BERT_WEBHOOK", "http://127.0.0.1:9/hooks/secret-token")
    outcome = clean_up_run("SUCCEEDED", "", ["7ce82970"], registry=registry.uri, origin=RUN)
    assert outcome == (
        "The run ended well. There is nothing to clean up. "
        "Nobody was told: the webhook at 127.0.0.1:9 failed (ConnectionError)."
    )
    assert "secret" not in capsys.readouterr().out


def test_a_label_calls_nobody_in_the_chat_and_an_address_stays_one(chat):
    tell(chat.url, "label <!channel> of @all at https://ui/@me and <https://bad|good>")
    assert chat.messages == ["label ‹!channel› of @\u200ball at https://ui/@me and ‹https://bad|good›"]


def test_a_message_is_cut_where_chats_would_refuse_it(chat):
    assert tell(chat.url, "x" * 10_000).startswith("Told the webhook at 127.0.0.1:")
    assert len(chat.messages[0]) == 3000


@pytest.mark.docs
def test_the_example_tells_of_each_run_and_a_broken_chat_is_no_failure(chat, tmp_path):
    places = given(tmp_path, write_easy_lines(tmp_path / "lines.csv"), webhook=chat.url)
    chat.answer = "error"
    found = run_pipeline(EXAMPLE, tmp_path, **places)
    assert found["compare-models"]["outcome"] == "PROMOTE", found["compare-models"]["reason"]
    assert found["clean-up-run"]["outcome"].endswith("failed (status 500).")
    first = chat.messages[-1].splitlines()
    assert first[0].endswith("ended well.") and first[1] == f"PROMOTE: {found['compare-models']['reason']}"
    assert first[2] == f"Comparison: {found['compare-models']['report']}.html"
    assert first[3:] == ["Version 1 is live on production."]

    (tmp_path / "file").write_text("no folder")
    chat.answer = "ok"
    with pytest.raises(RunError):
        run_pipeline(EXAMPLE, tmp_path, **{**places, "serving_directory": tmp_path / "file"})
    second = chat.messages[-1].splitlines()
    assert second[0].endswith(" failed.") and second[1].startswith("REJECT: ")
    assert len(chat.messages) == 2
