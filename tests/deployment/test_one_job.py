"""One key has one job, whoever needs it and wherever one of them is killed; it goes on while somebody waits for it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform import AiPlatformClient
from kfp_bert_components.ai_platform.remote_jobs import AiPlatformJobs
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.jobs.remote_jobs import RemoteJobs
from kfp_bert_components.leases import Lease, Watch, read_lease
from kfp_bert_components.storage import open_store
from tests.support.ai_platform_server import AiPlatformServer, Fault

ALLOWED = 0.5  # seconds without a renewal


class Killed(BaseException):
    """The process ends here and does nothing more."""


@pytest.fixture
def server():
    with AiPlatformServer() as server:
        server.cloud.on_job = lambda job: setattr(job, "state", v1.JobState.JOB_STATE_RUNNING)
        yield server


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "staging"))


def step(server, store, run, allowed=ALLOWED):
    """The jobs of one key, as a step of a run sees them."""
    client = AiPlatformClient("p", "region-1", server.url)
    return RemoteJobs(AiPlatformJobs(client, "custom_job", "key"), Lease(store, run, allowed))


def make():
    container = v1.ContainerSpec(image_uri="image:1", command=["python", "worker", "gs://bucket/staging"])
    spec = v1.CustomJobSpec(worker_pool_specs=[v1.WorkerPoolSpec(container_spec=container)])
    return v1.CustomJob(display_name="x", labels={"kfp-bert-job": "key"}, job_spec=spec)


def states(server):
    return [v1.JobState(job.state).name.removeprefix("JOB_STATE_") for job in server.cloud.jobs.values()]


def kill(jobs, make=make):
    """A step that is killed where `make` raises Killed, without a chance to tidy up."""
    with pytest.raises(Killed):
        jobs.start(make)


def test_two_that_start_at_once_have_one_job(server, store, capsys):
    first, second, staged = step(server, store, "run-1"), step(server, store, "run-2"), threading.Event()
    made = []

    def make_slowly():
        made.append(1)
        assert staged.wait(60)
        return make()

    def start(jobs):
        with jobs.cancelled_with_this_process():
            return jobs.start(make_slowly)

    with ThreadPoolExecutor(2) as pool:
        names = [pool.submit(start, jobs) for jobs in (first, second)]
        time.sleep(4 * ALLOWED)  # staging takes longer than a lease lives, and is renewed meanwhile
        staged.set()
        assert names[0].result(30) == names[1].result(30)
    assert len(server.cloud.jobs) == len(made) == 1
    assert "starts a job for the same data: waiting for it." in capsys.readouterr().out
    lease, _ = read_lease(store)
    assert {one.run for one in lease.waiters} == {"run-1", "run-2"} and lease.starter is None


def test_one_that_was_killed_while_it_staged_is_followed_by_the_next(server, store):
    def be_killed():
        raise Killed

    kill(step(server, store, "run-1"), be_killed)
    assert read_lease(store)[0].starter.run == "run-1"
    started = time.monotonic()
    name = step(server, store, "run-2").start(make)
    assert 0.1 < time.monotonic() - started < 10
    assert list(server.cloud.jobs) == [name]


def test_one_whose_staging_failed_is_followed_at_once(server, store):
    def fail():
        raise UserError("The runtime is not there.")

    with pytest.raises(UserError, match="The runtime"):
        step(server, store, "run-1", allowed=0.0).start(fail)
    step(server, store, "run-2", allowed=0.0).start(make)
    assert len(server.cloud.jobs) == 1


def test_one_that_slept_while_it_staged_starts_none(server, store):
    def sleep_and_make():
        step(server, store, "run-2").start(make)
        return make()

    name = step(server, store, "run-1").start(sleep_and_make)
    assert list(server.cloud.jobs) == [name]


def test_of_two_jobs_the_one_stays_that_the_lease_names(server, store):
    first, second = step(server, store, "run-1"), step(server, store, "run-2")
    asleep = threading.Event()

    def call(number, method):
        """The first one sleeps while its job is created, and another one starts one meanwhile."""
        if method == "CreateCustomJob" and not asleep.is_set():
            asleep.set()
            job = server.cloud.jobs.pop(next(iter(server.cloud.jobs)))  # it is not there yet
            second.start(make)
            server.cloud.jobs[job.name] = job

    server.on_call = call
    name = first.start(make)
    assert read_lease(store)[0].job == name
    assert sorted(states(server)) == ["CANCELLED", "RUNNING"]
    assert server.cloud.jobs[name].state == v1.JobState.JOB_STATE_RUNNING


def test_a_job_beside_the_named_one_is_cancelled_by_who_sees_it(server, store):
    name = step(server, store, "run-1").start(make)
    client = AiPlatformClient("p", "region-1", server.url)
    other = AiPlatformJobs(client, "custom_job", "key").create(make())  # of one that was killed then
    assert step(server, store, "run-2").start(make) == name
    assert server.cloud.jobs[other].state == v1.JobState.JOB_STATE_CANCELLED
    assert server.cloud.jobs[name].state == v1.JobState.JOB_STATE_RUNNING


def test_one_that_was_killed_when_its_job_was_created_has_left_that_job_to_the_next(server, store):
    def create_and_be_killed():
        AiPlatformJobs(AiPlatformClient("p", "region-1", server.url), "custom_job", "key").create(make())
        raise Killed

    kill(step(server, store, "run-1"), create_and_be_killed)
    name = step(server, store, "run-2").start(make)
    assert list(server.cloud.jobs) == [name] and read_lease(store)[0].job == name


def test_a_job_is_cancelled_by_the_last_one_that_waits_for_it(server, store, capsys):
    first, second = step(server, store, "run-1"), step(server, store, "run-2")
    for jobs, outcome in ((first, ["RUNNING"]), (second, ["CANCELLED"])):
        if jobs is first:
            first.start(make)
            second.start(make)
        with pytest.raises(KeyboardInterrupt), jobs.cancelled_with_this_process():
            raise KeyboardInterrupt
        assert states(server) == outcome
    assert capsys.readouterr().out.count("Cancelled job") == 1


def test_one_that_is_told_to_stop_sees_another_one_that_has_just_come(server, store):
    first = step(server, store, "run-1", allowed=900.0)
    with pytest.raises(KeyboardInterrupt), first.cancelled_with_this_process():
        first.start(make)
        step(server, store, "run-2", allowed=900.0).start(make)
        raise KeyboardInterrupt
    assert states(server) == ["RUNNING"]
    assert [one.run for one in read_lease(store)[0].waiters] == ["run-2"]


def test_one_that_was_killed_counts_no_more_after_a_while(server, store):
    step(server, store, "run-1").start(make)
    second = step(server, store, "run-2")
    with pytest.raises(KeyboardInterrupt), second.cancelled_with_this_process():
        second.start(make)
        time.sleep(ALLOWED)
        raise KeyboardInterrupt
    assert states(server) == ["CANCELLED"]


def test_a_job_that_ends_itself_is_followed_by_another_one_and_its_reason_is_kept(server, store, capsys):
    first, second = step(server, store, "run-1"), step(server, store, "run-2")
    old, watch = first.start(make), Watch(store)
    until = time.monotonic() + 30
    while not watch.look() and time.monotonic() < until:
        time.sleep(ALLOWED / 10)
    with ThreadPoolExecutor(1) as pool:
        new = pool.submit(second.start, make)
        time.sleep(ALLOWED)
        assert (
            len(server.cloud.jobs) == 1 and not new.done()
        )  # it writes its checkpoint, from which the next one goes on
        server.cloud.jobs[old].state = v1.JobState.JOB_STATE_CANCELLED
        assert new.result(30) != old
    assert f"Job {old} ends: Nobody has waited for this job" in capsys.readouterr().out
    assert not Watch(store).look()
    with pytest.raises(UserError, match="ended as CANCELLED: Nobody has waited for this job"):
        first.wait(old, 0.01)


def test_a_job_that_cannot_be_looked_at_for_minutes_goes_on(server, store, monkeypatch, capsys):
    jobs = step(server, store, "run-1")
    name = jobs.start(make)
    server.faults = [Fault("GetCustomJob", times=20)]
    server.on_call = lambda number, method: setattr(server.cloud.jobs[name], "state", v1.JobState.JOB_STATE_SUCCEEDED)
    monkeypatch.setattr("kfp_bert_components.jobs.remote_jobs.time.sleep", lambda seconds: None)
    assert jobs.wait(name, 0.01).succeeded
    assert capsys.readouterr().out.count("The job can't be looked at now, and is looked at again") == 1


@pytest.mark.parametrize("effect", ["cut", "half"])
@pytest.mark.parametrize("method", ["CreateCustomJob", "GetCustomJob", "ListCustomJobs"])
def test_an_answer_that_breaks_off_is_asked_for_again(server, store, method, effect):
    server.cloud.on_job = lambda job: setattr(job, "state", v1.JobState.JOB_STATE_SUCCEEDED)
    server.faults = [Fault(method, effect)]
    jobs = step(server, store, "run-1")
    assert jobs.wait(jobs.start(make), 0.01).succeeded
    assert len(server.cloud.jobs) == 1 and server.faults[0].times == 0


def test_a_job_that_cannot_be_looked_at_any_more_is_said_to_go_on_as_it_does(server, store, monkeypatch):
    jobs = step(server, store, "run-1")
    name = jobs.start(make)
    server.faults = [Fault("GetCustomJob", times=-1)]
    monkeypatch.setattr("kfp_bert_components.jobs.remote_jobs._PATIENCE", 0.0)
    with pytest.raises(UserError, match=r"could not be looked at for .* until clean_up_run cancels it"):
        jobs.wait(name, 0.01)


def test_a_job_that_was_made_though_the_answer_was_lost_for_good_ends_itself(server, store, monkeypatch):
    first = step(server, store, "run-1")
    monkeypatch.setattr("kfp_bert_components.jobs.remote_jobs.time.sleep", lambda seconds: None)

    def cut_off():
        server.faults = [Fault("CreateCustomJob", "after", times=-1), Fault("ListCustomJobs", times=-1)]
        return make()

    with pytest.raises((UserError, TransientError)):
        first.start(cut_off)
    monkeypatch.undo()
    assert states(server) == ["RUNNING"]
    watch, end = Watch(store), time.monotonic() + 20 * ALLOWED
    while not watch.look() and time.monotonic() < end:
        time.sleep(ALLOWED / 10)
    assert watch.ended.startswith("Nobody has waited for this job for")
    # The next one starts another job, as soon as this one is gone.
    server.faults = []
    for job in server.cloud.jobs.values():
        job.state = v1.JobState.JOB_STATE_CANCELLED
    step(server, store, "run-2").start(make)
    assert states(server) == ["CANCELLED", "RUNNING"]
