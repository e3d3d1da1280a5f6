"""A run whose lease is over does nothing any more, whatever made it late."""

import os
import random
import signal
import time

import pytest

from kfp_bert_components.deployment import (
    Journal,
    LeaseLostError,
    RolloutError,
    deploy_to_serving_directory,
    open_versioned_folder,
)
from kfp_bert_components.deployment.time_limits import within
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import open_store
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.directories import (
    BlockedRegistry,
    HeldFolder,
    HeldUpload,
    StoppedRegistry,
    deploy_in_process,
    deploy_to_folder,
    promote_graph,
    start_thread,
)
from tests.support.processes import start
from tests.support.rollouts import World, deploy_to
from tests.support.stores import cloud, gcs, place, s3

__all__ = ["cloud", "gcs", "place", "s3"]
ALL = os.environ.get("KFP_BERT_ROUNDS") == "all"
ROUNDS = 100 if ALL else 3
LEASE = 1.0
WRITES = range(1, 10) if ALL else (2, 6)  # the positions at which a rollout's calls begin to hang


@pytest.mark.long
@pytest.mark.parametrize("late", ["goes on before", "goes on after"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("position", WRITES)
def test_a_holder_whose_registry_hangs_does_not_touch_what_the_next_one_put_in_a_folder(
    place, tmp_path, position, moment, late
):
    uri, folder = f"{place}/registry", f"{place}/serving"
    registry, blocked = Registry(uri), BlockedRegistry(uri, position, moment)
    promote_graph(registry, tmp_path, "first")
    deploy_to_folder(registry, folder, tmp_path / "1")
    promote_graph(registry, tmp_path, "second")
    thread, errors = start_thread(lambda: deploy_to_folder(blocked, folder, tmp_path / "2", lease_seconds=LEASE))
    if not blocked.blocked.wait(10):
        thread.join()
        pytest.skip(f"a rollout has fewer than {position} writes")
    if late == "goes on after":  # it wakes when the other is live
        live = deploy_to_folder(registry, folder, tmp_path / "3", lease_seconds=LEASE)
        blocked.go_on.set()
        thread.join(30)
    else:  # it wakes when its lease is over, and both go on
        time.sleep(LEASE * 1.2)
        blocked.go_on.set()
        live = deploy_to_folder(registry, folder, tmp_path / "3", lease_seconds=LEASE)
        thread.join(30)
    assert not thread.is_alive()
    assert all(isinstance(error, UserError) for error in errors), errors
    seen = open_versioned_folder(folder)
    record = registry.deployment("production")
    assert (record.state, record.live_version) == ("live", 2)
    assert max(seen.complete()) == int(record.live_served)
    assert seen.registry_version(int(record.live_served)) == 2
    assert record.live_served == str(live["facts"]["number"]) or late == "goes on before"


@pytest.mark.long
@pytest.mark.parametrize("late", ["goes on before", "goes on after"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("position", WRITES)
def test_a_holder_whose_registry_hangs_does_not_touch_what_the_next_one_made_of_an_endpoint(
    world, position, moment, late
):
    blocked = BlockedRegistry(world.registry.uri, position, moment)
    thread, errors = start_thread(lambda: deploy_to(blocked, world.server.url, lease_seconds=LEASE))
    if not blocked.blocked.wait(10):
        thread.join()
        pytest.skip(f"a rollout has fewer than {position} writes")
    if late == "goes on before":
        time.sleep(LEASE * 1.2)
        blocked.go_on.set()
    world.deploy(lease_seconds=LEASE)
    blocked.go_on.set()
    thread.join(30)
    assert not thread.is_alive()
    assert all(isinstance(error, UserError) for error in errors), errors
    assert world.state() == {
        "serving": {2: 100},
        "deployed": 1,
        "models": ["kfp-bert version 1", "kfp-bert version 2"],
        "champion": ["kfp-bert version 2"],
        "record": ("live", 2),
    }


@pytest.mark.parametrize("change", ["add", "remove"])
def test_a_run_that_is_stopped_right_before_a_change_does_not_touch_what_serves(place, tmp_path, change):
    uri, folder = f"{place}/registry", f"{place}/serving"
    registry, held = Registry(uri), HeldFolder(folder, change)
    promote_graph(registry, tmp_path, "first")
    deploy_to_folder(registry, folder, tmp_path / "1")
    promote_graph(registry, tmp_path, "second")
    stopped = StoppedRegistry(uri, held, fails=change == "remove")
    thread, errors = start_thread(lambda: deploy_to_folder(stopped, held, tmp_path / "2", lease_seconds=3.0))
    assert held.reached.wait(10)
    deploy_to_folder(registry, folder, tmp_path / "3", lease_seconds=3.0)
    record = registry.deployment("production")
    held.go_on.set()
    thread.join(30)
    assert len(errors) == 1 and isinstance(errors[0], UserError)
    assert registry.deployment("production") == record
    seen = open_versioned_folder(folder)
    assert (record.live_version, record.live_served) == (2, "3")
    assert seen.complete() == [1, 3]


def test_a_run_that_is_stopped_in_its_upload_leaves_nothing_there(place, tmp_path):
    """In a bucket it goes on with files that no server loads yet, as the last one lacks; on a disk with its copy."""
    registry, folder = Registry(f"{place}/registry"), f"{place}/serving"
    promote_graph(registry, tmp_path, "first")
    deploy_to_folder(registry, folder, tmp_path / "1")
    promote_graph(registry, tmp_path, "second")
    held = HeldUpload(folder, looks=1 if "://" in place else 0)
    stopped = StoppedRegistry(registry.uri, held, fails=False)
    thread, errors = start_thread(lambda: deploy_to_folder(stopped, held, tmp_path / "2", lease_seconds=3.0))
    assert held.reached.wait(20)
    deploy_to_folder(registry, folder, tmp_path / "3", lease_seconds=3.0)
    held.go_on.set()
    thread.join(30)
    assert [type(error) for error in errors] == [LeaseLostError]
    left = {entry.name.partition("/")[0] for entry in open_store(folder).list()}
    assert left - {".kfp-bert-owner.json"} == {"1", "3"}


@pytest.mark.long
@pytest.mark.parametrize("position", [2, 5, 8])
def test_no_call_is_made_after_the_end_of_the_lease(world, position):
    times, began = [], []
    world.server.on_call = lambda number, method: times.append(time.monotonic())
    blocked = BlockedRegistry(world.registry.uri, position, "before")
    write = blocked.record_deployment

    def timed(*arguments, **options):
        at = time.monotonic()
        found = write(*arguments, **options)
        if not blocked.go_on.is_set():
            began.append(at)
        return found

    blocked.record_deployment = timed
    thread, (*_,) = start_thread(lambda: deploy_to(blocked, world.server.url, lease_seconds=LEASE))
    assert blocked.blocked.wait(10)
    thread.join(30)
    blocked.go_on.set()
    assert not thread.is_alive()
    assert max(times) < max(began) + LEASE


@pytest.mark.parametrize("next_run", ["is good", "fails"])
def test_a_write_to_a_bucket_that_hangs_is_given_up_within_the_lease_and_what_it_does_later_is_repaired(
    cloud, tmp_path, next_run
):
    registry, folder = Registry(f"{cloud.root}/registry"), f"{cloud.root}/serving"
    promote_graph(registry, tmp_path, "good")
    deploy_to_serving_directory(registry.uri, folder)
    promote_graph(registry, tmp_path, "second")
    hangs = cloud.break_write("slow", "2/saved_model.pb")
    hangs.seconds, began = 4.0, time.monotonic()
    with pytest.raises(RolloutError, match=r"2/saved_model\.pb"):
        deploy_to_serving_directory(registry.uri, folder, lease_seconds=3.0)
    assert hangs.hits == 1 and time.monotonic() - began < hangs.seconds
    seen = open_versioned_folder(folder)
    assert seen.complete() == [1] and registry.deployment("production").live_version == 1
    while seen.complete() == [1]:
        time.sleep(0.1)
    if next_run == "is good":
        assert deploy_to_serving_directory(registry.uri, folder).serving_uri == f"{folder}/3"
        assert seen.complete() == [1, 3]
    else:
        with pytest.raises(RolloutError, match="holds no texts"):
            deploy_to_serving_directory(registry.uri, folder, server_url="http://127.0.0.1:9")
        assert seen.complete() == [1] and registry.deployment("production").live_version == 1


def test_a_large_graph_is_sent_in_parts_and_the_lease_is_looked_at_before_each(gcs, tmp_path):
    folder, checks = open_versioned_folder("gs://bucket/serving"), []
    folder.limit_calls(30.0)
    (tmp_path / "m").mkdir()
    (tmp_path / "m/saved_model.pb").write_bytes(os.urandom(20 << 20))

    def check():
        checks.append(folder.complete())
        if len(checks) == 5:  # before the rest, before the graph, before each of its three parts
            raise LeaseLostError("the lease is over")

    with pytest.raises(LeaseLostError):
        folder.add(tmp_path / "m", 1, check)
    assert checks == [[]] * 5 and folder.complete() == []
    folder.add(tmp_path / "m", 1)
    assert gcs.get("bucket", "serving/1/saved_model.pb") == (tmp_path / "m/saved_model.pb").read_bytes()


def test_a_large_graph_on_s3_is_one_request_that_takes_the_time_that_it_takes(s3, tmp_path, monkeypatch):
    folder = open_versioned_folder("s3://bucket/serving")
    folder.limit_calls(1.0)
    (tmp_path / "m").mkdir()
    (tmp_path / "m/saved_model.pb").write_bytes(b"graph")
    s3.break_write("slow", "1/saved_model.pb").seconds = 2.0
    with pytest.raises(UserError, match=r"1/saved_model\.pb can't be reached"):
        folder.add(tmp_path / "m", 1)
    s3.break_write("slow", "2/saved_model.pb").seconds = 2.0
    monkeypatch.setattr("kfp_bert_components.storage._s3._LARGE", 4)
    folder.add(tmp_path / "m", 2)
    assert 2 in folder.complete()


def test_the_lease_is_renewed_before_a_call_when_too_little_of_it_is_left(tmp_path):
    registry = Registry(str(tmp_path))
    journal = Journal(registry, "production", lease_seconds=0.4)  # without its thread
    assert journal.acquire(1, lambda line: None)
    before = registry.deployment("production").generation
    journal.check()
    assert registry.deployment("production").generation == before
    time.sleep(0.3)
    journal.check()
    assert registry.deployment("production").generation > before
    other = Journal(registry, "production", lease_seconds=0.4)
    assert other.acquire(1, lambda line: None)
    with pytest.raises(LeaseLostError, match="Another run took over"):
        time.sleep(0.3)
        journal.check()


def test_a_lease_that_cannot_be_renewed_ends_and_nothing_is_held_meanwhile(tmp_path):
    blocked = BlockedRegistry(str(tmp_path), 2, "before")
    journal = Journal(blocked, "production", lease_seconds=0.4, pause_seconds=0.01)
    assert journal.acquire(1, lambda line: None)
    thread, errors = start_thread(lambda: journal.note(fact=1))
    assert blocked.blocked.wait(5)
    journal.check()  # returns at once while the other thread's write hangs: the lease is still good
    time.sleep(0.4)
    with pytest.raises(LeaseLostError, match=r"its lease ends.*did not answer within 1 s"):
        journal.check()
    blocked.go_on.set()
    thread.join(10)
    assert not thread.is_alive() and len(errors) <= 1


def test_a_call_that_takes_too_long_is_given_up():
    assert within(1.0, lambda: 5, "It") == 5
    with pytest.raises(UserError, match=r"It did not answer within 0.05 s"):
        within(0.05, lambda: time.sleep(0.3), "It")
    with pytest.raises(KeyError):
        within(1.0, lambda: {}["x"], "It")


class Stopped:
    """A process that is stopped for the time of the block, and goes on after it."""

    def __init__(self, process, seconds):
        self.process, self.seconds = process, seconds

    def __enter__(self):
        time.sleep(self.seconds)
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGSTOP)

    def __exit__(self, *raised):
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGCONT)
        self.process.join(60)


@pytest.mark.slow
def test_a_stopped_run_that_goes_on_after_its_lease_leaves_the_endpoint_as_recorded(gcs):
    chance, stopped = random.Random(0), 0
    with AiPlatformServer() as server:
        for number in range(ROUNDS):
            world = World(f"gs://bucket/{number}", server)
            server.cloud.endpoints.clear()
            server.cloud.models.clear()
            world.promote()
            world.deploy()
            world.promote()
            run = world.deploy_elsewhere(lease_seconds=0.5)
            with Stopped(run, chance.uniform(0.05, 0.6)):
                stopped += run.is_alive()
                world.deploy(lease_seconds=0.5)
            assert world.state()["record"] == ("live", 2), number
            assert world.versions_serving() == {2: 100}, number
            server.calls.clear()
            world.deploy()
            assert server.changing_calls() == [], number
    print(f"{stopped} of {ROUNDS} runs were stopped before their end")


@pytest.mark.slow
def test_a_stopped_run_that_goes_on_after_its_lease_leaves_the_folder_as_recorded(gcs, tmp_path):
    chance, stopped = random.Random(0), 0
    for number in range(ROUNDS):
        uri = f"gs://bucket/{number}/registry"
        folder = f"gs://bucket/{number}/serving" if number % 2 else str(tmp_path / str(number) / "serving")
        registry = Registry(uri)
        promote_graph(registry, tmp_path / str(number), "first")
        deploy_to_folder(registry, folder, tmp_path / f"{number}-1")
        promote_graph(registry, tmp_path / str(number), "second")
        run = start(deploy_in_process, uri, folder, 0.5)
        with Stopped(run, chance.uniform(0.05, 0.4)):
            stopped += run.is_alive()
            deploy_to_folder(registry, folder, tmp_path / f"{number}-2", lease_seconds=0.5)
        record, seen = registry.deployment("production"), open_versioned_folder(folder)
        assert (record.state, record.live_version) == ("live", 2), number
        assert max(seen.complete()) == int(record.live_served), number
        assert seen.registry_version(max(seen.complete())) == 2, number
        deploy_to_folder(registry, folder, tmp_path / f"{number}-3")
        assert registry.deployment("production") == record, number
    print(f"{stopped} of {ROUNDS} runs were stopped before their end")
