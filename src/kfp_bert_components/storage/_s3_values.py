"""Values that say where an S3 store is and who we are, looked at before obstore: at some of them it ends in a panic."""

from __future__ import annotations

import re

from kfp_bert_components.errors import UserError

# Narrower than the rules for addresses: what all readers of addresses below obstore take alike.
_ADDRESS = re.compile(r"https?://([\w.-]+|\[[\da-f:.]+\])(:\d+)?(/[\w.~/-]*)?", re.ASCII | re.IGNORECASE)
_REGION = re.compile(r"[\w.-]+", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def check_endpoint(address: str, source: str) -> None:
    """Refuse what is no address of a store, or has a user in it.

    Args:
        address: The address.
        source: What gave it, for messages.

    Raises:
        UserError: It can't be used. The sentence shows no password.
    """
    from pydantic_core import Url

    if "@" in address:
        raise UserError(
            f"The address of the S3 store in {source} has a user in it (what is before the @), and would be written to "
            "logs and to what jobs are given: leave it out, and give the keys in AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY."
        )
    try:
        right = _ADDRESS.fullmatch(address) and Url(address)
    except ValueError:
        right = None
    if not right:
        raise UserError(
            f"The address of the S3 store is {address!r}, from {source}: give one as http://host:port or https://host, "
            "with a number as its port and nothing before or after it."
        )


def check_region(region: str, source: str) -> None:
    """Raise UserError where a region, which `source` gave, can be none."""
    if not _REGION.fullmatch(region):
        raise UserError(f"The region of the S3 store is {region!r}, from {source}: give its name alone, as us-east-1.")


def check_key(value: str, name: str) -> None:
    """Refuse an access key, secret key or token with a line break or white space where none can be.

    Args:
        value: The value, which no message shows.
        name: What it is called where it was read, for messages.

    Raises:
        UserError: It has white space at an end, or a control character.
    """
    if value != value.strip() or _CONTROL.search(value):
        raise UserError(
            f"The value of {name} has white space at an end, or a control character in it, often the line break that "
            "`echo` adds: write it anew without, as `printf %s` and `kubectl create secret generic --from-literal` do."
        )
