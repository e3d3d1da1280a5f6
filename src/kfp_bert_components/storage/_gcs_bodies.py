"""Bodies of objects of Cloud Storage: obstore's, with the address and the credentials of the client library."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage._access import Access
from kfp_bert_components.storage._client import bodies_for, client_for, explain_status, explained, retry_for
from kfp_bert_components.storage._http import TIMEOUT
from kfp_bert_components.storage._transfer import Bodies, Held
from kfp_bert_components.storage._types import Entry, GoneError

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import GCSStore


class GcsBodies(Bodies):
    """The objects of a bucket whose names begin with `prefix`."""

    etag_is_md5 = False

    def __init__(self, bucket: str, prefix: str, access: Access) -> None:
        self._bucket, self._prefix, self._access = bucket, prefix, access
        self.anonymous = access.anonymous

    def store(self, *, anew: bool = False) -> GCSStore:
        return bodies_for(self._bucket, self._access, anew=anew)

    def key(self, entry: Entry) -> str:
        return self._prefix + entry.name

    def where(self, entry: Entry) -> str:
        return f"gs://{self._bucket}/{self._prefix}{entry.name}"

    def options(self, entry: Entry) -> GetOptions:
        return {"version": str(entry.generation)}

    def rest(self, entry: Entry, start: int, end: int) -> bytes:
        """By Google's client, which takes what it asked for also where the status is 200 instead of 206."""
        where = self.where(entry)
        held = Held(where, end - start)
        with explained(where, self._access):
            bucket = client_for(self._access).bucket(self._bucket, user_project=self._access.user_project or None)
            bucket.blob(self.key(entry), generation=entry.generation).download_to_file(
                held,
                start=start,
                end=end - 1,
                raw_download=True,
                checksum=None,
                timeout=TIMEOUT,
                retry=retry_for(self._access),
            )
        return held.getvalue()

    def explained(self, error: Exception, entry: Entry) -> UserError:
        where, text = self.where(entry), str(error).partition("\n\nDebug source")[0]
        status = re.search(r"status code: (\d{3})", text)
        if not status:
            reason = re.sub(r"^.* - |^Generic GCS error: ", "", text.strip())
            return UserError(f"{where} can't be fetched: {reason}. Check the network and try again later.")
        if status[1] == "404" and "bucket does not exist" not in text:
            return GoneError(f"{where} was replaced or deleted since it was listed.", where)
        return explain_status(int(status[1]), text, where, self._access)
