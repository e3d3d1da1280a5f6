"""A worker of a TrainJob without the training: `python -m tests.support.stub_worker STAGING_FOLDER`.

It ends when there is an object `stop`; `fail-NUMBER` has it fail. At SIGTERM it writes an object `checkpoint`.
"""

import os
import sys
import time

from kfp_bert_components.jobs.records import write_part
from kfp_bert_components.leases import ended_when_abandoned
from kfp_bert_components.storage import open_store
from kfp_bert_components.trainjob.worker import delete_own_job
from tests.support.train_jobs import leave_outputs

if __name__ == "__main__":
    place, number = sys.argv[-1], int(os.environ["JOB_COMPLETION_INDEX"])
    store = open_store(place)
    print(f"worker {number} of {os.environ['KFP_BERT_WORKERS'].count(',') + 1}", flush=True)
    with ended_when_abandoned(store, lambda: delete_own_job(place)):
        try:
            while not store.exists("stop"):
                if store.exists(f"fail-{number}"):
                    sys.exit("the reason")
                if store.exists(f"user-error-{number}"):
                    write_part(store, number, "The split is damaged: fetch it again.")
                    sys.exit("The split is damaged: fetch it again.")
                time.sleep(0.05)
        except BaseException as error:
            if isinstance(error, SystemExit) and isinstance(error.code, str):
                raise
            store.write("checkpoint", b"")
            raise
    if number == 0:
        leave_outputs(place, workers=0)
    write_part(store, number)
