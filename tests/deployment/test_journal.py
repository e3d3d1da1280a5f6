"""The journal of a rollout: one run at a time writes it, and the next one finds what it needs."""

import subprocess
import sys
import threading
import time

import pytest

from kfp_bert_components.ai_platform import AiPlatformSettings, deploy_to_ai_platform
from kfp_bert_components.deployment import Journal, LeaseLostError, deploy_to_serving_directory
from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.kserve import KServeSettings, deploy_to_kserve
from kfp_bert_components.registry import Registry
from tests.support.directories import promote_graph
from tests.support.kserve_shares import wait_until


@pytest.fixture
def registry(tmp_path):
    return Registry(str(tmp_path / "registry"))


def journal(registry, lease_seconds=0.3, **settings):
    return Journal(registry, "production", lease_seconds, **settings)


def complete(run):
    for state in ("introducing", "testing", "shifting", "finishing", "live"):
        run.enter(state)


def test_a_rollout_is_begun_and_what_it_found_is_there_for_the_next_run(registry):
    run, lines = journal(registry), []
    assert (run.state, run.version, run.reason, run.facts, run.live) == ("pending", 0, "", {}, {})
    assert run.acquire(3, lines.append) and lines == ["rolling out version 3"]
    assert (run.state, run.version, run.facts) == ("preparing", 3, {"attempt": 1})
    run.note(name="x", number=1)
    run.note(number=2)
    complete(run)
    again = journal(registry)
    facts = {"attempt": 1, "name": "x", "number": 2}
    assert (again.state, again.version, again.facts) == ("live", 3, facts)
    assert again.live == {"version": 3, "facts": facts}
    assert again.acquire(4) and again.facts == {"attempt": 2} and again.live == {"version": 3, "facts": facts}
    again.enter("reverting", "it does not fit")
    again.enter("failed")
    record = registry.deployment("production")
    assert (record.state, record.version, record.live_version) == ("failed", 4, 3)
    assert record.reason == journal(registry).reason == "it does not fit"
    last = journal(registry)
    assert last.acquire(5) and last.reason == registry.deployment("production").reason == ""


def test_every_step_is_a_write_and_a_fact_that_is_known_is_none(registry):
    run = journal(registry)
    run.acquire(1)
    run.note(name="x")
    first = registry.deployment("production")
    run.note(name="x")
    assert registry.deployment("production").generation == first.generation
    run.enter("introducing")
    second = registry.deployment("production")
    assert second.generation > first.generation
    assert (second.state, second.details["step"]) == ("rolling", "introducing")


def test_a_record_of_a_rollout_that_was_written_by_hand_begins_with_the_first_step(registry):
    registry.record_deployment("production", "rolling", 2)
    run = journal(registry)
    assert (run.state, run.version, run.facts, run.released) == ("preparing", 2, {}, False)


def test_a_run_that_writes_nothing_for_the_lease_is_taken_over_and_stops(registry):
    dead = journal(registry)
    dead.acquire(1)
    heir, lines = journal(registry), []
    assert not heir.released
    started = time.monotonic()
    assert heir.acquire(2, lines.append)
    assert 0.3 <= time.monotonic() - started < 3
    assert lines == [
        "another run is rolling out version 1 (preparing): waiting for it",
        "it has written nothing for 0.3 s: going on in its place",
    ]
    assert (heir.version, heir.state) == (1, "preparing")
    with pytest.raises(LeaseLostError, match="Another run took over the rollout to 'production': this one stopped"):
        dead.note(name="x")  # it learns of it here
    with pytest.raises(LeaseLostError):
        dead.check()
    heir.note(name="y")
    assert registry.deployment("production").details["facts"]["name"] == "y"


def test_a_run_with_a_longer_lease_is_not_taken_over_before_its_end(registry):
    dead = journal(registry, lease_seconds=1.2)
    dead.acquire(1)
    lines, started = [], time.monotonic()
    assert journal(registry).acquire(2, lines.append)
    assert time.monotonic() - started >= 1.2
    assert lines[1] == "it has written nothing for 1.2 s: going on in its place"


def test_a_run_whose_record_does_not_name_its_lease_is_waited_for_as_before(registry):
    registry.record_deployment("production", "rolling", 1, details={"holder": "a", "step": "preparing"})
    lines = []
    assert journal(registry).acquire(2, lines.append)
    assert lines[1] == "it has written nothing for 0.3 s: going on in its place"


def test_a_run_that_begins_at_the_same_moment_does_not_get_the_lease(registry):
    one, two = journal(registry), journal(registry)
    assert one.acquire(1) and not two.acquire(1)


def test_a_run_that_stops_releases_the_lease_and_one_that_is_complete_has_none(registry):
    with journal(registry, 600) as run:
        run.acquire(1)
        run.enter("introducing")
    heir, lines = journal(registry, 600), []
    assert heir.released and heir.acquire(1, lines.append)
    assert lines == ["another run stopped rolling out version 1 (introducing): going on in its place"]
    with heir:
        for state in ("testing", "shifting", "finishing", "live"):
            heir.enter(state)
    generation = registry.deployment("production").generation
    assert not journal(registry).released and heir.generation == generation


def test_a_run_that_lost_its_lease_does_not_release_that_of_the_other(registry):
    with journal(registry, 0.2) as run:
        run.acquire(1)
        other = Registry(registry.uri).deployment("production")
        registry.record_deployment(
            "production", "rolling", 1, if_generation=None, details={**other.details, "holder": "other"}
        )
        with pytest.raises(LeaseLostError):
            run.note(name="x")
    assert registry.deployment("production").details["holder"] == "other"


