"""As whom stores and Google's services are called from here."""

from __future__ import annotations

import os

from kfp_bert_components.extras import named_extra
from kfp_bert_components.storage._access import Access, with_environment


def google_account(access: Access | None = None) -> str:
    """The account that Google's services are called as, after a sign-in that worked.

    Args:
        access: Credentials. What it leaves out is taken from the environment.

    Raises:
        UserError: There are no credentials, they are damaged, or signing in failed.
    """
    access = with_environment(access or Access())
    if access.anonymous:
        return "anonymous"
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return "an emulator's"
    with named_extra():
        from google.auth.transport.requests import Request

        from kfp_bert_components.storage._client import client_for, explained
    with explained("Cloud Storage", access):
        credentials = client_for(access)._credentials
        if not credentials.valid:
            credentials.refresh(Request())
    return getattr(credentials, "service_account_email", "") or "a person's account"


def s3_account(place: str, access: Access | None = None) -> str:
    """Where the store of an s3:// or minio:// place is, and whose account it is reached as, in words.

    Args:
        place: The place.
        access: Whether it is reached without credentials. What it leaves out is taken from the environment.

    Raises:
        UserError: There are no credentials, or what says where the store is can't be read.
    """
    from kfp_bert_components.storage._s3_settings import s3_settings

    found = s3_settings(place.rstrip("/"), with_environment(access or Access()).anonymous)
    who = "without credentials" if found.anonymous else f"with credentials from {found.source}"
    return f"{found.place} is asked {who}, region {found.region}"
