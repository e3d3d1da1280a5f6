"""The client of a model server that has TensorFlow Serving's REST API."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from kfp_bert_components.deployment.smoke_test import Answer
from kfp_bert_components.deployment.target import RolloutError
from kfp_bert_components.errors import TransientError, reason_of


class ModelServer:
    """One model of a server; its versions are asked by number.

    Args:
        url: Address of the server, such as http://serving:8501, or of the model in it
            (http://serving:8501/v1/models/NAME); without a model, it is the model "bert".
        call_seconds: Longest time for one call.
    """

    def __init__(self, url: str, call_seconds: float = 30.0) -> None:
        self._call_seconds = call_seconds
        url = url.rstrip("/")
        self._url = url if "/v1/models/" in url else f"{url}/v1/models/bert"

    def wait_for(self, number: int, fingerprint: str, seconds: float, check: Callable[[], None]) -> None:
        """Wait until the server says that version `number` is available.

        Args:
            number: The version's number in the serving directory.
            fingerprint: Of its bundle. A server that tells the fingerprint of what it has loaded must tell this one;
                TensorFlow Serving knows versions by their numbers only.
            seconds: Longest time to wait.
            check: Called every 0.2 s; the waiting ends with what it raises.

        Raises:
            RolloutError: The version is not available in time.
        """
        end, seen = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            check()
            try:
                states = self._call(f"/versions/{number}")["model_version_status"]
                wanted = (str(number), "AVAILABLE", fingerprint)
                if any((one["version"], one["state"], one.get("fingerprint", fingerprint)) == wanted for one in states):
                    return
                seen = str(states)[:300]
            except (TransientError, KeyError, TypeError) as error:
                seen = str(error)
            time.sleep(0.2)
        raise RolloutError(f"the server at {self._url} does not serve version {number} after {seconds:g} s: {seen}")

    def serves(self, number: int, fingerprint: str) -> bool:
        """Whether version `number` is the newest one that the server has loaded; one call.

        Args:
            number: The version's number in the serving directory.
            fingerprint: Of its bundle, as in `wait_for`.

        Raises:
            TransientError: The server did not answer, or has not loaded any version yet.
        """
        answer = self._call("")
        try:
            states = answer["model_version_status"]
            loaded = {int(one["version"]): one for one in states if one["state"] == "AVAILABLE"}
        except (KeyError, TypeError, ValueError) as error:
            raise TransientError(f"{self._url} answered {str(answer)[:300]}") from error
        if not loaded:
            raise TransientError(f"{self._url} has no version loaded: {str(states)[:300]}")
        newest = max(loaded)
        return newest == number and loaded[newest].get("fingerprint", fingerprint) == fingerprint

    def problem(self) -> str:
        """Why the server can't load its newest version, as our server tells it; "" where it says nothing; one call.

        Raises:
            TransientError: The server did not answer.
        """
        answer = self._call("")
        try:
            states = answer["model_version_status"]
            return next((one["status"]["error_message"] for one in states if one["state"] != "AVAILABLE"), "")
        except (KeyError, TypeError) as error:
            raise TransientError(f"{self._url} answered {str(answer)[:300]}") from error

    def ask(self, number: int, instance: dict[str, str]) -> Answer:
        """The answer of version `number` to one instance, {"text": ...}; 0: of the one that the server chooses.

        Raises:
            TransientError: The server did not answer, or answered with an error.
        """
        started = time.monotonic()
        answer = self._call(f"/versions/{number}:predict" if number else ":predict", {"instances": [instance]})
        return Answer(str(number), answer["predictions"][0], time.monotonic() - started)

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self._url + path, data=data, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self._call_seconds) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            text = error.read(300).decode("utf-8", "replace")
            error.close()
            raise TransientError(f"{request.full_url} answered {error.code}: {text}") from error
        except (OSError, ValueError) as error:
            raise TransientError(f"{request.full_url} does not answer ({reason_of(error)})") from error
