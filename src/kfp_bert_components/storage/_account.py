"""As whom Google's services are called from here."""

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
