"""How buckets are reached: as whom, and who pays."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

from kfp_bert_components.errors import UserError

USER_PROJECT, IMPERSONATE, ANONYMOUS = "KFP_BERT_USER_PROJECT", "KFP_BERT_IMPERSONATE", "KFP_BERT_ANONYMOUS"
HURRIED = 5.0  # seconds of patience with what is tried only to leave nothing behind
ACCESS_VARIABLES = (USER_PROJECT, IMPERSONATE, ANONYMOUS)
# Looser than Google's rules for names: what a header of HTTP takes.
_PROJECT, _ACCOUNT = re.compile(r"[\w.:-]*", re.ASCII), re.compile(r"([\w.+-]+@[\w.-]+)?", re.ASCII)
_BOOLEANS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


@dataclass(frozen=True)
class Access:
    """How buckets are reached. For an S3 store `anonymous` and the times count; AWS's variables and files say more.

    Args:
        user_project: The project that pays for requests to a bucket in another project ("requester pays").
            Default: that in KFP_BERT_USER_PROJECT.
        impersonate: E-mail address of a service account to act as; the caller needs the role
            "Service Account Token Creator" on it. Default: that in KFP_BERT_IMPERSONATE.
        anonymous: Send no credentials; for public buckets. Default: whether KFP_BERT_ANONYMOUS is 1 or true.
        patience: Seconds for which a request that fails is tried again. For a local folder: seconds to wait for its
            lock, at most 30.
        most_seconds: Longest time for one request; 0: no limit but the usual ones, between two packets.
    """

    user_project: str = ""
    impersonate: str = ""
    anonymous: bool = False
    patience: float = 120.0
    most_seconds: float = 0.0

    def within(self, seconds: float) -> Access:
        """The same, with times such that a call is over after so many seconds, with all that is tried again."""
        return replace(self, patience=min(self.patience, 0.4 * seconds), most_seconds=min(0.5 * seconds, 3600.0))


def with_environment(access: Access) -> Access:
    """The same, with what it leaves out from the environment.

    Raises:
        UserError: KFP_BERT_ANONYMOUS is neither true nor false, the project or the account can be none, or both
            anonymous and an account to act as are asked for.
    """
    access = replace(access, user_project=access.user_project or os.environ.get(USER_PROJECT, ""))
    if not (access.impersonate or access.anonymous):
        flag = os.environ.get(ANONYMOUS, "")
        if flag.lower() not in _BOOLEANS:
            raise UserError(f"{ANONYMOUS} is {flag!r}: give true or false.")
        account = os.environ.get(IMPERSONATE, "")
        access = replace(access, impersonate=account, anonymous=_BOOLEANS[flag.lower()])
    if not _PROJECT.fullmatch(access.user_project):
        raise UserError(f"user_project ({USER_PROJECT}) is {access.user_project!r}: give the id of a project.")
    if not _ACCOUNT.fullmatch(access.impersonate):
        raise UserError(
            f"impersonate ({IMPERSONATE}) is {access.impersonate!r}: give the e-mail address of a service account."
        )
    if access.impersonate and access.anonymous:
        raise UserError(f"Cloud Storage can't be reached anonymously and as {access.impersonate} at once: give one.")
    return access
