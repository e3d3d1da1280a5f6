"""Runs and schedules on Kubeflow Pipelines, through kfp's own client."""

import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import kfp_server_api
import urllib3
from kfp.client import Client

from kfp_bert_components.errors import NotFoundError, TransientError, UserError, reason_of

PAGE = 100


class _Client(Client):
    """KFP's client, which asks once whether the server is there: a wrong address is said at once."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> kfp_server_api.V2beta1GetHealthzResponse:
        return self._healthz_api.healthz_service_get_healthz(_request_timeout=30)


class Kubeflow:
    """One installation of Kubeflow Pipelines.

    Args:
        host: Its address with http:// or https://, such as https://my-kubeflow/pipeline.
        namespace: Namespace to work in, where it is one for many users; "" for the one kfp knows.

    Raises:
        UserError: There is no such server, or it does not answer as KFP does.
        TransientError: It can't be reached now.
    """

    kind = "Kubeflow Pipelines"

    def __init__(self, host: str, namespace: str = "") -> None:
        if not host.startswith(("http://", "https://")):
            raise UserError(f"--host {host!r} must begin with https:// or http://.")
        self._host, self._namespace = host.rstrip("/"), namespace or None
        token = os.environ.get("KFP_EXISTING_TOKEN")  # what kfp's own command line reads
        with self._explained(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self._client = _Client(self._host, existing_token=token, namespace=namespace or "kubeflow")

    def submit(
        self, spec: Path, name: str, arguments: dict[str, Any], service_account: str, root: str, experiment: str
    ) -> tuple[str, str]:
        """Start a run of a compiled pipeline.

        Args:
            spec: The compiled pipeline.
            name: What the run is called.
            arguments: Values by parameter.
            service_account: Kubernetes service account of its pods; "" for the server's default.
            root: Where the artifacts lie; "" for the server's default.
            experiment: Experiment that the run belongs to, made where there is none; "" for Default.

        Returns:
            The run's id, and the address of its page.

        Raises:
            UserError: The server refused.
            TransientError: It failed in a way that may pass. The run may have started.
        """
        try:
            with self._explained(), redirect_stdout(io.StringIO()):
                run = self._client.create_run_from_pipeline_package(
                    str(spec),
                    arguments=arguments,
                    run_name=name,
                    experiment_name=experiment or None,
                    namespace=self._namespace,
                    pipeline_root=root or None,
                    service_account=service_account or None,
                )
        except TransientError as error:
            raise TransientError(
                f"{error}. The run may have started all the same: look at {self._host}/#/runs first."
            ) from None
        return run.run_id, f"{self._host}/#/runs/details/{run.run_id}"

    def state(self, run: str) -> tuple[str, str]:
        """The state of a run, and what is known about its failure."""
        with self._explained():
            found = self._client.get_run(run)
        tasks = (found.run_details and found.run_details.task_details) or []
        failed = [f"{one.display_name} failed" for one in tasks if one.state == "FAILED"]
        message = [found.error.message] if found.error and found.error.message else []
        return found.state or "PENDING", "; ".join(failed + message)

    def create_schedule(
        self,
        spec: Path,
        name: str,
        arguments: dict[str, Any],
        service_account: str,
        root: str,
        experiment: str,
        cron: str,
        time_zone: str,
    ) -> str:
        """Let a pipeline run again and again, one run at a time; what was missed is not made up for.

        Args:
            spec: The compiled pipeline.
            name: What the schedule is called.
            arguments: Values by parameter.
            service_account: As in `submit`.
            root: As in `submit`.
            experiment: As in `submit`.
            cron: Five fields: minute, hour, day of the month, month, day of the week.
            time_zone: Must be "": it is the server's.

        Returns:
            The schedule's id.
        """
        if time_zone:
            raise UserError(
                "Kubeflow Pipelines has one time zone for all schedules, UTC unless its server was given "
                "CRON_SCHEDULE_TIMEZONE: leave --time-zone out, and give --cron in that."
            )
        with self._explained(), redirect_stdout(io.StringIO()):
            group = self._client.create_experiment(experiment or "Default", namespace=self._namespace)
            made = self._client.create_recurring_run(
                experiment_id=group.experiment_id,
                job_name=name,
                cron_expression=f"0 {cron}",  # KFP counts seconds too
                max_concurrency=1,
                no_catchup=True,
                params=arguments,
                pipeline_package_path=str(spec),
                pipeline_root=root or None,
                service_account=service_account or None,
            )
        return made.recurring_run_id

    def schedules(self) -> list[dict[str, str]]:
        """All schedules: `id`, `name`, `state` (active or paused) and `cron`."""
        token = ""
        found: list[kfp_server_api.V2beta1RecurringRun] = []
        while True:
            with self._explained():
                page = self._client.list_recurring_runs(token, PAGE, namespace=self._namespace)
            found += page.recurring_runs or []
            token = page.next_page_token
            if not token:
                return [_schedule(one) for one in found]

    def pause(self, schedule: str) -> None:
        """Let a schedule start no more runs."""
        with self._explained():
            self._client.disable_recurring_run(schedule)

    def resume(self, schedule: str) -> None:
        """Let a paused schedule go on."""
        with self._explained():
            self._client.enable_recurring_run(schedule)

    def delete(self, schedule: str) -> None:
        """Remove a schedule. Its runs stay."""
        with self._explained():
            self._client.delete_recurring_run(schedule)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what kfp's client raises into a sentence, and keep its log lines back."""
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        except kfp_server_api.ApiException as error:
            raise _refusal(self._host, error) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(
                f"{self._host} can't be reached: check --host and the network ({reason_of(error)})"
            ) from None
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self._host} does not answer as Kubeflow Pipelines does ({error}): check --host, which often ends in "
                "/pipeline, and whether it asks to sign in (KFP_EXISTING_TOKEN gives kfp a token)."
            ) from None
        finally:
            logging.disable(before)


def _schedule(one: kfp_server_api.V2beta1RecurringRun) -> dict[str, str]:
    trigger, cron = one.trigger, ""
    if trigger and trigger.cron_schedule:
        cron = trigger.cron_schedule.cron
    elif trigger and trigger.periodic_schedule:
        cron = f"every {trigger.periodic_schedule.interval_second} s"
    if len(cron.split()) == 6:  # a field of seconds comes first, which KFP needs not have
        cron = cron.removeprefix("0 ")
    state = "paused" if "DISABLE" in (one.status or one.mode or "") else "active"
    return {"id": one.recurring_run_id, "name": one.display_name, "state": state, "cron": cron}


def _refusal(host: str, error: kfp_server_api.ApiException) -> UserError | TransientError:
    try:
        body = json.loads(error.body or "")
        text = body.get("error_details") or body.get("message") or body.get("error") or ""
    except (ValueError, AttributeError):
        text = ""
    said = f"{host} answered {error.status}: {text or error.reason}"
    if error.status in (401, 403):
        return UserError(f"{said}. Sign in as kfp's own client does: KFP_EXISTING_TOKEN gives it a token.")
    if error.status == 404:
        return NotFoundError(f"{said}. Check --host, which often ends in /pipeline, and the names given.")
    return TransientError(said) if error.status >= 500 else UserError(said)
