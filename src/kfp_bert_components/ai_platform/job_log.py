"""The log of a custom job, read from Cloud Logging while the job runs."""

from __future__ import annotations

from typing import Any

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import requests

from kfp_bert_components.progress import say

_PAGE = 1000


class JobLog:
    """Prints each line of a job's log once. If the log cannot be read, one line says so, and nothing is raised.

    Args:
        project: Project of the job.
        job_id: Last part of the job's name.
        api_endpoint: Address for tests, which serves the log too; "" for Cloud Logging.
    """

    def __init__(self, project: str, job_id: str, api_endpoint: str = "") -> None:
        self._project, self._job_id = project, job_id
        local = api_endpoint.startswith("http://")
        self._url = f"{api_endpoint if local else 'https://logging.googleapis.com'}/v2/entries:list"
        self._local = local
        self._session: Any = None
        self._seen: set[str] = set()
        self._newest = "1970-01-01T00:00:00Z"
        self._failed = False

    def print_new(self) -> None:
        """Print the lines that came since the last call."""
        try:
            entries = self._entries()
        except (requests.RequestException, google.auth.exceptions.GoogleAuthError, ValueError) as error:
            if not self._failed:
                say(f"The job's log cannot be read ({str(error).splitlines()[0][:200]}).")
            self._failed = True
            return
        for entry in entries:
            if entry["insertId"] not in self._seen:
                self._seen.add(entry["insertId"])
                text = entry.get("textPayload") or entry.get("jsonPayload", {}).get("message", "")
                say(text.rstrip("\n"))
        if entries:
            self._newest = max(self._newest, entries[-1]["timestamp"])

    def _entries(self) -> list[dict[str, Any]]:
        # Entries of the newest moment can still arrive, so it is asked for again; what was printed is left out.
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