def test_a_lease_is_renewed_while_a_step_takes_long(registry):
    with journal(registry, 1.5) as run:
        run.acquire(1)
        before = registry.deployment("production").generation
        wait_until(lambda: registry.deployment("production").generation > before)
        run.check()
        waiting = journal(registry, 1.5)
        started = time.monotonic()
        complete(run)
        assert not waiting.acquire(2) and time.monotonic() - started < 1.5


def test_a_run_that_fails_leaves_no_thread_behind(registry):
    before = threading.enumerate()
    with pytest.raises(KeyError), journal(registry, 0.2) as run:
        run.acquire(1)
        raise KeyError
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(2)
    assert not any(thread.is_alive() for thread in left)


HANGING = """
import sys, time
from kfp_bert_components.deployment import Journal
from kfp_bert_components.registry import Registry
from tests.support.directories import promote_graph
from tests.support.kserve_shares import wait_until
run = Journal(Registry(sys.argv[1]), "production", lease_seconds=0.4, pause_seconds=0.01)
run.call_seconds = 0.1
with run:
    run.acquire(1)
    Registry.record_deployment = lambda *arguments, **fields: time.sleep(600)
    run.note(name="x")
"""


def test_a_registry_that_hangs_does_not_keep_the_process_of_a_failed_run_alive(registry):
    command = [sys.executable, "-c", HANGING, registry.uri]
    run = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60)
    assert run.returncode == 1 and "did not answer within 0.1 s" in run.stderr


def test_a_write_that_fails_is_tried_again_and_one_that_never_works_is_an_error(registry, monkeypatch):
    real, failures = Registry.record_deployment, []

    def failing(self, *arguments, **options):
        if failures:
            raise failures.pop()
        return real(self, *arguments, **options)

    monkeypatch.setattr(Registry, "record_deployment", failing)
    run = journal(registry, pause_seconds=0.01)
    failures += [UserError("the storage is down")] * 3
    assert run.acquire(1)
    failures += [UserError("the storage is down")] * 4
    with pytest.raises(UserError, match="the storage is down"):
        run.enter("introducing")
    assert not failures
    started = time.monotonic()
    run = Journal(registry, "staging", pause_seconds=0.1)
    failures += [OSError()] * 3
    assert run.acquire(1) and time.monotonic() - started >= 0.17


@pytest.mark.parametrize("recovers", [True, False])
def test_a_storage_that_fails_for_the_whole_lease_stops_the_run(registry, monkeypatch, recovers):
    def failing(self, *arguments, **options):
        raise OSError("the storage is down")

    with journal(registry, 0.4, pause_seconds=0.01) as run:
        run.acquire(1)
        monkeypatch.setattr(Registry, "record_deployment", failing)
        run.check()
        time.sleep(1.0)
        with pytest.raises(LeaseLostError, match="its lease ends.*the storage is down"):
            run.check()
        if recovers:
            monkeypatch.undo()
    assert journal(registry).released == recovers


def test_writes_of_the_thread_that_renews_the_lease_are_no_failures(registry, monkeypatch):
    real, faster = Registry.record_deployment, []

    def second(self, *arguments, details, if_generation, **fields):
        if faster:
            details = {**details, "beat": faster.pop()}
            real(self, *arguments, details=details, if_generation=if_generation, **fields)
            raise ConflictError("changed")
        return real(self, *arguments, details=details, if_generation=if_generation, **fields)

    run = journal(registry, pause_seconds=0.01)
    run.acquire(1)
    monkeypatch.setattr(Registry, "record_deployment", second)
    faster += [f"renewal {number}" for number in range(8)]
    run.enter("introducing")
    assert not faster and registry.deployment("production").details["step"] == "introducing"


def test_a_reply_that_is_lost_again_and_again_is_an_error(registry, monkeypatch):
    real = Registry.record_deployment

    def losing(self, *arguments, if_generation, details, **fields):
        real(self, *arguments, details={**details, "beat": "another"}, **fields)
        raise ConflictError("changed")

    run = journal(registry, pause_seconds=0.01)
    run.acquire(1)
    monkeypatch.setattr(Registry, "record_deployment", losing)
    with pytest.raises(
        ConflictError, match=r"The deployment record of 'production' in .* cannot be written: run again"
    ):
        run.enter("introducing")


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_a_lease_that_never_lasts_is_refused(tmp_path, seconds):
    registry = Registry(str(tmp_path / "registry"))
    with pytest.raises(UserError, match=f"lease_seconds is {seconds}: expected a number above 0"):
        Journal(registry, "production", seconds)
    promote_graph(registry, tmp_path, "first")
    with pytest.raises(UserError, match="lease_seconds is"):
        deploy_to_serving_directory(registry.uri, str(tmp_path / "serving"), lease_seconds=seconds)
    assert not (tmp_path / "serving").exists()


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_a_lease_that_never_lasts_is_refused_before_anything_is_asked(tmp_path, seconds, dry_run):
    options = {"api_endpoint": "http://127.0.0.1:9", "dry_run": dry_run, "lease_seconds": seconds}
    for endpoint in ("", "label:team=a"):
        with pytest.raises(UserError, match=f"^lease_seconds is {seconds}: expected a number above 0"):
            deploy_to_ai_platform(str(tmp_path), AiPlatformSettings("p", "region-1", endpoint), **options)
    with pytest.raises(UserError, match=f"^lease_seconds is {seconds}: expected a number above 0"):
        deploy_to_kserve(str(tmp_path), KServeSettings("name", "default"), **options)
