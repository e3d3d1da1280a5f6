"""Files on gs://, on s3:// and in local folders behind one small interface, with conditional writes."""

from kfp_bert_components.storage._access import Access
from kfp_bert_components.storage._account import google_account, s3_account
from kfp_bert_components.storage._address import ON_THIS_MACHINE, Address, known_address, one_name, parse_address
from kfp_bert_components.storage._checksums import file_crc32c, file_sha256, is_copy, open_file
from kfp_bert_components.storage._find import Found, find_objects, is_meant, split_object
from kfp_bert_components.storage._folders import (
    download_folder,
    file_hashes,
    publish_folder,
    relative_files,
    upload_folder,
)
from kfp_bert_components.storage._job_access import JobAccess, job_access
from kfp_bert_components.storage._kubeflow import remember_session
from kfp_bert_components.storage._look import is_file, is_folder, is_there
from kfp_bert_components.storage._open import check_may_write, check_writable, close_clients, open_store
from kfp_bert_components.storage._rights import denied
from kfp_bert_components.storage._types import Blob, Entry, Generation, GoneError, Store
from kfp_bert_components.storage._walk import walk
from kfp_bert_components.storage.mounts import is_fuse

__all__ = [
    "ON_THIS_MACHINE",
    "Access",
    "Address",
    "Blob",
    "Entry",
    "Found",
    "Generation",
    "GoneError",
    "JobAccess",
    "Store",
    "check_may_write",
    "check_writable",
    "close_clients",
    "denied",
    "download_folder",
    "file_crc32c",
    "file_hashes",
    "file_sha256",
    "find_objects",
    "google_account",
    "is_copy",
    "is_file",
    "is_folder",
    "is_fuse",
    "is_meant",
    "is_there",
    "job_access",
    "known_address",
    "one_name",
    "open_file",
    "open_store",
    "parse_address",
    "publish_folder",
    "relative_files",
    "remember_session",
    "s3_account",
    "split_object",
    "upload_folder",
    "walk",
]
