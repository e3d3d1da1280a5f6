"""Files on gs:// and in local folders behind one small interface, with conditional writes."""

from kfp_bert_components.storage._checksums import file_crc32c, file_sha256
from kfp_bert_components.storage._folders import (
    download_folder,
    file_hashes,
    publish_folder,
    relative_files,
    upload_folder,
)
from kfp_bert_components.storage._open import close_clients, open_store
from kfp_bert_components.storage._types import Access, Blob, Entry, GoneError, Store
from kfp_bert_components.storage.mounts import is_fuse

__all__ = [
    "Access",
    "Blob",
    "Entry",
    "GoneError",
    "Store",
    "close_clients",
    "download_folder",
    "file_crc32c",
    "file_hashes",
    "file_sha256",
    "is_fuse",
    "open_store",
    "publish_folder",
    "relative_files",
    "upload_folder",
]
