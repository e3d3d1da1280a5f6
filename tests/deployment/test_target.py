"""A new target is one class: here a file that names the version which serves."""

import json

import pytest

from kfp_bert_components.deployment import ForeignOwnerError, LeaseLostError, RolloutError, Target, roll_out
from kfp_bert_components.errors import TransientError
from kfp_bert_components.registry import Registry
from tests.support.models import promote_next


class FileTarget(Target):
    """The file says `{"serving": version, "next": version}`; `errors` has the errors to raise, by method."""

    def __init__(self, path):
        self.path, self.calls, self.errors = path, [], {}

    def read(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def change(self, name, **fields):
        self.calls.append(name)
        if self.errors.get(name):
            raise self.errors[name].pop()
        self.path.write_text(json.dumps({**self.read(), **fields}))

    def is_live(self, version, facts):
        return self.read().get("serving") == version

    def prepare(self, journal):
        journal.note(before=self.read().get("serving"))
        self.change("prepare", next=journal.version)

    def introduce(self, journal):
        self.change("introduce")

    def test(self, journal):
        self.change("test")

    def shift(self, journal):
        self.change("shift", serving=journal.version)

    def finish(self, journal):
        self.change("finish", next=None)

    def revert(self, journal):
        self.change("revert", next=None, serving=journal.facts.get("before"))


STEPS = ["prepare", "introduce", "test", "shift", "finish"]


@pytest.fixture
def registry(tmp_path):
    registry = Registry(str(tmp_path / "registry"))
    promote_next(registry, tmp_path, "first")
    return registry


@pytest.fixture
def target(registry, tmp_path):
    """A target that serves version 1 while version 2 is champion."""
    target = FileTarget(tmp_path / "serving.json")
    roll_out(registry, "production", target)
    promote_next(registry, tmp_path, "second")
    target.calls.clear()
    return target


def test_the_steps_are_taken_in_order_and_a_live_champion_needs_none(registry, target):
    assert roll_out(registry, "production", target)["version"] == 2
    assert target.calls == STEPS
    lines = []
    roll_out(registry, "production", target, report=lines.append)
    assert lines == ["version 2 is live: nothing to do"]
    assert target.calls == STEPS
    assert target.read() == {"serving": 2, "next": None}


@pytest.mark.parametrize("step", STEPS[:4])
def test_an_error_before_the_last_step_reverts_and_the_record_says_why(registry, target, step):
    target.errors = {step: [RolloutError("it does not fit")]}
    with pytest.raises(RolloutError, match="Version 2 was not rolled out: it does not fit"):
        roll_out(registry, "production", target)
    assert target.calls == [*STEPS[: STEPS.index(step) + 1], "revert"]
    assert target.read() == {"serving": 1, "next": None}
    record = registry.deployment("production")
    assert (record.state, record.version, record.live_version) == ("failed", 2, 1)
    assert record.reason == "it does not fit"


def test_an_error_in_the_last_step_is_left_to_the_next_run(registry, target):
    target.errors = {"finish": [ValueError("the disk is full")]}
    with pytest.raises(ValueError, match="the disk is full"):
        roll_out(registry, "production", target)
    assert target.read() == {"serving": 2, "next": 2}
    assert registry.deployment("production").details["step"] == "finishing"
    roll_out(registry, "production", target)
    assert target.calls == [*STEPS, "finish"]
    assert target.read() == {"serving": 2, "next": None}


def test_what_passed_its_test_but_does_not_serve_is_not_recorded_as_live(registry, target):
    def finish(journal):
        target.change("finish", next=None, serving=7)  # somebody else, at the same moment

    target.finish = finish
    with pytest.raises(RolloutError, match="somebody else changed the place"):
        roll_out(registry, "production", target)
    record = registry.deployment("production")
    assert (record.state, record.version, record.live_version) == ("failed", 2, None)
    del target.finish
    assert roll_out(registry, "production", target)["version"] == 2
    assert target.read()["serving"] == 2


def test_a_transient_error_is_tried_four_times_in_all(registry, target):
    target.errors = {"test": [TransientError("busy")] * 3}
    roll_out(registry, "production", target, pause_seconds=0.001)
    assert target.calls.count("test") == 4
    assert target.read()["serving"] == 2


def test_a_fifth_try_is_not_made(registry, target):
    target.errors = {"test": [TransientError("busy")] * 4}
    with pytest.raises(RolloutError, match="busy"):
        roll_out(registry, "production", target, pause_seconds=0.001)
    assert target.calls.count("test") == 4
    assert target.read()["serving"] == 1


def test_a_target_that_lacks_a_method_cannot_be_made():
    class Incomplete(Target):
        def prepare(self, journal):
            pass

    with pytest.raises(TypeError, match=r"abstract.*revert"):
        Incomplete()


@pytest.mark.parametrize("rolling", [True, False])
@pytest.mark.parametrize("error", [ForeignOwnerError, RolloutError])
@pytest.mark.parametrize("looks", ["served", "not served", "not known"])
def test_after_a_refusal_the_record_says_what_is_known_to_be_so(registry, target, rolling, error, looks):
    if rolling:
        target.errors = {"test": [LeaseLostError("stopped")]}
        with pytest.raises(LeaseLostError):
            roll_out(registry, "production", target)
    before = registry.deployment("production")

    def is_live(version, facts):
        if looks == "not known":
            raise TransientError("busy")
        return looks == "served"

    def admit(journal):
        raise error("it belongs to others")

    target.is_live, target.admit = is_live, admit
    with pytest.raises(error):
        roll_out(registry, "production", target)
    record = registry.deployment("production")
    if (not rolling and looks != "not served") or (rolling and error is RolloutError):
        assert record == before
    else:
        live = None if looks == "not served" else 1
        assert (record.state, record.reason, record.live_version) == ("failed", "it belongs to others", live)
        assert record.version == (2 if rolling else 1)


def test_a_place_that_cannot_be_told_at_once_is_asked_for_again(registry, target):
    answers = [TransientError("busy"), TransientError("busy")]

    def place():
        if answers:
            raise answers.pop()
        return {"kind": "file"}

    target.place = place
    assert roll_out(registry, "production", target, pause_seconds=0.001)["version"] == 2
    assert registry.deployment("production").place == {"kind": "file"}


@pytest.mark.parametrize("error", [ForeignOwnerError, RolloutError])
def test_a_refusal_of_the_first_rollout_leaves_no_record(registry, tmp_path, error):
    def admit(journal):
        raise error("it belongs to others")

    target = FileTarget(tmp_path / "serving.json")
    target.admit = admit
    with pytest.raises(error):
        roll_out(registry, "production", target)
    assert registry.deployment("production").state == "none"
