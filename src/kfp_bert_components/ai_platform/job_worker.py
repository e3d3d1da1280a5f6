"""What runs inside a custom job: `python -m kfp_bert_components.ai_platform.job_worker gs://STAGING_FOLDER`."""

from __future__ import annotations

import sys

from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.records import read_client
from kfp_bert_components.jobs.worker import work
from kfp_bert_components.progress import say
from kfp_bert_components.storage import open_store


def cancel_own_job(place: str) -> None:
    """Cancel the job that works on a staging folder, which is the one that this process belongs to.

    Where its account may not do that, or AI Platform can't be reached, a line says so: the job then ends with the exit
    code of this process, as one that failed.

    Args:
        place: The gs:// folder that `run_as_custom_job` filled.
    """
    from kfp_bert_components.ai_platform.client import AiPlatformClient
    from kfp_bert_components.ai_platform.running_jobs import cancel_job, running_jobs

    try:
        where = read_client(open_store(place))
        # Seconds, as the process ends the job in any case.
        client = AiPlatformClient(where["project"], where["location"], where["api_endpoint"], call_seconds=10.0)
        for job in running_jobs(client, place.rpartition("/")[2]):
            cancel_job(client, job.name)
    except UserError as error:
        say(f"The job can't be cancelled, and ends as one that failed: {error}")


if __name__ == "__main__":
    try:
        work(sys.argv[1], lambda: cancel_own_job(sys.argv[1]))
    except UserError as error:
        raise SystemExit(str(error)) from error
