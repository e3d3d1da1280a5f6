"""How the clients of stores speak HTTP: time limits, certificates, retries, and what is said of a long wait."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_bert_components import __version__
from kfp_bert_components.errors import UserError
from kfp_bert_components.storage._access import Access

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

LONG = 10.0  # seconds after which a wait is said
TIMEOUT = (10, 60)  # seconds to connect, and between two packets
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def client_options(
    url: str,
    headers: Mapping[str, str],
    certificates: Sequence[str] = _CERTIFICATES,
    read_seconds: float = TIMEOUT[1],
    most_seconds: float = 86_400,
) -> ClientConfig:
    """The options of a client.

    Args:
        url: The address of the service; only where it is an http:// one is that allowed.
        headers: Sent with each request.
        certificates: Variables of the environment, of which the first one that is set names a file of certificates.
        read_seconds: Time limit between two packets, and for an answer to a request once all of it was given.
        most_seconds: Time limit for all of a request with its answer.

    Raises:
        UserError: The certificates can't be read.
    """
    options: ClientConfig = {
        "allow_http": is_plain(url),
        "connect_timeout": timedelta(seconds=min(TIMEOUT[0], most_seconds)),
        "default_headers": dict(headers),
        "read_timeout": timedelta(seconds=min(read_seconds, most_seconds)),
        "timeout": timedelta(seconds=most_seconds),
        "user_agent": f"kfp-bert-components/{__version__}",
    }
    # Other clients read these, obstore does not.
    trusted = next((os.environ[name] for name in certificates if os.environ.get(name)), "")
    if trusted:
        try:
            options["root_certificate"] = Path(trusted).read_text()
        except (OSError, ValueError) as error:
            raise UserError(
                f"The certificates in {trusted}, which the environment names, can't be read: {error}."
            ) from None
    return options


def is_plain(url: str) -> bool:
    """Whether an address is one without TLS. Its scheme may be in capitals."""
    return url.lower().startswith("http://")


def retries(access: Access) -> RetryConfig:
    """Requests that fail are tried again for as long as `access` says."""
    pause = timedelta(seconds=min(15.0, access.patience / 4))
    return {
        "max_retries": 1000,
        "retry_timeout": timedelta(seconds=access.patience),
        "backoff": {"init_backoff": min(timedelta(seconds=0.1), pause), "max_backoff": pause, "base": 2.0},
    }


@contextmanager
def said_when_long(where: str) -> Iterator[None]:
    """Say on stderr that the block still waits for a store, once it has for `LONG` seconds."""
    timer = threading.Timer(LONG, say_waiting, [where])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say_waiting(where: str) -> None:
    """Say on stderr that an answer is waited for: standard output may be what somebody reads as JSON."""
    print(
        f"Still waiting for an answer about {where}; a request that fails is tried again.", file=sys.stderr, flush=True
    )
