"""What runs in each pod of a TrainJob: `python -m kfp_bert_components.trainjob.worker STAGING_FOLDER`."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Sequence

from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.jobs.records import read_client, write_part
from kfp_bert_components.jobs.worker import work
from kfp_bert_components.leases import ended_when_abandoned
from kfp_bert_components.progress import say
from kfp_bert_components.storage import open_store
from kfp_bert_components.trainjob.objects import WORKERS

_SAY_EVERY = 180.0  # seconds


def train(place: str) -> None:
    """Train as one of the workers, and write the part that says that this one is done.

    Args:
        place: The folder that `run_as_train_job` filled.

    Raises:
        UserError: The staged files are damaged, or training failed with a UserError. The part says it, too: the log
            of a pod may be gone before it is read.
        SystemExit: With code 143, at SIGTERM and when nobody waits.
    """
    number, workers = int(os.environ.get("JOB_COMPLETION_INDEX", "0")), os.environ.get(WORKERS, "").split(",")
    store = open_store(place)
    try:
        if len(workers) > 1:
            with ended_when_abandoned(store, lambda: delete_own_job(place)):  # the first worker may not have started
                wait_for_names(workers)
            task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": number}}
            os.environ["TF_CONFIG"] = json.dumps(task)
        work(place, lambda: delete_own_job(place))
    except UserError as error:
        write_part(store, number, str(error))
        raise
    write_part(store, number)


def wait_for_names(workers: Sequence[str], say_every: float = _SAY_EVERY) -> None:
    """Wait until the host names of all workers lead to an address, which they do when their pods have started.

    A pod may have to wait for a node. So this has no limit of its own: the deadline of the job ends it, and the lease.

    Args:
        workers: HOST:PORT of each.
        say_every: Seconds between two lines that say for which worker it waits.
    """
    said = time.monotonic()
    for host in (one.rpartition(":")[0] for one in workers):
        while True:
            try:
                socket.getaddrinfo(host, None)
                break
            except OSError as error:
                if time.monotonic() > said + say_every:
                    said = time.monotonic()
                    say(
                        f"Waiting for the worker {host} ({error.strerror}). Its pod may wait for a node. If it runs: "
                        f"is there another Service {host.partition('.')[2]} in the namespace? The JobSet makes its "
                        "own, without a cluster IP."
                    )
                time.sleep(1.0)


def delete_own_job(place: str) -> None:
    """Delete the TrainJob that works on a staging folder, which is the one that this process belongs to.

    Where its account may not do that, or Kubernetes can't be reached, a line says so: the job then ends as one that
    failed.

    Args:
        place: The folder that `run_as_train_job` filled.
    """
    from kfp_bert_components.kubernetes_api import Cluster
    from kfp_bert_components.trainjob.objects import API

    try:
        where = read_client(open_store(place))
        # Seconds, as the process ends in any case.
        cluster = Cluster(where["namespace"], where["api_endpoint"], call_seconds=10.0)
        path = f"/apis/{API}/namespaces/{where['namespace']}/trainjobs/{where['name']}"
        if job := cluster.find(path):
            cluster.delete(job, path)
    except (UserError, TransientError) as error:
        say(f"The job can't be deleted, and ends as one that failed: {error}")


if __name__ == "__main__":
    try:
        train(sys.argv[1])
    except UserError as error:
        raise SystemExit(str(error)) from error
