"""The log of a custom job, read from Cloud Logging while the job runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import requests

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.client import AiPlatform

_PAGE = 1000


class JobLog:
    """Prints each line of a job's log once. A log that cannot be read is said once, and costs nothing else.

    Args:
        cloud: The job's AI Platform; its address decides where the log is asked for in tests.
        project: Project of the job.
        job_id: Last part of the job's name.
        api_endpoint: Address for tests, which serves the log too; "" for Cloud Logging.
    """

    def __init__(self, cloud: AiPlatform, project: str, job_id: str, api_endpoint: str = "") -> None:
        self._project, self._job_id = project, job_id
        local = api_endpoint.startswith("http://")
        self._url = f"{api_endpoint if local else 'https://logging.googleapis.com'}/v2/entries:list"
        self._local = local
        self._session: Any = None
        self._seen: set[str] = set()
        self._newest = "1970-01-01T00:00:00Z"
        self._silent = False

    def print_new(self) -> None:
        """Print what came since the last time."""
        try:
            entries = self._entries()
        except (requests.RequestException, google.auth.exceptions.GoogleAuthError, ValueError) as error:
            if not self._silent:
                print(f"The job's log cannot be read ({str(error).splitlines()[0][:200]}).", flush=True)
            self._silent = True
            return
        for entry in entries:
            if entry["insertId"] not in self._seen:
                self._seen.add(entry["insertId"])
                text = entry.get("textPayload") or entry.get("jsonPayload", {}).get("message", "")
                print(text.rstrip("\n"), flush=True)
        if entries:
            self._newest = max(self._newest, entries[-1]["timestamp"])

    def _entries(self) -> list[dict[str, Any]]:
        # Entries can arrive late, so the newest moment is asked for again; what was printed is skipped.
        wanted = f'resource.type="ml_job" resource.labels.job_id="{self._job_id}" timestamp>="{self._newest}"'
        body = {
            "resourceNames": [f"projects/{self._project}"],
            "filter": wanted,
            "orderBy": "timestamp asc",
            "pageSize": _PAGE,
            "pageToken": "",
        }
        found: list[dict[str, Any]] = []
        while True:
            reply = self._open().post(self._url, json=body, timeout=30)
            reply.raise_for_status()
            page = reply.json()
            found += page.get("entries", [])
            body["pageToken"] = page.get("nextPageToken", "")
            if not body["pageToken"]:
                return found

    def _open(self) -> Any:
        if self._session is None:
            if self._local:
                self._session = requests.Session()
            else:
                scopes = ["https://www.googleapis.com/auth/logging.read"]
                credentials, _ = google.auth.default(scopes=scopes)
                self._session = google.auth.transport.requests.AuthorizedSession(credentials)
        return self._session
