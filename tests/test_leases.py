"""The lease on a job that runs elsewhere: renewed, looked at, taken over, and never ended for a wrong reason."""

import fcntl
import os
import signal
import time

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.leases import LEASE, Lease, Watch, ended_when_abandoned, read_lease, take_out
from kfp_bert_components.storage import Access, open_store
from tests.conftest import ROOT
from tests.support.kubeflow import Step
from tests.support.promoters import InterruptedStore
from tests.support.stores import every_place as place
from tests.support.stores import gcs, s3

__all__ = ["gcs", "place", "s3"]
ALLOWED = 0.4  # seconds without a renewal
SAMPLES = ROOT / "tests" / "records"


@pytest.fixture
def store(place):
    return open_store(place, Access(patience=0.1))


def look_for(watch, seconds, each=lambda: None):
    """Look again and again; whether the job has to end meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not watch.look():
        each()
        time.sleep(ALLOWED / 20)
    return bool(watch.ended)


def holder(store, name, monkeypatch):
    monkeypatch.setenv("KFP_POD_NAME", name)
    lease = Lease(store, f"run of {name}", ALLOWED)
    lease.take()
    return lease


def test_a_job_ends_when_nobody_renews_its_lease_and_not_before(store, monkeypatch):
    lease, watch = holder(store, "pod-1", monkeypatch), Watch(store)
    assert not look_for(watch, 3 * ALLOWED, lease.renew)
    started = time.monotonic()
    assert look_for(watch, 5 * ALLOWED)
    assert ALLOWED * 0.7 < time.monotonic() - started < 3 * ALLOWED
    assert "(last pod-1 of run run of pod-1)" in watch.ended
    assert lease.ended("") == watch.ended
    assert Watch(store).look() == watch.ended  # the job is started again


@pytest.mark.parametrize("allowed", [None, 0.0])
def test_a_job_without_a_lease_or_a_time_limit_goes_on(store, allowed):
    if allowed is not None:
        Lease(store, "", allowed).take()
    assert not look_for(Watch(store), 3 * ALLOWED)


def test_a_lease_that_was_removed_is_one_that_is_not_renewed(store, monkeypatch):
    holder(store, "pod-1", monkeypatch)
    watch = Watch(store)
    watch.look()
    store.delete(LEASE)
    assert look_for(watch, 5 * ALLOWED)


def test_a_store_out_of_reach_is_no_reason_to_end(gcs, monkeypatch, capsys):
    store = open_store("gs://bucket/job", Access(patience=0.1))
    lease, watch = holder(store, "pod-1", monkeypatch), Watch(store)
    watch.look()
    gcs.faults.add("reset", times=None)
    assert not look_for(watch, 3 * ALLOWED, lease.renew)
    gcs.faults.clear()  # the one who waits writes a moment later than the job looks
    assert not look_for(watch, ALLOWED * 0.7)
    assert not look_for(watch, 2 * ALLOWED, lease.renew)
    assert capsys.readouterr().out.count("That somebody waits for the job can't be written now") == 1


def refuse(*_, **__):
    raise UserError("it is read-only")


def test_a_job_that_can_only_read_its_lease_ends_after_twice_the_time(store, monkeypatch):
    lease, watch = holder(store, "pod-1", monkeypatch), Watch(store)
    write = store.write
    for _ in range(2):  # what is renewed is begun anew
        monkeypatch.setattr(store, "write", refuse)
        assert not look_for(watch, 1.7 * ALLOWED)
        monkeypatch.setattr(store, "write", write)
        lease.renew()
    monkeypatch.setattr(store, "write", refuse)
    assert look_for(watch, 4 * ALLOWED)
    assert "(last pod-1 of run run of pod-1)" in watch.ended and not read_lease(store)[0].ended


def test_one_who_was_stopped_with_the_lock_of_a_folder_does_not_keep_a_job_running(tmp_path, monkeypatch):
    store = open_store(str(tmp_path), Access(patience=0.1))
    holder(store, "pod-1", monkeypatch)
    with (tmp_path / ".store" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert look_for(Watch(store), 5 * ALLOWED)


def test_a_job_whose_write_comes_too_late_goes_on_however_long_it_was_away(store, monkeypatch):
    lease = holder(store, "pod-1", monkeypatch)
    job_store = open_store(store.uri)
    write = job_store.write

    def too_late(*given, **more):
        lease.renew()
        return write(*given, **more)

    writes = iter([refuse, too_late])
    monkeypatch.setattr(job_store, "write", lambda *given, **more: next(writes)(*given, **more))
    watch = Watch(job_store)
    watch.look()
    for _ in range(2):  # the second time it would end, had nobody come
        time.sleep(1.2 * ALLOWED)
        assert not watch.look()
    assert not list(writes)


def waiting(store):
    return sorted(one.holder for one in read_lease(store)[0].waiters)


def test_several_wait_for_a_job_and_one_that_is_gone_is_left_out_after_a_while(store, monkeypatch, capsys):
    first, watch = holder(store, "pod-1", monkeypatch), Watch(store)
    second = holder(store, "pod-2", monkeypatch)
    assert "pod-1 of run run of pod-1 waits for it too, or did until now." in capsys.readouterr().out

    def renew():
        first.renew()
        second.renew()

    assert not look_for(watch, 2 * ALLOWED, renew)
    assert waiting(store) == ["pod-1", "pod-2"]
    assert "pod-2 of run run of pod-2 waits for the same job now, too." in capsys.readouterr().out
    assert not look_for(watch, 4 * ALLOWED, first.renew)
    assert waiting(store) == ["pod-1"]


def test_the_most_patient_one_says_when_the_job_ends(store, monkeypatch):
    holder(store, "pod-1", monkeypatch)
    Lease(store, "run-2", 10 * ALLOWED).take()
    assert not look_for(Watch(store), 3 * ALLOWED)


def test_those_whose_run_is_over_are_taken_out_unless_they_are_the_last(store, monkeypatch):
    for name in ("pod-1", "pod-2"):
        holder(store, name, monkeypatch)
    assert [one.holder for one in take_out(store, lambda one: one.holder == "pod-1")] == ["pod-2"]
    assert waiting(store) == ["pod-2"]
    assert take_out(store, lambda one: one.holder == "pod-2") == []
    assert waiting(store) == ["pod-2"]


def test_a_lease_of_the_first_format_is_read():
    lease, _ = read_lease(open_store(str(SAMPLES / "format1" / "custom_job")))
    (one,) = lease.waiters
    assert (one.holder, one.run, lease.abandoned_seconds, lease.ended) == ("pod-1", "run-1", 900.0, "")


def test_a_lease_of_the_second_format_is_read():
    lease, _ = read_lease(open_store(str(SAMPLES / "format2" / "custom_job")))
    assert [(one.holder, one.run, one.renewals) for one in lease.waiters] == [("pod-1", "run-1", 7), ("pod-2", "", 0)]
    assert (lease.starter.holder, lease.abandoned_seconds) == ("pod-3", 1800.0)
    assert (lease.job, lease.ended, lease.past) == ("job-2", "", {"job-1": "Nobody has waited for this job."})


def test_a_renewal_whose_answer_was_lost_is_ones_own(gcs, monkeypatch):
    store = open_store("gs://bucket/job", Access(patience=5))
    lease = holder(store, "pod-1", monkeypatch)
    lost = gcs.faults.add("lost_reply", "uploadType", method="POST")
    time.sleep(ALLOWED / 10)
    lease.renew()
    assert lost.hits == 1
    assert waiting(store) == ["pod-1"] and lease.leave()


def test_one_who_takes_over_while_the_job_decides_to_end_is_not_overlooked(store, monkeypatch):
    holder(store, "pod-1", monkeypatch)
    watch = Watch(InterruptedStore(store, "write", LEASE, lambda: holder(store, "pod-2", monkeypatch)))
    assert not look_for(watch, 1.5 * ALLOWED)
    assert waiting(store) == ["pod-1", "pod-2"]


def hang(place):
    """A job that does not end at SIGTERM."""
    store = open_store(place)
    with ended_when_abandoned(store, lambda: store.write("cancelled", b""), time_to_end=0.3):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)


def sleep(place):
    store = open_store(place)
    with ended_when_abandoned(store, lambda: store.write("cancelled", b"")):
        time.sleep(60)


@pytest.mark.parametrize("job", [hang, sleep])
def test_a_job_that_nobody_waits_for_ends_as_cancelled_and_says_why(tmp_path, monkeypatch, job):
    store = open_store(str(tmp_path / "job"))
    holder(store, "pod-1", monkeypatch)
    step = Step(job, store.uri, log=str(tmp_path / "log"))
    try:
        assert step.wait(20) == 143
    finally:
        step.kill()
    assert store.exists("cancelled")
    log = (tmp_path / "log").read_text()
    assert "Nobody has waited for this job for 0.00667 minutes (last pod-1 of run run of pod-1). It ends." in log


def test_a_job_that_is_told_to_stop_while_somebody_waits_is_not_cancelled_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("KFP_POD_NAME", "pod-1")
    store = open_store(str(tmp_path / "job"))
    Lease(store, "", 600.0).take()
    step = Step(sleep, store.uri)
    time.sleep(0.5)
    os.kill(step.python, signal.SIGTERM)
    try:
        assert step.wait(20) == 143
    finally:
        step.kill()
    assert not store.exists("cancelled")
