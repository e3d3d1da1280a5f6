"""From an address to the folder of numbered model versions behind it."""

from __future__ import annotations

import os
from dataclasses import replace

from kfp_bert_components.deployment.bucket_folder import BucketFolder
from kfp_bert_components.deployment.local_folder import LocalFolder
from kfp_bert_components.deployment.versioned_folder import VersionedFolder
from kfp_bert_components.storage import Address, open_store, parse_address

_MOUNT = "/gcs/"


def open_versioned_folder(place: str | Address) -> VersionedFolder:
    """The versioned folder at a local path, or a gs:// or s3:// URI. It need not exist yet.

    A path below /gcs/, where buckets are mounted, becomes a gs:// URI. Links in a local path are followed, so that one
    folder has one name.

    Args:
        place: The address as a user wrote it, or what the parser made of it.

    Raises:
        UserError: It is no address, it is a file or lies below one, or this user may not look there.
    """
    address = without_links(place if isinstance(place, Address) else parse_address(place, "serving_directory"))
    return LocalFolder(address.path) if address.is_local else BucketFolder(open_store(address))


def without_links(address: Address) -> Address:
    """The one address of a place: links in a local path are followed, and a bucket mounted below /gcs/ is its own."""
    if not address.is_local:
        return address
    path = os.path.realpath(address.path)
    if not path.startswith(_MOUNT):
        return Address("file", "", path)
    bucket, _, name = path.removeprefix(_MOUNT).partition("/")  # where folders cannot be renamed
    return replace(parse_address(f"gs://{bucket}", "serving_directory"), name=name)
